//! Who ends with whom: programs that end normally, programs that are killed, and what becomes of their children.
//!
//! Each test runs this executable once more as a program (`programs::Program`), whose children say their pids through its
//! standard output; the test watches them by pidfds. A program's part stands above its test.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::atomic::{AtomicBool, Ordering};

use ipc_core::{Child, Context, Descriptor, Stdio, at_exit};
use ipc_testkit::{GENEROUS, wait_until};
use rustix::process::Signal as Raw;

mod programs;
use programs::family::{
    self, each, handle, have_children, is_alive_then_ends, me, method_of, start_daemon, stay, stay_and_answer,
};
use programs::program::{say, told};
use programs::{ended, ends, joined, pidfd, signal, state};

static TERMINATED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_term(_: i32) {
    TERMINATED.store(true, Ordering::Relaxed);
}

/// Stays until SIGTERM, then needs a moment.
fn stay_until_terminated() {
    handle(libc::SIGTERM, on_term);
    say(format_args!("daemon {}", me()));
    while !TERMINATED.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    say("terminated");
    // Few: on a busy machine each may cost some milliseconds, and a daemon has a second.
    (0..20).for_each(|_| std::thread::yield_now());
    say("done");
}

fn a_daemon_that_handles_sigterm(test: &str) {
    each(
        test,
        &[""],
        |context, _| {
            start_daemon(context, stay_until_terminated);
            told();
        },
        |program, _| {
            let daemon = pidfd(program.hears_number("daemon"));
            program.tell("end");
            program.succeeds();
            assert!(ends(&daemon));
            // Killed by the end of its parent it would have said less.
            assert_eq!(program.all(), ["terminated", "done"]);
        },
    );
}

#[test]
fn normal_exit_terminates_daemons() {
    a_daemon_that_handles_sigterm("normal_exit_terminates_daemons");
}

#[test]
fn normal_exit_waits_for_terminated_daemons() {
    a_daemon_that_handles_sigterm("normal_exit_waits_for_terminated_daemons");
}

/// The child waits for a word, which the test says after the program's last.
fn write_when_told() {
    say("child");
    told();
    (0..100).for_each(|n| say(format_args!("line {n}")));
}

#[test]
fn normal_exit_joins_the_others() {
    each(
        "normal_exit_joins_the_others",
        &["returns", "exits", "drops", "panics"],
        |context, how| {
            let child = context.builder().stdin(Stdio::inherit()).spawn(write_when_told, ()).unwrap();
            match how {
                "drops" => drop(child),
                _ => std::mem::forget(child),
            }
            let _ = at_exit(0, || say("leaves"));
            match how {
                "exits" => std::process::exit(0),
                // Caught by libtest, which exits with 101, as std does for a panic that leaves `main`; that one is in `entry.rs`.
                "panics" => panic!("on purpose"),
                _ => {}
            }
        },
        |program, how| {
            program.hears("child");
            program.hears("leaves");
            let pid = pidfd(program.pid());
            assert!(!ended(&pid));
            program.tell("write");
            match how {
                "panics" => assert_eq!(program.wait().code(), Some(101)),
                _ => program.succeeds(),
            }
            let lines: Vec<_> = (0..100).map(|n| format!("line {n}")).collect();
            assert_eq!(program.all(), lines);
        },
    );
}

#[test]
fn hooks_below_zero_run_after_the_children_are_joined() {
    each(
        "hooks_below_zero_run_after_the_children_are_joined",
        &[""],
        |context, _| {
            for priority in [0, -5, 5, -1] {
                let _ = at_exit(priority, move || say(format_args!("hook {priority}")));
            }
            let child = context.builder().stdin(Stdio::inherit()).spawn(
                || {
                    told();
                    say("child");
                },
                (),
            );
            drop(child.unwrap());
        },
        |program, _| {
            assert_eq!(program.hears("hook"), "5");
            assert_eq!(program.hears("hook"), "0");
            program.tell("end");
            program.succeeds();
            assert_eq!(program.all(), ["child", "hook -1", "hook -5"]);
        },
    );
}

#[test]
fn daemons_are_terminated_before_the_others_are_joined() {
    each(
        "daemons_are_terminated_before_the_others_are_joined",
        &[""],
        |context, _| {
            let (reader, writer) = std::io::pipe().unwrap();
            let hold = |writer: Descriptor| {
                stay("daemon".into());
                drop(writer);
            };
            drop(context.builder().daemon(true).spawn(hold, (writer.into(),)).unwrap());
            let wait = |reader: Descriptor| {
                let mut reader: std::io::PipeReader = reader.into_inner();
                std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
                say("ended");
            };
            drop(context.spawn(wait, (reader.into(),)).unwrap());
            told();
        },
        |program, _| {
            program.hears("daemon");
            program.tell("end");
            program.succeeds();
            assert_eq!(program.all(), ["ended"]);
        },
    );
}

#[test]
fn children_of_a_terminated_daemon_die() {
    each(
        "children_of_a_terminated_daemon_die",
        &[""],
        |context, _| {
            let daemon = context.builder().daemon(true);
            drop(daemon.spawn(have_children, (method_of(context),)).unwrap());
            told();
        },
        |program, _| {
            let mut all = vec![pidfd(program.hears_number("child"))];
            // One is stopped, perhaps before it could say anything.
            all.extend((0..2).map(|_| pidfd(program.hears_number("grandchild"))));
            program.tell("end");
            program.succeeds();
            assert!(all.iter().all(ends));
            program.all();
        },
    );
}

