//! Messages of several packets: mixed, given up, waited for, with more descriptors than one packet takes.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ipc_core::{Bytes, Descriptor, pipe};
use ipc_testkit::leaks;

use crate::raw::{self, BYTES, Canary, GIVEN_UP, Header};
use crate::{SOON, pattern};

#[test]
fn parts_of_several_messages_mixed() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<()>().unwrap();
    let messages: Vec<_> = (0..10).map(|n| pattern(1000, n)).collect();
    for at in (0..1000).step_by(100) {
        for (id, message) in (1..).zip(&messages) {
            raw::send(sender.as_fd(), Header::part(id, at as u64, 1000), &message[at..at + 100]);
        }
        // Whole ones pass by.
        sender.send_bytes(&[at as u8]).unwrap();
    }
    for at in (0..900).step_by(100) {
        assert_eq!(receiver.recv_bytes().unwrap(), [at as u8][..]);
    }
    for (n, message) in messages.iter().enumerate() {
        // By turns in a buffer and in an allocation; what was begun in one may end in the other.
        if n % 2 == 0 {
            let mut buffer = vec![0; 1000];
            assert_eq!(receiver.recv_into(&mut buffer).unwrap(), 1000);
            assert!(buffer == *message);
        } else {
            assert!(receiver.recv_bytes().unwrap() == *message);
        }
    }
    assert_eq!(receiver.recv_bytes().unwrap(), [900_u16 as u8][..]);
}

#[test]
fn a_short_message_in_the_middle_of_one_in_the_callers_buffer() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<()>().unwrap();
    let (long, other) = (pattern(100, 1), pattern(90, 2));
    raw::send(sender.as_fd(), Header::part(1, 0, 100), &long[..40]);
    raw::send(sender.as_fd(), Header::part(2, 0, 90), &other[..50]);
    raw::send(sender.as_fd(), Header::part(1, 40, 100), &long[40..60]);
    sender.send_bytes(b"short").unwrap();
    let mut buffer = [0; 100];
    assert_eq!(receiver.recv_into(&mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"short");
    raw::send(sender.as_fd(), Header::part(2, 50, 90), &other[50..]);
    assert_eq!(receiver.recv_into(&mut buffer).unwrap(), 90);
    assert!(buffer[..90] == other);
    raw::send(sender.as_fd(), Header::part(1, 60, 100), &long[60..]);
    assert_eq!(receiver.recv_into(&mut buffer).unwrap(), 100);
    assert!(buffer[..] == long);
}

/// All orders in which the parts of three messages can come, received in one buffer.
#[test]
fn every_order_of_three_messages() {
    let _leaks = leaks();
    let messages: Vec<_> = (0..3).map(|n| pattern(30, 10 * n)).collect();
    for order in 0..3_u32.pow(6) {
        let order: Vec<_> = (0..6).map(|at| (order / 3_u32.pow(at) % 3) as usize).collect();
        if (0..3).any(|message| order.iter().filter(|&&m| m == message).count() != 2) {
            continue;
        }
        for into in [false, true] {
            let (sender, receiver) = pipe::<()>().unwrap();
            let mut begun = [0; 3];
            let mut complete = Vec::new();
            for &message in &order {
                let at = begun[message];
                let header = Header::part(message as u64, at as u64, 30);
                raw::send(sender.as_fd(), header, &messages[message][at..at + 15]);
                begun[message] += 15;
                if begun[message] == 30 {
                    complete.push(message);
                }
            }
            for message in complete {
                let mut buffer = [0; 40];
                let got = if into {
                    let len = receiver.recv_into(&mut buffer).unwrap();
                    buffer[..len].to_vec()
                } else {
                    receiver.recv_bytes().unwrap().into_vec()
                };
                assert!(got == messages[message], "{order:?}, {message}");
            }
        }
    }
}

#[test]
fn a_deadline_in_the_middle_loses_nothing() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<()>().unwrap();
    let message = pattern(1000, 1);
    let mut buffer = vec![0; 1000];
    for at in (0..1000).step_by(100) {
        assert_eq!(receiver.recv_into_timeout(&mut buffer, Duration::from_millis(1)).unwrap(), None);
        assert!(!receiver.poll(Some(Duration::ZERO)).unwrap());
        buffer.fill(0);
        raw::send(sender.as_fd(), Header::part(1, at as u64, 1000), &message[at..at + 100]);
    }
    assert!(receiver.poll(None).unwrap());
    assert_eq!(receiver.try_recv_into(&mut buffer).unwrap(), Some(1000));
    assert!(buffer == message);
}

#[test]
fn given_up_by_its_sender() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<Bytes>().unwrap();
    let message = Bytes::from(pattern(20 << 20, 1));
    let failed = sender.try_send(message.clone()).unwrap_err();
    assert!(failed.error().is_timed_out(), "{failed}");
    assert!(failed.into_value() == message);
    let begin = Instant::now();
    let failed = sender.send_timeout(message.clone(), Duration::from_millis(30)).unwrap_err();
    assert!(failed.error().is_timed_out() && begin.elapsed() >= Duration::from_millis(30));
    // No part of it is taken for a message.
    assert!(receiver.try_recv().unwrap().is_none());
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(message.clone()).unwrap());
        assert!(receiver.recv().unwrap() == message);
    });
    // What was begun before is forgotten: the end is a plain one.
    drop(sender);
    let end = receiver.recv().unwrap_err();
    assert_eq!(end.to_string(), "could not receive: the peer has closed its end or died");
}

#[test]
fn a_word_that_no_more_will_come() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<()>().unwrap();
    let canary = Canary::new();
    let begin = Header { here: 1, total: 1, ..Header::part(1, 0, 10) };
    raw::packet(sender.as_fd(), &[&begin.bytes()[..], b"x"].concat(), &[canary.as_fd()]);
    assert_eq!(receiver.try_recv_bytes().unwrap(), None);
    assert_eq!(canary.copies(), 1);
    raw::send(sender.as_fd(), Header { kind: BYTES, flags: GIVEN_UP, id: 1, ..Header::default() }, b"");
    assert!(!receiver.poll(Some(Duration::ZERO)).unwrap());
    assert_eq!(canary.copies(), 0);
    // Of a message that is not known it is no error.
    raw::send(sender.as_fd(), Header { kind: BYTES, flags: GIVEN_UP, id: 2, ..Header::default() }, b"");
    sender.send_bytes(b"good").unwrap();
    assert_eq!(receiver.recv_bytes().unwrap(), b"good"[..]);
}

#[test]
fn more_descriptors_than_one_packet_takes() {
    let _leaks = leaks();
    for count in [1, 252, 253, 254, 506, 507, 800] {
        for text in ["short".to_owned(), "long".repeat(100_000)] {
            let (sender, receiver) = pipe::<(String, Vec<Descriptor>)>().unwrap();
            let canary = Canary::new();
            let one = || Descriptor::from(canary.as_fd().try_clone_to_owned().unwrap());
            std::thread::scope(|scope| {
                scope.spawn(|| sender.send((text.clone(), (0..count).map(|_| one()).collect())).unwrap());
                let (came, descriptors) = receiver.recv_timeout(SOON).unwrap().unwrap();
                assert!(came == text);
                assert_eq!(descriptors.len(), count);
            });
            assert_eq!(canary.copies(), 0);
        }
    }
}

#[test]
fn a_small_buffer_of_the_socket() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<()>().unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&sender, 4096).unwrap();
    for len in [5000, 60_000, 600_000] {
        let message = pattern(len, 9);
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send_bytes(&message).unwrap());
            assert!(receiver.recv_bytes().unwrap() == message, "{len}");
        });
    }
}
