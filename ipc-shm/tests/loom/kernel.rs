//! A kernel for the models: words to sleep on, and what becomes of a thread's locks when it ends.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::Arc;

use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::sync::atomic::Ordering::SeqCst;
use ipc_core::primitive::sync::{Condvar, Mutex};
use ipc_core::primitive::thread;
use ipc_core::primitive::time::Until;
use ipc_shm::modelled::gate::State;
use ipc_shm::modelled::system::{Node, OWNER, OWNER_DIED, System, WAITERS, Woken};

/// All threads' kernel. Comparing a word and falling asleep is one step, under one lock.
pub(crate) struct Kernel {
    room: Mutex<Room>,
    woken: Condvar,
    quiet: Condvar,
    /// Whether a script waits for threads to fall asleep: more for a model to look at, where nobody does.
    scripted: bool,
}

/// Where threads sleep.
#[derive(Default)]
struct Room {
    asleep: Vec<Sleeper>,
    /// How many threads live, and how many of them take a nap.
    live: usize,
    napping: usize,
}

impl Room {
    /// Those who sleep still, on any word.
    fn sleepers(&mut self) -> impl Iterator<Item = &mut Sleeper> {
        self.asleep.iter_mut().filter(|sleeper| !sleeper.awake && !sleeper.expired)
    }

    /// Whether nobody does anything any more.
    fn is_quiet(&mut self) -> bool {
        self.live == self.sleepers().count() + self.napping
    }
}

struct Sleeper {
    thread: u32,
    word: usize,
    at_gate: bool,
    awake: bool,
    expired: bool,
    /// Its time is over when nobody does anything any more.
    ends: bool,
}

/// What a script does at a point.
type Step = Box<dyn FnOnce()>;

/// The end of a victim, at a named point.
pub(crate) struct Died;

impl Kernel {
    pub(crate) fn new() -> Arc<Kernel> {
        Kernel::with(false)
    }

    /// One for [`until_asleep`](Kernel::until_asleep).
    pub(crate) fn scripted() -> Arc<Kernel> {
        Kernel::with(true)
    }

    fn with(scripted: bool) -> Arc<Kernel> {
        let room = Mutex::new(Room::default());
        Arc::new(Kernel { room, woken: Condvar::new(), quiet: Condvar::new(), scripted })
    }

    /// Waits until so many sleep.
    pub(crate) fn until_asleep(&self, number: usize) {
        let mut room = self.room.lock();
        while room.asleep.iter().filter(|sleeper| !sleeper.awake).count() < number {
            room = self.woken.wait(room);
        }
    }

    /// The number of those who sleep on a word.
    pub(crate) fn asleep(&self) -> usize {
        self.room.lock().sleepers().count()
    }

    fn wake(&self, word: &AtomicU32, most: u32) -> usize {
        let mut room = self.room.lock();
        let word = ptr::from_ref(word) as usize;
        let here = room.sleepers().filter(|sleeper| sleeper.word == word);
        let woken = here.take(most as usize).map(|sleeper| sleeper.awake = true).count();
        if woken > 0 {
            self.woken.notify_all();
            self.notify_quiet(&room);
        }
        woken
    }

    /// The time of a thread's sleep is over, if it sleeps.
    pub(crate) fn expire(&self, thread: u32) {
        self.expire_where(thread, |_| true);
    }

    /// The same, if it sleeps at a gate: not on a lock, for which it has time without end.
    #[allow(dead_code, reason = "the models of ipc-sync use it")]
    pub(crate) fn expire_at_gate(&self, thread: u32) {
        self.expire_where(thread, |sleeper| sleeper.at_gate);
    }

    fn expire_where(&self, thread: u32, there: impl Fn(&Sleeper) -> bool) {
        let mut room = self.room.lock();
        for sleeper in room.sleepers().filter(|sleeper| sleeper.thread == thread && there(sleeper)) {
            sleeper.expired = true;
        }
        self.woken.notify_all();
        self.notify_quiet(&room);
    }

