//! Naming a function to another process of the same image.
//!
//! A function cannot be sent, but every copy of one image holds the same functions at the same places,
//! so a place is name enough. The address of the function itself will not do: codegen units may hold
//! several copies of one generic function, or fold two different ones into one. What is sent is the place of an
//! [`Entry`], a constant made for one function and its argument types, as an offset from the image's
//! first byte (the images of parent and child are mapped at different addresses).
//!
//! The number is believed only after four checks: it lies wholly inside segments of this image that
//! nobody can write, it is aligned, what it points at begins with [`MAGIC`] and ends with [`END`], and the names of the
//! function's, its arguments' and its result's types give the hash that the sender stated. (Two words, because one may stand in
//! the program's code, aligned by chance, wherever it is compared with.) It is only ever taken from a control socket that
//! this family made itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

use std::os::fd::OwnedFd;

use serde::{Serialize, de::DeserializeOwned};

use super::fnv::Fnv;
use super::image::Image;
use super::panics;
use super::trace::__rust_begin_short_backtrace;
use super::wire::Failure;
use crate::message::Error::Os;
use crate::message::descriptors::{self, Encoded};
use crate::sys::conjure::{self, Capturing};
use crate::sys::elf;

/// What can travel between processes: types that serde can take apart and put together again.
///
/// Implemented for every type that meets the bounds; there is nothing to write. What the bounds cannot say: the format
/// ([postcard](crate::codec)) names neither fields nor types, so a type must not ask it what comes next (`#[serde(untagged)]`,
/// `#[serde(tag = "…")]`, `#[serde(flatten)]`, `serde_json::Value`) nor leave fields out (`skip_serializing_if`). Such a value is refused
/// with [`Error::Encode`](crate::Error::Encode) or [`Error::Decode`](crate::Error::Decode); sent as a `String` in a format of its own, it arrives.
///
/// ```
/// fn travels<T: ipc_core::Message>() {}
/// travels::<(u64, Vec<String>, Option<ipc_core::Bytes>)>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent to another process",
    note = "arguments and results must implement serde's `Serialize` and `Deserialize` and borrow nothing",
    note = "files, sockets and pipes go as `ipc_core::Descriptor`, or in a field with \
            `#[serde(with = \"ipc_core::as_descriptor\")]`"
)]
pub trait Message: Serialize + DeserializeOwned + Send + 'static {}

// So that the compiler says what stands above, in one error, and not what serde would have each of two errors say.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Message for T {}

/// What can be run in another process: a function item, or a closure that captures nothing.
///
/// `A` is the tuple of its arguments, of up to twelve. Implemented for every `Fn` that is `Copy + Send +
/// 'static`; that it captures nothing (its size is zero) is checked where it is spawned, when the program is
/// built (`cargo check` makes no machine code and does not see it). A closure over a value of size zero passes this check and finds such a value *made anew* in the
/// child, so a zero-sized token must not stand for anything that the child does not have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be run in another process with the arguments `{A}`",
    note = "a function or a closure that captures nothing is needed, and its arguments as a tuple: `(a, b)`, `(a,)` or `()`"
)]
pub trait Function<A>: Copy + Send + 'static {
    /// What the function returns.
    type Output;

    /// Calls the function with its arguments.
    fn call(self, args: A) -> Self::Output;
}

macro_rules! functions {
    ($($arg:ident)*) => {
        impl<F, R, $($arg),*> Function<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> R + Copy + Send + 'static,
        {
            type Output = R;

            #[allow(non_snake_case)]
            fn call(self, ($($arg,)*): ($($arg,)*)) -> R {
                self($($arg),*)
            }
        }
    };
}

functions!();
functions!(A1);
functions!(A1 A2);
functions!(A1 A2 A3);
functions!(A1 A2 A3 A4);
functions!(A1 A2 A3 A4 A5);
functions!(A1 A2 A3 A4 A5 A6);
functions!(A1 A2 A3 A4 A5 A6 A7);
functions!(A1 A2 A3 A4 A5 A6 A7 A8);
functions!(A1 A2 A3 A4 A5 A6 A7 A8 A9);
functions!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10);
functions!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11);
functions!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12);

/// Marks an [`Entry`]; no other constant of an image is likely to hold it.
const MAGIC: u64 = u64::from_le_bytes(*b"ipcEntr\x01");

/// Ends an [`Entry`].
const END: u64 = u64::from_le_bytes(*b"\x01rtnEcpi");

/// What happened to a call: the encoded value, or why there is none.
pub(crate) type Outcome = Result<Encoded, Failure>;

/// The constant that stands for one function in every process of this image.
#[repr(C)]
pub(crate) struct Entry {
    magic: u64,
    types: fn() -> u64,
    call: fn(&[u8], Vec<OwnedFd>) -> Outcome,
    end: u64,
}

impl Entry {
    /// Decodes the arguments, calls the function and encodes what it returns.
    pub(crate) fn call(&self, args: &[u8], descriptors: Vec<OwnedFd>) -> Outcome {
        (self.call)(args, descriptors)
    }
}

struct Constant<F, A>(std::marker::PhantomData<(F, A)>);

impl<F, A> Constant<F, A>
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    const ENTRY: &'static Entry = &Entry { magic: MAGIC, types: types::<F, A>, call: call::<F, A>, end: END };
}

/// A function as it stands in a start message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Name {
    offset: u64,
    types: u64,
    image: u64,
}

