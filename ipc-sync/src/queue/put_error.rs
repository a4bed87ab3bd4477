//! The error of a put, which gives the value back.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A value could not be put; it comes back. `?` turns it into the crate's [`Error`].
///
/// ```
/// use ipc_sync::{Error, Queue};
///
/// let queue = Queue::bounded(1)?;
/// queue.put("first".to_string())?;
/// let full = queue.try_put("second".to_string()).unwrap_err();
/// assert!(matches!(full.error(), Error::Full));
/// assert_eq!(full.into_value(), "second");
/// # Ok::<(), Error>(())
/// ```
#[derive(Serialize, Deserialize)]
pub struct PutError<T> {
    value: T,
    error: Error,
}

impl<T> PutError<T> {
    pub(crate) fn new(value: T, error: Error) -> PutError<T> {
        PutError { value, error }
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

impl<T> From<PutError<T>> for Error {
    fn from(error: PutError<T>) -> Error {
        error.error
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<T> std::error::Error for PutError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}
