//! Whatever a peer sends: an error in words, and the connection goes on.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use ipc_core::{Descriptor, Error, Receiver, Sender, pipe};

use crate::raw::{self, BYTES, Canary, GIVEN_UP, Header, PART, VALUE};
use crate::support::program;

/// What `bad` sends is an error, and what follows is received; so by each way to receive. Descriptors are not kept.
fn refused(bad: impl Fn(&Sender<String>, BorrowedFd<'_>)) -> String {
    let mut said = String::new();
    for way in 0..4 {
        let (sender, receiver) = pipe::<String>().unwrap();
        let canary = Canary::new();
        bad(&sender, canary.as_fd());
        sender.send("good".into()).unwrap();
        let error = match way {
            0 => receiver.recv().unwrap_err(),
            1 => receiver.recv_bytes().unwrap_err(),
            2 => receiver.recv_into(&mut [0; 1000]).unwrap_err(),
            _ => {
                assert!(receiver.poll(None).unwrap());
                receiver.recv().unwrap_err()
            }
        };
        assert!(!error.is_disconnected(), "{error}");
        assert_eq!(receiver.recv().unwrap(), "good");
        assert_eq!(canary.copies(), 0);
        said = error.to_string();
    }
    said
}

fn header(change: impl Fn(&mut Header)) -> Header {
    let mut header = Header { kind: VALUE, ..Header::default() };
    change(&mut header);
    header
}

#[test]
fn garbage() {
    for garbage in [&b"x"[..], &[0; 47], &[0; 48], &[255; 48], &[7; 10_000], b"ipcM\x02\0"] {
        let said = refused(|sender, _| raw::packet(sender.as_fd(), garbage, &[]));
        assert!(said.starts_with("a message broke the protocol: "), "{said}");
    }
    // An empty packet is not the end.
    let said = refused(|sender, _| raw::packet(sender.as_fd(), b"", &[]));
    assert!(said.contains("a packet of 0 bytes"), "{said}");
    let said = refused(|sender, _| {
        let mut other = Header::default().bytes();
        other[4] = 9;
        raw::packet(sender.as_fd(), &other, &[]);
    });
    assert!(said.contains("layout version 9"), "{said}");
}

#[test]
fn headers_that_contradict_themselves() {
    let changes: [fn(&mut Header); 12] = [
        |h| h.length = 1,
        |h| h.length = u64::MAX,
        |h| h.flags = 64,
        |h| h.flags = PART | GIVEN_UP,
        |h| h.kind = 77,
        |h| h.here = 1,
        |h| h.total = 1,
        |h| (h.here, h.total) = (3, 2),
        |h| h.offset = 5,
        |h| h.place = 1,
        |h| (h.flags, h.offset, h.length) = (PART, u64::MAX, u64::MAX),
        // A part that brings nothing, for ever.
        |h| (h.flags, h.length) = (PART, 10),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let said = refused(|sender, _| raw::send(sender.as_fd(), header(change), b""));
        assert!(said.contains("protocol"), "change {at}: {said}");
    }
}

#[test]
fn a_truncated_message() {
    // A whole message, shorter than it says, and a value that is cut off.
    let said = refused(|sender, _| raw::send(sender.as_fd(), header(|h| h.length = 100), &[1; 99]));
    assert!(said.contains("99 bytes"), "{said}");
    let (sender, receiver) = pipe::<String>().unwrap();
    raw::send(sender.as_fd(), header(|h| h.length = 3), &[5, b'a', b'b']);
    let error = receiver.recv().unwrap_err();
    assert!(error.to_string().starts_with("could not deserialise a message: cannot decode"), "{error}");
}

#[test]
fn an_overlong_packet() {
    let len = (256 << 10) + 1;
    let (sender, receiver) = pipe::<String>().unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&sender, 1 << 20).unwrap();
    raw::send(sender.as_fd(), header(|h| h.length = len as u64), &vec![0; len]);
    let error = receiver.recv().unwrap_err();
    assert!(error.to_string().contains("protocol"), "{error}");
    sender.send("good".into()).unwrap();
    assert_eq!(receiver.recv().unwrap(), "good");
}

#[test]
fn another_type() {
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    enum Choice {
        A,
        B,
    }
    let (sender, receiver) = pipe::<u32>().unwrap();
    let receiver: Receiver<Choice> = {
        // The same end, as strangers may see it.
        let (carrier, carried) = pipe::<Receiver<u32>>().unwrap();
        carrier.send(receiver).unwrap();
        let bytes = raw_value(&carried);
        decode_as(bytes)
    };
    sender.send(7).unwrap();
    let error = receiver.recv().unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "{error}");
    sender.send(1).unwrap();
    assert!(matches!(receiver.recv().unwrap(), Choice::B));
    sender.send(0).unwrap();
    assert!(matches!(receiver.recv().unwrap(), Choice::A));
}

