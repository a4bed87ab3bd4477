//! Bad weather for waiting: SIGCHLD ignored, other code that waits for our children, children that are stopped.
//!
//! Each of it concerns a whole process, so it happens in a child.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipc_core::{Context, Error, Function, Signal, Stdio};
use ipc_testkit::{GENEROUS, leaks, wait_until};
use rustix::process::Signal as Raw;

mod programs;
use programs::{METHODS, context, each_method, joined, signal, state};

fn double(n: u64) -> u64 {
    n * 2
}

fn leave(code: i32) {
    std::process::exit(code)
}

fn kill_me(number: i32) {
    signal(std::process::id(), Raw::from_named_raw(number).unwrap());
}

/// What the parent learns of four children: their statuses and what joining gives, by values, codes and signals.
fn look(context: &Context) -> Vec<String> {
    let by = |builder: ipc_core::Builder| builder.stderr(Stdio::null());
    let mut said = Vec::new();
    let child = by(context.builder()).spawn(double, (21,)).unwrap();
    let status = child.wait().unwrap();
    said.push(format!("{status}, {}", joined(child)));
    let child = by(context.builder()).spawn(|| -> () { panic!("on purpose") }, ()).unwrap();
    let status = child.wait().unwrap();
    said.push(format!("{status}, {}", child.join().unwrap_err().panic().unwrap().message));
    let ends = [
        by(context.builder()).spawn(leave, (3,)).unwrap(),
        by(context.builder()).spawn(kill_me, (Signal::TERM.as_raw(),)).unwrap(),
    ];
    for child in ends {
        let status = child.wait().unwrap();
        let error = child.join().unwrap_err();
        let unknown = matches!(error, Error::StatusUnknown { .. });
        assert_eq!(status.is_unknown(), unknown, "{error}");
        said.push(if unknown { format!("{status}, unknown") } else { format!("{status}") });
    }
    // Where nobody waits for the status: the value, and one child after another, by join alone.
    for n in 0..50 {
        assert_eq!(joined(context.spawn(double, (n,)).unwrap()), 2 * n);
        assert_eq!(context.spawn(double, (n,)).unwrap().value().unwrap(), 2 * n);
    }
    assert!(wait_until(GENEROUS, || ipc_core::active_children().is_empty()));
    said
}

const RIGHT: [&str; 4] =
    ["exit status: 0, 42", "exit status: 101, on purpose", "exit status: 3", "signal: 15 (SIGTERM)"];
/// A child that gave a value or a failure has told its code as well.
const FORGOTTEN: [&str; 4] = [
    "exit status: 0, 42",
    "exit status: 101, on purpose",
    "exit status: unknown, unknown",
    "exit status: unknown, unknown",
];

/// Linux 6.15, whose pidfds remember how a process ended.
fn kernel_remembers() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 15)
}

/// Has `f` look by each method, on this kernel and on one that forgets; `f` says whether every status was taken away.
fn each_kernel(f: impl Function<(String,), Output = (Vec<String>, bool)>) {
    let _leaks = leaks();
    for method in METHODS {
        for forgets in [false, true] {
            let mut builder = Context::exec().builder();
            if forgets {
                builder = builder.env("IPC_CORE_WITHOUT", "pidfd_info");
            }
            let (said, always) = joined(builder.spawn(f, (method.to_owned(),)).unwrap());
            println!("by {method}, forgets {forgets}: {said:?}");
            if !forgets && kernel_remembers() {
                assert_eq!(said, RIGHT);
            } else if always {
                assert_eq!(said, FORGOTTEN);
            } else {
                // Each was stolen or was not.
                for ((said, right), forgotten) in said.iter().zip(RIGHT).zip(FORGOTTEN) {
                    assert!(said == right || said == forgotten, "{said}");
                }
            }
        }
    }
}

#[test]
fn with_sigchld_ignored_values_arrive_and_statuses_are_right_or_unknown() {
    each_kernel(|method: String| {
        // SAFETY: ignoring a signal installs no code.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        (look(&context(&method)), true)
    });
}

#[test]
fn with_sa_nocldwait_too() {
    each_kernel(|method: String| {
        // SAFETY: a zeroed action is the default one with an empty mask.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_flags = libc::SA_NOCLDWAIT;
            assert_eq!(libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()), 0);
        }
        (look(&context(&method)), true)
    });
}

#[test]
fn a_foreign_wait_in_a_loop_takes_no_value() {
    each_kernel(|method: String| {
        static STOP: AtomicBool = AtomicBool::new(false);
        let thief = std::thread::spawn(|| {
            let mut stolen = 0;
            while !STOP.load(Ordering::Relaxed) {
                // SAFETY: no status is asked for.
                match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL | libc::WNOHANG) } {
                    1.. => stolen += 1,
                    _ => std::thread::yield_now(),
                }
            }
            stolen
        });
        let context = context(&method);
        // As often as it takes for one to be stolen.
        let mut said;
        loop {
            said = look(&context);
            if said != RIGHT || kernel_remembers() {
                break;
            }
        }
        STOP.store(true, Ordering::Relaxed);
        println!("stolen: {}", thief.join().unwrap());
        (said, false)
    });
}

/// SIGCHLD becomes ignored while the fork server runs, and is no longer later: children start with what their parent has.
#[test]
fn children_see_sigchld_as_their_parent_does() {
    let _leaks = leaks();
    for method in METHODS {
        let change = |method: String| {
            let context = context(&method);
            let ignored = || {
                // SAFETY: asks only.
                unsafe {
                    let mut action: libc::sigaction = std::mem::zeroed();
                    libc::sigaction(libc::SIGCHLD, std::ptr::null(), &raw mut action);
                    action.sa_sigaction == libc::SIG_IGN
                }
            };
            for wanted in [false, true, false] {
                let action = if wanted { libc::SIG_IGN } else { libc::SIG_DFL };
                // SAFETY: neither installs code.
                unsafe { libc::signal(libc::SIGCHLD, action) };
                assert_eq!(joined(context.spawn(ignored, ()).unwrap()), wanted);
            }
        };
        joined(Context::exec().spawn(change, (method.to_owned(),)).unwrap());
    }
}

#[test]
fn a_stopped_child_is_alive_and_can_be_killed() {
    let _leaks = leaks();
    each_method(|context| {
        let child = context.spawn(std::thread::park, ()).unwrap();
        child.signal(Signal::STOP).unwrap();
        assert!(wait_until(GENEROUS, || state(child.pid()) == Some('T')));
        assert!(child.is_alive());
        assert_eq!(child.exit_status(), None);
        assert_eq!(child.wait_timeout(Duration::from_millis(20)).unwrap(), None);
        assert!(child.join_timeout(Duration::from_millis(20)).unwrap().is_none());
        // A signal that it could handle stays pending.
        child.terminate().unwrap();
        assert!(child.join_timeout(Duration::from_millis(20)).unwrap().is_none());
        child.kill().unwrap();
        assert_eq!(child.join().unwrap_err().signal(), Some(Signal::KILL));
    });
}

#[test]
fn a_stopped_child_goes_on_and_gives_its_value() {
    let _leaks = leaks();
    each_method(|context| {
        let child = context.spawn(|| signal(std::process::id(), Raw::STOP), ()).unwrap();
        for _ in 0..3 {
            assert!(wait_until(GENEROUS, || state(child.pid()) == Some('T')));
            assert!(child.try_join().unwrap().is_none());
        }
        child.signal(Signal::CONT).unwrap();
        joined(child);
    });
}
