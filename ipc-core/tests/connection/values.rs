//! Values, deadlines, looking ahead.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipc_core::codec::{Codec, CodecError, Postcard};
use ipc_core::{Bytes, Context, Descriptor, Error, Receiver, SendError, Sender, Signal, duplex, pipe};
use ipc_testkit::{leaks, wait_until};
use serde::{Deserialize, Serialize};

use crate::SOON;
use crate::support::state_and_parent;

#[test]
fn values_in_order() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<(u32, String)>().unwrap();
    for n in 0..100 {
        sender.send((n, n.to_string())).unwrap();
    }
    for n in 0..100 {
        assert_eq!(receiver.recv().unwrap(), (n, n.to_string()));
    }
    assert_eq!(receiver.try_recv().unwrap(), None);
}

#[test]
fn both_ways_at_once() {
    let _leaks = leaks();
    let (one, other) = duplex::<u8, String>().unwrap();
    one.send(1).unwrap();
    other.send("two".into()).unwrap();
    assert_eq!(one.recv().unwrap(), "two");
    assert_eq!(other.recv().unwrap(), 1);
}

#[test]
fn times_are_kept() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<u8>().unwrap();
    let begin = Instant::now();
    let wait = Duration::from_millis(30);
    assert_eq!(receiver.recv_timeout(wait).unwrap(), None);
    assert_eq!(receiver.recv_deadline(Instant::now() + wait).unwrap(), None);
    assert!(!receiver.poll(Some(wait)).unwrap());
    assert!(!receiver.poll_deadline(Instant::now() + wait).unwrap());
    assert_eq!(receiver.recv_bytes_timeout(wait).unwrap(), None);
    assert_eq!(receiver.recv_into_timeout(&mut [0; 4], wait).unwrap(), None);
    assert_eq!(receiver.recv_bytes_deadline(Instant::now() + wait).unwrap(), None);
    assert_eq!(receiver.recv_into_deadline(&mut [0; 4], Instant::now() + wait).unwrap(), None);
    assert!(begin.elapsed() >= 8 * wait, "{:?}", begin.elapsed());
    // A deadline that has passed still gives what is there.
    sender.send(7).unwrap();
    assert_eq!(receiver.recv_deadline(begin).unwrap(), Some(7));
    sender.send_bytes_deadline(b"abc", begin).unwrap();
    sender.send_bytes_deadline(b"defg", begin).unwrap();
    assert_eq!(receiver.recv_bytes_deadline(begin).unwrap().unwrap(), b"abc"[..]);
    let mut buffer = [0; 4];
    assert_eq!(receiver.recv_into_deadline(&mut buffer, begin).unwrap(), Some(4));
    assert_eq!(&buffer, b"defg");
    // A time that no clock can hold is for ever.
    sender.send(8).unwrap();
    assert_eq!(receiver.recv_timeout(Duration::MAX).unwrap(), Some(8));
}

#[test]
fn looking_ahead_takes_nothing() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<u8>().unwrap();
    assert!(!receiver.poll(Some(Duration::ZERO)).unwrap());
    sender.send(7).unwrap();
    assert!(receiver.poll(None).unwrap());
    assert!(receiver.poll(Some(Duration::ZERO)).unwrap());
    assert_eq!(receiver.recv().unwrap(), 7);
    assert!(!receiver.poll(Some(Duration::ZERO)).unwrap());
    drop(sender);
    assert!(receiver.poll(None).unwrap(), "the end can be received without waiting");
    assert!(receiver.recv().unwrap_err().is_disconnected());
    assert!(receiver.recv().unwrap_err().is_disconnected(), "and again");
}

#[test]
fn the_iterator_ends_with_the_sender() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<u8>().unwrap();
    sender.send(1).unwrap();
    sender.send_bytes(b"between").unwrap();
    sender.send(2).unwrap();
    drop(sender);
    let items: Vec<_> = receiver.into_iter().collect();
    assert_eq!(items.len(), 3);
    assert_eq!((items[0].as_ref().unwrap(), items[2].as_ref().unwrap()), (&1, &2));
    assert!(matches!(items[1], Err(Error::Decode { .. })), "{:?}", items[1]);
}