    /// For those who wait for quiet, or for the end of their time.
    fn notify_quiet(&self, room: &Room) {
        if room.napping > 0 || room.asleep.iter().any(|sleeper| sleeper.ends) {
            self.quiet.notify_all();
        }
    }

    /// A thread begins to live, or ends.
    pub(crate) fn lives(&self, more: isize) {
        let mut room = self.room.lock();
        room.live = room.live.checked_add_signed(more).unwrap();
        self.notify_quiet(&room);
    }
}

/// A thread, as the algorithms see it.
pub(crate) struct Thread {
    kernel: Arc<Kernel>,
    number: u32,
    /// The point at which it dies.
    dies_at: &'static str,
    /// What it does at a point first, once.
    does: RefCell<Option<(&'static str, Step)>>,
    pending: Cell<*const Node>,
    held: [Cell<*const Node>; 4],
    /// Whether it has come to a point of that name.
    reached: Cell<bool>,
}

impl Thread {
    /// Runs `life` as a thread of its own; `None`: it died at the point.
    pub(crate) fn start<T: Send + 'static>(
        kernel: &Arc<Kernel>,
        number: u32,
        dies_at: &'static str,
        life: impl FnOnce(&Thread) -> T + Send + 'static,
    ) -> thread::JoinHandle<Option<T>> {
        let kernel = kernel.clone();
        thread::spawn(move || Thread::run(&kernel, number, dies_at, life))
    }

