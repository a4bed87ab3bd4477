//! The error of a spawn, which gives the arguments back.

use std::fmt;

use crate::error::Error;

/// A child could not be started; its arguments come back.
///
/// `?` turns it into the crate's [`Error`].
///
/// ```
/// use ipc_core::{spawn, Builder, Error};
///
/// let failed = Builder::new().current_dir("/nowhere").spawn(|text: String| text, ("kept".into(),)).unwrap_err();
/// assert!(failed.to_string().contains("/nowhere"), "{failed}");
/// let (text,) = failed.into_args();
/// assert_eq!(text, "kept");
/// ```
pub struct SpawnError<A> {
    args: A,
    error: Error,
}

impl<A> SpawnError<A> {
    pub(crate) fn new(args: A, error: Error) -> SpawnError<A> {
        SpawnError { args, error }
    }

    /// The arguments.
    pub fn into_args(self) -> A {
        self.args
    }

    /// What went wrong.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Both.
    pub fn into_parts(self) -> (A, Error) {
        (self.args, self.error)
    }
}

impl<A> From<SpawnError<A>> for Error {
    fn from(error: SpawnError<A>) -> Error {
        error.error
    }
}

impl<A> fmt::Debug for SpawnError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl<A> fmt::Display for SpawnError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<A> std::error::Error for SpawnError<A> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}
