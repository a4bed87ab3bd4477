//! What stands at the beginning of a segment that is an object: so that whoever receives one knows what it is, or gets an error.
//!
//! | bytes | what |
//! |---|---|
//! | 0..64 | [`Header`] |
//! | 64..104 | the lock |
//! | 104..128 | the data, if it is as small as that: one cache line holds both |
//! | 128.. | the data otherwise: 64-byte aligned, as copies to other places are slow (`rep movsb` beside a page's beginning) |
//!
//! Handles travel between programs that were built apart, so nothing here depends on how a compiler lays things out. What a
//! header says is compared with what the receiver expects and with the segment's size; no more is believed of it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use bytemuck::{Pod, Zeroable};
use rustix::io::Errno;

use crate::lock::system::WORD_OFFSET;
use crate::segment::Pages;
use crate::shared::{LINE, Layout};
use crate::{Error, Lock, Result, Segment};

/// Where the lock stands.
pub(crate) const LOCK: usize = 64;
/// Where small data stands, and how much of it.
const SMALL: usize = 104;
pub(crate) const SMALL_LEN: usize = 24;
/// Where other data stands.
const DATA: usize = 128;

const MAGIC: u64 = u64::from_le_bytes(*b"ipc-shm\0");
/// Of this layout, and of the lock's.
const VERSION: u32 = 2;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    Value = 1,
    Array = 2,
    Arena = 3,
    Atomic = 4,
    RawValue = 5,
    RawArray = 6,
    Structure = 7,
}

impl Kind {
    pub(crate) fn name(number: u32) -> &'static str {
        match number {
            1 => "a Value",
            2 => "an Array",
            3 => "an Arena",
            4 => "an Atomic",
            5 => "a RawValue",
            6 => "a RawArray",
            7 => "another structure",
            _ => "something unknown",
        }
    }
}

/// What an object is taken for: of which kind, with elements of which type, guarded by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) kind: Kind,
    /// The name and shape of the element's type.
    pub(crate) element: u64,
    name: &'static str,
    /// How large an element is, and to what it is aligned.
    size: usize,
    align: usize,
    /// Which lock guards it: 0 for its own, which is unused where another one was given.
    pub(crate) guard: u64,
}

impl Claim {
    pub(crate) fn of<T>(kind: Kind, given: Option<&Lock>) -> Claim {
        Claim {
            kind,
            element: element::<T>(),
            name: std::any::type_name::<T>(),
            size: size_of::<T>(),
            align: align_of::<T>(),
            guard: given.map_or(0, |lock| lock.place().object().number()),
        }
    }

    /// A structure, which is measured in lines.
    pub(crate) fn structure<T: Layout>() -> Claim {
        let shape = [size_of::<T>(), align_of::<T>(), size_of::<T::Item>(), align_of::<T::Item>()];
        let numbers = [T::VERSION as usize].into_iter().chain(shape);
        let numbers = numbers.flat_map(|number| (number as u64).to_le_bytes());
        let names = T::NAME.bytes().chain(without_paths(std::any::type_name::<T>()));
        Claim {
            kind: Kind::Structure,
            element: fnv(names.chain(numbers)),
            name: T::NAME,
            size: LINE,
            align: LINE,
            guard: 0,
        }
    }

    /// How many bytes so many elements are.
    pub(crate) fn bytes(self, len: u64) -> Option<usize> {
        self.size.checked_mul(usize::try_from(len).ok()?).filter(|bytes| isize::try_from(*bytes).is_ok())
    }

    /// As [`bytes`](Claim::bytes), for one that is to be made.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub(crate) fn checked(self, len: usize) -> Result<usize> {
        if self.align > 64 {
            return Err(Error::invalid("the type", "it is aligned to more than 64 bytes"));
        }
        let bytes = self.bytes(len as u64);
        bytes.ok_or_else(|| Error::invalid("the length", format!("{len} elements fit into no memory")))
    }

    /// Whether so many bytes stand beside the lock.
    pub(crate) fn is_small(self, bytes: usize) -> bool {
        bytes <= SMALL_LEN && self.align <= 8
    }

    /// Makes sure that what was found is that.
    ///
    /// # Errors
    /// [`Error::NotASegment`].
    pub(crate) fn check(self, kind: u32, element: u64, guard: u64) -> Result<()> {
        let foreign = |why: String| Err(Error::not_a_segment(why));
        if kind != self.kind as u32 {
            let wanted = if self.kind == Kind::Structure { self.name } else { Kind::name(self.kind as u32) };
            return foreign(format!("it is {}, not {wanted}", Kind::name(kind)));
        }
        if element != self.element && self.kind == Kind::Structure {
            return foreign(format!(
                "it is something else than {}, or of another version or element type",
                self.name
            ));
        }
        if element != self.element {
            return foreign(format!("its elements are of another type than {}", self.called()));
        }
        match (guard, self.guard) {
            (guard, given) if guard == given => Ok(()),
            (0, _) => foreign("it is guarded by its own lock, and another one came with it".into()),
            _ => foreign("it is guarded by another lock, which did not come with it".into()),
        }
    }

    /// What the user calls the type of an element, where what stands in memory is one of this crate's own.
    fn called(self) -> &'static str {
        match self.kind {
            // `[u32; 2]`, the integer and zeros behind it; or the cell of a `bool`.
            Kind::Atomic => {
                self.name.strip_prefix('[').and_then(|cell| cell.split(';').next()).unwrap_or("bool")
            }
            _ if self.name.ends_with("::ListWord") => "those of a list",
            _ => self.name,
        }
    }

    /// Where the data of an object with its own segment stands.
    fn data(self, bytes: usize) -> usize {
        if self.is_small(bytes) { SMALL } else { DATA }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: u64,
    version: u32,
    kind: u32,
    element: u64,
    /// How many elements.
    len: u64,
    /// From an entry of a robust list to its word, where this was made.
    word_offset: i64,
    /// The pid namespace in which threads have the numbers that stand in locks.
    namespace: u64,
    guard: u64,
    reserved: u64,
}

