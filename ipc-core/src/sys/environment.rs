//! Taking a variable out of this process's environment, before anything else runs.

/// The value of a variable that this crate set for a child, which is removed; `None` if it is not there or not text.
pub(crate) fn take(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    // SAFETY: called by the constructor before `main` and by `init` at its first line, in a process that an
    // `exec` of this crate has just started: there are no other threads that could read the environment.
    unsafe { std::env::remove_var(name) };
    Some(value)
}
