//! Corners of lifetimes: a daemon that will not go, ends that are no exits, threads, and processes 1.
//!
//! As in `lifetime.rs`, each test runs this executable once more as a program, whose part stands in the test.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use ipc_core::{Builder, Context, Descriptor};
use ipc_testkit::{GENEROUS, leaks, process_gone, wait_until};

mod programs;
use programs::family::{each, me, start_daemon, stay};
use programs::program::{say, told};
use programs::{METHODS, Program, ends, joined, not_run, pidfd, role, sandbox};

#[test]
fn a_daemon_that_ignores_sigterm_ends_all_the_same() {
    each(
        "a_daemon_that_ignores_sigterm_ends_all_the_same",
        &[""],
        |context, _| {
            start_daemon(context, || {
                // SAFETY: ignoring a signal installs no code.
                unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
                stay("daemon".into());
            });
            told();
        },
        |program, _| {
            let daemon = pidfd(program.hears_number("daemon"));
            program.tell("end");
            program.succeeds();
            assert!(ends(&daemon));
        },
    );
}

/// An abort and `_exit` are no normal ends: nobody is waited for. (A panic that leaves `main` is one: see `lifetime.rs`.)
#[test]
fn children_die_with_a_parent_that_aborts() {
    each(
        "children_die_with_a_parent_that_aborts",
        &["abort", "_exit"],
        |context, how| {
            let child = context.spawn(stay, ("child".to_owned(),)).unwrap();
            told();
            match how {
                "abort" => std::process::abort(),
                // SAFETY: nothing of this process is used after it.
                _ => unsafe { libc::_exit(child.pid().min(3) as i32) },
            }
        },
        |program, _| {
            let child = pidfd(program.hears_number("child"));
            program.tell("end");
            assert!(!program.wait().success());
            assert!(ends(&child));
            program.all();
        },
    );
}

/// The kernel's own death signal would fire here: it goes by threads.
#[test]
fn a_child_outlives_the_thread_that_started_it() {
    let _leaks = leaks();
    programs::each_method(|context| {
        let context = context.clone();
        let (reader, writer) = std::io::pipe().unwrap();
        let wait = |reader: Descriptor| {
            let mut reader: std::io::PipeReader = reader.into_inner();
            std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
            7
        };
        let thread = std::thread::spawn(move || {
            let child = context.spawn(wait, (reader.into(),)).unwrap();
            (child, rustix::thread::gettid().as_raw_nonzero())
        });
        let (child, tid) = thread.join().unwrap();
        // Gone from the kernel, not only joined.
        let task = std::path::PathBuf::from(format!("/proc/self/task/{tid}"));
        assert!(wait_until(GENEROUS, || !task.exists()));
        assert!(child.is_alive());
        drop(writer);
        assert_eq!(joined(child), 7);
    });
}

/// A family in a pid namespace of its own, whose root is process 1 there. The program tells what happens inside.
#[test]
fn process_1_of_a_pid_namespace_dies_with_its_parent() {
    const TEST: &str = "process_1_of_a_pid_namespace_dies_with_its_parent";
    if role().is_some() {
        if let Err(why) = sandbox::own_pids() {
            return say(format_args!("cannot {why}"));
        }
        let first = |method: String| {
            assert_eq!(me(), 1);
            let context = programs::context(&method);
            // Children of process 1: values, statuses, and orphans that it inherits.
            let sum = joined(context.spawn(|a: u32, b: u32| a + b, (2, 3)).unwrap());
            let killed = context.spawn(std::thread::park, ()).unwrap();
            killed.kill().unwrap();
            assert_eq!(killed.wait().unwrap().signal(), Some(ipc_core::Signal::KILL));
            say(format_args!("sum {sum}"));
            drop(context.spawn(std::thread::park, ()).unwrap());
            stay("inside".into());
        };
        let method = role().unwrap();
        let child = Builder::new().context(&Context::exec()).spawn(first, (method,)).unwrap();
        say(format_args!("first {}", child.pid()));
        told();
        return;
    }
    let _leaks = leaks();
    for method in METHODS {
        let mut program = Program::start(TEST, method);
        let line = program.hears("");
        let Some(first) = line.strip_prefix("first ") else { return not_run(&line) };
        let first: u32 = first.parse().unwrap();
        assert_eq!(program.hears("sum"), "5");
        program.hears("inside");
        program.kill();
        assert!(wait_until(GENEROUS, || process_gone(first)), "by {method}");
        program.all();
    }
}

/// A process whose next child would be process 1 of a namespace: that cannot be a server, which is told.
#[test]
fn the_default_context_before_a_new_pid_namespace() {
    const TEST: &str = "the_default_context_before_a_new_pid_namespace";
    if role().is_some() {
        if let Err(why) = sandbox::own_pids() {
            return say(format_args!("cannot {why}"));
        }
        let context = Context::fork_server();
        let pid = joined(context.spawn(me, ()).unwrap());
        return say(format_args!("pid {pid}, fallback {:?}", context.fallback()));
    }
    let _leaks = leaks();
    let mut program = Program::start(TEST, "fork_server");
    let line = program.hears("");
    if line.starts_with("cannot") {
        return not_run(&line);
    }
    println!("{line}");
    assert!(line.contains("pid 1, fallback Some"), "{line}");
    program.succeeds();
}
