//! An [`io::Error`] on the wire: its number where it has one, its text where it has none. For `#[serde(with = …)]`, here and in
//! the crates above.

use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
enum Wire {
    Number(i32),
    Text(String),
}

/// Writes it.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(error: &io::Error, serializer: S) -> Result<S::Ok, S::Error> {
    let wire = match error.raw_os_error() {
        Some(number) => Wire::Number(number),
        None => Wire::Text(error.to_string()),
    };
    wire.serialize(serializer)
}

/// Reads it.
///
/// # Errors
/// The deserializer's.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<io::Error, D::Error> {
    Ok(match Wire::deserialize(deserializer)? {
        Wire::Number(number) => io::Error::from_raw_os_error(number),
        Wire::Text(text) => io::Error::other(text),
    })
}
