//! Futures for words in memory: what has no descriptor, as locks and semaphores in shared memory have none.
//!
//! A second helper thread, started by the first such future: one thread cannot sleep in epoll_wait and in futex_waitv at once. It waits for up
//! to 127 words, and for one of its own that says when there is a new one. Where the kernel has no futex_waitv (before 5.16), and while
//! there are more words than these, it looks again every [`LOOK_AGAIN`].
//!
//! Neither it nor anything here follows an address: that is the kernel's part (see [`sys::futex`](crate::sys::futex)).
//!
//! **A wake-up is never lost with the future that it was given to.** FUTEX_WAKE wakes one sleeper, and that may be this thread on behalf of
//! a future that is dropped before it is polled again. So its drop, or the thread if the future is gone already, wakes the next one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::primitive::sync::Mutex;
use crate::sys::fork_local::ForkLocal;
use crate::sys::futex::{self, MOST, Woken};
use crate::sys::incarnation::Incarnation;
use crate::sys::inherit::BlockedSignals;

/// How often words are looked at that the kernel cannot wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

static WORDS: ForkLocal<Mutex<Option<Arc<Words>>>> = ForkLocal::new();

/// A future that is done when `word` is not `expected`, or was woken with FUTEX_WAKE (not of the private kind): what
/// [futex_wait](https://man7.org/linux/man-pages/man2/futex.2.html) waits for. As there it may be done for no reason, so look at the word again.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// # fn block_on<F: Future>(future: F) -> F::Output {
/// #     struct Unpark(std::thread::Thread);
/// #     impl std::task::Wake for Unpark {
/// #         fn wake(self: std::sync::Arc<Self>) {
/// #             self.0.unpark();
/// #         }
/// #     }
/// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
/// #     let mut future = std::pin::pin!(future);
/// #     loop {
/// #         match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
/// #             std::task::Poll::Ready(value) => return value,
/// #             std::task::Poll::Pending => std::thread::park(),
/// #         }
/// #     }
/// # }
/// static GATE: AtomicU32 = AtomicU32::new(0);
///
/// let opener = std::thread::spawn(|| {
///     GATE.store(1, Ordering::Release);
///     ipc_core::ready::wake_one(&GATE);
/// });
/// block_on(async {
///     while GATE.load(Ordering::Acquire) == 0 {
///         ipc_core::ready::word(&GATE, 0).await?;
///     }
///     Ok::<(), ipc_core::Error>(())
/// })?;
/// # opener.join().unwrap();
/// # Ok::<(), ipc_core::Error>(())
/// ```
pub fn word(word: &AtomicU32, expected: u32) -> Word<'_> {
    Word { word, expected, entry: None }
}

/// Wakes one who waits for the word, in whichever process and way.
pub fn wake_one(word: &AtomicU32) {
    futex::wake_one(address(word));
}

fn address(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word) as usize
}

/// The future of [`word`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Word<'a> {
    word: &'a AtomicU32,
    expected: u32,
    entry: Option<(Arc<Words>, u64)>,
}

impl Future for Word<'_> {
    /// An error where the system has no thread for the helper.
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let changed = self.word.load(Ordering::Acquire) != self.expected;
        if let Some((words, id)) = self.entry.take_if(|(words, _)| words.owner.is_this()) {
            if changed {
                words.remove(id);
                return Poll::Ready(Ok(()));
            }
            if !words.renew(id, context.waker()) {
                // Woken, and this is where it is noticed.
                return Poll::Ready(Ok(()));
            }
            self.entry = Some((words, id));
            return Poll::Pending;
        }
        if changed {
            return Poll::Ready(Ok(()));
        }
        let word = futex::Word { address: address(self.word), expected: self.expected };
        match helper() {
            Ok(words) => {
                let id = words.add(word, context.waker());
                self.entry = Some((words, id));
                Poll::Pending
            }
            Err(e) => {
                Poll::Ready(Err(Error::os("could not wait for a word: starting the helper's thread", e)))
            }
        }
    }
}

impl Drop for Word<'_> {
    fn drop(&mut self) {
        if let Some((words, id)) = self.entry.take()
            && words.owner.is_this()
            && !words.remove(id)
        {
            // It was woken and does not know it: the next one gets that.
            wake_one(self.word);
        }
    }
}

