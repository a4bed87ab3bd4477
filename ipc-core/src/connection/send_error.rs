//! The error of a send, which gives the value back.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A value could not be sent; it comes back.
///
/// `?` turns it into the crate's [`Error`].
///
/// ```
/// let (sender, receiver) = ipc_core::pipe::<String>()?;
/// drop(receiver);
/// let failed = sender.send("kept".into()).unwrap_err();
/// assert!(failed.error().is_disconnected());
/// assert_eq!(failed.into_value(), "kept");
/// # Ok::<(), ipc_core::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
pub struct SendError<T, E = Error> {
    value: T,
    error: E,
}

impl<T, E> SendError<T, E> {
    /// For who sends in a way of its own, with errors of its own: a crate above, say.
    pub fn new(value: T, error: E) -> SendError<T, E> {
        SendError { value, error }
    }

    /// The value.
    pub fn into_value(self) -> T {
        self.value
    }

    /// What went wrong.
    pub fn error(&self) -> &E {
        &self.error
    }

    /// Both.
    pub fn into_parts(self) -> (T, E) {
        (self.value, self.error)
    }
}

impl<T> From<SendError<T>> for Error {
    fn from(error: SendError<T>) -> Error {
        error.error
    }
}

impl<T, E: fmt::Debug> fmt::Debug for SendError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl<T, E: fmt::Display> fmt::Display for SendError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<T, E: std::error::Error> std::error::Error for SendError<T, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}
