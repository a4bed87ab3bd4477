//! Objects: what a handle knows of where its lock and its data stand, in a segment of its own or in an arena.
//!
//! | stands in | found by | freed |
//! |---|---|---|
//! | a segment of its own ([`header`]) | the segment | by the kernel, with the last handle |
//! | an arena ([`crate::arena`]) | the arena's segment, its entry's number, and its generation | by who has a handle, or with the arena |
//!
//! So it travels as these three; number and generation are 0 without an arena. All handles of one message that stand in one segment share its
//! descriptor.

use std::ptr::NonNull;

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{self, Arena, Ticket};
use crate::segment::Pages;
use crate::{Error, Lock, Result, Segment};

mod header;

pub(crate) use header::{Claim, Kind, LOCK, SMALL_LEN, Spot, check, mark};

/// Where an object stands.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    segment: Segment,
    /// From the segment's beginning.
    lock: usize,
    data: usize,
    /// How many elements.
    len: usize,
    /// Its place in an arena.
    ticket: Option<Ticket>,
}

/// Where an object is to be made, and what is to guard it: `&arena`, `&lock`, or both as `(&arena, &lock)`.
///
/// Without an arena, it has a segment of its own; without a lock, it has one of its own.
///
/// ```
/// use ipc_shm::{Arena, Array, Lock, Value};
///
/// let arena = Arena::new(1 << 20)?;
/// let lock = Lock::new_with(&arena)?;
/// let count = Value::new_with(0_u64, (&arena, &lock))?;
/// let names = Array::from_slice_with(b"abc", (&arena, &lock))?;
///
/// let mut guard = lock.lock()?;
/// *count.under(&mut guard)? += 1;
/// names.under(&mut guard)?[0] = b'A';
/// # drop(guard);
/// # assert_eq!((count.get()?, names.to_vec()?), (1, b"Abc".to_vec()));
/// # Ok::<(), ipc_shm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Home<'a> {
    pub(crate) arena: Option<&'a Arena>,
    pub(crate) lock: Option<&'a Lock>,
}

impl<'a> From<&'a Arena> for Home<'a> {
    fn from(arena: &'a Arena) -> Home<'a> {
        Home { arena: Some(arena), lock: None }
    }
}

impl<'a> From<&'a Lock> for Home<'a> {
    fn from(lock: &'a Lock) -> Home<'a> {
        Home { arena: None, lock: Some(lock) }
    }
}

impl<'a> From<(&'a Arena, &'a Lock)> for Home<'a> {
    fn from((arena, lock): (&'a Arena, &'a Lock)) -> Home<'a> {
        Home { arena: Some(arena), lock: Some(lock) }
    }
}

/// What a new object is to hold.
#[derive(Clone, Copy)]
pub(crate) enum Contents<'a, T> {
    Zeros(usize),
    Elements(&'a [T]),
}

impl Object {
    /// A new object.
    ///
    /// # Errors
    /// As [`Segment::new`] or [`Arena`]; [`Error::Invalid`] for a type that is aligned to more than 64 bytes.
    pub(crate) fn create<T: Pod>(kind: Kind, contents: Contents<'_, T>, home: Home<'_>) -> Result<Object> {
        let claim = Claim::of::<T>(kind, home.lock);
        let (len, bytes): (usize, &[u8]) = match contents {
            Contents::Zeros(len) => (len, &[]),
            Contents::Elements(elements) => (elements.len(), bytemuck::cast_slice(elements)),
        };
        Object::make(claim, (len, bytes), home.arena, Pages::Reserved)
    }

    /// A new structure of so many lines.
    ///
    /// # Errors
    /// As [`Segment::new`] or [`Segment::lazy`], or [`Arena`].
    pub(crate) fn structure(claim: Claim, lines: usize, arena: Option<&Arena>, lazy: bool) -> Result<Object> {
        let pages = if lazy { Pages::Lazy } else { Pages::Reserved };
        Object::make(claim, (lines, &[]), arena, pages)
    }

    fn make(
        claim: Claim,
        (len, bytes): (usize, &[u8]),
        arena: Option<&Arena>,
        pages: Pages,
    ) -> Result<Object> {
        match arena {
            Some(arena) => {
                let (ticket, spot) = arena.make(claim, len, bytes)?;
                let (lock, data) = (ticket.lock(), spot.data);
                Ok(Object { segment: arena.segment().clone(), lock, data, len, ticket: Some(ticket) })
            }
            None => {
                let (segment, spot) = header::create(claim, len, pages)?;
                segment.poke(spot.data, bytes)?;
                Ok(Object { segment, lock: LOCK, data: spot.data, len, ticket: None })
            }
        }
    }

    /// The object that has a segment for itself.
    ///
    /// # Errors
    /// [`Error::NotASegment`].
    pub(crate) fn of_segment<T: Pod>(segment: Segment, kind: Kind, given: Option<&Lock>) -> Result<Object> {
        Object::claimed_segment(segment, Claim::of::<T>(kind, given))
    }

