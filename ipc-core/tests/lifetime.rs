//! Who ends with whom: programs that end normally, programs that are killed, and what becomes of their children.
//!
//! Each test runs this executable once more as a program (`programs::Program`), whose children say their pids through its
//! standard output; the test watches them by pidfds. A program's part stands above its test.

use std::sync::atomic::{AtomicBool, Ordering};

use ipc_core::{Builder, Child, Context, Descriptor, Stdio, at_exit};
use ipc_testkit::{GENEROUS, leaks, process_gone, wait_until};
use rustix::process::Signal as Raw;

mod programs;
use programs::program::{say, told};
use programs::{METHODS, Program, ended, ends, joined, not_run, pidfd, role, sandbox, signal, state};

/// A context by its name in a role: as everywhere, and fork.
fn context(method: &str) -> Context {
    match method {
        // SAFETY: what these children run takes locks of std's output alone, which nobody holds while the program spawns.
        "fork" => unsafe { Context::fork() },
        method => programs::context(method),
    }
}

/// The programs of a test, one for each method and variant: `played` is what the program does.
fn each(
    test: &str,
    variants: &[&str],
    played: impl FnOnce(&Context, &str),
    look: impl Fn(&mut Program, &str),
) {
    if let Some(role) = role() {
        let (method, variant) = role.split_once(' ').unwrap();
        return played(&context(method), variant);
    }
    let _leaks = leaks();
    for method in METHODS.iter().chain(&["fork"]) {
        for variant in variants {
            println!("by {method}, {variant:?}");
            let mut program = Program::start(test, &format!("{method} {variant}"));
            look(&mut program, variant);
        }
    }
}

fn me() -> u32 {
    std::process::id()
}

/// Says who and where it is, and stays until it is killed.
fn stay(word: String) {
    say(format_args!("{word} {}", me()));
    loop {
        std::thread::park();
    }
}

static TERMINATED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_term(_: i32) {
    TERMINATED.store(true, Ordering::Relaxed);
}

fn handle(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: the handlers of this file store into an atomic or write to a descriptor.
    unsafe { libc::signal(signal, handler as *const () as usize) };
}

/// Stays until SIGTERM, then needs a moment.
fn stay_until_terminated() {
    handle(libc::SIGTERM, on_term);
    say(format_args!("daemon {}", me()));
    while !TERMINATED.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    say("terminated");
    (0..1000).for_each(|_| std::thread::yield_now());
    say("done");
}

fn start_daemon(context: &Context, f: impl ipc_core::Function<(), Output = ()>) {
    drop(context.builder().daemon(true).spawn(f, ()).unwrap());
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
        &["returns", "exits", "drops"],
        |context, how| {
            let child = context.builder().stdin(Stdio::inherit()).spawn(write_when_told, ()).unwrap();
            match how {
                "drops" => drop(child),
                _ => std::mem::forget(child),
            }
            let _ = at_exit(0, || say("leaves"));
            if how == "exits" {
                std::process::exit(0);
            }
        },
        |program, _| {
            program.hears("child");
            program.hears("leaves");
            let pid = pidfd(program.pid());
            assert!(!ended(&pid));
            program.tell("write");
            program.succeeds();
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

/// A child with children of its own, daemon or not, whose pids are said; all stay.
fn have_children(method: String) {
    let context = context(&method);
    for (daemon, stopped) in [(false, false), (true, false), (false, true)] {
        let builder = context.builder().daemon(daemon);
        let child = builder.spawn(stay, ("grandchild".to_owned(),)).unwrap();
        if stopped {
            child.signal(ipc_core::Signal::STOP).unwrap();
        }
        drop(child);
    }
    stay("child".into());
}

/// The way in which grandchildren come: a child of any method may use any.
fn method_of(context: &Context) -> String {
    match context.method() {
        ipc_core::StartMethod::ForkServer => "fork_server".into(),
        _ => "exec".into(),
    }
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

extern "C" fn on_usr1(_: i32) {
    say("alive");
}

/// Stays, and answers SIGUSR1.
fn stay_and_answer() {
    handle(libc::SIGUSR1, on_usr1);
    stay("detached".into());
}

/// A process that was detached is there, and acts; then it is ended.
fn is_alive_then_ends(program: &mut Program, pid: u32) {
    let watched = pidfd(pid);
    signal(pid, Raw::USR1);
    program.hears("alive");
    assert!(!ended(&watched));
    signal(pid, Raw::KILL);
    assert!(ends(&watched));
    program.all();
}

#[test]
fn a_detached_grandchild_survives() {
    each(
        "a_detached_grandchild_survives",
        &[""],
        |context, _| {
            let child = context.spawn(
                |method: String| {
                    let detached = crate::context(&method).builder().detached(true);
                    drop(detached.spawn(stay_and_answer, ()).unwrap());
                    drop(crate::context(&method).spawn(stay, ("grandchild".to_owned(),)).unwrap());
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

/// An abort, a panic that ends the program, and `_exit` are no normal ends: nobody is waited for.
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
            joined_here(context.spawn(|| (), ()).unwrap());
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

fn joined_here(child: Child<()>) {
    joined(child);
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
        let child = std::thread::spawn(move || context.spawn(wait, (reader.into(),)).unwrap());
        let child = child.join().unwrap();
        // The thread itself is gone from the kernel, not only joined.
        assert!(wait_until(GENEROUS, || std::fs::read_dir("/proc/self/task").unwrap().count() <= 64));
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
