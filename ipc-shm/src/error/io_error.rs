//! An [`io::Error`] on the wire: its number where it has one, its text where it has none.

use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
enum Wire {
    Number(i32),
    Text(String),
}

pub(super) fn serialize<S: Serializer>(error: &io::Error, serializer: S) -> Result<S::Ok, S::Error> {
    let wire = match error.raw_os_error() {
        Some(number) => Wire::Number(number),
        None => Wire::Text(error.to_string()),
    };
    wire.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<io::Error, D::Error> {
    Ok(match Wire::deserialize(deserializer)? {
        Wire::Number(number) => io::Error::from_raw_os_error(number),
        Wire::Text(text) => io::Error::other(text),
    })
}
