//! One side of a queue, as a process has it: the memory, and this side's wires.

use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::sync::atomic::Ordering::{Relaxed, SeqCst};
use ipc_core::primitive::sync::atomic::fence;
use ipc_core::primitive::time::Until;
use ipc_shm::gate::{self, System};
use ipc_shm::raw::{Layout, Shared};
use rustix::event::epoll;
use serde::{Deserialize, Serialize};

use super::layout::{Geometry, Head, Sleepers};
use super::log::{Log, Memory};
use super::tasks::Tasks;
use super::wires::{Wire, Wires};
use crate::lifeline::{LOOK, has_hung_up};
use crate::waiting::{Pace, look_awhile};
use crate::{Error, Result, bell};

/// A queue's head, by the type of its items.
#[repr(transparent)]
pub(crate) struct Typed<T>(Head, PhantomData<fn() -> T>);

// SAFETY: `repr(C)` down to atomics and gates, no pointers; zeros are a head that is not filled yet, which `Head::geometry` refuses. Behind it stand links, which are
// atomics, and the chunks, which are only copied in and out.
unsafe impl<T: 'static> Layout for Typed<T> {
    type Item = AtomicU32;
    const NAME: &'static str = "a queue";
    const VERSION: u32 = 1;
}

/// The memory of a queue.
pub(crate) struct Room<T: 'static> {
    shared: Shared<Typed<T>>,
    /// Of one that can be joined.
    tasks: Option<Shared<Tasks>>,
    geometry: Geometry,
    /// Where the chunks begin, behind the head: a multiple of 4.
    base: usize,
}

impl<T: 'static> Clone for Room<T> {
    fn clone(&self) -> Room<T> {
        Room { shared: self.shared.clone(), tasks: self.tasks.clone(), ..*self }
    }
}

/// Where the chunks begin, behind a head that stands so far into its segment.
fn base(at: usize, chunks: u32) -> usize {
    (at + chunks as usize * 4).next_multiple_of(4096) - at
}

impl<T: 'static> Room<T> {
    pub(crate) fn new(geometry: Geometry, joinable: bool) -> Result<Room<T>> {
        // Where it stands does not depend on how long it is: one page more than enough.
        let bytes = geometry.chunks as usize * (geometry.chunk + 4) + 2 * 4096;
        let shared = Shared::<Typed<T>>::lazy(bytes / 4)?;
        let base = base(shared.offset_of_items(), geometry.chunks);
        let tasks = joinable.then(|| Shared::new(0)).transpose()?;
        let room = Room { shared, tasks, geometry, base };
        let begun = room.base + geometry.bands as usize * geometry.chunk;
        room.shared.segment().reserve(0, room.shared.offset_of_items() + begun)?;
        room.shared.0.fill(geometry);
        Ok(room)
    }

    /// What a message has brought.
    fn of(shared: Shared<Typed<T>>, tasks: Option<Shared<Tasks>>) -> Result<Room<T>> {
        let geometry = shared.0.geometry().ok_or_else(|| Error::corrupt("a queue has no shape"))?;
        let base = base(shared.offset_of_items(), geometry.chunks);
        let room = Room { shared, tasks, geometry, base };
        if room.shared.items().len() * 4 < base + geometry.chunks as usize * geometry.chunk {
            return Err(Error::corrupt("a queue is longer than its memory"));
        }
        Ok(room)
    }

    pub(crate) fn log(&self) -> Log<'_, Room<T>> {
        let links = &self.shared.items()[..self.geometry.chunks as usize];
        Log::new(&self.shared.0, links, self.geometry, self)
    }

    /// What tells it from all others.
    pub(crate) fn number(&self) -> u64 {
        self.shared.number()
    }

    #[cfg(feature = "crash-points")]
    pub(crate) fn segment(&self) -> (ipc_shm::Segment, usize) {
        (self.shared.segment().clone(), self.shared.offset_of_items() - size_of::<Typed<T>>())
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Which items are in whose hands, if that is asked for.
    pub(crate) fn tasks(&self) -> Option<&Tasks> {
        self.tasks.as_deref()
    }
}

