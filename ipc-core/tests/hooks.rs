//! What runs when a process ends: hooks by `at_exit`.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::fs;
use std::io::PipeWriter;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use ipc_core::{Context, Descriptor, ExitHook, Stdio, at_exit};

mod support;
use support::{Method, each_method};

/// A hook that writes a word into the pipe.
fn note(pipe: &Descriptor, priority: i32, word: &'static str) -> ExitHook {
    let pipe = fs::File::from(pipe.as_fd().try_clone_to_owned().unwrap());
    at_exit(priority, move || std::io::Write::write_all(&mut &pipe, word.as_bytes()).unwrap())
}

/// What hooks write into the pipe that `f` is given in a child.
fn written(m: Method, f: impl ipc_core::Function<(Descriptor,), Output = ()>) -> String {
    let (reader, writer): (_, PipeWriter) = std::io::pipe().unwrap();
    m.context().spawn(f, (Descriptor::from(writer),)).unwrap().join().unwrap();
    std::io::read_to_string(reader).unwrap()
}

#[test]
fn a_hook_runs_once() {
    each_method(|m: Method| {
        let once = written(m, |pipe: Descriptor| {
            let by_hand = note(&pipe, 0, "by hand ");
            drop(note(&pipe, 0, "at exit "));
            assert!(by_hand.call());
        });
        assert_eq!(once, "by hand at exit ");
    });
}

#[test]
fn a_hook_may_be_called_early() {
    each_method(|m: Method| {
        let words = written(m, |pipe: Descriptor| {
            let early = note(&pipe, -5, "early ");
            let _late = note(&pipe, 5, "late ");
            assert!(early.call());
            assert!(!early.call());
            assert!(!early.cancel());
        });
        assert_eq!(words, "early late ");
    });
}

#[test]
fn still_active_until_run_or_cancelled() {
    static INSIDE: OnceLock<ExitHook> = OnceLock::new();
    each_method(|m: Method| {
        let words = written(m, |pipe: Descriptor| {
            let (called, cancelled) = (note(&pipe, 0, "called "), note(&pipe, 0, "cancelled "));
            assert!(called.still_active() && cancelled.still_active());
            called.call();
            assert!(!called.still_active());
            assert!(cancelled.cancel());
            assert!(!cancelled.still_active());
            assert!(!cancelled.call());

            let (active, inactive) = (note(&pipe, -1, "unused "), note(&pipe, -1, "inactive inside "));
            let look = at_exit(0, move || {
                // Of the two, the one that tells the truth is left.
                let hook = if INSIDE.get().unwrap().still_active() { &inactive } else { &active };
                hook.cancel();
            });
            assert!(look.still_active());
            assert!(INSIDE.set(look).is_ok());
        });
        assert_eq!(words, "called inactive inside ");
    });
}

#[test]
fn a_forked_child_runs_none_of_its_parents_hooks() {
    let _leaks = ipc_testkit::leaks();
    let parent = || {
        let _hook = at_exit(0, || println!("the parent's"));
        let preload = || drop(at_exit(0, || println!("the server's")));
        for context in [Method::Fork.context(), Context::fork_server().preload(preload)] {
            let with_hook = || drop(at_exit(0, || println!("a child's")));
            context.spawn(with_hook, ()).unwrap().join().unwrap();
            context.spawn(|| (), ()).unwrap().join().unwrap();
        }
    };
    let child = Context::exec().builder().stdout(Stdio::piped()).spawn(parent, ()).unwrap();
    let said = std::io::read_to_string(child.take_stdout().unwrap()).unwrap();
    child.join().unwrap();
    assert_eq!(said, "a child's\na child's\nthe parent's\n");
}

#[test]
fn a_panicking_hook_does_not_stop_the_others() {
    each_method(|m: Method| {
        let with_hooks = |code: i32| {
            let _hooks = [
                at_exit(3, || println!("first")),
                at_exit(2, || panic!("in the second")),
                at_exit(1, || println!("third, in {}", ipc_core::current().name())),
            ];
            if code != 0 {
                std::process::exit(code);
            }
        };
        for code in [0, 4] {
            let builder = m.context().builder().name("me").stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = builder.spawn(with_hooks, (code,)).unwrap();
            let out = std::io::read_to_string(child.take_stdout().unwrap()).unwrap();
            let err = std::io::read_to_string(child.take_stderr().unwrap()).unwrap();
            assert_eq!(out, "first\nthird, in me\n");
            assert!(err.contains("in the second"), "{err}");
            assert_eq!(child.wait().unwrap().code(), Some(code));
            assert_eq!(child.join().is_ok(), code == 0);
        }
    });
}
