//! What a connection over TCP does, which is made of bytes.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use ipc_core::{Bytes, Connector, Descriptor, Error, Listener, connect, wait};
use ipc_testkit::{GENEROUS, leaks, wait_until};

use crate::{SHORT, Words, meet};

fn connected() -> (Words, Words) {
    meet(&Listener::bind(("127.0.0.1", 0)).unwrap(), &Connector::new())
}

#[test]
fn values_and_bytes_of_any_length() {
    let _leaks = leaks();
    let (ours, theirs) = connected();
    for length in [0, 1, 7, 8, 9, 65_535, 65_536, 65_537, 1 << 20, 5 << 20] {
        let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| theirs.send_bytes(&bytes).unwrap());
            assert!(*ours.recv_bytes().unwrap() == *bytes, "{length}");
            scope.spawn(|| theirs.send("x".repeat(length)).unwrap());
            assert_eq!(ours.recv().unwrap().len(), length);
            let mut room = vec![1; length + 3];
            scope.spawn(|| theirs.send_bytes(&bytes).unwrap());
            assert_eq!(ours.recv_into(&mut room).unwrap(), length);
            assert!(room[..length] == *bytes && room[length..] == [1; 3]);
        });
    }
}

#[test]
fn a_value_is_no_bytes() {
    let (ours, theirs) = connected();
    theirs.send("x".into()).unwrap();
    let error = ours.recv_bytes().unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "{error}");
    theirs.send_bytes(b"x").unwrap();
    ours.recv().unwrap_err();
    theirs.send("next".into()).unwrap();
    assert_eq!(ours.recv().unwrap(), "next");
}

#[test]
fn too_long_is_skipped_and_the_connection_goes_on() {
    let _leaks = leaks();
    let (ours, theirs) = connected();
    ours.set_max_message(1000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            theirs.send_bytes(&[1; 1000]).unwrap();
            theirs.send_bytes(&[1; 1001]).unwrap();
            theirs.send_bytes(&vec![1; 3 << 20]).unwrap();
            theirs.send_bytes(b"next").unwrap();
        });
        assert_eq!(ours.recv_bytes().unwrap().len(), 1000);
        for length in [1001, 3 << 20] {
            assert!(ours.poll(None).unwrap());
            let error = ours.recv_bytes().unwrap_err();
            assert!(matches!(error, Error::TooLong { limit: 1000, length: l } if l == length), "{error}");
        }
        assert_eq!(*ours.recv_bytes().unwrap(), *b"next");
    });
}

#[test]
fn too_short_a_buffer_gives_the_message() {
    let (ours, theirs) = connected();
    theirs.send_bytes(b"abcdef").unwrap();
    let mut room = [0; 5];
    match ours.recv_into(&mut room).unwrap_err() {
        Error::BufferTooShort { message, room: 5 } => assert_eq!(message, Bytes::from(&b"abcdef"[..])),
        other => panic!("{other}"),
    }
}

/// Nothing is read ahead: whoever polls the descriptor sees what is there, also after `poll`.
#[test]
fn poll_and_readiness_agree() {
    let _leaks = leaks();
    let (ours, theirs) = connected();
    assert!(!ours.poll(Some(Duration::ZERO)).unwrap());
    for length in [0, 1, 100_000] {
        theirs.send_bytes(&vec![1; length]).unwrap();
        theirs.send_bytes(&[]).unwrap();
        for left in [1, 0] {
            for _ in 0..3 {
                assert!(ours.poll(Some(GENEROUS)).unwrap());
                assert_eq!(wait(&[&ours], None).unwrap(), [0]);
            }
            assert_eq!(ours.recv_bytes().unwrap().len(), if left == 1 { length } else { 0 });
        }
        assert!(!ours.poll(Some(Duration::ZERO)).unwrap());
        assert!(wait(&[&ours], Some(Duration::ZERO)).unwrap().is_empty());
    }
    drop(theirs);
    assert!(ours.poll(None).unwrap());
    assert!(ours.recv().unwrap_err().is_disconnected());
}

/// A deadline in the middle of a message loses nothing of it.
#[test]
fn a_message_in_parts_is_awaited_over_several_calls() {
    let _leaks = leaks();
    let listener = Listener::builder().without_authentication().bind(("127.0.0.1", 0)).unwrap();
    let (ours, mut raw) = std::thread::scope(|scope| {
        let raw = scope.spawn(|| strange_client(&listener));
        (listener.accept::<u8, u8>().unwrap(), raw.join().unwrap())
    });
    let frame = [&4_u64.to_le_bytes()[..], b"abc", &[2]].concat();
    for byte in &frame[..frame.len() - 1] {
        raw.write_all(&[*byte]).unwrap();
        assert_eq!(ours.receiver().recv_bytes_timeout(Duration::from_millis(5)).unwrap(), None);
        assert!(!ours.poll(Some(Duration::ZERO)).unwrap());
    }
    raw.write_all(&frame[frame.len() - 1..]).unwrap();
    assert_eq!(*ours.recv_bytes().unwrap(), *b"abc");
    // The end in the middle of a message is said to be that.
    raw.write_all(&frame[..10]).unwrap();
    drop(raw);
    let error = ours.recv_bytes().unwrap_err();
    assert!(error.is_disconnected() && error.to_string().contains("after 10 of 12 bytes"), "{error}");
}

