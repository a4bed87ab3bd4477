//! The reading half of the guard.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::{Fault, Watch, deeper};

type Guarded<'w, X> = super::Guarded<X, &'w Watch>;

/// A visitor that the format calls: it hands the guard on to what is inside the value.
struct Visit<'w, V> {
    visitor: V,
    watch: &'w Watch,
    depth: u16,
    /// Whether the value says itself how many elements it has (a sequence or map, and no tuple or struct).
    counted: bool,
}

/// A seed, or a value inside another: it reaches the format through the guard.
struct Nested<'w, T> {
    seed: T,
    watch: &'w Watch,
    depth: u16,
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Nested<'_, T> {
    type Value = T::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        let Nested { seed, watch, depth } = self;
        seed.deserialize(Guarded { inner: deserializer, watch, depth }).map_err(Fault::into_de)
    }
}

macro_rules! forward {
    ($($method:ident($($name:ident: $type:ty),*) $counted:literal;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, Fault> {
            let Guarded { inner, watch, depth } = self;
            inner
                .$method($($name,)* Visit { visitor, watch, depth, counted: $counted })
                .map_err(Fault::from_format)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guarded<'_, D> {
    type Error = Fault;

    forward! {
        deserialize_bool() false;
        deserialize_i8() false;
        deserialize_i16() false;
        deserialize_i32() false;
        deserialize_i64() false;
        deserialize_i128() false;
        deserialize_u8() false;
        deserialize_u16() false;
        deserialize_u32() false;
        deserialize_u64() false;
        deserialize_u128() false;
        deserialize_f32() false;
        deserialize_f64() false;
        deserialize_char() false;
        deserialize_str() false;
        deserialize_string() false;
        deserialize_bytes() true;
        deserialize_byte_buf() true;
        deserialize_option() false;
        deserialize_unit() false;
        deserialize_unit_struct(name: &'static str) false;
        deserialize_newtype_struct(name: &'static str) false;
        deserialize_seq() true;
        deserialize_tuple(len: usize) false;
        deserialize_tuple_struct(name: &'static str, len: usize) false;
        deserialize_map() true;
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) false;
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) false;
        deserialize_identifier() false;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Guarded { inner, watch, depth } = self;
        inner.deserialize_any(Visit { visitor, watch, depth, counted: true }).map_err(Fault::not_told)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Guarded { inner, watch, depth } = self;
        inner.deserialize_ignored_any(Visit { visitor, watch, depth, counted: true }).map_err(Fault::not_told)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Hands a scalar to the visitor.
macro_rules! visit {
    ($($method:ident($type:ty);)*) => {$(
        #[inline]
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.visitor.$method(value).map_err(Fault::into_de)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Visit<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    visit! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    #[inline]
    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none().map_err(Fault::into_de)
    }

    #[inline]
    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit().map_err(Fault::into_de)
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let Visit { visitor, watch, depth, .. } = self;
        deeper(depth)
            .and_then(|depth| visitor.visit_some(Guarded { inner: deserializer, watch, depth }))
            .map_err(Fault::into_de)
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let Visit { visitor, watch, depth, .. } = self;
        deeper(depth)
            .and_then(|depth| visitor.visit_newtype_struct(Guarded { inner: deserializer, watch, depth }))
            .map_err(Fault::into_de)
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<V::Value, A::Error> {
        let Visit { visitor, watch, depth, counted } = self;
        let hint = sequence.size_hint();
        Elements::new(sequence, hint, counted, watch, depth)
            .and_then(|elements| visitor.visit_seq(elements))
            .map_err(Fault::into_de)
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let Visit { visitor, watch, depth, counted } = self;
        let hint = map.size_hint();
        Elements::new(map, hint, counted, watch, depth)
            .and_then(|elements| visitor.visit_map(elements))
            .map_err(Fault::into_de)
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        let Visit { visitor, watch, depth, .. } = self;
        visitor.visit_enum(Guarded { inner: data, watch, depth }).map_err(Fault::into_de)
    }
}

/// The elements of a sequence or map.
struct Elements<'w, A> {
    inner: A,
    watch: &'w Watch,
    depth: u16,
    /// Elements already charged, or that need no charge.
    paid: usize,
}

impl<'w, A> Elements<'w, A> {
    #[inline]
    fn new(
        inner: A,
        hint: Option<usize>,
        counted: bool,
        watch: &'w Watch,
        depth: u16,
    ) -> Result<Self, Fault> {
        let depth = deeper(depth)?;
        let paid = match hint {
            _ if !counted => usize::MAX,
            Some(len) => {
                watch.charge(len)?;
                len
            }
            None => 0,
        };
        Ok(Self { inner, watch, depth, paid })
    }

    /// One element more has been read.
    #[inline]
    fn count(&mut self) -> Result<(), Fault> {
        match self.paid.checked_sub(1) {
            Some(left) => self.paid = left,
            None => self.watch.charge(1)?,
        }
        Ok(())
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let seed = Nested { seed, watch: self.watch, depth: self.depth };
        let element = self.inner.next_element_seed(seed).map_err(Fault::from_format)?;
        if element.is_some() {
            self.count()?;
        }
        Ok(element)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Elements<'_, A> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let seed = Nested { seed, watch: self.watch, depth: self.depth };
        let key = self.inner.next_key_seed(seed).map_err(Fault::from_format)?;
        if key.is_some() {
            self.count()?;
        }
        Ok(key)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let seed = Nested { seed, watch: self.watch, depth: self.depth };
        self.inner.next_value_seed(seed).map_err(Fault::from_format)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'w, A: EnumAccess<'de>> EnumAccess<'de> for Guarded<'w, A> {
    type Error = Fault;
    type Variant = Guarded<'w, A::Variant>;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), Fault> {
        let Guarded { inner, watch, depth } = self;
        let (value, inner) = inner.variant_seed(Nested { seed, watch, depth }).map_err(Fault::from_format)?;
        Ok((value, Guarded { inner, watch, depth }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guarded<'_, A> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        self.inner.unit_variant().map_err(Fault::from_format)
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let Guarded { inner, watch, depth } = self;
        let seed = Nested { seed, watch, depth: deeper(depth)? };
        inner.newtype_variant_seed(seed).map_err(Fault::from_format)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let Guarded { inner, watch, depth } = self;
        inner.tuple_variant(len, Visit { visitor, watch, depth, counted: false }).map_err(Fault::from_format)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Guarded { inner, watch, depth } = self;
        inner
            .struct_variant(fields, Visit { visitor, watch, depth, counted: false })
            .map_err(Fault::from_format)
    }
}
