//! What stands at the beginning of a segment that is an object: so that whoever receives one knows what it is, or gets an error.
//!
//! | bytes | what |
//! |---|---|
//! | 0..64 | [`Header`] |
//! | 64..104 | the lock |
//! | 128.. | the data: 64-byte aligned, as copies to other places are slow (`rep movsb` beside a page's beginning) |
//!
//! Handles travel between programs that were built apart, so nothing here depends on how a compiler lays things out. What a
//! header says is compared with what the receiver expects and with the segment's size; no more is believed of it.

use std::sync::OnceLock;

use bytemuck::{Pod, Zeroable};
use rustix::io::Errno;

use crate::lock::system::WORD_OFFSET;
use crate::{Error, Result, Segment};

/// Where the lock stands.
pub(crate) const LOCK: usize = 64;
/// Where the data stands.
pub(crate) const DATA: usize = 128;

const MAGIC: u64 = u64::from_le_bytes(*b"ipc-shm\0");
/// Of this layout, and of the lock's.
const VERSION: u32 = 1;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    Value = 1,
    Array = 2,
}

impl Kind {
    fn name(number: u32) -> &'static str {
        match number {
            1 => "a Value",
            2 => "an Array",
            _ => "something unknown",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: u64,
    version: u32,
    kind: u32,
    /// The name and shape of the element's type.
    element: u64,
    /// How many elements.
    len: u64,
    /// From an entry of a robust list to its word, where this was made.
    word_offset: i64,
    /// The pid namespace in which threads have the numbers that stand in locks.
    namespace: u64,
    reserved: [u64; 2],
}

/// A new segment for an object of so many elements of a type.
pub(crate) fn create<T: Pod>(kind: Kind, len: usize) -> Result<Segment> {
    let bytes = size_of::<T>().checked_mul(len).and_then(|bytes| bytes.checked_add(DATA));
    let bytes =
        bytes.ok_or_else(|| Error::invalid("the length", format!("{len} elements fit into no memory")))?;
    if align_of::<T>() > 64 {
        return Err(Error::invalid("the type", "it is aligned to more than 64 bytes"));
    }
    let segment = Segment::new(bytes)?;
    segment.write(0, bytemuck::bytes_of(&expected::<T>(kind, len as u64)?))?;
    Ok(segment)
}

/// Makes sure that a segment is such an object; gives its length.
pub(crate) fn check<T: Pod>(segment: &Segment, kind: Kind) -> Result<usize> {
    let foreign = |why: String| Err(Error::not_a_segment(why));
    if segment.len() < DATA {
        return foreign(format!("{} bytes are too few for {}", segment.len(), Kind::name(kind as u32)));
    }
    let mut found = Header::zeroed();
    segment.read(0, bytemuck::bytes_of_mut(&mut found))?;
    let wanted = expected::<T>(kind, found.len)?;
    if found.magic != wanted.magic {
        return foreign("it does not begin as one of this crate does".into());
    }
    if found.version != wanted.version {
        return foreign(format!("its layout is version {}, and this program's is {VERSION}", found.version));
    }
    if found.kind != wanted.kind {
        return foreign(format!("it is {}, not {}", Kind::name(found.kind), Kind::name(kind as u32)));
    }
    if found.element != wanted.element {
        return foreign(format!("its elements are of another type than {}", std::any::type_name::<T>()));
    }
    if found.word_offset != wanted.word_offset {
        return foreign(format!("locks are laid out for another C library (offset {})", found.word_offset));
    }
    if found.namespace != wanted.namespace {
        return foreign(
            "its locks hold thread numbers of another pid namespace, where owners cannot be told by them"
                .into(),
        );
    }
    let len = usize::try_from(found.len).ok().filter(|len| {
        size_of::<T>().checked_mul(*len).and_then(|bytes| bytes.checked_add(DATA)) <= Some(segment.len())
    });
    len.map_or_else(|| foreign(format!("it is too short for {} elements", found.len)), Ok)
}

fn expected<T: Pod>(kind: Kind, len: u64) -> Result<Header> {
    Ok(Header {
        magic: MAGIC,
        version: VERSION,
        kind: kind as u32,
        element: element::<T>(),
        len,
        word_offset: WORD_OFFSET as i64,
        namespace: namespace()?,
        reserved: [0; 2],
    })
}

/// A number for the type: its name without the path, its size and its alignment, by FNV-1a. Two types that were meant to be one have the same
/// in every program.
fn element<T>() -> u64 {
    let name = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
    let shape = [size_of::<T>() as u64, align_of::<T>() as u64];
    let bytes = name.bytes().chain(shape.into_iter().flat_map(u64::to_le_bytes));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The pid namespace of this process, by its inode.
fn namespace() -> Result<u64> {
    static KNOWN: OnceLock<u64> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let number = match rustix::fs::stat("/proc/self/ns/pid") {
        Ok(stat) => stat.st_ino,
        // It would be another one the next time, and then these locks would be refused by their own processes.
        Err(error @ Errno::NOMEM) => return Err(Error::os("could not tell the pid namespace: stat", error)),
        // Without CONFIG_PID_NS, or without /proc, there is one namespace that can be told.
        Err(_) => 0,
    };
    Ok(*KNOWN.get_or_init(|| number))
}
