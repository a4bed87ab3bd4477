//! A parent is killed when it has given a detached child its lifeline, before and after it has told it what to run: the child lives or
//! is gone, and does not stand still.

use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;

use ipc_core::crash::{CrashPoints, POINTS};
use ipc_core::{Descriptor, Signal};
use ipc_testkit::{GENEROUS, kills, leaks, process_gone, wait_until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{METHODS, context, mine, points, program, rounds};

/// A detached child: says who it is, and stays until it is told to end.
fn alone(said: Descriptor, told: Descriptor) {
    rustix::io::write(&said, &std::process::id().to_ne_bytes()).unwrap();
    PipeReader::from(OwnedFd::from(told)).read_to_end(&mut Vec::new()).unwrap();
}

/// A program that starts such a child, and is killed on the way.
fn leave_alone(method: String, said: Descriptor, told: Descriptor) {
    mine();
    let _ = context(&method).builder().detached(true).spawn(alone, (said, told));
}

/// Whether the child lived on.
fn round(points: &CrashPoints, point: &str, method: &str) -> bool {
    let (mut hear, said) = std::io::pipe().unwrap();
    let (told, tell) = std::io::pipe().unwrap();
    let before = points.kills(point);
    points.arm(point, 1);
    let ends = (Descriptor::from(OwnedFd::from(said)), Descriptor::from(OwnedFd::from(told)));
    let program = program(points, leave_alone, (method.to_owned(), ends.0, ends.1));
    assert_eq!(program.join().unwrap_err().signal(), Some(Signal::KILL));
    assert_eq!(points.kills(point), before + 1, "{point}");
    // A word from the child, or the end of the pipe, which only it can hold now.
    let mut heard = [PollFd::new(&hear, PollFlags::IN)];
    let patience = Timespec { tv_sec: GENEROUS.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(poll(&mut heard, Some(&patience)), Ok(1), "{method}: the child neither runs nor ends");
    let mut pid = [0; 4];
    let lives = hear.read(&mut pid).unwrap() == 4;
    if lives {
        let pid = u32::from_ne_bytes(pid);
        assert!(!process_gone(pid), "it was heard, so it had been let go");
        drop(tell);
        assert!(wait_until(GENEROUS, || process_gone(pid)));
    }
    lives
}

#[test]
fn a_detached_child_whose_parent_is_killed_too_early_lives_or_is_gone() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    for method in METHODS {
        for point in points("detacher") {
            let lived = (0..rounds()).filter(|_| round(&crash, point, method)).count();
            println!("{lived} of {} detached children lived on", rounds());
            kills(&format!("{point}, {method}"), rounds().into());
        }
    }
}
