//! How a list lies in memory, read and written with nothing believed of it.
//!
//! All numbers are little-endian words of 64 bits.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `ipclist` and a NUL |
//! | 8..16 | the version of this layout |
//! | 16..24 | how many items |
//! | 24..32 | 0 |
//! | 32.. | of each item four words: where its place begins, how long that is, its kind, its value |
//! | behind them | the places, of 8 bytes or more |
//!
//! | kind | item | value |
//! |---|---|---|
//! | 0 | `None` | 0 |
//! | 1 | bool | 0 or 1 |
//! | 2 | int | itself, in two's complement |
//! | 3 | float | its bits |
//! | 4 | str | its length in bytes; they stand in the place, in UTF-8 |
//! | 5 | bytes | the same |
//!
//! Where a place begins and how long it is does not change. Every access looks at both again, at the kind and at the length, for whoever has the memory can
//! write there. All of it is safe code over the bytes that the list's lock protects: what does not fit is an error, and never read.
//!
//! An item changes in three steps (its kind becomes `None`, its bytes, its value and kind), so that who is killed between them leaves
//! the old one, none, or the new one.

use std::sync::atomic::{Ordering, compiler_fence};

use super::item::Item;
use crate::crash::reached as step;
use crate::{Error, Result};

const MAGIC: u64 = u64::from_le_bytes(*b"ipclist\0");
const VERSION: u64 = 1;
pub(super) const HEADER: usize = 32;
const ENTRY: usize = 32;

const NONE: u64 = 0;
const BOOL: u64 = 1;
const INT: u64 = 2;
const FLOAT: u64 = 3;
const STR: u64 = 4;
const BYTES: u64 = 5;

/// How many bytes a list of these takes; `None`: more than memory has.
pub(super) fn size(items: &[Item]) -> Option<usize> {
    let table = items.len().checked_mul(ENTRY)?.checked_add(HEADER)?;
    items.iter().try_fold(table, |size, item| size.checked_add(item.capacity()?))
}

/// Writes a new list into bytes of the right [size].
pub(super) fn fill(bytes: &mut [u8], items: &[Item]) -> Result<()> {
    for (at, word) in [MAGIC, VERSION, items.len() as u64, 0].into_iter().enumerate() {
        put(bytes, at * 8, word)?;
    }
    let mut place = HEADER + items.len() * ENTRY;
    for (index, item) in items.iter().enumerate() {
        let capacity = item.capacity().unwrap_or(usize::MAX);
        put(bytes, HEADER + index * ENTRY, place as u64)?;
        put(bytes, HEADER + index * ENTRY + 8, capacity as u64)?;
        set(bytes, items.len(), index, item)?;
        place = place.saturating_add(capacity);
    }
    Ok(())
}

/// How many items there are, of what begins with `head`, says that it is a list, and has so many bytes.
pub(super) fn check(head: &[u8], size: usize) -> Result<usize> {
    let no = |why: &str| Error::not_a_segment(format!("it is no list: {why}"));
    let word = |at| word(head, at).map_err(|_| no("it is too short"));
    if word(0)? != MAGIC {
        return Err(no("it does not begin as one of this crate does"));
    }
    if word(8)? != VERSION {
        return Err(no(&format!("its layout is version {}, and this program's is {VERSION}", word(8)?)));
    }
    let room = size.saturating_sub(HEADER) / ENTRY;
    let len = usize::try_from(word(16)?).ok().filter(|len| *len <= room);
    len.ok_or_else(|| no(&format!("it is too short for {} items", word(16).unwrap_or(0))))
}

/// The item at an index, which is less than `len`.
pub(super) fn get(bytes: &[u8], len: usize, index: usize) -> Result<Item> {
    let entry = entry(len, index)?;
    let value = word(bytes, entry + 24)?;
    let text = || -> Result<Vec<u8>> {
        let place = place(bytes, len, index)?;
        let long = usize::try_from(value).ok().and_then(|value| place.get(..value));
        let long =
            long.ok_or_else(|| corrupt(index, format!("{value} bytes in a place of {}", place.len())))?;
        Ok(long.to_vec())
    };
    Ok(match word(bytes, entry + 16)? {
        NONE => Item::None,
        BOOL if value <= 1 => Item::Bool(value == 1),
        BOOL => return Err(corrupt(index, format!("a bool of {value}"))),
        INT => Item::Int(value.cast_signed()),
        FLOAT => Item::Float(f64::from_bits(value)),
        STR => Item::Str(
            String::from_utf8(text()?).map_err(|error| corrupt(index, error.utf8_error().to_string()))?,
        ),
        BYTES => Item::Bytes(text()?),
        kind => return Err(corrupt(index, format!("its kind is {kind}"))),
    })
}