/// Shakes hands by hand, without a key.
pub(crate) fn strange_client(listener: &Listener) -> std::net::TcpStream {
    let ipc_core::Address::Tcp(host, port) = listener.address() else { panic!() };
    let mut raw = std::net::TcpStream::connect((host.as_str(), *port)).unwrap();
    let mut hello = [0; 40];
    raw.read_exact(&mut hello).unwrap();
    assert_eq!(hello[..8], [39, 1, b'i', b'p', b'c', b'A', 1, 0]);
    hello[1] = 2;
    raw.write_all(&hello).unwrap();
    let mut welcome = [0; 2];
    raw.read_exact(&mut welcome).unwrap();
    assert_eq!(welcome, [1, 3]);
    raw
}

/// What is no frame: a length of zero, garbage, a length of all memory.
#[test]
fn hostile_frames_are_errors() {
    let _leaks = leaks();
    for (bytes, words) in [
        (&[0; 16][..], "no frame"),
        (&[255; 64], "at most"),
        (&[1, 0, 0, 0, 0, 0, 0, 0, 77], "unknown kind 77"),
        (&[0, 0, 0, 4, 0, 0, 0, 0, 1], "at most"),
    ] {
        let listener =
            Listener::builder().without_authentication().max_message(1 << 20).bind(("127.0.0.1", 0)).unwrap();
        std::thread::scope(|scope| {
            let client = scope.spawn(|| strange_client(&listener));
            let ours = listener.accept::<u8, u8>().unwrap();
            let mut raw = client.join().unwrap();
            raw.write_all(bytes).unwrap();
            drop(raw);
            let error = ours.recv().unwrap_err().to_string();
            assert!(error.contains(words), "{bytes:?}: {error}");
            // Then the end, or the same again, and never a hang.
            ours.recv().unwrap_err();
        });
    }
}

#[test]
fn descriptors_do_not_travel_and_nothing_is_sent() {
    let _leaks = leaks();
    let listener = Listener::bind(("127.0.0.1", 0)).unwrap();
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| connect::<Option<Descriptor>, u8>(listener.address()).unwrap());
        let ours = listener.accept::<u8, Option<Descriptor>>().unwrap();
        let theirs = theirs.join().unwrap();
        let null = Descriptor::from(std::fs::File::open("/dev/null").unwrap());
        let failed = theirs.send(Some(null)).unwrap_err().to_string();
        assert!(failed.contains("TCP"), "{failed}");
        theirs.send(None).unwrap();
        assert!(ours.recv().unwrap().is_none());
    });
}

/// A message that could be sent only in part ends the direction, and both sides are told.
#[test]
fn a_deadline_in_the_middle_of_sending_ends_the_direction() {
    let _leaks = leaks();
    let (ours, theirs) = connected();
    let begin = Instant::now();
    let error = theirs.sender().send_bytes_timeout(&vec![1; 64 << 20], SHORT).unwrap_err();
    assert!(error.is_timed_out() && begin.elapsed() >= SHORT, "{error}");
    assert!(error.to_string().contains("over TCP ends the direction"), "{error}");
    let error = theirs.send_bytes(b"next").unwrap_err();
    assert!(error.is_disconnected() && error.to_string().contains("sent in part"), "{error}");
    let error = ours.recv_bytes().unwrap_err();
    assert!(error.is_disconnected() && error.to_string().contains("in the middle of a message"), "{error}");
    // The other direction is what it was.
    ours.send("hello".into()).unwrap();
    assert_eq!(theirs.recv().unwrap(), "hello");
}

/// Nothing sent, nothing lost: a full socket refuses a message before its first byte.
#[test]
fn many_threads_send_without_tearing() {
    let _leaks = leaks();
    let (ours, theirs) = connected();
    std::thread::scope(|scope| {
        for which in 0..4_u8 {
            let theirs = &theirs;
            scope.spawn(move || {
                for length in [1, 70_000, 300_000] {
                    theirs.send_bytes(&vec![which; length]).unwrap();
                }
            });
        }
        let ours = &ours;
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(move || {
                    for _ in 0..4 {
                        let bytes = ours.recv_bytes().unwrap();
                        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
                    }
                })
            })
            .collect();
        receivers.into_iter().for_each(|one| one.join().unwrap());
    });
}

#[test]
fn a_connection_over_tcp_travels_to_a_child() {
    fn answer(client: Words) {
        client.send(client.recv().unwrap().to_uppercase()).unwrap();
    }
    let _leaks = leaks();
    let (ours, theirs) = connected();
    let child = ipc_core::Context::exec().spawn(answer, (ours,)).unwrap();
    theirs.send("hello".into()).unwrap();
    assert_eq!(theirs.recv().unwrap(), "HELLO");
    child.join().unwrap();
    assert!(wait_until(GENEROUS, || theirs.recv().is_err()));
}

/// Time-outs of the socket are not ours.
#[test]
fn the_sockets_own_timeouts_do_not_matter() {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    let _leaks = leaks();
    for (ours, theirs) in [connected(), meet(&Listener::private().unwrap(), &Connector::new())] {
        for end in [&ours, &theirs] {
            for which in [Timeout::Recv, Timeout::Send] {
                set_socket_timeout(end, which, Some(Duration::from_millis(10))).unwrap();
            }
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(100));
                theirs.send("late".into()).unwrap();
            });
            assert_eq!(ours.recv().unwrap(), "late");
        });
    }
}