impl std::fmt::Debug for Word<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Word").field("word", self.word).field("expected", &self.expected).finish()
    }
}

/// What the thread and the futures share.
struct Words {
    owner: Incarnation,
    /// Changed and woken when there is a new entry.
    bell: AtomicU32,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    next: u64,
    list: Vec<Entry>,
}

struct Entry {
    id: u64,
    word: futex::Word,
    waker: Waker,
}

fn helper() -> std::io::Result<Arc<Words>> {
    let mut words = WORDS.get_or_make(|| Mutex::new(None)).lock();
    if let Some(words) = &*words {
        return Ok(words.clone());
    }
    let fresh = Arc::new(Words {
        owner: Incarnation::this(),
        bell: AtomicU32::new(0),
        entries: Mutex::new(Entries::default()),
    });
    let theirs = fresh.clone();
    let _blocked = BlockedSignals::all()?;
    std::thread::Builder::new()
        .name("ipc-words".into())
        .stack_size(256 * 1024)
        .spawn(move || theirs.run())?;
    Ok(words.insert(fresh).clone())
}

// Wakers are the user's code: none is called, cloned or dropped under the lock.
impl Words {
    fn add(&self, word: futex::Word, waker: &Waker) -> u64 {
        let waker = waker.clone();
        let mut entries = self.entries.lock();
        let id = entries.next;
        entries.next += 1;
        entries.list.push(Entry { id, word, waker });
        drop(entries);
        self.bell.fetch_add(1, Ordering::AcqRel);
        wake_one(&self.bell);
        id
    }

    /// Another waker for an entry. False: it was woken.
    fn renew(&self, id: u64, waker: &Waker) -> bool {
        let mut fresh = waker.clone();
        let mut entries = self.entries.lock();
        let found = entries.list.iter_mut().find(|entry| entry.id == id);
        let found = found.map(|entry| std::mem::swap(&mut entry.waker, &mut fresh)).is_some();
        drop(entries);
        found
    }

    /// Takes an entry out. False: it was woken.
    fn remove(&self, id: u64) -> bool {
        let mut entries = self.entries.lock();
        let at = entries.list.iter().position(|entry| entry.id == id);
        let gone = at.map(|at| entries.list.swap_remove(at));
        drop(entries);
        gone.is_some()
    }

    fn wake(&self, id: u64, word: futex::Word) {
        let mut entries = self.entries.lock();
        let at = entries.list.iter().position(|entry| entry.id == id);
        let woken = at.map(|at| entries.list.swap_remove(at));
        drop(entries);
        match woken {
            Some(entry) => crate::entry::panics::contain(|| entry.waker.wake()),
            // Its future was dropped while the thread slept for it.
            None => futex::wake_one(word.address),
        }
    }

    fn run(&self) {
        loop {
            let bell =
                futex::Word { address: address(&self.bell), expected: self.bell.load(Ordering::Acquire) };
            let ids: Vec<(u64, futex::Word)> =
                self.entries.lock().list.iter().map(|entry| (entry.id, entry.word)).collect();
            let fits = ids.len() < MOST;
            let words: Vec<futex::Word> =
                std::iter::once(bell).chain(ids.iter().map(|(_, word)| *word)).collect();
            let all = if fits { futex::wait_any(&words) } else { None };
            match all {
                Some(Woken::Word(0)) => continue,
                Some(Woken::Word(at)) => {
                    let (id, word) = ids[at - 1];
                    self.wake(id, word);
                    continue;
                }
                Some(_) => {}
                None => {
                    let timeout = if ids.is_empty() { None } else { Some(LOOK_AGAIN) };
                    futex::wait(bell, timeout);
                }
            }
            // One of them has changed: the kernel is asked for each, for it alone may look.
            let mut found = 0;
            for (id, word) in ids {
                if futex::wait(word, Some(Duration::ZERO)) != Woken::TimedOut {
                    self.wake(id, word);
                    found += 1;
                }
            }
            if all.is_some() && found == 0 {
                // The bell's own word, or a call that the kernel cannot do now (no memory): not in a circle.
                futex::wait(bell, Some(LOOK_AGAIN));
            }
        }
    }
}