/// All items. Places that somebody has laid over one another give no more than there are bytes.
pub(super) fn items(bytes: &[u8], len: usize) -> impl Iterator<Item = Result<Item>> {
    let mut left = bytes.len();
    (0..len).map(move |index| {
        let item = get(bytes, len, index)?;
        let long = item.long().map_or(0, <[u8]>::len);
        let rest = left.checked_sub(long);
        left = rest.ok_or_else(|| corrupt(index, "its place is that of others as well".to_owned()))?;
        Ok(item)
    })
}

/// Puts an item at an index, which is less than `len`. Whatever stood there before, the place alone matters.
pub(super) fn set(bytes: &mut [u8], len: usize, index: usize, item: &Item) -> Result<()> {
    let entry = entry(len, index)?;
    let (kind, value) = match item {
        Item::None => (NONE, 0),
        Item::Bool(value) => (BOOL, u64::from(*value)),
        Item::Int(number) => (INT, number.cast_unsigned()),
        Item::Float(number) => (FLOAT, number.to_bits()),
        Item::Str(text) => (STR, text.len() as u64),
        Item::Bytes(bytes) => (BYTES, bytes.len() as u64),
    };
    let range = match item.long() {
        None => 0..0,
        Some(long) => {
            let range = range(bytes, len, index)?;
            if long.len() > range.len() {
                return Err(Error::TooLong { needed: long.len(), available: range.len() });
            }
            range.start..range.start + long.len()
        }
    };
    step("list: about to change");
    put(bytes, entry + 16, NONE)?;
    step("list: item is none");
    // A kill is no thread: the order of the program is what it meets, if the compiler keeps to that.
    compiler_fence(Ordering::SeqCst);
    if let Some(long) = item.long() {
        bytes[range].copy_from_slice(long);
    }
    step("list: bytes are there");
    put(bytes, entry + 24, value)?;
    step("list: value is there");
    compiler_fence(Ordering::SeqCst);
    put(bytes, entry + 16, kind)?;
    step("list: item is whole");
    Ok(())
}

/// How many bytes the place of an item has.
pub(super) fn capacity(bytes: &[u8], len: usize, index: usize) -> Result<usize> {
    Ok(range(bytes, len, index)?.len())
}

fn place(bytes: &[u8], len: usize, index: usize) -> Result<&[u8]> {
    Ok(&bytes[range(bytes, len, index)?])
}

/// Where the place of an item is: behind the table, and within the memory.
fn range(bytes: &[u8], len: usize, index: usize) -> Result<std::ops::Range<usize>> {
    let entry = entry(len, index)?;
    let (start, long) = (word(bytes, entry)?, word(bytes, entry + 8)?);
    let range = || {
        let (start, long) = (usize::try_from(start).ok()?, usize::try_from(long).ok()?);
        let end = start.checked_add(long).filter(|end| *end <= bytes.len())?;
        (start >= HEADER + len * ENTRY).then_some(start..end)
    };
    range().ok_or_else(|| corrupt(index, format!("its place is {long} bytes from {start} on")))
}

fn entry(len: usize, index: usize) -> Result<usize> {
    if index < len { Ok(HEADER + index * ENTRY) } else { Err(Error::OutOfBounds { index, len }) }
}

fn word(bytes: &[u8], at: usize) -> Result<u64> {
    let word = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<8>());
    word.map(|word| u64::from_le_bytes(*word))
        .ok_or_else(|| Error::not_a_segment("it is too short for a list"))
}

fn put(bytes: &mut [u8], at: usize, word: u64) -> Result<()> {
    let place = bytes.get_mut(at..).and_then(|bytes| bytes.first_chunk_mut::<8>());
    let place = place.ok_or_else(|| Error::not_a_segment("it is too short for a list"))?;
    *place = word.to_le_bytes();
    Ok(())
}

fn corrupt(index: usize, why: String) -> Error {
    Error::Corrupt { what: format!("item {index} of a list"), why }
}

#[cfg(test)]
mod tests;
