//! Bytes as text of C: what Python's arrays of type code `c` do beyond others.
//!
//! | Python | here |
//! |---|---|
//! | `array.value` | `text()` |
//! | `array.value = b"…"` | `set_text(b"…")` |
//! | `array.raw` | `to_vec()` |
//! | `array.raw = b"…"` | `copy_from_slice(b"…")` |

use crate::{Array, Error, RawArray, Result, Synchronized};

/// The bytes before the first NUL; all if there is none.
fn text_in(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// How much of an array a text takes, with the NUL behind it if there is room for one.
fn room(text: &[u8], len: usize) -> Result<usize> {
    if text.len() > len {
        return Err(Error::invalid("the text", format!("it has {} bytes, and the array {len}", text.len())));
    }
    Ok(len.min(text.len() + 1))
}

/// The text with that NUL.
fn ended(text: &[u8], room: usize) -> Vec<u8> {
    let mut bytes = text.to_vec();
    bytes.resize(room, 0);
    bytes
}

impl Array<u8> {
    /// The bytes before the first NUL; all if there is none. Python's `.value` of an `Array('c', …)`, whose `.raw` is
    /// [`to_vec`](Array::to_vec).
    ///
    /// ```
    /// let name = ipc_shm::Array::from_slice(b"long name")?;
    /// name.set_text(b"short")?;
    /// assert_eq!(name.text()?, b"short");
    /// assert_eq!(name.to_vec()?, b"short\0ame");
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Array::get).
    pub fn text(&self) -> Result<Vec<u8>> {
        self.update(|all| text_in(all).to_vec())
    }

    /// Puts a text in, and a NUL behind it if there is room; what comes after stays.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is longer than the array; otherwise as [`get`](Array::get).
    pub fn set_text(&self, text: &[u8]) -> Result<()> {
        let room = room(text, self.len())?;
        self.update(|all| all[..room].copy_from_slice(&ended(text, room)))
    }
}

impl RawArray<u8> {
    /// As [`Array::text`].
    pub fn text(&self) -> Vec<u8> {
        text_in(&self.to_vec()).to_vec()
    }

    /// As [`Array::set_text`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is longer than the array.
    pub fn set_text(&self, text: &[u8]) -> Result<()> {
        let room = room(text, self.len())?;
        self.set_range(..room, &ended(text, room))
    }
}

impl Synchronized<RawArray<u8>> {
    /// As [`Array::text`].
    ///
    /// # Errors
    /// As [`lock`](Synchronized::lock).
    pub fn text(&self) -> Result<Vec<u8>> {
        let _guard = self.lock()?;
        Ok(self.raw().text())
    }

    /// As [`Array::set_text`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is longer than the array; otherwise as [`lock`](Synchronized::lock).
    pub fn set_text(&self, text: &[u8]) -> Result<()> {
        let _guard = self.lock()?;
        self.raw().set_text(text)
    }
}
