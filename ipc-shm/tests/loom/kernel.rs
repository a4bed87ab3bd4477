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
use ipc_shm::modelled::system::{Node, OWNER, OWNER_DIED, System, WAITERS, Woken};

/// All threads' kernel. Comparing a word and falling asleep is one step, under one lock.
pub(crate) struct Kernel {
    asleep: Mutex<Vec<Sleeper>>,
    woken: Condvar,
    /// Whether a script waits for threads to fall asleep: more for a model to look at, where nobody does.
    scripted: bool,
}

struct Sleeper {
    thread: u32,
    word: usize,
    awake: bool,
    expired: bool,
}

/// What a script does at a point.
type Step = Box<dyn FnOnce()>;

/// The end of a victim, at a named point.
struct Died;

impl Kernel {
    pub(crate) fn new() -> Arc<Kernel> {
        Arc::new(Kernel { asleep: Mutex::new(Vec::new()), woken: Condvar::new(), scripted: false })
    }

    /// One for [`until_asleep`](Kernel::until_asleep).
    pub(crate) fn scripted() -> Arc<Kernel> {
        Arc::new(Kernel { asleep: Mutex::new(Vec::new()), woken: Condvar::new(), scripted: true })
    }

    /// Waits until so many sleep.
    pub(crate) fn until_asleep(&self, number: usize) {
        let mut asleep = self.asleep.lock();
        while asleep.iter().filter(|sleeper| !sleeper.awake).count() < number {
            asleep = self.woken.wait(asleep);
        }
    }

    /// The number of those who sleep on a word.
    pub(crate) fn asleep(&self) -> usize {
        self.asleep.lock().iter().filter(|sleeper| !sleeper.awake && !sleeper.expired).count()
    }

    fn wake(&self, word: &AtomicU32, most: u32) -> usize {
        let mut asleep = self.asleep.lock();
        let word = ptr::from_ref(word) as usize;
        let here =
            asleep.iter_mut().filter(|sleeper| sleeper.word == word && !sleeper.awake && !sleeper.expired);
        let woken = here.take(most as usize).map(|sleeper| sleeper.awake = true).count();
        if woken > 0 {
            self.woken.notify_all();
        }
        woken
    }

    /// The time of a thread's sleep is over, if it sleeps.
    pub(crate) fn expire(&self, thread: u32) {
        let mut asleep = self.asleep.lock();
        for sleeper in asleep.iter_mut().filter(|sleeper| sleeper.thread == thread && !sleeper.awake) {
            sleeper.expired = true;
        }
        self.woken.notify_all();
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
    held: [Cell<*const Node>; 2],
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
            held: [const { Cell::new(ptr::null()) }; 2],
            reached: Cell::new(false),
        };
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
    }

    /// Falls asleep on a word, if that is still wanted.
    fn sleep(&self, word: &AtomicU32, wanted: impl Fn() -> bool) -> Woken {
        let mut asleep = self.kernel.asleep.lock();
        if !wanted() {
            return Woken::Look;
        }
        let word = ptr::from_ref(word) as usize;
        asleep.push(Sleeper { thread: self.number, word, awake: false, expired: false });
        if self.kernel.scripted {
            self.kernel.woken.notify_all();
        }
        loop {
            let at = asleep.iter().position(|sleeper| sleeper.thread == self.number).unwrap();
            if asleep[at].awake || asleep[at].expired {
                let sleeper = asleep.remove(at);
                return if sleeper.expired { Woken::TimedOut } else { Woken::Look };
            }
            asleep = self.kernel.woken.wait(asleep);
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

impl System for Thread {
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
        self.pending.set(before);
    }

    fn has_room(&self) -> bool {
        self.held.iter().any(|held| held.get().is_null())
    }

    fn link(&self, node: &Node) {
        self.held.iter().find(|held| held.get().is_null()).unwrap().set(node);
    }

    fn unlink(&self, node: &Node) -> bool {
        self.held.iter().find(|held| ptr::eq(held.get(), node)).unwrap().set(ptr::null());
        true
    }

    fn holds(&self, node: &Node) -> bool {
        self.held.iter().any(|held| ptr::eq(held.get(), node))
    }

    fn wait(&self, word: &AtomicU32, expected: u32, _until: Until) -> Woken {
        self.sleep(word, || word.load(SeqCst) == expected)
    }

    fn wait_at_gate(
        &self,
        gate: &AtomicU32,
        expected: u32,
        state: &AtomicU32,
        seen: Option<u32>,
        _until: Until,
    ) -> Woken {
        let same = || seen.is_none_or(|seen| state.load(SeqCst) == seen);
        self.sleep(gate, || gate.load(SeqCst) == expected && same())
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
