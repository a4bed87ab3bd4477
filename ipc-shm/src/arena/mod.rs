//! Arenas: one segment in which many objects stand.
//!
//! A segment apiece costs each object a descriptor, a page and a mapping. In an arena it costs 128 bytes and what its data needs, and all
//! share one descriptor, also in a message.

use std::fmt;
use std::time::Duration;

use ipc_core::primitive::time::Until;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::lock::word::{Refused, Taken};
use crate::object::{self, Claim, Kind, LOCK, Placed};
use crate::sys::place::Place;
use crate::{Error, Result, Segment};

use ledger::Ledger;
use shape::{ENTRY, Shape};

mod ledger;
mod shape;

pub(crate) use ledger::Spot;

/// Nobody has the arena's lock longer than it takes to find a place and to fill it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it takes to let a lock go that was taken in vain, on a machine that is busy.
const A_MOMENT: Duration = Duration::from_millis(100);

/// One segment from which [`Value`](crate::Value)s, [`Array`](crate::Array)s and locks are made: by their constructors that end in `_with`.
///
/// ```
/// use ipc_core::spawn;
/// use ipc_shm::{Arena, Value};
///
/// fn sum(values: Vec<Value<u64>>) -> ipc_shm::Result<u64> {
///     values.iter().map(Value::get).sum()
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let arena = Arena::new(1 << 20)?;
///     let values: Vec<_> = (0..1000).map(|n| Value::new_with(n, &arena)).collect::<Result<_, _>>()?;
///     assert_eq!(spawn(sum, (values.clone(),))?.join()??, 499_500);       // one descriptor goes with them
///
///     for value in &values {
///         arena.free(value)?;
///     }
///     assert!(matches!(values[0].get(), Err(ipc_shm::Error::Freed)));
///     Ok(())
/// }
/// ```
///
/// # What it costs
///
/// Each object takes 128 bytes, given out in pages of 32 that stay what they are, and 64-byte aligned room for its data if that is more than 24
/// bytes. The arena's own books take less than half a percent.
///
/// # Freeing
///
/// A handle that is dropped frees nothing: others may be on their way in a message, where nobody can count them. So somebody who has one says
/// when it is over, by [`free`](Arena::free): by convention who has made it, or whoever its maker handed it to, a parent say that has a worker's result. From then on each handle of it is refused with [`Error::Freed`], also where the place has been used
/// again, and one that arrives in a message later. What nobody frees goes with the arena, and that goes with its last handle, as any [`Segment`].
///
/// # When a process dies
///
/// | who dies | who notices | what happens |
/// |---|---|---|
/// | who makes or frees an object | the next to make or free one, at once | he finishes what was begun: what was not made yet is free, what was to be freed is |
/// | who has made objects | nobody need | they stay, for the handles of others, any of which frees them |
/// | who has the lock of an object | the next to lock | [`LockError::OwnerDied`](crate::LockError::OwnerDied), as anywhere |
/// | the last process with a handle of the arena or of anything in it | the kernel | the memory is freed |
#[derive(Clone)]
pub struct Arena {
    /// The arena's lock; it guards the ledger, of which there are no references.
    place: Place<()>,
    shape: Shape,
}

impl Arena {
    /// An arena of `len` bytes, books and all, rounded down to whole pages of 4096; reserved, as [`Segment::new`] says.
    ///
    /// # Errors
    /// - [`Error::Invalid`]: less than 8192 bytes, or more than 128 GiB.
    /// - Otherwise as [`Segment::new`].
    pub fn new(len: usize) -> Result<Arena> {
        Shape::checked(len)?;
        Arena::in_segment(Segment::new(len)?)
    }

    /// An arena of `len` bytes, of which each page is taken when it is first touched, as [`Segment::lazy`] says.
    ///
    /// # Errors
    /// As [`new`](Arena::new).
    pub fn lazy(len: usize) -> Result<Arena> {
        Shape::checked(len)?;
        Arena::in_segment(Segment::lazy(len)?)
    }

    /// An arena in a segment, one of huge pages say. What it holds is overwritten; other processes that have it must know.
    ///
    /// ```
    /// use ipc_shm::{Arena, HugePage, Segment};
    /// if let Ok(segment) = Segment::huge(2 << 20, HugePage::Mib2) {
    ///     let arena = Arena::in_segment(segment)?;
    /// }
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`], as [`new`](Arena::new); [`Error::InUse`]: an object stands in it, for this process, or has, or somebody is copying bytes.
    pub fn in_segment(segment: Segment) -> Result<Arena> {
        let shape = Shape::checked(segment.len())?;
        if segment.claim()? {
            let why = "an object stands in it, or has".into();
            return Err(Error::InUse { what: "make an arena of a segment".into(), why });
        }
        let books = shape.first_page() * shape::PAGE;
        let zeros = vec![0_u8; books.min(1 << 16)];
        for at in (0..books).step_by(zeros.len()) {
            segment.poke(at, &zeros[..zeros.len().min(books - at)])?;
        }
        object::mark(&segment, Claim::of::<()>(Kind::Arena, None), shape.granules())?;
        Arena::of(segment)
    }

    /// The arena that a segment is.
    fn of(segment: Segment) -> Result<Arena> {
        let spot = object::check(&segment, Claim::of::<()>(Kind::Arena, None))?;
        let shape = Shape::checked(segment.len()).ok().filter(|shape| shape.granules() == spot.len);
        let shape =
            shape.ok_or_else(|| Error::not_a_segment("its length is not that of the arena it holds"))?;
        Ok(Arena { place: Place::by_itself(segment, LOCK), shape })
    }

    /// Gives the place of an object back; from now on every handle of it, here and elsewhere, is refused with [`Error::Freed`]. With a [`Lock`](crate::Lock)
    /// that was given to others, these are refused as well.
    ///
    /// ```
    /// use ipc_shm::{Arena, Array, Error};
    /// let arena = Arena::new(1 << 20)?;
    /// let before = arena.available();
    /// let array = Array::<u64>::zeroed_with(1000, &arena)?;
    /// let guard = array.lock()?;
    /// assert!(matches!(arena.free(&array), Err(Error::InUse { .. })));
    /// drop(guard);
    /// arena.free(&array)?;
    /// assert!(matches!(arena.free(&array), Err(Error::Freed)));
    /// # assert!(arena.available() + 4096 >= before);
    /// # Ok::<(), ipc_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::Freed`]: it was freed before.
    /// - [`Error::InUse`]: somebody has its lock, for a tenth of a second at least, or this thread has it; it stays.
    /// - [`Error::Invalid`]: it stands elsewhere.
    /// - [`Error::TimedOut`]: the arena's lock was not free within 30 seconds: whoever has it was stopped (SIGSTOP), or somebody has written over it.
    pub fn free(&self, object: &impl Placed) -> Result<()> {
        object.free_in(self)
    }

