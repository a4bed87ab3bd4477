//! A place in a segment: a lock, and the data behind it, of which only who has the lock sees references.
//!
//! Soundness: the data is of a type that any bits are valid for ([`Pod`]), it is never moved, and as long as processes keep to the lock
//! nobody writes while a reference exists. A process that writes without the lock is outside of what any library can keep in order; what
//! it can do to this one is what a thread with an unsafe block could.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Acquire;

use bytemuck::Pod;
use ipc_core::primitive::time::Until;

use crate::lock::raw::RawLock;
use crate::lock::raw_recursive::RawRLock;
use crate::lock::word::{Refused, Taken};
use crate::object::Object;
use crate::sys::robust_list;
use crate::{Arena, Lock, Result, Segment};

/// See the module's documentation.
pub(crate) struct Place<T: ?Sized> {
    /// Keeps the memory mapped.
    segment: Segment,
    lock: NonNull<RawLock>,
    data: NonNull<T>,
    /// What must be there still when the lock was taken.
    alive: Alive,
    lock_alive: Alive,
    rest: Box<Rest>,
}

/// What is not needed to take the lock.
#[derive(Clone)]
struct Rest {
    /// What stands here.
    object: Object,
    /// The lock that was given to it, and keeps its own memory mapped.
    given: Option<Lock>,
}

/// The generation of an object in an arena, and where that of what stands there now is; always there, for an object with its own segment.
type Alive = Option<(NonNull<AtomicU32>, u32)>;

// SAFETY: the pointers are into the segment's mapping, which belongs to the process; the data is plain, and references to it are given to
// who has the lock alone.
unsafe impl<T: ?Sized> Send for Place<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized> Sync for Place<T> {}

impl<T: ?Sized> Clone for Place<T> {
    fn clone(&self) -> Self {
        Place { segment: self.segment.clone(), rest: self.rest.clone(), ..*self }
    }
}

/// The address of `len` bytes at a distance from the segment's beginning, if they lie in it, aligned.
pub(super) fn within<T>(segment: &Segment, at: usize, len: usize) -> Option<NonNull<T>> {
    let fits =
        at.is_multiple_of(align_of::<T>()) && at.checked_add(len).is_some_and(|end| end <= segment.len());
    // SAFETY: within the mapping, as was just seen; mappings begin at a page, to which every alignment of these is a divisor.
    fits.then(|| unsafe { segment.as_ptr().add(at).cast() })
}

/// Whether what there was has gone.
#[inline(always)]
fn is_over((now, generation): (NonNull<AtomicU32>, u32)) -> bool {
    // SAFETY: in the mapping of a place's segment, or of the lock's that was given to it, which both are there as long as the place; or a static.
    unsafe { now.as_ref() }.load(Acquire) != generation
}

fn alive(object: &Object) -> Alive {
    /// No object's generation is 0: this one is over, and stays so.
    static OVER: AtomicU32 = AtomicU32::new(1);
    let ticket = object.ticket()?;
    if ticket.generation == 0 {
        return Some((NonNull::from(&OVER), 0));
    }
    Some((NonNull::from(object.segment().word(ticket.alive())), ticket.generation))
}

/// What of a place does not depend on its data; `None` where the object does not lie in its segment.
fn around<T: ?Sized>(object: Object, given: Option<Lock>, data: NonNull<T>) -> Option<Place<T>> {
    let segment = object.segment().clone();
    let (lock, lock_alive) = match &given {
        Some(given) => (given.place().lock, given.place().alive),
        None => (within(&segment, object.lock(), size_of::<RawLock>())?, None),
    };
    let alive = alive(&object);
    Some(Place { segment, lock, data, alive, lock_alive, rest: Box::new(Rest { object, given }) })
}

impl<T: Pod> Place<T> {
    /// Of an object that is a value; `None` where it does not lie in its segment.
    pub(crate) fn of_value(object: Object, given: Option<Lock>) -> Option<Place<T>> {
        let data = within(object.segment(), object.data(), size_of::<T>())?;
        around(object, given, data)
    }
}