impl<T: 'static> Memory for Room<T> {
    #[inline]
    fn header(&self, at: usize) -> Option<&[AtomicU32; 4]> {
        self.shared.items().get((self.base + at) / 4..)?.first_chunk()
    }

    #[inline]
    fn write(&self, at: usize, bytes: &[u8]) -> bool {
        self.shared.write(self.base + at, bytes)
    }

    #[inline]
    fn append(&self, at: usize, len: usize, to: &mut Vec<u8>) -> bool {
        self.shared.append(self.base + at, len, to)
    }

    #[inline(always)]
    fn prefetch(&self, at: usize) {
        self.shared.prefetch(self.base + at);
    }

    #[cold]
    fn has(&self, bytes: usize) -> bool {
        // Blocks of 512 bytes, whatever the file's own are.
        let taken = rustix::fs::fstat(self.shared.segment()).map(|stat| stat.st_blocks as u64 * 512);
        taken.is_ok_and(|taken| taken >= bytes as u64)
    }

    #[cold]
    fn reserve(&self, chunk: u32) -> Result<()> {
        let at = self.shared.offset_of_items() + self.base + chunk as usize * self.geometry.chunk;
        Ok(self.shared.segment().reserve(at, self.geometry.chunk)?)
    }
}

/// Which side of a queue it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Senders,
    Receivers,
}

/// One side of a queue.
pub(crate) struct End<T: 'static> {
    pub(crate) room: Room<T>,
    pub(crate) wires: Wires,
    side: Side,
    /// What is polled for it, once somebody has asked.
    polled: OnceLock<Option<OwnedFd>>,
}

/// As it travels.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Parcel<T: 'static> {
    /// Which side it is: their sockets look alike.
    side: u8,
    shared: Shared<Typed<T>>,
    tasks: Option<Shared<Tasks>>,
    wires: Wires,
}