    /// The same on the calling thread.
    pub(crate) fn run<T>(
        kernel: &Arc<Kernel>,
        number: u32,
        dies_at: &'static str,
        life: impl FnOnce(&Thread) -> T,
    ) -> Option<T> {
        let thread = Thread {
            kernel: kernel.clone(),
            number,
            dies_at,
            does: RefCell::new(None),
            pending: Cell::new(ptr::null()),
            held: [const { Cell::new(ptr::null()) }; 4],
            reached: Cell::new(false),
        };
        kernel.lives(1);
        match catch_unwind(AssertUnwindSafe(|| life(&thread))) {
            Ok(value) => {
                thread.ends();
                Some(value)
            }
            Err(panic) if panic.is::<Died>() => {
                thread.ends();
                None
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Whose thread it is.
    #[allow(dead_code, reason = "the models of ipc-sync use it")]
    pub(crate) fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// At this point, it first does that.
    pub(crate) fn at(&self, point: &'static str, what: impl FnOnce() + 'static) {
        *self.does.borrow_mut() = Some((point, Box::new(what)));
    }

    /// `futex_cleanup`: the list, but for what is announced; then that.
    fn ends(&self) {
        let pending = self.pending.get();
        for held in self.held.iter().map(Cell::get).filter(|held| !held.is_null() && *held != pending) {
            self.handle_death(held, false);
        }
        if !pending.is_null() {
            self.handle_death(pending, true);
        }
        self.kernel.lives(-1);
    }

    /// Falls asleep on a word, if that is still wanted. A deadline passes when everybody else has come to rest.
    fn sleep(&self, word: &AtomicU32, at_gate: bool, until: Until, wanted: impl Fn() -> bool) -> Woken {
        let ends = matches!(until, Until::Deadline(_));
        let mut room = self.kernel.room.lock();
        if !wanted() {
            return Woken::Look;
        }
        let word = ptr::from_ref(word) as usize;
        let (thread, awake, expired) = (self.number, false, false);
        room.asleep.push(Sleeper { thread, word, at_gate, awake, expired, ends });
        self.kernel.notify_quiet(&room);
        if self.kernel.scripted {
            self.kernel.woken.notify_all();
        }
        loop {
            let at = room.asleep.iter().position(|sleeper| sleeper.thread == self.number).unwrap();
            // A nap is shorter.
            if ends && !room.asleep[at].awake && room.napping == 0 && room.is_quiet() {
                room.asleep[at].expired = true;
            }
            if room.asleep[at].awake || room.asleep[at].expired {
                let sleeper = room.asleep.remove(at);
                return if sleeper.expired { Woken::TimedOut } else { Woken::Given };
            }
            room = if ends { self.kernel.quiet.wait(room) } else { self.kernel.woken.wait(room) };
        }
    }

    /// `handle_futex_death`.
    fn handle_death(&self, node: *const Node, pending: bool) {
        // SAFETY: the models' nodes live as long as their threads.
        let word = unsafe { &(*node).word };
        let mut seen = word.load(SeqCst);
        loop {
            let owner = seen & OWNER;
            if pending && owner == 0 {
                self.kernel.wake(word, 1);
                return;
            }
            if owner != self.number {
                return;
            }
            match word.compare_exchange(seen, (seen & WAITERS) | OWNER_DIED, SeqCst, SeqCst) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        if seen & WAITERS != 0 {
            self.kernel.wake(word, 1);
        }
    }
}

// SAFETY: threads of a model are numbered from 1, and `held` is what was linked.
unsafe impl System for Thread {
    type Announced = *const Node;

    fn thread(&self) -> u32 {
        self.number
    }

    fn process(&self) -> u32 {
        self.number + 1000
    }

    fn announce(&self, node: &Node) -> *const Node {
        self.pending.replace(node)
    }

    fn retract(&self, before: *const Node) {
        // A victim dies by unwinding, and does nothing any more.
        if !std::thread::panicking() {
            self.pending.set(before);
        }
    }

    fn has_room(&self) -> bool {
        self.held.iter().any(|held| held.get().is_null())
    }

    fn announce_first(&self, node: &Node) -> Option<*const Node> {
        self.held.iter().all(|held| held.get().is_null()).then(|| self.announce(node))
    }

    fn announce_only(&self, node: &Node) -> Option<*const Node> {
        let only = |held: &Cell<*const Node>| held.get().is_null() || ptr::eq(held.get(), node);
        (self.holds(node) && self.held.iter().all(only)).then(|| self.announce(node))
    }

    fn link(&self, node: &Node) {
        self.held.iter().find(|held| held.get().is_null()).unwrap().set(node);
    }

    fn link_first(&self, node: &Node, _announced: &*const Node) {
        self.link(node);
    }

    fn unlink(&self, node: &Node) -> bool {
        self.held.iter().find(|held| ptr::eq(held.get(), node)).unwrap().set(ptr::null());
        true
    }

    fn unlink_only(&self, node: &Node, _announced: &*const Node) -> bool {
        self.unlink(node)
    }

    fn holds(&self, node: &Node) -> bool {
        self.held.iter().any(|held| ptr::eq(held.get(), node))
    }

    fn wait(&self, word: &AtomicU32, expected: u32, until: Until) -> Woken {
        self.sleep(word, false, until, || word.load(SeqCst) == expected)
    }

    /// Other threads may change the state between its words.
    fn wait_at_gate<W: State>(
        &self,
        gate: &AtomicU32,
        state: &W,
        (seen, words): (W::Seen, usize),
        until: Until,
    ) -> Woken {
        let same = |at: usize| W::words(state.load())[at] == W::words(seen)[at];
        self.sleep(gate, true, until, || gate.load(SeqCst) == WAITERS && (0..words.min(W::WORDS)).all(same))
    }

    /// Long enough for everybody else to come to rest.
    fn nap(&self, _times: u32, _until: Until) {
        let mut room = self.kernel.room.lock();
        room.napping += 1;
        self.kernel.quiet.notify_all();
        while !room.is_quiet() {
            room = self.kernel.quiet.wait(room);
        }
        room.napping -= 1;
        self.kernel.notify_quiet(&room);
    }

    fn wake(&self, word: &AtomicU32, most: u32) -> usize {
        self.kernel.wake(word, most)
    }

    fn spins(&self) -> u32 {
        0
    }

    fn crash_point(&self, name: &'static str) {
        let does = self.does.borrow_mut().take_if(|(point, _)| *point == name);
        if let Some((_, does)) = does {
            does();
        }
        if name == self.dies_at && !self.reached.replace(true) {
            resume_unwind(Box::new(Died));
        }
    }
}