impl<T: Pod> Place<[T]> {
    /// The same of an array.
    pub(crate) fn of_array(object: Object, given: Option<Lock>) -> Option<Place<[T]>> {
        let first = within(object.segment(), object.data(), size_of::<T>().checked_mul(object.len())?)?;
        let data = NonNull::slice_from_raw_parts(first, object.len());
        around(object, given, data)
    }
}

impl Place<()> {
    /// A lock that stands at a distance which the caller has computed, without data that would be seen.
    pub(crate) fn by_itself(segment: Segment, lock: usize) -> Place<()> {
        let rest = Box::new(Rest { object: Object::of_lock(segment.clone(), lock), given: None });
        let lock: NonNull<RawLock> = segment.lock_at(lock);
        Place { segment, lock, data: lock.cast(), alive: None, lock_alive: None, rest }
    }
}

impl<T> Place<[T]> {
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }
}

impl<T: ?Sized> Place<T> {
    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(crate) fn object(&self) -> &Object {
        &self.rest.object
    }

    /// The lock that was given to it.
    pub(crate) fn given(&self) -> Option<&Lock> {
        self.rest.given.as_ref()
    }

    /// Whether the object, or the lock that guards it, was freed in its arena.
    #[inline(always)]
    pub(crate) fn is_freed(&self) -> bool {
        (self.alive.is_some() | self.lock_alive.is_some())
            && (self.alive.is_some_and(is_over) || self.lock_alive.is_some_and(is_over))
    }

    #[inline]
    pub(crate) fn lock(&self) -> &RawLock {
        // SAFETY: in the segment's mapping, which is there as long as `self`; atomics only, so that any bits are valid.
        unsafe { self.lock.as_ref() }
    }

    /// Takes the lock, if it is free and whole and the thread has no other: the usual case. Otherwise [`take`](Place::take) says why not.
    #[inline(always)]
    pub(crate) fn take_at_once(&self) -> Option<Held<'_, T>> {
        // Before as well: it is not taken in vain, then, but for a race.
        // SAFETY: as in `take`.
        let taken = !self.is_freed() && unsafe { self.lock().take_at_once(|| !self.is_freed()) };
        taken.then(|| self.held(false))
    }

    #[inline(never)]
    pub(crate) fn take(&self, until: Until) -> Result<(Taken, Held<'_, T>), Refused> {
        if self.is_freed() {
            return Err(Refused::Freed);
        }
        // SAFETY: `Held` borrows the place, and so keeps the segment mapped; where it is forgotten, the segment finds the lock in the
        // thread's list and stays mapped (`robust_list::holds_within`).
        let taken = unsafe { self.lock().take_in_full(until, &|| !self.is_freed()) };
        match taken {
            Ok(taken) => {
                // Until this owner answers for the data.
                let hand_on = matches!(taken, Taken::OwnerDied(_));
                Ok((taken, self.held(hand_on)))
            }
            // Whoever has it, it is another object's.
            Err(_) if self.is_freed() => Err(Refused::Freed),
            Err(refused) => Err(refused),
        }
    }

    fn held(&self, hand_on: bool) -> Held<'_, T> {
        let flags = if hand_on { HAND_ON } else { 0 } | if std::thread::panicking() { PANICKING } else { 0 };
        Held { place: self, mark: (robust_list::process_of_thread() << FLAGS) | flags, thread: PhantomData }
    }

    /// The data, for who holds the lock that was given to it; `None` if it is not that lock.
    pub(crate) fn under<'a>(&'a self, held: &'a mut Held<'_, ()>) -> Option<&'a mut T> {
        let mut data = self.data;
        if held.place.lock != self.lock || !held.place.lock().is_mine() || self.is_freed() {
            return None;
        }
        // SAFETY: plain data in the mapping, which is there as long as `self`. This thread has the lock (a `Held` stays on its thread), and only
        // who has it sees references; of those there is no other, for the lock is not taken twice by a thread, and what gives one from this `Held`
        // borrows it for writing.
        Some(unsafe { data.as_mut() })
    }

    /// Frees the object in its arena.
    pub(crate) fn free_in(&self, arena: &Arena) -> Result<()> {
        arena.free_place(self, self.object().ticket_in(arena)?)
    }

    /// Whether the object is there still, and only the lock that was given to it is freed.
    pub(crate) fn is_only_unguarded(&self) -> bool {
        self.lock_alive.is_some_and(is_over) && !self.alive.is_some_and(is_over)
    }

    /// The lock, as one that its owner takes again.
    #[inline]
    pub(crate) fn rlock(&self) -> &RawRLock {
        RawRLock::of(self.lock())
    }

    /// Takes the lock, or takes it once more; the caller gives it back with [`free_once`](Place::free_once).
    pub(crate) fn take_again(&self, until: Until) -> Result<Taken, Refused> {
        // Before anything is counted: what stands there now may be another object's, and this thread may have its lock.
        if self.is_freed() {
            return Err(Refused::Freed);
        }
        // SAFETY: as in `take`.
        match unsafe { self.rlock().take_if(until, || !self.is_freed()) } {
            Err(_) if self.is_freed() => Err(Refused::Freed),
            taken => taken,
        }
    }

    /// Gives back all that this thread has taken by [`take_again`](Place::take_again), and says how often that was.
    pub(crate) fn free_all(&self) -> u32 {
        // SAFETY: the memory is mapped as long as `self` is there.
        unsafe { self.rlock().free_all() }
    }

    /// Gives back once what [`take_again`](Place::take_again) took. What was told and not repaired is told to the next owner as well.
    pub(crate) fn free_once(&self) {
        // SAFETY: the memory is mapped as long as `self` is there.
        unsafe { self.rlock().give_back() };
    }
}

