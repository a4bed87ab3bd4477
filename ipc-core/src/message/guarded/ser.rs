//! The writing half of the guard.

use std::fmt::Display;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::{Fault, deeper};

type Guarded<X> = super::Guarded<X, ()>;

/// A value inside another: it reaches the format through the guard.
struct Nested<'v, T: ?Sized> {
    value: &'v T,
    depth: u16,
}

impl<T: Serialize + ?Sized> Serialize for Nested<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let guarded = Guarded { inner: serializer, depth: self.depth, watch: () };
        self.value.serialize(guarded).map_err(Fault::into_ser)
    }
}

/// Passes a call with plain arguments on.
macro_rules! plain {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method(self, $($name: $type),*) -> Result<S::Ok, Fault> {
            self.inner.$method($($name),*).map_err(Fault::from_format)
        }
    )*};
}

/// Opens something with elements, one level further in.
macro_rules! compound {
    ($($method:ident($($name:ident: $type:ty),*) -> $compound:ident;)*) => {$(
        #[inline]
        fn $method(self, $($name: $type),*) -> Result<Self::$compound, Fault> {
            let Guarded { inner, depth, .. } = self;
            let depth = deeper(depth)?;
            let inner = inner.$method($($name),*).map_err(Fault::from_format)?;
            Ok(Guarded { inner, depth, watch: () })
        }
    )*};
}

impl<S: Serializer> Serializer for Guarded<S> {
    type Ok = S::Ok;
    type Error = Fault;
    type SerializeSeq = Guarded<S::SerializeSeq>;
    type SerializeTuple = Guarded<S::SerializeTuple>;
    type SerializeTupleStruct = Guarded<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Guarded<S::SerializeTupleVariant>;
    type SerializeMap = Guarded<S::SerializeMap>;
    type SerializeStruct = Guarded<S::SerializeStruct>;
    type SerializeStructVariant = Guarded<S::SerializeStructVariant>;

    plain! {
        serialize_bool(v: bool);
        serialize_i8(v: i8);
        serialize_i16(v: i16);
        serialize_i32(v: i32);
        serialize_i64(v: i64);
        serialize_i128(v: i128);
        serialize_u8(v: u8);
        serialize_u16(v: u16);
        serialize_u32(v: u32);
        serialize_u64(v: u64);
        serialize_u128(v: u128);
        serialize_f32(v: f32);
        serialize_f64(v: f64);
        serialize_char(v: char);
        serialize_str(v: &str);
        serialize_bytes(v: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    compound! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeStructVariant;
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, Fault> {
        let Guarded { inner, depth, .. } = self;
        let value = Nested { value, depth: deeper(depth)? };
        inner.serialize_some(&value).map_err(Fault::from_format)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, Fault> {
        let Guarded { inner, depth, .. } = self;
        let value = Nested { value, depth: deeper(depth)? };
        inner.serialize_newtype_struct(name, &value).map_err(Fault::from_format)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, Fault> {
        let Guarded { inner, depth, .. } = self;
        let value = Nested { value, depth: deeper(depth)? };
        inner.serialize_newtype_variant(name, index, variant, &value).map_err(Fault::from_format)
    }

    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, Fault> {
        self.inner.collect_str(value).map_err(Fault::from_format)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<X> Guarded<X> {
    /// Hands an element to the format, wrapped.
    #[inline]
    fn element<T, E>(
        &mut self,
        value: &T,
        hand_over: impl FnOnce(&mut X, &Nested<'_, T>) -> Result<(), E>,
    ) -> Result<(), Fault>
    where
        T: Serialize + ?Sized,
        E: Display,
    {
        let Guarded { inner, depth, .. } = self;
        hand_over(inner, &Nested { value, depth: *depth }).map_err(Fault::from_format)
    }
}

/// The traits whose elements have no key.
macro_rules! elements {
    ($($trait:ident::$method:ident)*) => {$(
        impl<X: $trait> $trait for Guarded<X> {
            type Ok = X::Ok;
            type Error = Fault;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                self.element(value, |inner, value| inner.$method(value))
            }

            #[inline]
            fn end(self) -> Result<X::Ok, Fault> {
                self.inner.end().map_err(Fault::from_format)
            }
        }
    )*};
}

/// The traits whose elements have a field's name.
macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl<X: $trait> $trait for Guarded<X> {
            type Ok = X::Ok;
            type Error = Fault;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Fault> {
                self.element(value, |inner, value| inner.serialize_field(key, value))
            }

            #[cold]
            fn skip_field(&mut self, key: &'static str) -> Result<(), Fault> {
                Err(Fault::new(format!(
                    "the field `{key}` was left out (`skip_serializing_if`), and the format tells fields by their place alone"
                )))
            }

            #[inline]
            fn end(self) -> Result<X::Ok, Fault> {
                self.inner.end().map_err(Fault::from_format)
            }
        }
    )*};
}

elements! {
    SerializeSeq::serialize_element
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
}

fields! { SerializeStruct SerializeStructVariant }

impl<X: SerializeMap> SerializeMap for Guarded<X> {
    type Ok = X::Ok;
    type Error = Fault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.element(key, |inner, key| inner.serialize_key(key))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.element(value, |inner, value| inner.serialize_value(value))
    }

    #[inline]
    fn end(self) -> Result<X::Ok, Fault> {
        self.inner.end().map_err(Fault::from_format)
    }
}
