//! A function of size zero, made from nothing.

/// The one value of a function type that captures nothing.
pub(crate) fn zero_sized<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0) }
    // SAFETY: `F` has no bytes, so an aligned pointer is valid for reading them, and none can be invalid; it is `Copy`, so a further value of it
    // duplicates nothing that is dropped. Whoever holds the name of an entry for `F` got it from
    // `Name::of`, which was given a value of `F`: the type is inhabited. That a captured token of size
    // zero is made anew as well is written in the docs of `Function`.
    unsafe { std::ptr::NonNull::<F>::dangling().read() }
}
