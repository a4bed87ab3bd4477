//! The error of a send, which gives the value back.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A value could not be sent; it comes back. `?` turns it into the crate's [`Error`].
///
/// ```
/// let (mut sender, receiver) = ipc_sync::ring::<String>(4096)?;
/// drop(receiver);
/// let failed = sender.send("kept".into()).unwrap_err();
/// assert!(failed.error().is_disconnected());
/// assert_eq!(failed.into_value(), "kept");
/// # Ok::<(), ipc_sync::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
pub struct SendError<T> {
    value: T,
    error: Error,
}

impl<T> SendError<T> {
    pub(crate) fn new(value: T, error: Error) -> SendError<T> {
        SendError { value, error }
    }

    /// The value.
    pub fn into_value(self) -> T {
        self.value
    }

    /// What went wrong.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Both.
    pub fn into_parts(self) -> (T, Error) {
        (self.value, self.error)
    }
}

impl<T> From<SendError<T>> for Error {
    fn from(error: SendError<T>) -> Error {
        error.error
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<T> std::error::Error for SendError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}
