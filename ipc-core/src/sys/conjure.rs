//! A function of size zero, made from nothing.

use std::marker::PhantomData;

/// A function type that captures nothing, or there is no program: one constant, asked for where a function is named and where it is
/// made anew, so that the compiler refuses it once.
pub(crate) struct Capturing<F>(PhantomData<F>);

impl<F> Capturing<F> {
    pub(crate) const NOTHING: () = assert!(
        size_of::<F>() == 0,
        "only functions and closures that capture nothing can be run in another process: pass what they need as \
         arguments (a plain `fn` pointer is not accepted either: name the function itself)"
    );
}

/// The one value of a function type that captures nothing.
pub(crate) fn zero_sized<F: Copy>() -> F {
    let () = Capturing::<F>::NOTHING;
    // SAFETY: `F` has no bytes, so an aligned pointer is valid for reading them, and none can be invalid; it is `Copy`, so a further value of it
    // duplicates nothing that is dropped. Whoever holds the name of an entry for `F` got it from
    // `Name::of`, which was given a value of `F`: the type is inhabited. A captured token
    // of size zero is made anew as well, if it is `Copy` and `Send`. No safe code may rest on there being no second one, or none in
    // another process: that this crate trusts its users in this is written in the docs of `Function` and among the crate's limits.
    unsafe { std::ptr::NonNull::<F>::dangling().read() }
}
