//! Unit tests of `bootstrap`: detached children whose parent has gone.

use std::io::{Read, Write, pipe};

use super::*;
use crate::poll;
use crate::process::alone::{alone, in_fork};
use crate::process::life;
use crate::process::setup::Setup;

/// A detached child whose parent is gone before it is `begun`, or after that, with the frame that says so unread. Gives its exit
/// code, which is 0 only where its function has run.
fn detached(begun: bool) -> i32 {
    let [ours, theirs] = crate::start::socket_pair().unwrap();
    let [parents, childs] = lifeline::new().unwrap();
    let start = Start {
        function: None,
        identity: current::identity_of_helper("detached"),
        setup: Setup::default(),
        stdio: [ChildStdio::Keep; 3],
        numbers: Vec::new(),
        captured: None,
        acknowledge: true,
        detached: true,
        run_atexit: false,
        #[cfg(any(feature = "log", feature = "tracing"))]
        logging: None,
    };
    life::give_lifeline(ours.as_fd(), parents.as_fd()).unwrap();
    send_start(ours.as_fd(), &start, &[], &Encoded::default(), None).unwrap();
    drop(parents);
    let (mut gate, mut key) = pipe().unwrap();
    let number = ours.as_fd().as_raw_fd();
    let parent = std::thread::spawn(move || {
        assert!(!begun || poll::wait(&[ours.as_fd()], None).unwrap());
        drop(ours);
        key.write_all(b"x").unwrap();
    });
    let code = in_fork(move || {
        sys::descriptor::close_raw(number);
        let mut wait = move || gate.read_exact(&mut [0]).unwrap();
        if !begun {
            wait();
        }
        let function = move || {
            if begun {
                wait();
            }
            Ok(Encoded::default())
        };
        enter_with(Inherited { control: theirs.into(), lifeline: childs.into() }, Box::new(function))
    });
    parent.join().unwrap();
    code
}

/// Nobody was there to be told that it begins: it did not run, though it was on its own.
#[test]
fn a_detached_child_runs_whose_parent_has_gone_before() {
    alone("entry::bootstrap::tests::a_detached_child_runs_whose_parent_has_gone_before", || {
        assert_eq!(detached(false), 0);
    });
}

/// The kernel said that by another number than where nothing was left unread: it left with 1.
#[test]
fn a_detached_child_ends_well_whose_parent_has_left_something_unread() {
    alone(
        "entry::bootstrap::tests::a_detached_child_ends_well_whose_parent_has_left_something_unread",
        || {
            assert_eq!(detached(true), 0);
        },
    );
}
