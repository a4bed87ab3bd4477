//! Plain forks (`Context::fork`, `Builder::fork`) of processes with threads: what this crate promises of its own part in them.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use ipc_core::{Builder, Context, Error, Function, Message, current};
use ipc_testkit::{GENEROUS, leaks};

mod support;
use support::{Gate, first_process, program};

/// Forks a child that has to finish.
fn forked<R: Message>(f: impl FnOnce() -> R + 'static) -> R {
    // SAFETY: what the children here do takes no lock but those that are the subject.
    let child = unsafe { Builder::new().fork(f) }.unwrap();
    match child.join_timeout(GENEROUS).unwrap() {
        Some(value) => value,
        None => {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("a forked child hangs");
        }
    }
}

/// Forks many children while other threads do `what` all the time.
fn amid<F: Function<(), Output = ()> + Sync>(what: F) {
    let _leaks = leaks();
    let body = move || {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        what.call(());
                    }
                });
            }
            let all = catch_unwind(|| {
                for _ in 0..300 {
                    let name = forked(|| {
                        println!();
                        current().name()
                    });
                    assert!(name.starts_with("Process-"), "{name}");
                }
            });
            stop.store(true, Ordering::Relaxed);
            all.unwrap_or_else(|panic| resume_unwind(panic));
        });
    };
    let child = Context::exec().builder().stdout(ipc_core::Stdio::null()).spawn(body, ()).unwrap();
    child.join().unwrap();
}

/// Not a sleep: whoever comes next finds the lock held for most of the time.
fn a_while() {
    let end = Instant::now() + Duration::from_micros(20);
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

#[test]
fn a_child_finds_standard_output_free() {
    amid(|| {
        let _held = std::io::stdout().lock();
        a_while();
    });
}

#[test]
fn a_child_finds_the_identity_free() {
    amid(|| current().set_name("Process-0"));
}

#[test]
fn a_child_does_not_want_the_panic_hook_of_std() {
    first_process("a_child_does_not_want_the_panic_hook_of_std", || {
        let (enter, entered) = channel();
        let gate = Arc::new(Gate::new());
        let inside = gate.clone();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() != Some("panics") {
                return before(info);
            }
            enter.send(()).unwrap();
            // Under the lock by which std keeps its hook.
            inside.wait();
        }));
        assert_eq!(forked(|| 1), 1);
        let panicking =
            std::thread::Builder::new().name("panics".into()).spawn(|| panic!("for the hook")).unwrap();
        entered.recv().unwrap();
        let second = catch_unwind(|| forked(|| 2));
        gate.open();
        panicking.join().unwrap_err();
        assert_eq!(second.unwrap(), 2);
    });
}

#[test]
fn no_handler_runs_in_a_child_half_made() {
    /// Where the descriptor that the child was promised was there when the handler ran: 2, else 1.
    static SEEN: AtomicI32 = AtomicI32::new(0);
    const PROMISED: i32 = 99;
    extern "C" fn handler(_: i32) {
        // SAFETY: fcntl is async-signal-safe, and only looks the number up.
        let promised = unsafe { libc::fcntl(PROMISED, libc::F_GETFD) } != -1;
        SEEN.store(if promised { 2 } else { 1 }, Ordering::SeqCst);
    }
    extern "C" fn in_child() {
        // SAFETY: a signal to this process, whose handler is the one above.
        unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
    }
    let _leaks = leaks();
    let (seen, blocked) = program(
        || {
            // SAFETY: both functions make only async-signal-safe calls.
            unsafe {
                libc::signal(libc::SIGUSR1, handler as *const () as usize);
                assert_eq!(libc::pthread_atfork(None, None, Some(in_child)), 0);
            }
            let null = std::fs::File::open("/dev/null").unwrap();
            // SAFETY: this process has one thread.
            let child = unsafe {
                Builder::new()
                    .descriptor(PROMISED, null)
                    .fork(|| (SEEN.load(Ordering::SeqCst), signal_mask()))
            };
            let (seen, in_child) = child.unwrap().join().unwrap();
            (seen, [signal_mask(), in_child])
        },
        (),
    );
    assert_eq!(seen, 2);
    // As before, there and here.
    assert_eq!(blocked[0], blocked[1]);
    assert_eq!(u64::from_str_radix(&blocked[0], 16).unwrap() & (1 << (libc::SIGUSR1 - 1)), 0);
}

fn signal_mask() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap().to_owned()
}

/// Its child would have been born panicking, and aborted.
#[test]
fn a_thread_that_panics_is_refused_a_fork() {
    struct Forks<'a>(&'a mut Vec<Error>);
    impl Drop for Forks<'_> {
        fn drop(&mut self) {
            // SAFETY: there is no child.
            let fork = unsafe { Context::fork() };
            self.0.push(fork.spawn(|| 1, ()).unwrap_err().into());
            // SAFETY: the same.
            self.0.extend(unsafe { Builder::new().fork(|| 1) }.err());
            // What is not a fork is possible.
            assert_eq!(Context::exec().spawn(|| 2, ()).unwrap().join().unwrap(), 2);
        }
    }
    let _leaks = leaks();
    let mut errors = Vec::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _forks = Forks(&mut errors);
        panic!("while this is dropped");
    }));
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "while this is dropped");
    assert_eq!(errors.len(), 2);
    for error in errors {
        assert!(
            matches!(error, Error::Unsupported { .. }) && error.to_string().contains("panics"),
            "{error}"
        );
    }
}

#[test]
fn a_fork_of_a_thread_that_stands_for_a_process_is_itself() {
    let _leaks = leaks();
    let names = program(
        || {
            let thread = || {
                forked(|| {
                    let mine = current();
                    mine.set_name("renamed");
                    let parent = ipc_core::parent().unwrap();
                    let alive = parent.is_alive();
                    (mine.name(), current().name(), parent.name().to_owned(), alive)
                })
            };
            Context::threads().builder().name("thread").spawn(thread, ()).unwrap().join().unwrap()
        },
        (),
    );
    // The first number is that of the program, among those that other tests start.
    assert!(names.0.starts_with("Process-") && names.0.ends_with(":1:2"), "{}", names.0);
    assert_eq!((names.1.as_str(), names.2.as_str(), names.3), ("renamed", "thread", true));
}

#[test]
fn what_is_printed_before_a_fork_is_printed_once() {
    let _leaks = leaks();
    let print = || {
        print!("before ");
        forked(|| print!("child "));
        print!("after");
        std::io::stdout().flush().unwrap();
    };
    let child = Context::exec().builder().stdout(ipc_core::Stdio::piped()).spawn(print, ()).unwrap();
    let said = std::io::read_to_string(child.take_stdout().unwrap()).unwrap();
    child.join().unwrap();
    assert_eq!(said, "before child after");
}