/// Where an object stands in the segment that it has for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) data: usize,
    /// How many elements.
    pub(crate) len: usize,
}

/// A new segment for an object of so many elements, all zero.
pub(crate) fn create(claim: Claim, len: usize, pages: Pages) -> Result<(Segment, Spot)> {
    let bytes = claim.checked(len)?;
    let data = claim.data(bytes);
    let all = bytes.checked_add(data).map(|all| all.max(DATA));
    let all =
        all.ok_or_else(|| Error::invalid("the length", format!("{len} elements fit into no memory")))?;
    let segment = Segment::create(all, pages)?;
    segment.claim()?;
    mark(&segment, claim, len)?;
    Ok((segment, Spot { data, len }))
}

/// Makes a segment such an object, by its header.
pub(crate) fn mark(segment: &Segment, claim: Claim, len: usize) -> Result<()> {
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        kind: claim.kind as u32,
        element: claim.element,
        len: len as u64,
        word_offset: WORD_OFFSET as i64,
        namespace: namespace()?,
        guard: claim.guard,
        reserved: 0,
    };
    segment.poke(0, bytemuck::bytes_of(&header))
}

/// Makes sure that a segment is such an object; says where it stands. From then on it is used by objects alone.
///
/// # Errors
/// [`Error::NotASegment`] with what is wrong with it; [`Error::InUse`]: somebody is copying bytes in or out.
pub(crate) fn check(segment: &Segment, claim: Claim) -> Result<Spot> {
    let foreign = |why: String| Err(Error::not_a_segment(why));
    if segment.len() < DATA {
        let kind = Kind::name(claim.kind as u32);
        return foreign(format!("{} bytes are too few for {kind}", segment.len()));
    }
    let mut found = Header::zeroed();
    segment.peek(0, bytemuck::bytes_of_mut(&mut found))?;
    if found.magic != MAGIC {
        return foreign("it does not begin as one of this crate does".into());
    }
    if found.version != VERSION {
        return foreign(format!("its layout is version {}, and this program's is {VERSION}", found.version));
    }
    claim.check(found.kind, found.element, found.guard)?;
    if found.word_offset != WORD_OFFSET as i64 {
        return foreign(format!("locks are laid out for another C library (offset {})", found.word_offset));
    }
    if found.namespace != namespace()? {
        return foreign(
            "its locks hold thread numbers of another pid namespace, where owners cannot be told by them"
                .into(),
        );
    }
    let spot = claim.bytes(found.len).and_then(|bytes| {
        let data = claim.data(bytes);
        let spot = Spot { data, len: usize::try_from(found.len).ok()? };
        (data.checked_add(bytes)? <= segment.len()).then_some(spot)
    });
    let spot = spot.map_or_else(|| foreign(format!("it is too short for {} elements", found.len)), Ok)?;
    segment.claim()?;
    Ok(spot)
}

/// A number for the type: its name without paths, its size and its alignment. Two types that were meant to be one have the same in every
/// program, wherever it keeps them.
fn element<T>() -> u64 {
    let shape = [size_of::<T>() as u64, align_of::<T>() as u64];
    fnv(without_paths(std::any::type_name::<T>()).chain(shape.into_iter().flat_map(u64::to_le_bytes)))
}

/// A type's name, also of its parameters, without what stands before the last `::`: `Pair<f64>` of `a::Pair<core::f64>`.
fn without_paths(name: &str) -> impl Iterator<Item = u8> {
    let words = name.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    words.flat_map(|word| word.rsplit("::").next().unwrap_or_default().bytes())
}

/// FNV-1a.
pub(crate) fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The pid namespace of this process, by its inode.
fn namespace() -> Result<u64> {
    // One more than the number; not a `OnceLock`, at which a forked copy might wait for a thread that it has no copy of.
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    if let Some(known) = KNOWN.load(Relaxed).checked_sub(1) {
        return Ok(known);
    }
    let number = match rustix::fs::stat("/proc/self/ns/pid") {
        Ok(stat) => stat.st_ino,
        // It would be another one the next time, and then these locks would be refused by their own processes.
        Err(error @ Errno::NOMEM) => return Err(Error::os("could not tell the pid namespace: stat", error)),
        // Without CONFIG_PID_NS, or without /proc, there is one namespace that can be told.
        Err(_) => 0,
    };
    KNOWN.store(number + 1, Relaxed);
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_paths() {
        for (name, without) in [
            ("u64", "u64"),
            ("[a::b::Pair<c::D>; 4]", "[Pair<D>; 4]"),
            ("(core::f64, x::Y_1<z::Z, [u8; 3]>)", "(f64, Y_1<Z, [u8; 3]>)"),
        ] {
            assert_eq!(without_paths(name).collect::<Vec<u8>>(), without.as_bytes());
        }
    }

    #[test]
    fn types_that_differ_in_a_part_differ() {
        mod a {
            pub(super) struct A<T>(pub(super) T);
            pub(super) struct C<T>(pub(super) T);
        }
        let _ = (a::A(0_u8).0, a::C(0_u8).0);
        assert_ne!(element::<a::A<u64>>(), element::<a::C<u64>>());
        assert_ne!(element::<a::A<u64>>(), element::<a::A<i64>>());
        assert_ne!(element::<[u8; 8]>(), element::<u64>());
    }
}
