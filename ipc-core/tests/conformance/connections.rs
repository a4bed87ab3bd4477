//! Pipes: what goes through them, and what does not.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use ipc_core::{Connection, Descriptor, Error, Receiver, Sender};
use serde::{Deserialize, Serialize};

use crate::support::Method;

/// What an echo can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Item {
    Number(f64),
    Text(String),
    List(Vec<u8>),
    Nothing,
}

/// Sends back everything until it is sent an empty message of bytes; bytes as bytes.
fn echo(connection: Connection<Item, Item>) {
    loop {
        match connection.recv() {
            Ok(item) => connection.send(item).unwrap(),
            Err(error) => {
                assert!(matches!(error, Error::Decode { .. }), "{error}");
                return;
            }
        }
    }
}

fn echo_bytes(connection: Connection<u8, u8>) {
    loop {
        let bytes = connection.recv_bytes().unwrap();
        if bytes.is_empty() {
            return;
        }
        connection.send_bytes(&bytes).unwrap();
    }
}

pub(crate) fn connection(m: Method) {
    let context = m.context();
    let (ours, theirs) = context.duplex::<Item, Item>().unwrap();
    let child = context.builder().daemon(true).spawn(echo, (theirs,)).unwrap();

    for item in [
        Item::Number(1.25),
        Item::Text("hello world".into()),
        Item::List((0..=255).collect()),
        Item::Nothing,
        Item::List(vec![7; 3000]),
    ] {
        ours.send(item.clone()).unwrap();
        assert_eq!(ours.recv().unwrap(), item);
    }

    // Nothing is there, and every time-out ends.
    for (timeout, least) in
        [(Duration::ZERO, Duration::ZERO), (Duration::from_millis(100), Duration::from_millis(100))]
    {
        let begin = Instant::now();
        assert!(!ours.poll(Some(timeout)).unwrap());
        assert!(begin.elapsed() >= least);
    }
    ours.send(Item::Nothing).unwrap();
    assert!(ours.poll(None).unwrap());
    assert_eq!(ours.recv().unwrap(), Item::Nothing);
    ours.send_bytes(&[]).unwrap();
    child.join().unwrap();

    let (ours, theirs) = context.duplex::<u8, u8>().unwrap();
    let child = context.builder().daemon(true).spawn(echo_bytes, (theirs,)).unwrap();
    ours.send_bytes(b"latin").unwrap();
    assert_eq!(*ours.recv_bytes().unwrap(), *b"latin");

    let numbers: Vec<u8> = [0_i32, 1, 2, 3].iter().flat_map(|number| number.to_ne_bytes()).collect();
    let mut buffer = [0; 40];
    ours.send_bytes(&numbers).unwrap();
    assert_eq!(ours.recv_into(&mut buffer).unwrap(), numbers.len());
    assert_eq!(buffer[..16], numbers[..]);
    // With an offset.
    ours.send_bytes(&numbers).unwrap();
    assert_eq!(ours.recv_into(&mut buffer[12..]).unwrap(), numbers.len());
    assert_eq!(buffer[12..28], numbers[..]);
    // Too short: the message is in the error.
    let long = [b'x'; 50];
    ours.send_bytes(&long).unwrap();
    match ours.recv_into(&mut buffer).unwrap_err() {
        Error::BufferTooShort { message, .. } => assert_eq!(*message, long),
        other => panic!("{other}"),
    }

    let really_big = vec![b'X'; 16 << 20];
    std::thread::scope(|scope| {
        scope.spawn(|| ours.send_bytes(&really_big).unwrap());
        assert!(*ours.recv_bytes().unwrap() == *really_big);
    });
    ours.send_bytes(&[]).unwrap();
    child.join().unwrap();
    // The other side is gone, and that is what poll and recv say.
    assert!(ours.poll(None).unwrap());
    assert!(ours.recv_bytes().unwrap_err().is_disconnected());
    assert!(ours.send_bytes(b"x").unwrap_err().is_disconnected());
}

