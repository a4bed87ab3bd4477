//! How a child ends, and how its parent learns it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ipc_core::{Child, Descriptor, Error, Signal};
use ipc_testkit::GENEROUS;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::{Gate, Method, number_after, program, stay};

/// A child that runs until it is killed, running.
fn blocked(m: Method) -> Child<()> {
    let ready = Gate::new();
    let child = m.context().spawn(stay, (ready.key(),)).unwrap();
    ready.wait();
    child
}

extern "C" fn leave_with_one(_: i32) {
    // SAFETY: both may be called in a signal handler.
    unsafe {
        libc::write(1, c"handled".as_ptr().cast(), 7);
        libc::_exit(1)
    }
}

pub(crate) fn interrupt(m: Method) {
    let ready = Gate::new();
    let handling = |ready: Descriptor| {
        let handler = leave_with_one as extern "C" fn(i32);
        // SAFETY: the handler makes async-signal-safe calls only.
        unsafe { libc::signal(libc::SIGINT, handler as usize) };
        stay(ready);
    };
    let child =
        m.context().builder().stdout(ipc_core::Stdio::piped()).spawn(handling, (ready.key(),)).unwrap();
    ready.wait();
    child.interrupt().unwrap();
    let said = std::io::read_to_string(child.take_stdout().unwrap()).unwrap();
    assert_eq!(said, "handled");
    assert_eq!(child.join().unwrap_err().code(), Some(1));
}

pub(crate) fn interrupt_no_handler(m: Method) {
    let child = blocked(m);
    child.interrupt().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(Signal::INT));
}

fn end_by(m: Method, signal: Signal, end: impl Fn(&Child<()>) -> ipc_core::Result<()>) {
    let child = blocked(m);
    assert!(child.try_join().unwrap().is_none());
    assert!(child.join_timeout(Duration::ZERO).unwrap().is_none());
    assert!(child.wait_timeout(Duration::ZERO).unwrap().is_none());
    assert!(child.is_alive());

    end(&child).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.signal(), status.code()), (Some(signal), None));
    assert_eq!(status.exitcode(), Some(-signal.as_raw()));
    assert_eq!(child.wait().unwrap(), status);
    assert!(!child.is_alive());
    let error = child.join().unwrap_err();
    assert!(matches!(error, Error::Killed { .. }), "{error}");
    assert_eq!(error.signal(), Some(signal));
}

pub(crate) fn terminate(m: Method) {
    end_by(m, Signal::TERM, Child::terminate);
}

pub(crate) fn kill(m: Method) {
    end_by(m, Signal::KILL, Child::kill);
}

fn is_readable(descriptor: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    poll(&mut asked, Some(&Timespec::default())).unwrap() == 1
}

pub(crate) fn sentinel(m: Method) {
    let gate = Gate::new();
    let child = m.context().spawn(number_after, (gate.entrance(), 3)).unwrap();
    assert!(!is_readable(child.sentinel()));
    gate.open();
    let mut asked = [PollFd::from_borrowed_fd(child.as_fd(), PollFlags::IN)];
    let deadline = Timespec { tv_sec: GENEROUS.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(poll(&mut asked, Some(&deadline)).unwrap(), 1, "not ready in a minute");
    assert!(is_readable(child.sentinel()));
    assert!(!child.is_alive());
    assert!(is_readable(child.as_fd()), "it stays ready");
    assert_eq!(child.join().unwrap(), 3);
}

/// `support::run` counts the descriptors.
pub(crate) fn close(m: Method) {
    let gate = Gate::new();
    let child = m.context().spawn(number_after, (gate.entrance(), 3)).unwrap();
    let refused = child.close().unwrap_err();
    assert!(matches!(refused.error(), Error::StillRunning { .. }), "{refused}");
    let child = refused.into_child();
    assert!(child.is_alive());
    gate.open();
    child.wait().unwrap();
    child.close().unwrap();
}

static WORK: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn wait_for_threads(m: Method) {
    let with_threads = || {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
        let joined = std::thread::spawn(|| WORK.store(9, Ordering::SeqCst));
        joined.join().unwrap();
        WORK.load(Ordering::SeqCst)
    };
    let child = m.context().spawn(with_threads, ()).unwrap();
    let value = child.join_timeout(GENEROUS).unwrap();
    assert_eq!(value, Some(9), "the thread that waits for ever holds nobody");
}

static STRUCK: AtomicUsize = AtomicUsize::new(0);

extern "C" fn strike(_: i32) {
    STRUCK.fetch_add(1, Ordering::SeqCst);
}

pub(crate) fn poll_eintr(m: Method) {
    program(interrupted_join, (m,));
}

fn interrupted_join(m: Method) {
    // SAFETY: a zeroed sigaction has an empty mask and no flags, so no SA_RESTART; the handler counts and no more.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = strike as extern "C" fn(i32) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
    }
    let gate = Gate::new();
    let child = m.context().spawn(number_after, (gate.entrance(), 42)).unwrap();
    // SAFETY: has no preconditions.
    let joiner = unsafe { libc::pthread_self() };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while STRUCK.load(Ordering::SeqCst) < 500 {
                // SAFETY: the scope keeps the thread alive.
                unsafe { libc::pthread_kill(joiner, libc::SIGUSR1) };
                std::thread::yield_now();
            }
            gate.open();
        });
        assert_eq!(child.join().unwrap(), 42);
    });
    assert!(STRUCK.load(Ordering::SeqCst) >= 500);
}