impl<T: 'static> End<T> {
    pub(crate) fn new(room: Room<T>, wires: Wires, side: Side) -> End<T> {
        End { room, wires, side, polled: OnceLock::new() }
    }

    pub(crate) fn pack(&self) -> Parcel<T> {
        let (side, room) = (self.side as u8, &self.room);
        Parcel { side, shared: room.shared.clone(), tasks: room.tasks.clone(), wires: self.wires.clone() }
    }

    pub(crate) fn unpack(parcel: Parcel<T>, side: Side) -> Result<End<T>> {
        if parcel.side != side as u8 {
            return Err(Error::invalid("an end of a queue", "it is the other end"));
        }
        parcel.wires.check()?;
        let room = Room::of(parcel.shared, parcel.tasks)?;
        if parcel.wires.bands() != room.geometry.bands as usize {
            return Err(Error::corrupt(
                "a queue's end came with another number of sockets than it has bands",
            ));
        }
        Ok(End::new(room, parcel.wires, side))
    }

    /// Where this side sleeps, and its bell.
    fn ours(&self) -> (&Sleepers, &Wire) {
        let log = self.room.log();
        match self.side {
            Side::Senders => (log.room(), &self.wires.room),
            Side::Receivers => (log.items(), &self.wires.items),
        }
    }

    /// Where the other side sleeps, and its bell.
    fn theirs(&self) -> (&Sleepers, &Wire) {
        let log = self.room.log();
        match self.side {
            Side::Senders => (log.items(), &self.wires.items),
            Side::Receivers => (log.room(), &self.wires.room),
        }
    }

    /// Rings for the other side.
    pub(crate) fn ring(&self) {
        bell::ring(self.theirs().1);
    }

    /// Rings for both sides: it is the end.
    pub(crate) fn ring_for_all(&self) {
        bell::ring(&self.wires.items);
        bell::ring(&self.wires.room);
    }

    /// Whether nobody is left on the other side, as far as is known without asking the kernel each time: it is asked when somebody has left.
    pub(crate) fn is_left(&self) -> bool {
        self.ours().0.alone.load(Relaxed) != 0 && self.is_alone()
    }

    /// Whether nobody is left on the other side.
    #[cold]
    pub(crate) fn is_alone(&self) -> bool {
        let alone = has_hung_up(&self.wires.lifeline());
        let said = &self.ours().0.alone;
        if !alone && said.load(Relaxed) != 0 {
            said.store(0, Relaxed);
            fence(SeqCst);
            // One who has left since then must not be overlooked.
            if has_hung_up(&self.wires.lifeline()) {
                said.store(1, Relaxed);
                return true;
            }
        }
        alone
    }

    /// Until `look` finds something; `None`: the time is over. `look` is told, ten times a second, to ask the kernel whether the other side lives.
    pub(crate) fn wait<S: System, R>(
        &self,
        system: &S,
        (pace, until): (Pace, Until),
        mut look: impl FnMut(bool) -> Option<R>,
        more: impl Fn() -> bool,
    ) -> Option<R> {
        let log = self.room.log();
        let state = match self.side {
            Side::Senders => log.taken(),
            Side::Receivers => log.published(),
        };
        let ours = self.ours().0;
        ours.place.tell();
        let awhile =
            look_awhile(&self.theirs().0.place, pace, until, || if more() { look(false) } else { None });
        if awhile.is_some() {
            return awhile;
        }
        let gate = &ours.gate;
        loop {
            if let Some(found) = look(true) {
                return Some(found);
            }
            if until.is_over() {
                return None;
            }
            let slice = match until.left() {
                Some(left) if left <= LOOK => until,
                _ => Until::after(LOOK),
            };
            if let Some(found) = gate::wait(system, gate, state, slice, |_| look(false), |_| more()) {
                return Some(found);
            }
        }
    }

    /// Whether nobody is left on the other side: by asking the kernel, or only if somebody has left since it was asked.
    pub(crate) fn is_over(&self, ask: bool) -> bool {
        if ask { self.is_alone() } else { self.is_left() }
    }

    /// Whether this side is ready; if not, its bell is silent until it may be.
    pub(crate) fn settle(&self) -> bool {
        if self.may_go_on() || self.is_alone() {
            return true;
        }
        self.arm(|| self.may_go_on());
        self.may_go_on()
    }

    /// Whether there is something to get, or room for something to be put; or it is closed.
    pub(crate) fn may_go_on(&self) -> bool {
        let log = self.room.log();
        let ready = match self.side {
            Side::Senders => !log.is_full(),
            Side::Receivers => !log.is_empty(),
        };
        ready || log.is_closed()
    }

    /// Whether somebody polls for this side in this process, so that it must be armed where there is nothing.
    pub(crate) fn is_polled(&self) -> bool {
        self.polled.get().is_some()
    }

    /// Makes the bell silent until the other side has something for this one, unless `is_there` finds that already.
    pub(crate) fn arm(&self, is_there: impl FnOnce() -> bool) {
        bell::silence(self.ours().1);
        self.ask_to_be_rung_for(is_there);
    }

    fn ask_to_be_rung_for(&self, is_there: impl FnOnce() -> bool) {
        let (sleepers, bell) = self.ours();
        sleepers.bell.store(1, SeqCst);
        fence(SeqCst);
        if is_there() {
            bell::ring(bell);
        }
    }

    /// What can be polled for it: the bell and the lifeline; the bell alone where there is no descriptor left for both.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        let made = self.polled.get_or_init(|| {
            let both = self.both();
            self.ask_to_be_rung_for(|| self.may_go_on());
            both
        });
        made.as_ref().map_or_else(|| self.ours().1.as_fd(), AsFd::as_fd)
    }

    fn both(&self) -> Option<OwnedFd> {
        let both = epoll::create(epoll::CreateFlags::CLOEXEC).ok()?;
        let data = epoll::EventData::new_u64(0);
        epoll::add(&both, self.ours().1, data, epoll::EventFlags::IN).ok()?;
        // Hang-ups are told of without being asked for.
        epoll::add(&both, self.wires.lifeline(), data, epoll::EventFlags::empty()).ok()?;
        Some(both)
    }
}

impl<T: 'static> std::fmt::Debug for End<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let log = self.room.log();
        f.debug_struct("End")
            .field("side", &self.side)
            .field("len", &log.len())
            .field("closed", &log.is_closed())
            .field("lifeline", &self.wires.lifeline().as_raw_fd())
            .finish()
    }
}

impl<T: 'static> Drop for End<T> {
    /// The other side is told to look whether this was the last.
    fn drop(&mut self) {
        self.wires.leave();
        let (sleepers, bell) = self.theirs();
        let leave = || (true, sleepers.alone.swap(1, SeqCst));
        match gate::current() {
            Ok(system) => gate::update(system, &sleepers.gate, u32::MAX, leave),
            // They look by themselves.
            Err(_) => leave().1,
        };
        if sleepers.bell.load(SeqCst) != 0 {
            bell::ring(bell);
        }
    }
}