    /// How many bytes it has, books and all.
    #[expect(clippy::len_without_is_empty, reason = "it has at least two pages")]
    pub fn len(&self) -> usize {
        self.segment().len()
    }

    /// How many bytes are free at this moment, as they lie: perhaps not in one piece.
    pub fn available(&self) -> usize {
        self.ledger().free_granules() * shape::GRANULE
    }

    /// How many objects stand in it at this moment.
    pub fn objects(&self) -> usize {
        self.ledger().objects()
    }

    /// The segment that it stands in, for a process that cannot be sent a value ([`Segment::into_fd`]).
    pub fn segment(&self) -> &Segment {
        self.place.segment()
    }

    fn ledger(&self) -> Ledger<'_> {
        Ledger::new(self.segment(), self.shape)
    }

    /// Makes an object of `len` elements that begins with these bytes, and is zero from there on.
    ///
    /// # Errors
    /// [`Error::NoMemory`]: there is no room, or none in one piece. [`Error::Invalid`], as [`Claim::checked`]. [`Error::TimedOut`],
    /// [`Error::TooManyLocks`].
    pub(crate) fn make(&self, claim: Claim, len: usize, contents: &[u8]) -> Result<(Ticket, Spot)> {
        let bytes = claim.checked(len)?;
        self.locked(|ledger| ledger.make(claim, len, bytes, contents))
    }

    /// Frees what stands at a place, for who may: with the lock that guards it, so that nobody is inside, and whoever comes finds it freed.
    ///
    /// That lock may be taken for a moment by somebody whose handle is one of what stood there before, so there is a little patience.
    pub(crate) fn free_place<T: ?Sized>(&self, place: &Place<T>, ticket: Ticket) -> Result<()> {
        let held = match place.take(Until::after(A_MOMENT)) {
            Ok((_, held)) => Some(held.unpoisoned()),
            // Nobody has it, nor ever will; or it stood in an arena, and was freed itself.
            Err(Refused::Lost) => None,
            Err(Refused::Freed) if place.is_only_unguarded() => None,
            Err(Refused::Busy | Refused::TimedOut | Refused::AlreadyHeld) => {
                let who = place.lock().owner().map_or("somebody".into(), |owner| format!("process {owner}"));
                let what = "free an object of an arena".into();
                return Err(Error::InUse { what, why: format!("{who} has its lock") });
            }
            Err(refused) => return Err(Error::refused(refused)),
        };
        let freed = self.locked(|ledger| ledger.free(ticket));
        if let (Some(held), Ok(()), None) = (&held, &freed, place.given()) {
            held.lock().repaired();
        }
        // Otherwise it stays, or its lock guards others, too: the next owner is told what this one was told.
        freed
    }

    /// Calls `f` with the lock, after what a dead one has begun was finished.
    fn locked<R>(&self, f: impl FnOnce(&Ledger<'_>) -> Result<R>) -> Result<R> {
        let (taken, held) = self.place.take(Until::after(PATIENCE)).map_err(Error::refused)?;
        let held = held.unpoisoned();
        let ledger = self.ledger();
        ledger.finish();
        if taken != Taken::Whole {
            held.lock().repaired();
        }
        f(&ledger)
    }
}

/// Which object of an arena: the number of its entry, and its generation. Neither is ever 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) entry: u32,
    pub(crate) generation: u32,
}

impl Ticket {
    /// Where its lock stands.
    pub(crate) fn lock(self) -> usize {
        self.entry as usize * ENTRY
    }

    /// Where its generation stands.
    pub(crate) fn alive(self) -> usize {
        self.lock() + shape::GENERATION
    }
}

/// Looks for the object that a ticket from elsewhere names.
///
/// # Errors
/// [`Error::NotASegment`], [`Error::Freed`].
pub(crate) fn find(segment: &Segment, ticket: Ticket, claim: Claim) -> Result<Spot> {
    Arena::of(segment.clone())?.ledger().find(ticket, claim)
}

impl TryFrom<Segment> for Arena {
    type Error = Error;

    /// # Errors
    /// [`Error::NotASegment`]: it holds something else, or was made by another version of this crate.
    fn try_from(segment: Segment) -> Result<Arena> {
        Arena::of(segment)
    }
}

/// Its descriptor goes with the message.
impl Serialize for Arena {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.segment().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Arena {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Arena, D::Error> {
        Arena::of(Segment::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("len", &self.len())
            .field("available", &self.available())
            .field("objects", &self.objects())
            .finish()
    }
}