/// The value that is next, as bytes and descriptors.
fn raw_value<T: ipc_core::Message>(receiver: &Receiver<T>) -> (Vec<u8>, Vec<OwnedFd>) {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut buffer = vec![0; 4096];
    let mut space = [std::mem::MaybeUninit::uninit(); 64];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut places = [std::io::IoSliceMut::new(&mut buffer)];
    let got = recvmsg(receiver.as_fd(), &mut places, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            descriptors.extend(received);
        }
    }
    (buffer[48..got.bytes].to_vec(), descriptors)
}

fn decode_as<T: ipc_core::Message>((bytes, descriptors): (Vec<u8>, Vec<OwnedFd>)) -> T {
    ipc_core::fuzzing::decode(&bytes, descriptors).unwrap()
}

#[test]
fn descriptors_missing_or_too_many() {
    // Announced and not there, there and not announced.
    let said = refused(|sender, _| raw::send(sender.as_fd(), header(|h| (h.here, h.total) = (2, 2)), b""));
    assert!(said.contains("0 descriptors that announces 2"), "{said}");
    let said = refused(|sender, canary| {
        raw::packet(sender.as_fd(), &header(|_| ()).bytes(), &[canary, canary]);
    });
    assert!(said.contains("2 descriptors that announces 0"), "{said}");
    // In the message, and not in its table.
    let (sender, receiver) = pipe::<Descriptor>().unwrap();
    raw::send(sender.as_fd(), header(|h| h.length = 1), &[0]);
    let error = receiver.recv().unwrap_err();
    assert!(error.to_string().contains("came with 0"), "{error}");
    // In its table, and not in the message: closed.
    let canary = Canary::new();
    let nothing = Header { kind: VALUE, here: 1, total: 1, length: 1, ..Header::default() };
    let (counts, counted) = pipe::<u8>().unwrap();
    raw::packet(counts.as_fd(), &[&nothing.bytes()[..], &[9]].concat(), &[canary.as_fd()]);
    assert_eq!(counted.recv().unwrap(), 9);
    assert_eq!(canary.copies(), 0);
}

#[test]
fn parts_that_do_not_follow() {
    let orders: [&[(u64, u64, usize)]; 6] = [
        // (offset, length, bytes)
        &[(10, 20, 10)],
        &[(0, 20, 5), (10, 20, 10)],
        &[(0, 20, 5), (0, 20, 5)],
        &[(0, 20, 5), (3, 20, 10)],
        &[(0, 20, 5), (5, 21, 10)],
        &[(0, 20, 20)],
    ];
    for parts in orders {
        let said = refused(|sender, _| {
            for &(offset, length, len) in parts {
                raw::send(sender.as_fd(), Header::part(1, offset, length), &vec![1; len]);
            }
        });
        assert!(said.contains("protocol"), "{parts:?}: {said}");
    }
    // One error for a message, however many of its parts follow.
    let (sender, receiver) = pipe::<()>().unwrap();
    for offset in 1..10 {
        raw::send(sender.as_fd(), Header::part(1, offset, 10), b"x");
    }
    sender.send_bytes(b"good").unwrap();
    let error = receiver.recv_bytes().unwrap_err();
    assert!(error.to_string().contains("beginning another process has received"), "{error}");
    assert_eq!(receiver.recv_bytes().unwrap(), b"good"[..]);
}

#[test]
fn beginnings_without_end_are_bounded() {
    let (sender, receiver) = pipe::<()>().unwrap();
    let canaries: Vec<_> = (0..100).map(|_| Canary::new()).collect();
    // Each claims all there is, and comes with a descriptor.
    let begin = |id| Header { here: 1, total: 2, ..Header::part(id, 0, 1 << 40) };
    for (id, canary) in (0..).zip(&canaries) {
        raw::packet(sender.as_fd(), &[&begin(id).bytes()[..], b"x"].concat(), &[canary.as_fd()]);
        assert!(!receiver.poll(Some(Duration::ZERO)).unwrap(), "no message");
    }
    assert_eq!(canaries.iter().map(Canary::copies).sum::<usize>(), 64);
    // The oldest was forgotten, the youngest was not.
    let more = |id, offset| Header { place: 1, total: 2, ..Header::part(id, offset, 1 << 40) };
    raw::send(sender.as_fd(), more(1, 1), b"y");
    let error = receiver.recv_bytes().unwrap_err();
    assert!(error.to_string().contains("more than 64 were unfinished"), "{error}");
    raw::send(sender.as_fd(), more(99, 1), b"y");
    assert_eq!(receiver.try_recv_bytes().unwrap(), None);
    drop(receiver);
    assert_eq!(canaries.iter().map(Canary::copies).sum::<usize>(), 0, "closed with the receiver");
}