/// The lock of a place, taken by this thread, on which it stays.
pub(crate) struct Held<'a, T: ?Sized> {
    place: &'a Place<T>,
    mark: u64,
    thread: PhantomData<*const ()>,
}

/// In a mark: what the lock has told is told to the next owner as well.
const HAND_ON: u64 = 1;

/// In a mark: the thread panicked already when it took the lock, so that nothing is to be said of a panic; or nothing is, anyway.
const PANICKING: u64 = 2;

/// Above so many flags a mark says whose it is: a forked copy of its process has a copy of it, which frees nothing. (One word of all, for a guard of two is moved in
/// registers.)
const FLAGS: u32 = 2;

impl<'a, T: ?Sized> Held<'a, T> {
    pub(crate) fn place(&self) -> &'a Place<T> {
        self.place
    }

    pub(crate) fn lock(&self) -> &RawLock {
        self.place.lock()
    }

    #[inline]
    pub(crate) fn get(&self) -> &T {
        // SAFETY: plain data in the mapping; this thread has the lock, and gives no other reference that writes while this one is there.
        unsafe { self.place.data.as_ref() }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        let mut data = self.place.data;
        // SAFETY: as above; nobody else has the lock, a thread cannot take it twice, and `self` is borrowed for writing.
        unsafe { data.as_mut() }
    }

    /// Whether it is of the process that took the lock. (A copy that has not locked anything yet has its parent's record still, and frees nothing by that either.)
    #[inline(always)]
    fn is_own(&self) -> bool {
        self.mark >> FLAGS == robust_list::process_of_thread()
    }

    /// A panic while it is held tells nobody anything: what is changed under it is whole at any time.
    pub(crate) fn unpoisoned(mut self) -> Self {
        self.mark |= PANICKING;
        self
    }

    /// This owner answers for the data: who frees the lock without having said that it is whole leaves it lost.
    pub(crate) fn answer_for(&mut self) {
        self.mark &= !HAND_ON;
    }
}

impl<T: ?Sized> Drop for Held<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.is_own() {
            return;
        }
        if self.mark & PANICKING == 0 && std::thread::panicking() {
            self.place.lock().poison();
        }
        // SAFETY: the place is borrowed, so the memory is mapped.
        unsafe {
            if self.mark & HAND_ON != 0 {
                self.place.lock().hand_on();
            } else {
                self.place.lock().free();
            }
        }
    }
}