#[test]
fn a_value_that_cannot_be_serialised_comes_back() {
    let _leaks = leaks();
    #[derive(Debug, PartialEq, Deserialize)]
    struct Fragile(u8);
    impl Serialize for Fragile {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0 == 0 {
                return Err(serde::ser::Error::custom("the sensor is not calibrated"));
            }
            serializer.serialize_u8(self.0)
        }
    }
    let (sender, receiver) = pipe::<Fragile>().unwrap();
    let failed = sender.send(Fragile(0)).unwrap_err();
    assert_eq!(
        failed.to_string(),
        "could not serialise a value: cannot encode a `connection::values::a_value_that_cannot_be_serialised_comes_back::Fragile`: the sensor is not calibrated"
    );
    assert_eq!(failed.into_value(), Fragile(0));
    sender.send(Fragile(1)).unwrap();
    assert_eq!(receiver.recv().unwrap(), Fragile(1));
}

#[test]
fn a_full_socket() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<Vec<u8>>().unwrap();
    let mut sent = 0;
    let failed = loop {
        match sender.try_send(vec![sent as u8; 10_000]) {
            Ok(()) => sent += 1,
            Err(failed) => break failed,
        }
    };
    assert!(failed.error().is_timed_out(), "{failed}");
    assert_eq!(failed.to_string(), "could not send a value in the time given");
    assert_eq!(failed.into_value(), vec![sent as u8; 10_000]);
    let begin = Instant::now();
    let wait = Duration::from_millis(30);
    let failed = sender.send_timeout(vec![0; 10_000], wait).unwrap_err();
    assert!(failed.error().is_timed_out() && begin.elapsed() >= wait);
    assert!(sender.send_deadline(vec![0; 10_000], begin).unwrap_err().error().is_timed_out());
    assert!(sender.try_send_bytes(&[0; 10_000]).unwrap_err().is_timed_out());
    let begin = Instant::now();
    assert!(sender.send_bytes_deadline(&[0; 10_000], begin + wait).unwrap_err().is_timed_out());
    assert!(begin.elapsed() >= wait);
    // Nothing was torn, and there is room again.
    for n in 0..sent {
        assert_eq!(receiver.recv_timeout(SOON).unwrap().unwrap(), vec![n as u8; 10_000]);
    }
    sender.try_send(vec![1]).unwrap();
    assert_eq!(receiver.recv().unwrap(), [1]);
}

/// What came: how long each was, and whether it was what it should be.
fn read_all(receiver: Receiver<(u8, Bytes)>, awake: Sender<u8>) -> Vec<(u8, usize)> {
    let mut came = Vec::new();
    for message in receiver {
        let (n, bytes) = message.unwrap();
        assert!(bytes == crate::pattern(bytes.len(), n), "message {n}");
        came.push((n, bytes.len()));
        if n == 0 {
            awake.send(n).unwrap();
        }
    }
    came
}

/// The process that receives is stopped, in the middle of whatever it does: senders keep their deadlines, and when it goes on,
/// it gets all that was sent, and nothing of what was not.
#[test]
fn a_stopped_reader() {
    let _leaks = leaks();
    let (sender, receiver) = pipe().unwrap();
    let (awake, awoken) = pipe().unwrap();
    let message = |n: u8, len| (n, Bytes::from(crate::pattern(len, n)));
    let child = Context::exec().spawn(read_all, (receiver, awake)).unwrap();
    sender.send(message(0, 3)).unwrap();
    assert_eq!(awoken.recv_timeout(SOON).unwrap(), Some(0));
    child.signal(Signal::STOP).unwrap();
    assert!(wait_until(SOON, || matches!(state_and_parent(child.pid()), Some(('T', _)))));

    let mut sent = vec![(0, 3)];
    let wait = Duration::from_millis(30);
    for len in [10_000, 1 << 20] {
        let failed = loop {
            let n = sent.len() as u8;
            let begin = Instant::now();
            match sender.send_timeout(message(n, len), wait) {
                Ok(()) => sent.push((n, len)),
                Err(failed) => {
                    assert!(begin.elapsed() >= wait);
                    break failed;
                }
            }
        };
        assert!(failed.error().is_timed_out(), "{failed}");
        assert!(failed.into_value() == message(sent.len() as u8, len), "the value comes back");
    }
    assert!(sent.len() > 2, "some found room");
    assert!(sender.send_deadline(message(99, 1 << 20), Instant::now() + wait).is_err());

    child.signal(Signal::CONT).unwrap();
    for len in [1 << 20, 5] {
        let n = sent.len() as u8;
        sender.send_timeout(message(n, len), SOON).unwrap();
        sent.push((n, len));
    }
    drop(sender);
    assert_eq!(child.join().unwrap(), sent);
}