pub(crate) fn duplex_false(m: Method) {
    let context = m.context();
    let (sender, receiver) = context.pipe::<u32>().unwrap();
    sender.send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    // Sending by the one and receiving by the other is no question of errors: there are no such methods.
    drop(sender);
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

fn answer_then_end(connection: Connection<String, String>) {
    let message = connection.recv().unwrap();
    connection.send(message.to_uppercase()).unwrap();
}

/// The child's end is closed here right after the start.
pub(crate) fn spawn_close(m: Method) {
    let context = m.context();
    let (ours, theirs) = context.duplex::<String, String>().unwrap();
    let child = context.spawn(answer_then_end, (theirs,)).unwrap();
    ours.send("hello".into()).unwrap();
    assert_eq!(ours.recv().unwrap(), "HELLO");
    child.join().unwrap();
    assert!(ours.recv().unwrap_err().is_disconnected());
}

/// Offset and size are what slices are for.
pub(crate) fn sendbytes(m: Method) {
    let message: Vec<u8> = (b'a'..=b'z').collect();
    let (sender, receiver) = m.context().pipe::<u8>().unwrap();
    for part in [&message[..], &message[5..], &message[7..15], &message[26..], &message[26..26]] {
        sender.send_bytes(part).unwrap();
        assert_eq!(*receiver.recv_bytes().unwrap(), *part);
    }
    // The five invalid pairs of offset and size.
    for range in [27..27, 22..27, 26..27] {
        assert!(message.get(range).is_none());
    }
}

fn write_to(receiver: Receiver<Descriptor>, data: Vec<u8>) -> i32 {
    use std::io::Write;
    let mut file: std::fs::File = receiver.recv().unwrap().into();
    file.write_all(&data).unwrap();
    file.as_raw_fd()
}

fn transfer(m: Method, from: i32) {
    let context = m.context();
    let (sender, receiver) = context.pipe::<Descriptor>().unwrap();
    let child = context.builder().daemon(true).spawn(write_to, (receiver, b"foo".to_vec())).unwrap();
    let path = std::env::temp_dir().join(format!("ipc-core-fd-transfer-{}-{m:?}-{from}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    let file: OwnedFd = rustix::io::fcntl_dupfd_cloexec(&file, from).unwrap();
    assert!(file.as_raw_fd() >= from);
    sender.send(file.into()).unwrap();
    child.join().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"foo");
    std::fs::remove_file(path).unwrap();
}

pub(crate) fn fd_transfer(m: Method) {
    transfer(m, 0);
}

pub(crate) fn large_fd_transfer(m: Method) {
    transfer(m, 300);
}

fn send_without_descriptor(raw: Descriptor) {
    let raw: OwnedFd = raw.into();
    // A value that mentions a descriptor, and none with it: not even a frame of this crate.
    rustix::net::send(&raw, &[0], rustix::net::SendFlags::NOSIGNAL).unwrap();
}

pub(crate) fn missing_fd_transfer(m: Method) {
    use std::os::fd::AsFd;
    let context = m.context();
    let (ours, theirs) = ipc_core::duplex::<Descriptor, Descriptor>().unwrap();
    let raw = Descriptor::from(theirs.as_fd().try_clone_to_owned().unwrap());
    let child = context.builder().daemon(true).spawn(send_without_descriptor, (raw,)).unwrap();
    let error = ours.recv().unwrap_err();
    assert!(!error.is_disconnected(), "{error}");
    child.join().unwrap();
}

/// A scope is what `with` is there.
pub(crate) fn context(m: Method) {
    let (ours, theirs) = m.context().duplex::<u32, u32>().unwrap();
    {
        let ours = ours;
        ours.send(1729).unwrap();
        assert_eq!(theirs.recv().unwrap(), 1729);
    }
    assert!(theirs.recv().unwrap_err().is_disconnected());
}

// _TestPoll

pub(crate) fn empty_string(m: Method) {
    let (sender, receiver) = m.context().pipe::<u8>().unwrap();
    assert!(!receiver.poll(Some(Duration::ZERO)).unwrap());
    sender.send_bytes(b"").unwrap();
    assert!(receiver.poll(Some(Duration::ZERO)).unwrap());
    assert!(receiver.poll(Some(Duration::ZERO)).unwrap());
    assert!(receiver.recv_bytes().unwrap().is_empty());
    assert!(!receiver.poll(Some(Duration::ZERO)).unwrap());
}

const STRINGS: [&[u8]; 6] = [b"hello", b"", b"a", b"b", b"", b"bye"];

fn send_strings(sender: Sender<u8>) {
    for string in STRINGS {
        std::thread::sleep(Duration::from_millis(10));
        sender.send_bytes(string).unwrap();
    }
}

pub(crate) fn strings(m: Method) {
    let context = m.context();
    let (sender, receiver) = context.pipe::<u8>().unwrap();
    let child = context.spawn(send_strings, (sender,)).unwrap();
    for string in STRINGS {
        // As often as it takes, and once more for nothing.
        while !receiver.poll(Some(Duration::from_millis(1))).unwrap() {}
        assert!(receiver.poll(Some(Duration::ZERO)).unwrap());
        assert_eq!(*receiver.recv_bytes().unwrap(), *string);
    }
    child.join().unwrap();
}

fn poll_and_leave(receiver: Receiver<u8>) -> bool {
    // Nothing is consumed, and nothing read ahead: the other process gets all of it.
    (0..3).all(|_| receiver.poll(Some(Duration::from_secs(60))).unwrap())
}

/// Polling in another process must not split the messages.
pub(crate) fn boundaries(m: Method) {
    let context = m.context();
    let (sender, receiver) = ipc_core::duplex::<u8, u8>().unwrap();
    for bytes in [&b"first"[..], b"second"] {
        sender.send_bytes(bytes).unwrap();
    }
    let raw = std::os::fd::AsFd::as_fd(&receiver).try_clone_to_owned().unwrap();
    let child = context.spawn(poll_descriptor, (Descriptor::from(raw),)).unwrap();
    assert!(child.join().unwrap());
    assert_eq!(*receiver.recv_bytes().unwrap(), *b"first");
    // The same by an end of this crate, which then goes away.
    let (one_way, end) = context.pipe::<u8>().unwrap();
    one_way.send_bytes(b"x").unwrap();
    assert!(context.spawn(poll_and_leave, (end,)).unwrap().join().unwrap());
    assert_eq!(*receiver.recv_bytes().unwrap(), *b"second");
}

fn poll_descriptor(raw: Descriptor) -> bool {
    ipc_core::wait(&[&raw], None).unwrap() == [0]
}

pub(crate) fn dont_merge(m: Method) {
    let (ours, theirs) = m.context().duplex::<u8, u8>().unwrap();
    assert!(!ours.poll(Some(Duration::ZERO)).unwrap());
    for bytes in [&b"hello"[..], b"world"] {
        theirs.send_bytes(bytes).unwrap();
    }
    assert!(ours.poll(Some(Duration::ZERO)).unwrap());
    assert_eq!(*ours.recv_bytes().unwrap(), *b"hello");
    assert!(ours.poll(Some(Duration::ZERO)).unwrap());
    assert_eq!(*ours.recv_bytes().unwrap(), *b"world");
    assert!(!ours.poll(Some(Duration::ZERO)).unwrap());
}