#[test]
fn terminate_ends_the_grandchildren_too() {
    each(
        "terminate_ends_the_grandchildren_too",
        &["terminate", "kill"],
        |context, how| {
            let child = context.spawn(have_children, (method_of(context),)).unwrap();
            told();
            let sent = if how == "kill" { child.kill() } else { child.terminate() };
            sent.unwrap();
            child.wait().unwrap();
            say("ended");
            told();
        },
        |program, _| {
            let mut all = vec![pidfd(program.hears_number("child"))];
            all.extend((0..2).map(|_| pidfd(program.hears_number("grandchild"))));
            program.tell("end it");
            program.hears("ended");
            assert!(all.iter().all(ends));
            program.tell("end");
            program.succeeds();
            program.all();
        },
    );
}

#[test]
fn a_detached_grandchild_survives() {
    each(
        "a_detached_grandchild_survives",
        &[""],
        |context, _| {
            let child = context.spawn(
                |method: String| {
                    let detached = family::context(&method).builder().detached(true);
                    drop(detached.spawn(stay_and_answer, ()).unwrap());
                    drop(family::context(&method).spawn(stay, ("grandchild".to_owned(),)).unwrap());
                    stay("child".into());
                },
                (method_of(context),),
            );
            let child = child.unwrap();
            told();
            child.terminate().unwrap();
            child.wait().unwrap();
            told();
        },
        |program, _| {
            let detached = program.hears_number("detached");
            let others = [program.hears_number("child"), program.hears_number("grandchild")].map(pidfd);
            program.tell("end it");
            assert!(others.iter().all(ends));
            program.tell("end");
            program.succeeds();
            is_alive_then_ends(program, detached);
        },
    );
}

#[test]
fn a_detached_child_survives_its_parent() {
    each(
        "a_detached_child_survives_its_parent",
        &["builder ends", "builder killed", "child ends", "child killed"],
        |context, how| {
            let early = how.starts_with("builder");
            let child = context.builder().detached(early).spawn(stay_and_answer, ()).unwrap();
            let other = context.spawn(stay, ("other".to_owned(),)).unwrap();
            told();
            if !early {
                child.detach().unwrap();
            }
            other.kill().unwrap();
            other.wait().unwrap();
            say("detaches");
            told();
        },
        |program, how| {
            let detached = program.hears_number("detached");
            let other = pidfd(program.hears_number("other"));
            program.tell("detach");
            program.hears("detaches");
            assert!(ends(&other));
            if how.ends_with("ends") {
                program.tell("end");
                // Nobody waits for the detached one.
                program.succeeds();
            } else {
                program.kill();
            }
            is_alive_then_ends(program, detached);
        },
    );
}

fn spin(word: String) {
    say(format_args!("{word} {}", me()));
    loop {
        std::hint::spin_loop();
    }
}

fn stop(word: String) {
    say(format_args!("{word} {}", me()));
    signal(me(), Raw::STOP);
}

fn block_all_signals(word: String) {
    // SAFETY: a full set of signals, for this thread.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
    stay(word);
}

#[test]
fn children_die_with_a_killed_parent() {
    each(
        "children_die_with_a_killed_parent",
        &[""],
        |context, _| {
            let daemon = |daemon| context.builder().daemon(daemon);
            let word = || ("child".to_owned(),);
            let children: [Child<()>; 5] = [
                daemon(false).spawn(stay, word()).unwrap(),
                daemon(true).spawn(stay, word()).unwrap(),
                daemon(false).spawn(spin, word()).unwrap(),
                daemon(false).spawn(stop, word()).unwrap(),
                daemon(false).spawn(block_all_signals, word()).unwrap(),
            ];
            say(format_args!("stopped {}", children[3].pid()));
            told();
        },
        |program, _| {
            let stopped = program.hears_number("stopped");
            let all: Vec<_> = (0..5).map(|_| pidfd(program.hears_number("child"))).collect();
            assert!(wait_until(GENEROUS, || state(stopped) == Some('T')));
            assert!(!all.iter().any(ended));
            program.kill();
            assert!(all.iter().all(ends));
            // Nobody holds the program's output: spares and servers are gone as well.
            program.all();
        },
    );
}

#[test]
fn grandchildren_die_with_a_killed_root() {
    each(
        "grandchildren_die_with_a_killed_root",
        &[""],
        |context, _| {
            drop(context.spawn(have_children, (method_of(context),)).unwrap());
            told();
        },
        |program, _| {
            let mut all = vec![pidfd(program.hears_number("child"))];
            all.extend((0..2).map(|_| pidfd(program.hears_number("grandchild"))));
            program.kill();
            assert!(all.iter().all(ends));
            program.all();
        },
    );
}

#[test]
fn the_fork_server_ends_with_its_program() {
    each(
        "the_fork_server_ends_with_its_program",
        &["ends", "killed"],
        |_, _| {
            let context = Context::fork_server();
            joined(context.spawn(|| (), ()).unwrap());
            let children = || ipc_testkit::Snapshot::take().unwrap().children;
            assert!(wait_until(GENEROUS, || children().len() == 2), "server and spare");
            for pid in children().keys() {
                say(format_args!("helper {pid}"));
            }
            told();
        },
        |program, how| {
            let helpers = [(); 2].map(|()| pidfd(program.hears_number("helper")));
            match how {
                "ends" => {
                    program.tell("end");
                    program.succeeds();
                }
                _ => program.kill(),
            }
            assert!(helpers.iter().all(ends));
        },
    );
}