/// Parts of one message could say of it what they liked, one by one.
#[test]
fn parts_agree_on_how_many_descriptors_there_are() {
    let said = refused(|sender, canary| {
        let first = Header { here: 1, total: 2, ..Header::part(1, 0, 20) };
        raw::packet(sender.as_fd(), &[&first.bytes()[..], b"x"].concat(), &[canary]);
        raw::send(sender.as_fd(), Header { total: 3, place: 1, ..Header::part(1, 1, 20) }, b"y");
    });
    assert!(said.contains("were to follow"), "{said}");
}

/// All that was begun was kept, up to 64 times what one message may have.
#[test]
fn what_is_unfinished_is_bounded_together() {
    let (sender, receiver) = pipe::<()>().unwrap();
    receiver.set_max_message(1000);
    let canaries: Vec<_> = (0..6).map(|_| Canary::new()).collect();
    for (id, canary) in (0..).zip(&canaries) {
        let first = Header { here: 1, total: 1, ..Header::part(id, 0, 1000) };
        raw::packet(sender.as_fd(), &[&first.bytes()[..], &[7; 900]].concat(), &[canary.as_fd()]);
        assert_eq!(receiver.try_recv_bytes().unwrap(), None);
    }
    // Four thousand bytes, of four of them.
    assert_eq!(canaries.iter().map(Canary::copies).collect::<Vec<_>>(), [0, 0, 1, 1, 1, 1]);
    let more = |id| Header { place: 1, total: 1, ..Header::part(id, 900, 1000) };
    raw::send(sender.as_fd(), more(0), &[7; 100]);
    let error = receiver.recv_bytes().unwrap_err();
    assert!(error.to_string().contains("or too much of them"), "{error}");
    raw::send(sender.as_fd(), more(2), &[7; 100]);
    assert_eq!(receiver.recv_bytes().unwrap(), [7; 1000][..]);
}

#[test]
fn no_memory_for_a_promise() {
    let (sender, receiver) = pipe::<()>().unwrap();
    raw::send(sender.as_fd(), Header::part(1, 0, u64::MAX), b"x");
    // Nothing is reserved by the word of a peer alone, so nothing fails.
    assert_eq!(receiver.try_recv_bytes().unwrap(), None);
    raw::send(sender.as_fd(), Header { flags: GIVEN_UP, ..Header::part(1, 0, 0) }, b"");
    sender.send_bytes(b"good").unwrap();
    assert_eq!(receiver.recv_bytes().unwrap(), b"good"[..]);
}

#[test]
fn kinds_of_strangers() {
    let (sender, receiver) = pipe::<()>().unwrap();
    raw::send(sender.as_fd(), Header { kind: BYTES, length: 2, ..Header::default() }, b"ok");
    assert_eq!(receiver.recv_bytes().unwrap(), b"ok"[..]);
}

/// As long as packets came that brought no message, nobody looked at the clock.
#[test]
fn packets_that_bring_nothing_hold_nobody_beyond_the_time_given() {
    type Way = fn(&Receiver<String>) -> Option<usize>;
    let ways: [Way; 5] = [
        |receiver| receiver.try_recv().unwrap().map(|value| value.len()),
        |receiver| receiver.recv_timeout(Duration::ZERO).unwrap().map(|value| value.len()),
        |receiver| receiver.try_recv_bytes().unwrap().map(|bytes| bytes.len()),
        |receiver| receiver.recv_into_timeout(&mut [0; 100], Duration::ZERO).unwrap(),
        |receiver| receiver.poll(Some(Duration::ZERO)).unwrap().then(|| receiver.recv().unwrap().len()),
    ];
    for (at, way) in ways.into_iter().enumerate() {
        let (sender, receiver) = pipe::<String>().unwrap();
        for id in 0..150 {
            raw::send(sender.as_fd(), Header { flags: GIVEN_UP, ..Header::part(id, 0, 0) }, b"");
        }
        match at {
            2 | 3 => sender.send_bytes(b"good").unwrap(),
            _ => sender.send("good".into()).unwrap(),
        }
        // Nothing of them is lost, and each call gets some way further.
        let calls: Vec<_> = (0..3).map(|_| way(&receiver)).collect();
        assert_eq!(calls, [None, None, Some(4)], "way {at}");
    }
}