/// A format that tells numbers by themselves, as most do but postcard.
#[test]
fn handles_in_a_format_that_tells_what_comes() {
    #[derive(Default)]
    struct Json;
    impl Codec for Json {
        fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
            serde_json::to_writer(out, value).map_err(|error| CodecError::new(error.to_string()))
        }
        fn decode<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
            serde_json::from_slice(bytes).map_err(|error| CodecError::new(error.to_string()))
        }
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Job {
        Write { text: String, to: Descriptor },
        Answer { with: u8, by: Option<Sender<u8>>, then: Receiver<u8> },
    }
    let _leaks = leaks();
    let (sender, receiver) = pipe::<Vec<Job>>().unwrap();
    let (sender, receiver) = (sender.with_codec::<Json>(), receiver.with_codec::<Json>());
    let (mut read, write) = std::io::pipe().unwrap();
    let ((by, answers), (more, then)) = (pipe().unwrap(), pipe().unwrap());
    sender
        .send(vec![
            Job::Write { text: "written".into(), to: write.into() },
            Job::Answer { with: 7, by: Some(by), then },
        ])
        .unwrap();
    let mut jobs = receiver.recv().unwrap().into_iter();
    let (Some(Job::Write { text, to }), Some(Job::Answer { with, by: Some(by), then })) =
        (jobs.next(), jobs.next())
    else {
        panic!("other jobs")
    };
    std::io::Write::write_all(&mut to.into_inner::<std::fs::File>(), text.as_bytes()).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut read, &mut text).unwrap();
    assert_eq!(text, "written");
    by.send(with).unwrap();
    assert_eq!(answers.recv().unwrap(), 7);
    more.send(8).unwrap();
    assert_eq!(then.recv().unwrap(), 8);

    // A connection as a whole, by such a connection.
    let (ours, theirs) = duplex::<Option<ipc_core::Connection<u8>>, u8>().unwrap();
    let (ours, theirs) = (ours.with_codec::<Json>(), theirs.with_codec::<Json>());
    let (one, other) = duplex().unwrap();
    ours.send(Some(one)).unwrap();
    let one = theirs.recv().unwrap().unwrap();
    one.send(9).unwrap();
    assert_eq!(other.recv().unwrap(), 9);
}

#[test]
fn a_codec_of_ones_own() {
    let _leaks = leaks();
    /// Postcard, and every byte negated.
    #[derive(Default)]
    struct Negated;
    impl Codec for Negated {
        fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
            Postcard.encode(value, out)?;
            out.iter_mut().for_each(|byte| *byte = !*byte);
            Ok(())
        }
        fn decode<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
            Postcard.decode(&bytes.iter().map(|byte| !byte).collect::<Vec<_>>())
        }
    }
    let (one, other) = duplex::<u8, u8>().unwrap();
    let (one, other) = (one.with_codec::<Negated>(), other.with_codec::<Negated>());
    one.send(5).unwrap();
    assert_eq!(other.recv().unwrap(), 5);
    let (sender, receiver) = pipe::<BTreeMap<String, u8>>().unwrap();
    let sender = sender.with_codec::<Negated>();
    sender.send([("a".to_owned(), 1)].into()).unwrap();
    let error = receiver.recv().unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "the other side speaks another: {error}");
}

#[test]
fn the_error_of_a_send_travels() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<u8>().unwrap();
    drop(receiver);
    let failed = sender.send(3).unwrap_err();
    let (errors, received) = pipe::<SendError<u8>>().unwrap();
    errors.send(failed).unwrap();
    let (value, error) = received.recv().unwrap().into_parts();
    assert_eq!(value, 3);
    assert_eq!(error.to_string(), "could not send a value: the peer has closed its end or died");
}
