//! The thread back end's pipe: as a pipe between processes, and the values are moved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::{Connection, Context, Error, Receiver, Sender, pipe};
use ipc_testkit::leaks;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Would be an error to encode or decode.
#[derive(Debug)]
struct Moved(Arc<u8>);

impl Serialize for Moved {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("encoded"))
    }
}

impl<'de> Deserialize<'de> for Moved {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("decoded"))
    }
}

fn ready(end: impl std::os::fd::AsFd, flags: PollFlags) -> bool {
    poll(&mut [PollFd::new(&end, flags)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
}

#[test]
fn values_are_moved() {
    let _leaks = leaks();
    let context = Context::threads();
    let (sender, receiver) = context.pipe::<Moved>().unwrap();
    let value = Arc::new(7);
    let there = value.clone();
    sender.send(Moved(there)).unwrap();
    assert!(Arc::ptr_eq(&receiver.recv().unwrap().0, &value));
}

#[test]
fn children_that_are_threads_use_it() {
    let _leaks = leaks();
    fn double(peer: Connection<u64, u64>) {
        while let Ok(n) = peer.recv() {
            peer.send(2 * n).unwrap();
        }
    }
    let context = Context::threads();
    let (ours, theirs) = context.duplex::<u64, u64>().unwrap();
    let child = context.spawn(double, (theirs,)).unwrap();
    for n in 0..100 {
        ours.send(n).unwrap();
        assert_eq!(ours.recv().unwrap(), 2 * n);
    }
    drop(ours);
    child.join().unwrap();
}

#[test]
fn descriptors_show_its_state() {
    let _leaks = leaks();
    let (sender, receiver) = Context::threads().pipe::<usize>().unwrap();
    assert!(!ready(&receiver, PollFlags::IN) && ready(&sender, PollFlags::OUT));
    let mut count = 0;
    while sender.try_send(count).is_ok() {
        count += 1;
        assert!(ready(&receiver, PollFlags::IN));
    }
    assert!(!ready(&sender, PollFlags::OUT));
    for n in 0..count {
        assert_eq!(receiver.recv().unwrap(), n);
        assert!(ready(&sender, PollFlags::OUT));
    }
    assert!(!ready(&receiver, PollFlags::IN));
    drop(sender);
    assert!(ready(&receiver, PollFlags::IN));
    assert!(receiver.recv().unwrap_err().is_disconnected());
    assert!(ready(&receiver, PollFlags::IN));
    let (sender, receiver) = Context::threads().pipe::<usize>().unwrap();
    while sender.try_send(0).is_ok() {}
    drop(receiver);
    assert!(ready(&sender, PollFlags::OUT));
    let failed = sender.send(5).unwrap_err();
    assert!(failed.error().is_disconnected());
    assert_eq!(failed.into_value(), 5);
}

#[test]
fn times_and_limits() {
    let _leaks = leaks();
    let (sender, receiver) = Context::threads().pipe::<u8>().unwrap();
    let (begin, wait) = (Instant::now(), Duration::from_millis(20));
    assert_eq!(receiver.recv_timeout(wait).unwrap(), None);
    assert!(!receiver.poll(Some(wait)).unwrap());
    while sender.try_send(1).is_ok() {}
    assert!(sender.send_timeout(1, wait).unwrap_err().error().is_timed_out());
    assert!(begin.elapsed() >= 3 * wait);
    assert!(receiver.poll(None).unwrap());

    let (sender, receiver) = Context::threads().pipe::<u8>().unwrap();
    sender.send_bytes(b"abc").unwrap();
    sender.send_bytes(b"abc").unwrap();
    sender.send_bytes(b"abc").unwrap();
    sender.send_bytes(b"abc").unwrap();
    sender.send(1).unwrap();
    sender.send_bytes(b"abc").unwrap();
    assert_eq!(receiver.recv_bytes().unwrap(), b"abc"[..]);
    assert_eq!(receiver.recv_into(&mut [0; 3]).unwrap(), 3);
    match receiver.recv_into(&mut [0; 2]).unwrap_err() {
        Error::BufferTooShort { message, room } => assert_eq!((&*message, room), (&b"abc"[..], 2)),
        other => panic!("{other}"),
    }
    receiver.set_max_message(2);
    assert!(matches!(receiver.recv_bytes().unwrap_err(), Error::TooLong { length: 3, limit: 2 }));
    assert!(receiver.recv_bytes().unwrap_err().to_string().contains("it is a value"));
    assert!(receiver.recv().unwrap_err().to_string().contains("it is bytes"));
}

#[test]
fn its_ends_stay_in_their_process() {
    let _leaks = leaks();
    let (memory_sender, memory_receiver) = Context::threads().pipe::<u8>().unwrap();
    let (ours, theirs) = Context::threads().duplex::<u8, u8>().unwrap();
    let (senders, _kept) = pipe::<Sender<u8>>().unwrap();
    let (receivers, _kept_too) = pipe::<Receiver<u8>>().unwrap();
    let (connections, _kept_as_well) = pipe::<Connection<u8>>().unwrap();
    for error in [
        senders.send(memory_sender).unwrap_err().to_string(),
        receivers.send(memory_receiver).unwrap_err().to_string(),
        connections.send(ours).unwrap_err().to_string(),
    ] {
        assert!(error.contains("is in this process's memory and cannot be sent to another"), "{error}");
    }
    drop(theirs);
}

#[test]
fn dropping_a_queue_drops_its_values() {
    let _leaks = leaks();
    let (sender, receiver) = Context::threads().pipe::<Moved>().unwrap();
    let value = Arc::new(7);
    sender.send(Moved(value.clone())).unwrap();
    drop(receiver);
    assert_eq!(Arc::strong_count(&value), 1);
}