/// Sets an option of a socket, if the kernel knows it.
fn set(socket: impl AsFd, option: i32, value: i32) -> bool {
    let value = &raw const value;
    // SAFETY: the value is an int, which lives as long as the call.
    unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, option, value.cast(), 4) == 0 }
}

/// Whoever shares a socket could have each message bring a descriptor of the sender's process, which nobody closed. In a program of its own, where no
/// other test opens descriptors.
#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let _leaks = ipc_testkit::leaks();
    if !program(unasked_descriptors_are_closed, ()) {
        ipc_testkit::not_run("SO_PASSPIDFD: Linux 6.5 knows it");
    }
}

/// Whether the kernel knows how to bring them.
fn unasked_descriptors_are_closed() -> bool {
    const SO_PASSPIDFD: i32 = 76;
    let (carrier, carried) = pipe::<Receiver<Vec<Descriptor>>>().unwrap();
    let (sender, receiver) = pipe::<Vec<Descriptor>>().unwrap();
    if !set(&receiver, SO_PASSPIDFD, 1) {
        return false;
    }
    carrier.send(receiver).unwrap();
    let receiver = carried.recv().unwrap();
    let canary = Canary::new();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for count in [0, 1, 3] {
        let copies = (0..count).map(|_| canary.as_fd().try_clone_to_owned().unwrap().into());
        sender.send(copies.collect()).unwrap();
        assert_eq!(receiver.recv().unwrap().len(), count);
    }
    assert_eq!(open(), before);
    true
}

/// Whoever shares a socket could have a look at the next message see nothing of it; the look was repeated for ever.
#[test]
fn a_look_sees_the_next_message_wherever_it_was_told_to_look() {
    let (carrier, carried) = pipe::<Receiver<u32>>().unwrap();
    let (sender, receiver) = pipe::<u32>().unwrap();
    // Into the middle of the message, from where it looks like another one; and past it.
    for told in [8, 1000] {
        let (sender, receiver) = pipe::<u32>().unwrap();
        assert!(set(&receiver, libc::SO_PEEK_OFF, told));
        carrier.send(receiver).unwrap();
        let receiver = carried.recv().unwrap();
        raw::send(sender.as_fd(), Header { flags: GIVEN_UP, ..Header::part(1, 0, 0) }, b"");
        assert!(!receiver.poll(Some(Duration::ZERO)).unwrap(), "{told}");
        sender.send(1).unwrap();
        assert!(receiver.poll(None).unwrap(), "{told}");
        assert_eq!(receiver.recv().unwrap(), 1);
    }
    let kept = receiver.as_fd().try_clone_to_owned().unwrap();
    carrier.send(receiver).unwrap();
    let receiver = carried.recv().unwrap();
    sender.send(1).unwrap();
    for timeout in [Some(Duration::ZERO), Some(crate::SOON), None] {
        assert!(set(&kept, libc::SO_PEEK_OFF, 1000));
        assert!(receiver.poll(timeout).unwrap(), "{timeout:?}");
    }
    assert_eq!(receiver.recv().unwrap(), 1);
    assert!(set(&kept, libc::SO_PEEK_OFF, 1000));
    assert!(!receiver.poll(Some(Duration::from_millis(1))).unwrap());
}

/// Whatever descriptor stood in the place of an end was taken for one.
#[test]
fn ends_are_sockets_that_carry_messages() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, socketpair};
    let of = |family, kind| socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    let unix = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap().0;
    let file = std::fs::File::open("/dev/null").unwrap();
    let (packets, stream) = (1, 2);
    let strangers: [(u8, OwnedFd); 6] = [
        (packets, file.try_clone().unwrap().into()),
        (packets, of(AddressFamily::INET, SocketType::STREAM)),
        (packets, unix(SocketType::DGRAM)),
        (packets, unix(SocketType::STREAM)),
        (stream, file.into()),
        (stream, unix(SocketType::SEQPACKET)),
    ];
    for (at, (carrier, stranger)) in strangers.into_iter().enumerate() {
        let (sender, receiver) = pipe::<Receiver<u32>>().unwrap();
        // As an end is written: carrier, whether it ends its direction, its limits, and which descriptor.
        let content = [carrier, 0, 100, 100, 0];
        let header = Header { kind: VALUE, here: 1, total: 1, length: 5, ..Header::default() };
        raw::packet(sender.as_fd(), &[&header.bytes()[..], &content].concat(), &[stranger.as_fd()]);
        let error = receiver.recv().unwrap_err().to_string();
        assert!(error.contains("an end"), "{at}: {error}");
    }
}
