//! A child that becomes another program, or another user, by itself, and still ends with its parent.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use ipc_core::lifeline;
use ipc_testkit::{GENEROUS, wait_until};
use rustix::process::Signal;

mod programs;
use programs::family::{each, me, stay};
use programs::program::{say, told};
use programs::{ends, not_run, pidfd, sandbox, signal, state};

/// A child's function: the program `sleep`.
fn become_sleep() {
    lifeline::keep_across_exec().unwrap();
    panic!("sleep: {}", Command::new("sleep").arg("1000").exec());
}

#[test]
fn a_child_that_execs_dies_with_its_parent() {
    each(
        "a_child_that_execs_dies_with_its_parent",
        &["killed", "detached"],
        |context, how| {
            let child = context.spawn(become_sleep, ()).unwrap();
            say(format_args!("child {}", child.pid()));
            told();
            if how == "detached" {
                child.detach().unwrap();
            }
            say("done");
            told();
        },
        |program, how| {
            let child = program.hears_number("child");
            let watched = pidfd(child);
            let name = || std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            assert!(wait_until(GENEROUS, || name() == "sleep\n"), "{}", name());
            program.tell("go on");
            program.hears("done");
            program.kill();
            if how == "detached" {
                // One that is being killed does not stop.
                signal(child, Signal::STOP);
                assert!(wait_until(GENEROUS, || state(child) == Some('T')), "{:?}", state(child));
                signal(child, Signal::KILL);
            }
            assert!(ends(&watched));
            program.all();
        },
    );
}

const USERS: [u32; 2] = [65533, 65534];

/// Real, effective and saved user; of this process, for it is a child.
fn set_users(real: u32, effective: u32, saved: u32) {
    // SAFETY: three integers.
    assert_eq!(unsafe { libc::setresuid(real, effective, saved) }, 0);
}

#[test]
fn a_child_that_changes_its_user_dies_with_its_parent() {
    if !sandbox::is_root() {
        return not_run("only root can become another user");
    }
    let change = || {
        // Armed by a user who may not signal the one that it is in the end.
        set_users(USERS[0], USERS[0], 0);
        lifeline::rearm().unwrap();
        set_users(USERS[0], 0, 0);
        set_users(USERS[1], USERS[1], USERS[1]);
        lifeline::rearm().unwrap();
        stay("child".into());
    };
    each(
        "a_child_that_changes_its_user_dies_with_its_parent",
        &[""],
        |context, _| {
            drop(context.spawn(change, ()).unwrap());
            told();
        },
        |program, _| {
            let child = pidfd(program.hears_number("child"));
            program.kill();
            assert!(ends(&child));
            program.all();
        },
    );
}

#[test]
fn without_a_lifeline_there_is_nothing_to_arm_or_keep() {
    lifeline::rearm().unwrap();
    lifeline::keep_across_exec().unwrap();
    let detached = || {
        lifeline::rearm().unwrap();
        lifeline::keep_across_exec().unwrap();
        me()
    };
    // By exec: a server would stay, and the test beside looks for what stays.
    let child = ipc_core::Context::exec().builder().detached(true).spawn(detached, ()).unwrap();
    assert_eq!(child.pid(), child.join().unwrap());
}
