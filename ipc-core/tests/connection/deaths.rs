//! The table of deaths in the documentation, row by row. Deaths at every instant: `tests/crash.rs`.

use std::os::fd::AsFd;

use ipc_core::{Bytes, Receiver, Sender, Signal, pipe, spawn};
use ipc_testkit::wait_until;

use crate::raw::{self, Header};
use crate::{SOON, pattern};

fn send_and_die(sender: Sender<Bytes>) {
    sender.send(pattern(100, 1).into()).unwrap();
    sender.send(pattern(1_000_000, 2).into()).unwrap();
    std::process::abort();
}

fn die_in_the_middle(sender: Sender<Bytes>) {
    sender.send(pattern(100, 1).into()).unwrap();
    raw::send(sender.as_fd(), Header::part(1, 0, 1000), &[0; 600]);
    std::process::abort();
}

#[test]
fn a_sender_between_messages() {
    let _leaks = crate::with_server();
    let (sender, receiver) = pipe().unwrap();
    let child = spawn(send_and_die, (sender,)).unwrap();
    assert!(receiver.recv().unwrap() == pattern(100, 1));
    assert!(receiver.recv().unwrap() == pattern(1_000_000, 2));
    let end = receiver.recv().unwrap_err();
    assert_eq!(end.to_string(), "could not receive: the peer has closed its end or died");
    assert_eq!(child.join().unwrap_err().signal(), Some(Signal::ABORT));
}

#[test]
fn a_sender_in_the_middle_of_a_message() {
    let _leaks = crate::with_server();
    let (sender, receiver) = pipe().unwrap();
    let child = spawn(die_in_the_middle, (sender,)).unwrap();
    assert!(receiver.recv().unwrap() == pattern(100, 1));
    let error = receiver.recv().unwrap_err();
    assert!(error.is_disconnected() && error.to_string().ends_with("after 600 of 1000 bytes"), "{error}");
    child.join().unwrap_err();
}

#[test]
fn one_of_several_senders_in_the_middle() {
    let _leaks = crate::with_server();
    let (sender, receiver) = pipe().unwrap();
    let child = spawn(die_in_the_middle, (sender.clone(),)).unwrap();
    child.join().unwrap_err();
    sender.send(pattern(1_000, 3).into()).unwrap();
    assert!(receiver.recv().unwrap() == pattern(100, 1));
    assert!(receiver.recv().unwrap() == pattern(1_000, 3));
}

fn receive_one_and_die(receiver: Receiver<Bytes>) {
    receiver.recv().unwrap();
    std::process::abort();
}

#[test]
fn a_receiver() {
    let _leaks = crate::with_server();
    let (sender, receiver) = pipe::<Bytes>().unwrap();
    let child = spawn(receive_one_and_die, (receiver,)).unwrap();
    let sent = std::iter::repeat_with(|| sender.send(pattern(300_000, 1).into()));
    let failed = sent.take(1000).find_map(Result::err).expect("it is gone");
    assert!(failed.error().is_disconnected(), "{failed}");
    assert!(failed.into_value() == pattern(300_000, 1));
    child.join().unwrap_err();
}

#[test]
fn one_of_several_receivers_in_the_middle() {
    let _leaks = crate::with_server();
    fn take_the_beginning(receiver: Receiver<Bytes>) {
        while receiver.try_recv_bytes().unwrap().is_none() {
            std::thread::yield_now();
        }
        std::process::abort();
    }
    let (sender, receiver) = pipe::<Bytes>().unwrap();
    let theirs = receiver.try_clone().unwrap();
    raw::send(sender.as_fd(), Header::part(1, 0, 1000), &[0; 600]);
    let child = spawn(take_the_beginning, (theirs,)).unwrap();
    assert!(wait_until(SOON, || !receiver_has_packet(&receiver)));
    sender.send_bytes(b"enough").unwrap();
    child.join().unwrap_err();
    raw::send(sender.as_fd(), Header::part(1, 600, 1000), &[0; 400]);
    sender.send(b"next"[..].into()).unwrap();
    let error = receiver.recv().unwrap_err();
    assert!(error.to_string().contains("whose beginning another process has received"), "{error}");
    assert!(receiver.recv().unwrap() == b"next"[..]);
}

fn receiver_has_packet(receiver: &Receiver<Bytes>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    poll(&mut [PollFd::new(receiver, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
}
