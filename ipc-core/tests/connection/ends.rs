//! Which end ends what.

use ipc_core::{Error, duplex, pipe};
use ipc_testkit::leaks;
use std::os::fd::AsFd;

use crate::raw::{self, Header};

fn disconnected<T: std::fmt::Debug>(result: Result<T, impl Into<Error>>) -> String {
    let error = result.unwrap_err().into();
    assert!(error.is_disconnected(), "{error}");
    error.to_string()
}

#[test]
fn a_pipe_ends_with_its_last_sender() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<u8>().unwrap();
    let other = sender.clone();
    drop(sender);
    other.send(1).unwrap();
    drop(other);
    assert_eq!(receiver.recv().unwrap(), 1);
    assert_eq!(disconnected(receiver.recv()), "could not receive: the peer has closed its end or died");
    disconnected(receiver.recv_bytes());
    disconnected(receiver.recv_into(&mut [0; 4]));
    disconnected(receiver.try_recv());
}

#[test]
fn nobody_sends_to_a_receiver_that_is_gone() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<u8>().unwrap();
    sender.send(1).unwrap();
    drop(receiver);
    let failed = sender.send(2).unwrap_err();
    assert_eq!(failed.to_string(), "could not send a value: the peer has closed its end or died");
    disconnected(sender.try_send(3));
    disconnected(sender.send_bytes(&[0; 1 << 20]));
}

#[test]
fn what_was_sent_before_the_end_arrives() {
    let _leaks = leaks();
    let (one, other) = duplex::<u8, u8>().unwrap();
    one.send(1).unwrap();
    other.send(2).unwrap();
    // Closed with something unread: the kernel says so before it gives what was sent.
    drop(other);
    assert_eq!(one.recv().unwrap(), 2);
    disconnected(one.recv());
}

#[test]
fn halves_end_their_direction() {
    let _leaks = leaks();
    let (one, other) = duplex::<u8, u8>().unwrap();
    let (sender, receiver) = one.split();
    sender.send(1).unwrap();
    drop(sender);
    assert_eq!(other.recv().unwrap(), 1);
    disconnected(other.recv());
    other.send(2).unwrap();
    assert_eq!(receiver.recv().unwrap(), 2);
    drop(receiver);
    disconnected(other.send(3));

    let (one, other) = duplex::<u8, u8>().unwrap();
    let (sender, receiver) = one.split();
    drop(receiver);
    disconnected(other.send(3));
    sender.send(1).unwrap();
    assert_eq!(other.recv().unwrap(), 1);
}

#[test]
fn the_end_in_the_middle_of_a_message() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<u8>().unwrap();
    sender.send(1).unwrap();
    raw::send(sender.as_fd(), Header::part(1, 0, 100), &[0; 30]);
    raw::send(sender.as_fd(), Header::part(1, 30, 100), &[0; 30]);
    drop(sender);
    assert_eq!(receiver.recv().unwrap(), 1);
    assert_eq!(
        disconnected(receiver.recv()),
        "could not receive: the peer has closed its end or died in the middle of a message, after 60 of 100 bytes"
    );
    assert_eq!(disconnected(receiver.recv()), "could not receive: the peer has closed its end or died");
    // The same as items.
    let (sender, receiver) = pipe::<u8>().unwrap();
    raw::send(sender.as_fd(), Header::part(1, 0, 100), &[0; 30]);
    drop(sender);
    let items: Vec<_> = receiver.iter().collect();
    assert_eq!(items.len(), 1, "{items:?}");
}

#[test]
fn a_thread_that_waits_sees_the_end() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<u8>().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| receiver.recv());
        let looking = scope.spawn(|| receiver.poll(None));
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(sender);
        disconnected(waiting.join().unwrap());
        assert!(looking.join().unwrap().unwrap());
    });
}
