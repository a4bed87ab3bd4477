//! What a panic said, kept for the parent.
//!
//! `catch_unwind` gives only the payload; where and with which backtrace is known to the panic hook alone. So a child
//! installs a hook that remembers the last panic of the thread that runs the function (whether it is
//! caught by the function itself is not known then).
//!
//! | who has set a hook of its own | what a child's panic does |
//! |---|---|
//! | nobody | ours prints it, under the child's name |
//! | a preload | ours remembers, that one prints |
//! | the program, and the child is a thread of it | the same: std's says the thread's name, which is the child's |
//! | the program, and the child is a fork of it | ours prints: the lines of siblings are told apart by it |
//! | the function itself, or later than our own | that one prints; the error has the message alone, unless it calls the hook before it |
//!
//! Panics of other threads go the usual way.
//!
//! Built with `panic = "abort"` there is no way back from a panic, and the hook itself reports it.

use std::any::{Any, TypeId};
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::trace;
use crate::error::{Location, Panic};
use crate::process::current;
use crate::sys;

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

thread_local! {
    /// `None` outside [`watch`]; inside, the last panic.
    static LAST: RefCell<Option<Option<Heard>>> = const { RefCell::new(None) };
}

struct Heard {
    mark: Mark,
    location: Option<Location>,
    backtrace: Option<Backtrace>,
}

/// Where in memory the hook is that this process has of us; it is known again by that.
static OURS: AtomicUsize = AtomicUsize::new(0);

/// Makes this process remember where its function panicked. Forking does this beforehand: the child could find the lock held by which
/// std keeps its hook.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| set(std::panic::take_hook(), false));
}

/// The same in a process whose preload may have set a hook of its own: that speaks then, and ours listens. For a process of one thread:
/// nobody else may look for the hook meanwhile.
pub(crate) fn install_anew() {
    let now = std::panic::take_hook();
    if std::ptr::from_ref(&*now).cast::<()>().addr() == OURS.load(Ordering::Relaxed) {
        std::panic::set_hook(now);
    } else {
        set(now, true);
    }
}

/// Puts our hook before this one. A child's panic is told by ours, unless the other is known to be the program's.
fn set(before: Hook, programs: bool) {
    let ours: Hook = Box::new(move |info| {
        // A hook that panics at exit does so when the thread's values may be gone.
        if !LAST.try_with(|last| last.borrow().is_some()).unwrap_or(false) {
            return before(info);
        }
        let location = info.location().map(Location::from);
        LAST.set(Some(Some(Heard { mark: mark(info.payload()), location, backtrace: trace::capture() })));
        // A thread has the child's name, and the hook is the whole process's.
        if programs || current::is_thread() {
            before(info);
        } else {
            print(info);
        }
        #[cfg(panic = "abort")]
        super::bootstrap::report_panic(told(info.payload()));
    });
    OURS.store(std::ptr::from_ref(&*ours).cast::<()>().addr(), Ordering::Relaxed);
    std::panic::set_hook(ours);
}

/// Says on stderr what the default hook would say, under the child's name instead of a thread's.
fn print(info: &PanicHookInfo<'_>) {
    let me = current::current();
    let location = info.location().map(|l| format!(" at {l}")).unwrap_or_default();
    let (name, pid, message) = (me.name(), me.pid(), Panic::message_of(info.payload()));
    // Not `eprintln!`: that panics where nobody reads stderr, and a panic in here aborts. Nor by way of std at all, whose lock
    // a fork may have found held.
    let text = format!("child {name:?} (pid {pid}) panicked{location}:\n{message}\n");
    if let Some(stderr) = sys::descriptor::standard_stream(2) {
        let _ = rustix::io::write(stderr, text.as_bytes());
    }
}

/// Runs `f`, which catches a panic, and puts what the hook heard to what was caught.
pub(crate) fn watch<T>(f: impl FnOnce() -> Result<T, Box<dyn Any + Send>>) -> Result<T, Panic> {
    LAST.set(Some(None));
    let result = f().map_err(|payload| {
        let panic = told(&*payload);
        // A payload of the user's own type may panic when it is dropped; it is not worth that.
        std::mem::forget(payload);
        panic
    });
    LAST.set(None);
    result
}

/// Runs a function of the user's whose panic concerns nobody else. The payload is not dropped: that could panic again.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        std::mem::forget(payload);
    }
}

/// What is to be seen of a payload both in the hook and where it is caught: its type, its text.
type Mark = (TypeId, String);

fn mark(payload: &(dyn Any + Send)) -> Mark {
    (payload.type_id(), Panic::message_of(payload))
}

fn told(payload: &(dyn Any + Send)) -> Panic {
    // The last panic may not be the one that was caught: `resume_unwind` calls no hook, nor is ours asked where the program has
    // set another meanwhile.
    let heard = LAST.take().flatten().filter(|heard| heard.mark == mark(payload));
    Panic {
        message: Panic::message_of(payload),
        thread: None,
        location: heard.as_ref().and_then(|h| h.location.clone()),
        backtrace: heard.and_then(|h| h.backtrace).map(|b| trace::lines(&b)).unwrap_or_default(),
    }
}
