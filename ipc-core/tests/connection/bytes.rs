//! Bytes as they are, and limits of length.

use ipc_core::{Error, pipe};
use ipc_testkit::leaks;

use crate::pattern;

const LENGTHS: [usize; 14] = [
    0,
    1,
    47,
    48,
    255,
    256,
    257,
    4096,
    64 << 10,
    (64 << 10) + 1,
    (68 << 10) + 1,
    256 << 10,
    1 << 20,
    (5 << 20) + 3,
];

/// Sends from another thread, as what is longer than the socket's room needs somebody who receives.
fn sending(f: impl FnOnce(&ipc_core::Sender<()>) + Send, receive: impl FnOnce(&ipc_core::Receiver<()>)) {
    let (sender, receiver) = pipe::<()>().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| f(&sender));
        receive(&receiver);
    });
}

#[test]
fn any_length_in_any_way() {
    let _leaks = leaks();
    for len in LENGTHS {
        let bytes = pattern(len, 3);
        let sent = &bytes;
        sending(
            |sender| (0..3).for_each(|_| sender.send_bytes(sent).unwrap()),
            |receiver| {
                assert!(receiver.recv_bytes().unwrap() == *sent, "{len} bytes in an allocation");
                let mut exact = vec![0; len];
                assert_eq!(receiver.recv_into(&mut exact).unwrap(), len);
                assert!(exact == *sent, "{len} bytes in a buffer");
                let mut longer = vec![9; len + 100];
                assert_eq!(receiver.recv_into(&mut longer).unwrap(), len);
                assert!(longer[..len] == *sent, "{len} bytes in a longer buffer");
            },
        );
    }
}

#[test]
fn a_buffer_that_is_too_short_loses_nothing() {
    let _leaks = leaks();
    for len in LENGTHS.into_iter().skip(1) {
        let sent = &pattern(len, 5);
        sending(
            |sender| (0..2).for_each(|_| sender.send_bytes(sent).unwrap()),
            |receiver| {
                let mut short = vec![0; len - 1];
                match receiver.recv_into(&mut short).unwrap_err() {
                    Error::BufferTooShort { message, room } => {
                        assert_eq!(room, len - 1);
                        assert!(message == *sent, "{len} bytes");
                    }
                    other => panic!("{other}"),
                }
                assert!(receiver.recv_bytes().unwrap() == *sent, "the next one");
            },
        );
    }
}

#[test]
fn longer_than_allowed_is_read_away() {
    let _leaks = leaks();
    for len in LENGTHS.into_iter().skip(1) {
        let sent = &pattern(len, 7);
        sending(
            |sender| {
                sender.send_bytes(sent).unwrap();
                sender.send_bytes(&sent[1..]).unwrap();
                sender.send_bytes(sent).unwrap();
                sender.send_bytes(b"").unwrap();
            },
            |receiver| {
                receiver.set_max_message(len - 1);
                assert_eq!(receiver.max_message(), len - 1);
                match receiver.recv_bytes().unwrap_err() {
                    Error::TooLong { length, limit } => assert_eq!((length, limit), (len as u64, len - 1)),
                    other => panic!("{other}"),
                }
                assert!(receiver.recv_bytes().unwrap() == sent[1..], "one of the limit");
                let mut buffer = vec![0; len];
                let error = receiver.recv_into(&mut buffer).unwrap_err();
                assert!(matches!(error, Error::TooLong { .. }), "{error}");
                assert_eq!(receiver.recv_bytes().unwrap(), b""[..]);
            },
        );
    }
}

#[test]
fn one_as_the_other_is_an_error_and_gone() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<u8>().unwrap();
    sender.send(1).unwrap();
    sender.send_bytes(b"abc").unwrap();
    sender.send(2).unwrap();
    let error = receiver.recv_bytes().unwrap_err();
    assert!(error.to_string().contains("it is a value"), "{error}");
    let error = receiver.recv().unwrap_err();
    assert!(error.to_string().contains("it is bytes"), "{error}");
    assert_eq!(receiver.recv().unwrap(), 2);
}