    /// The same by what it is claimed to be.
    pub(crate) fn claimed_segment(segment: Segment, claim: Claim) -> Result<Object> {
        let spot = header::check(&segment, claim)?;
        Ok(Object { segment, lock: LOCK, data: spot.data, len: spot.len, ticket: None })
    }

    /// A lock that stands at a distance which the caller has computed.
    pub(crate) fn of_lock(segment: Segment, lock: usize) -> Object {
        Object { segment, lock, data: lock, len: 0, ticket: None }
    }

    /// The object that a message has brought. One that was freed on its way is brought as one that is freed for ever: whoever uses it is told, and the rest
    /// of the message is not lost.
    ///
    /// # Errors
    /// [`Error::NotASegment`]; [`Error::Freed`] of what is never freed.
    pub(crate) fn arrived<T: Pod>(arrived: Arrived, kind: Kind, given: Option<&Lock>) -> Result<Object> {
        let (segment, entry) = (arrived.segment.clone(), arrived.entry);
        if given.is_some_and(|lock| lock.place().is_freed()) {
            return Ok(Object::freed(segment, entry, kind));
        }
        match Object::claimed(arrived, Claim::of::<T>(kind, given)) {
            Err(Error::Freed) if matches!(kind, Kind::Value | Kind::Array) => {
                Ok(Object::freed(segment, entry, kind))
            }
            found => found,
        }
    }

    /// The object that a message has brought, by what it is claimed to be.
    ///
    /// # Errors
    /// [`Error::NotASegment`]; [`Error::Freed`].
    pub(crate) fn claimed(arrived: Arrived, claim: Claim) -> Result<Object> {
        let Arrived { segment, entry, generation } = arrived;
        if entry == 0 {
            return Object::claimed_segment(segment, claim);
        }
        let ticket = Ticket { entry, generation };
        let spot = arena::find(&segment, ticket, claim)?;
        let lock = ticket.lock();
        Ok(Object { segment, lock, data: spot.data, len: spot.len, ticket: Some(ticket) })
    }

    /// An object of which nothing is there any more: its generation is none that an object has, and its data is not looked at.
    fn freed(segment: Segment, entry: u32, kind: Kind) -> Object {
        let len = usize::from(kind == Kind::Value);
        Object { segment, lock: LOCK, data: 0, len, ticket: Some(Ticket { entry, generation: 0 }) }
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// What tells it from all others, in every process; never 0.
    pub(crate) fn number(&self) -> u64 {
        let (device, inode, _) = self.segment.number();
        let generation = self.ticket.unwrap_or_default().generation;
        let words = [device, inode, self.lock as u64, generation.into()];
        header::fnv(words.into_iter().flat_map(u64::to_le_bytes)) | 1
    }

    pub(crate) fn lock(&self) -> usize {
        self.lock
    }

    pub(crate) fn data(&self) -> usize {
        self.data
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Where the lines of a structure begin.
    pub(crate) fn lines(&self) -> NonNull<u8> {
        self.segment.lines_at(self.data, self.len)
    }

    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    /// Its ticket, for who wants to free it in an arena.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it stands elsewhere.
    pub(crate) fn ticket_in(&self, arena: &Arena) -> Result<Ticket> {
        let stands = |_: &Ticket| self.segment.as_ptr() == arena.segment().as_ptr();
        let elsewhere = || Error::invalid("what is to be freed", "it does not stand in this arena");
        self.ticket.filter(stands).ok_or_else(elsewhere)
    }
}

/// An object as it is received: nothing is known of it yet.
#[derive(Debug, Deserialize)]
pub(crate) struct Arrived {
    segment: Segment,
    entry: u32,
    generation: u32,
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Ticket { entry, generation } = self.ticket.unwrap_or_default();
        (&self.segment, entry, generation).serialize(serializer)
    }
}

/// What a handle is made of by a message: the object, and the lock that guards it if it was given one.
pub(crate) fn received<'de, T: Pod, D: Deserializer<'de>>(
    kind: Kind,
    deserializer: D,
) -> Result<(Object, Option<Lock>), D::Error> {
    let (arrived, lock) = <(Arrived, Option<Lock>)>::deserialize(deserializer)?;
    let object = Object::arrived::<T>(arrived, kind, lock.as_ref()).map_err(serde::de::Error::custom)?;
    Ok((object, lock))
}

/// The same of an object without a lock.
pub(crate) fn received_alone<'de, T: Pod, D: Deserializer<'de>>(
    kind: Kind,
    deserializer: D,
) -> Result<Object, D::Error> {
    let arrived = Arrived::deserialize(deserializer)?;
    Object::arrived::<T>(arrived, kind, None).map_err(serde::de::Error::custom)
}

/// A handle whose object may stand in an arena: what [`Arena::free`] takes.
pub trait Placed: sealed::Sealed {}

pub(crate) mod sealed {
    pub trait Sealed {
        #[doc(hidden)]
        fn free_in(&self, arena: &crate::Arena) -> crate::Result<()>;
    }
}