impl Name {
    /// One that a sender might make up.
    pub(crate) fn altered(self, offset: u64, types: u64, image: u64) -> Name {
        Name {
            offset: self.offset.wrapping_add(offset),
            types: self.types ^ types,
            image: self.image ^ image,
        }
    }

    /// The name of `f`, which every process of this image can turn back into the function.
    pub(crate) fn of<F, A>(_f: F) -> Name
    where
        F: Function<A>,
        A: Message,
        F::Output: Message,
    {
        let () = Capturing::<F>::NOTHING;
        let image = Image::this();
        let entry = std::ptr::from_ref(Constant::<F, A>::ENTRY) as usize;
        Name {
            offset: entry.wrapping_sub(image.base()) as u64,
            types: types::<F, A>(),
            image: image.fingerprint(),
        }
    }

    /// The entry that this name stands for, or why it stands for none.
    pub(crate) fn resolve(self) -> Result<&'static Entry, String> {
        let image = Image::this();
        if self.image != image.fingerprint() {
            return Err("the function was named by a process that runs another program".into());
        }
        // As words, for as long as it may be anything: a reference to an entry would claim that its functions are some.
        let words: [u64; size_of::<Entry>() / size_of::<u64>()] = image
            .words(self.offset as usize)
            .ok_or("the name of the function points outside the program's constants")?;
        if words.first() != Some(&MAGIC) || words.last() != Some(&END) {
            return Err("the name of the function does not point at a function".into());
        }
        let entry: &Entry = elf::constant(image.base().wrapping_add(self.offset as usize));
        if (entry.types)() != self.types {
            return Err("the name of the function belongs to one with other arguments".into());
        }
        Ok(entry)
    }
}

/// The hash of the names of all types that are part of a call (FNV-1a: stable, and enough against mistakes).
fn types<F, A>() -> u64
where
    F: Function<A>,
{
    use std::any::type_name;
    let mut hash = Fnv::new();
    for name in [type_name::<F>(), type_name::<A>(), type_name::<F::Output>()] {
        hash.write(name.as_bytes());
        hash.write(&[0]);
    }
    hash.finish()
}

/// Decodes the arguments, calls the function and encodes what it returns.
pub(crate) fn call<F, A>(args: &[u8], descriptors: Vec<OwnedFd>) -> Outcome
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    let f = conjure::zero_sized::<F>();
    // A `Deserialize` of the user's may panic: there is no frame above that could be unwound.
    let decoded = panics::watch(|| catch_unwind(|| descriptors::decode::<A>(args, descriptors)));
    let args = match decoded {
        Ok(decoded) => decoded.map_err(|e| Failure::Arguments(e.to_string()))?,
        Err(panic) => return Err(Failure::Arguments(format!("its Deserialize {panic}"))),
    };
    run(move || f.call(args))
}

/// Runs `f`, turning a panic into a [`Failure`] and its value into bytes.
pub(crate) fn run<R: Message>(f: impl FnOnce() -> R) -> Outcome {
    let f = || __rust_begin_short_backtrace(f);
    let value = panics::watch(|| catch_unwind(AssertUnwindSafe(f))).map_err(Failure::Panicked)?;
    // A `Serialize` or `Drop` of the user's may panic as well; either must reach the parent as an error.
    panics::watch(|| {
        catch_unwind(AssertUnwindSafe(|| {
            let encoded = descriptors::encode(&value).map_err(|e| match e {
                Os { operation, source } => Failure::reply(operation, &source),
                e => Failure::Result(e.to_string()),
            });
            drop(value);
            encoded
        }))
    })
    .map_err(Failure::Panicked)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(a: u32, b: u32) -> u32 {
        a + b
    }

    #[test]
    fn a_name_finds_its_function() {
        let name = Name::of(add);
        let args = descriptors::encode(&(2_u32, 3_u32)).unwrap();
        let sum = name.resolve().unwrap().call(&args.body, args.descriptors).unwrap();
        assert_eq!(descriptors::decode::<u32>(&sum.body, sum.descriptors).unwrap(), 5);
    }

    #[test]
    fn equal_looking_closures_are_different_functions() {
        // Their types have the same name; the place of their entries tells them apart.
        let call = |name: Name| {
            let args = descriptors::encode(&(20_u8,)).unwrap();
            let value = name.resolve().unwrap().call(&args.body, args.descriptors).unwrap();
            descriptors::decode::<u8>(&value.body, value.descriptors).unwrap()
        };
        let (one, two) = (Name::of(|x: u8| x + 1), Name::of(|x: u8| x + 2));
        assert_eq!((call(one), call(two)), (21, 22));
    }

    #[test]
    fn no_other_place_of_the_image_is_taken_for_a_function() {
        // The right hash belongs to one entry alone, and asking others for theirs must be harmless.
        let name = Name::of(add);
        let places = (0..Image::this().extent() as u64).step_by(8);
        let found: Vec<u64> =
            places.filter(|offset| Name { offset: *offset, ..name }.resolve().is_ok()).collect();
        assert_eq!(found, [name.offset]);
    }

    #[test]
    fn a_wrong_name_is_refused_with_words() {
        let name = Name::of(add);
        for wrong in [
            Name { offset: name.offset + 1, ..name },
            Name { offset: name.offset.wrapping_neg(), ..name },
            Name { offset: u64::MAX, ..name },
            Name { offset: 0, ..name },
            Name { types: name.types ^ 1, ..name },
            Name { image: name.image ^ 1, ..name },
        ] {
            assert!(wrong.resolve().is_err(), "{wrong:?}");
        }
    }
}
