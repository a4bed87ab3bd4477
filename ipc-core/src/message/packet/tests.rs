//! Unit tests of `packet`.

use super::*;

use std::fs::File;
use std::time::Duration;

use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

fn frame(received: Result<Received, Error>) -> Frame {
    match received.unwrap() {
        Received::Frame(frame) => frame,
        other => panic!("a frame was to arrive, not {other:?}"),
    }
}

fn error(received: Result<Received, Error>) -> String {
    received.unwrap_err().to_string()
}

/// A memory file whose number shows who still holds it, also while other tests open and close descriptors.
fn marked() -> (OwnedFd, u64) {
    let file = rustix::fs::memfd_create(c"marked", MemfdFlags::CLOEXEC).unwrap();
    let number = rustix::fs::fstat(&file).unwrap().st_ino;
    (file, number)
}

fn held(number: u64) -> usize {
    use std::os::unix::fs::MetadataExt;
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::metadata(entry.unwrap().path()).ok())
        .filter(|meta| meta.ino() == number)
        .count()
}

/// Sends what no sender of ours would: a header as given, then `rest`.
fn send_raw(socket: &OwnedFd, header: Header, rest: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let header = header.to_bytes();
    socket::send(socket.as_fd(), &[IoSlice::new(&header), IoSlice::new(rest)], descriptors).unwrap();
}

const PLAIN: Header = Header { kind: 1, flags: 0, here: 0, total: 0, length: 0 };

#[test]
fn bodies_of_all_sizes_in_several_parts() {
    let (ours, theirs) = pair();
    let content: Vec<u8> = (0..1 << 20).map(|n: u32| n as u8 ^ (n >> 8) as u8).collect();
    for len in [0, 1, 23, 24, 4096, INLINE - 1, INLINE, INLINE + 1, 65536, MAP_FROM - 1, MAP_FROM, 1 << 20] {
        let body = &content[..len];
        let (left, right) = body.split_at(len / 3);
        send(ours.as_fd(), 7, &[left, &[], right], &[]).unwrap();
        let frame = frame(recv(theirs.as_fd()));
        assert_eq!(frame.kind, 7);
        assert!(*frame.body == *body, "{len}");
        assert!(frame.descriptors.is_empty());
        assert_eq!(matches!(frame.body.0, Storage::Mapped(_)), len >= MAP_FROM);
    }
    // More parts than one packet takes pieces.
    let parts: Vec<&[u8]> = content[..30_000].chunks(10).collect();
    send(ours.as_fd(), 8, &parts, &[]).unwrap();
    assert!(*frame(recv(theirs.as_fd())).body == content[..30_000]);
}

#[test]
fn a_body_of_one_gibibyte() {
    let (ours, theirs) = pair();
    let piece: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    send(ours.as_fd(), 1, &[&piece[..]; 1024], &[]).unwrap();
    let frame = frame(recv(theirs.as_fd()));
    assert_eq!(frame.body.len(), 1 << 30);
    assert!(frame.body.chunks(1 << 20).all(|chunk| chunk == piece));
}

#[test]
fn descriptors_around_the_kernels_limit() {
    let (ours, theirs) = pair();
    let files: Vec<_> = (0..600).map(|_| marked()).collect();
    let borrowed: Vec<_> = files.iter().map(|(file, _)| file.as_fd()).collect();
    let long = vec![1; INLINE + 1];
    for body in [&b"short"[..], &long] {
        for count in [0, 1, 251, 252, 253, 254, 505, 506, 507, 600] {
            send(ours.as_fd(), 2, &[body], &borrowed[..count]).unwrap();
            let frame = frame(try_recv(theirs.as_fd(), &mut Begun::default()));
            assert!(*frame.body == *body);
            assert_eq!(frame.descriptors.len(), count);
            for (descriptor, (_, number)) in frame.descriptors.iter().zip(&files) {
                assert_eq!(rustix::fs::fstat(descriptor).unwrap().st_ino, *number);
                let flags = rustix::io::fcntl_getfd(descriptor).unwrap();
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            }
        }
    }
    assert!(matches!(try_recv(theirs.as_fd(), &mut Begun::default()).unwrap(), Received::Empty));
    assert!(files.iter().all(|(_, number)| held(*number) == 1));
}

#[test]
fn too_many_descriptors_are_refused_before_anything_is_sent() {
    let (ours, theirs) = pair();
    let null = null();
    let error = send(ours.as_fd(), 1, &[], &vec![null.as_fd(); MAX_DESCRIPTORS + 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(matches!(try_recv(theirs.as_fd(), &mut Begun::default()).unwrap(), Received::Empty));
}

#[test]
fn the_end_comes_after_everything_that_was_sent() {
    let (ours, theirs) = pair();
    assert!(matches!(try_recv(theirs.as_fd(), &mut Begun::default()).unwrap(), Received::Empty));
    send(ours.as_fd(), 1, &[], &[]).unwrap();
    send(ours.as_fd(), 2, &[b"x"], &[]).unwrap();
    drop(ours);
    assert_eq!(frame(recv(theirs.as_fd())).kind, 1);
    assert_eq!(frame(try_recv(theirs.as_fd(), &mut Begun::default())).kind, 2);
    for _ in 0..2 {
        assert!(matches!(try_recv(theirs.as_fd(), &mut Begun::default()).unwrap(), Received::Closed));
        assert!(matches!(recv(theirs.as_fd()).unwrap(), Received::Closed));
    }
    let error = send(theirs.as_fd(), 1, &[], &[]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

/// A child that sends its result and ends without having read its last message: the kernel says ECONNRESET first.
#[test]
fn what_a_peer_sent_survives_that_it_left_something_unread() {
    let (ours, theirs) = pair();
    send(ours.as_fd(), 1, &[b"never read"], &[]).unwrap();
    send(theirs.as_fd(), 2, &[b"the result"], &[]).unwrap();
    drop(theirs);
    assert_eq!(&*frame(recv(ours.as_fd())).body, b"the result");
    assert!(matches!(recv(ours.as_fd()).unwrap(), Received::Closed));
}

#[test]
fn a_small_send_buffer_makes_more_bodies_travel_as_files() {
    let (ours, theirs) = pair();
    rustix::net::sockopt::set_socket_send_buffer_size(&ours, 1).unwrap();
    let body = vec![3; INLINE];
    let header = Header { length: INLINE as u64, ..PLAIN };
    assert_eq!(send_inline(ours.as_fd(), header, &[&body], &[]), Err(Errno::MSGSIZE));
    let (file, number) = marked();
    send(ours.as_fd(), 1, &[&body], &[file.as_fd()]).unwrap();
    let frame = frame(recv(theirs.as_fd()));
    assert!(*frame.body == *body);
    assert_eq!(rustix::fs::fstat(&frame.descriptors[0]).unwrap().st_ino, number);
}

/// The flags of a socket belong to everybody who shares it; somebody may have set O_NONBLOCK.
#[test]
fn a_socket_that_somebody_made_non_blocking() {
    let (ours, theirs) = pair();
    for socket in [&ours, &theirs] {
        rustix::fs::fcntl_setfl(socket, OFlags::NONBLOCK).unwrap();
    }
    let body = vec![5; INLINE];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for kind in 0..100 {
                send(ours.as_fd(), kind, &[&body], &[]).unwrap();
            }
        });
        for kind in 0..100 {
            let frame = frame(recv(theirs.as_fd()));
            assert_eq!((frame.kind, frame.body.len()), (kind, INLINE));
        }
    });
}

#[test]
fn a_blocking_receiver_is_woken_by_a_frame_and_by_the_end() {
    let (ours, theirs) = pair();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let kind = frame(recv(theirs.as_fd())).kind;
            (kind, matches!(recv(theirs.as_fd()).unwrap(), Received::Closed))
        });
        std::thread::yield_now();
        send(ours.as_fd(), 9, &[], &[]).unwrap();
        drop(ours);
        assert_eq!(receiver.join().unwrap(), (9, true));
    });
}

#[test]
fn what_is_no_frame_is_an_error_and_leaves_no_descriptor() {
    let (file, number) = marked();
    let fd = file.as_fd();
    let header = |change: fn(&mut Header)| {
        let mut header = PLAIN;
        change(&mut header);
        header.to_bytes().to_vec()
    };
    let with = |at: usize, value: u8| {
        let mut bytes = PLAIN.to_bytes().to_vec();
        bytes[at] = value;
        bytes
    };
    let cases: Vec<(Vec<u8>, Vec<BorrowedFd<'_>>, &str)> = vec![
        (vec![], vec![], "a packet of 0 bytes"),
        (vec![], vec![fd], "a packet of 0 bytes"),
        (vec![1; 23], vec![fd], "a packet of 23 bytes"),
        (vec![0; 24], vec![fd], "begins with [00, 00, 00, 00]"),
        (with(4, 2), vec![], "layout version 2"),
        (with(8, 4), vec![fd], "unknown flags 0x4"),
        (header(|h| h.total = MAX_DESCRIPTORS as u32 + 1), vec![], "0 of 65537 descriptors"),
        (header(|h| h.here = 1), vec![fd], "1 of 0 descriptors"),
        (header(|h| h.length = 1), vec![], "a body of 0 bytes that announces 1"),
        (header(|h| h.length = u64::MAX), vec![], "announces 18446744073709551615"),
        ([header(|_| ()), vec![0]].concat(), vec![], "a body of 1 bytes that announces 0"),
        ([header(|h| h.length = 1 << 20), vec![0; INLINE + 1]].concat(), vec![], "longer than"),
        (header(|_| ()), vec![fd], "a packet with 1 descriptors that announces 0"),
        (header(|h| (h.here, h.total) = (2, 2)), vec![fd], "with 1 descriptors that announces 2"),
        (header(|h| h.flags = FLAG_CONTINUATION), vec![], "whose beginning is missing"),
        (header(|h| (h.flags, h.length) = (FLAG_FILE, 1)), vec![], "with 0 descriptors that announces 1"),
        (header(|h| (h.flags, h.length) = (FLAG_FILE, 0)), vec![fd], "a memory file of 0 bytes"),
        (header(|h| (h.flags, h.length) = (FLAG_FILE, u64::MAX)), vec![fd], "a memory file of 1844"),
        (header(|h| (h.flags, h.length) = (FLAG_FILE, 1)), vec![fd], "that its sender can still change"),
    ];
    for (bytes, descriptors, reason) in cases {
        let (ours, theirs) = pair();
        socket::send(ours.as_fd(), &[IoSlice::new(&bytes)], &descriptors).unwrap();
        let error = error(recv(theirs.as_fd()));
        assert!(error.contains(reason), "{error:?} does not mention {reason:?}");
        assert_eq!(held(number), 1, "{reason}");
        // A broken packet costs itself and not the next.
        send(ours.as_fd(), 1, &[b"next"], &[]).unwrap();
        assert_eq!(&*frame(try_recv(theirs.as_fd(), &mut Begun::default())).body, b"next");
    }
}

#[test]
fn a_body_that_could_still_change_is_refused() {
    let (ours, theirs) = pair();
    let announce = |length| Header { flags: FLAG_FILE, length, ..PLAIN };
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    for (seals, length, reason) in [
        (SealFlags::empty(), 3, "can still change"),
        (SealFlags::SHRINK | SealFlags::GROW, 3, "can still change"),
        ((all - SealFlags::WRITE) | SealFlags::FUTURE_WRITE, 3, "can still change"),
        (all - SealFlags::SHRINK, 3, "can still change"),
        (all, 4, "a body of 3 bytes in a memory file that announces 4"),
        (all, 1 << 62, "a body of 3 bytes in a memory file that announces 46116860"),
    ] {
        let file =
            rustix::fs::memfd_create(c"body", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::io::write(&file, b"abc").unwrap();
        rustix::fs::fcntl_add_seals(&file, seals).unwrap();
        send_raw(&ours, announce(length), b"", &[file.as_fd()]);
        let error = error(recv(theirs.as_fd()));
        assert!(error.contains(reason), "{error:?} does not mention {reason:?}");
    }
    let null = null();
    send_raw(&ours, announce(3), b"", &[null.as_fd()]);
    assert!(error(recv(theirs.as_fd())).contains("no memory file"));
}

#[test]
fn a_sender_that_dies_between_the_packets_of_a_frame() {
    let (file, number) = marked();
    let batch = vec![file.as_fd(); DESCRIPTORS];
    for complete in [1, 2] {
        let (ours, theirs) = pair();
        send_raw(&ours, Header { here: 253, total: 600, ..PLAIN }, b"", &batch);
        if complete == 2 {
            let header = Header { here: 253, total: 600, flags: FLAG_CONTINUATION, length: 253, ..PLAIN };
            send_raw(&ours, header, b"", &batch);
        }
        drop(ours);
        let error = recv(theirs.as_fd()).unwrap_err();
        assert!(
            matches!(error, Error::Unfinished { sent: 600, arrived } if arrived == complete * 253),
            "{error}"
        );
        assert_eq!(held(number), 1);
        assert!(matches!(recv(theirs.as_fd()).unwrap(), Received::Closed));
    }
}

#[test]
fn continuations_must_fit_their_frame() {
    let (file, number) = marked();
    let batch = [file.as_fd(); 20];
    let fits = Header { here: 10, total: 20, flags: FLAG_CONTINUATION, length: 10, ..PLAIN };
    let cases = [
        ("another kind", Header { kind: 2, ..fits }, 10, &b""[..]),
        ("another place", Header { length: 11, ..fits }, 10, b""),
        ("another total", Header { total: 21, ..fits }, 10, b""),
        ("no continuation", Header { flags: 0, ..fits }, 10, b""),
        ("too many", Header { here: 11, ..fits }, 11, b""),
        ("none", Header { here: 0, ..fits }, 0, b""),
        ("another count than announced", fits, 9, b""),
        ("with a body", fits, 10, b"x"),
    ];
    for (what, second, count, body) in cases {
        let (ours, theirs) = pair();
        send_raw(&ours, Header { here: 10, total: 20, ..PLAIN }, b"", &batch[..10]);
        send_raw(&ours, second, body, &batch[..count]);
        let error = recv(theirs.as_fd()).unwrap_err();
        assert!(matches!(error, Error::Malformed(_)), "{what}: {error}");
        assert_eq!(held(number), 1, "{what}");
    }
    let (ours, theirs) = pair();
    send_raw(&ours, Header { here: 10, total: 20, ..PLAIN }, b"", &batch[..10]);
    send_raw(&ours, fits, b"", &batch[10..]);
    assert_eq!(frame(recv(theirs.as_fd())).descriptors.len(), 20);
}

#[test]
fn a_frame_that_its_sender_gave_up_is_followed_by_the_next() {
    let (file, number) = marked();
    let batch = [file.as_fd(); 20];
    for polls in [true, false] {
        let (ours, theirs) = pair();
        for _ in 0..2 {
            send_raw(&ours, Header { here: 10, total: 20, ..PLAIN }, b"", &batch[..10]);
        }
        send(ours.as_fd(), 7, &[b"why"], &batch[..3]).unwrap();
        let received =
            frame(if polls { try_recv(theirs.as_fd(), &mut Begun::default()) } else { recv(theirs.as_fd()) });
        assert_eq!((received.kind, &*received.body, received.descriptors.len()), (7, &b"why"[..], 3));
        assert_eq!(held(number), 1 + 3);
    }
}

/// Nobody waits for the rest of a frame who did not mean to wait; and nothing of it is lost.
#[test]
fn a_frame_that_is_stopped_in_its_middle_is_gone_on_with() {
    let (file, number) = marked();
    let batch = [file.as_fd(); 30];
    let part = |place: u64| Header { here: 10, total: 30, flags: FLAG_CONTINUATION, length: place, ..PLAIN };
    let (ours, theirs) = pair();
    let mut begun = Begun::default();
    for _ in 0..2 {
        send_raw(&ours, Header { here: 10, total: 30, length: 4, ..PLAIN }, b"body", &batch[..10]);
        for place in [10, 20] {
            for _ in 0..2 {
                assert!(matches!(try_recv(theirs.as_fd(), &mut begun).unwrap(), Received::Empty));
            }
            assert_eq!(held(number), 1 + place);
            send_raw(&ours, part(place as u64), b"", &batch[..10]);
        }
        let whole = frame(try_recv(theirs.as_fd(), &mut begun));
        assert_eq!((&*whole.body, whole.descriptors.len()), (&b"body"[..], 30));
    }
    // Half a frame, and the sender begins another, or dies.
    send_raw(&ours, Header { here: 10, total: 30, ..PLAIN }, b"", &batch[..10]);
    assert!(matches!(try_recv(theirs.as_fd(), &mut begun).unwrap(), Received::Empty));
    send(ours.as_fd(), 7, &[b"another"], &batch[..3]).unwrap();
    assert_eq!(frame(try_recv(theirs.as_fd(), &mut begun)).descriptors.len(), 3);
    send_raw(&ours, Header { here: 10, total: 30, ..PLAIN }, b"", &batch[..10]);
    assert!(matches!(try_recv(theirs.as_fd(), &mut begun).unwrap(), Received::Empty));
    drop(ours);
    let error = try_recv(theirs.as_fd(), &mut begun).unwrap_err();
    assert!(matches!(error, Error::Unfinished { sent: 30, arrived: 10 }), "{error}");
    assert_eq!(held(number), 1);
    // One that nobody goes on with.
    let (ours, theirs) = pair();
    send_raw(&ours, Header { here: 10, total: 30, ..PLAIN }, b"", &batch[..10]);
    assert!(matches!(try_recv(theirs.as_fd(), &mut begun).unwrap(), Received::Empty));
    drop(begun);
    assert_eq!(held(number), 1);
}

#[test]
fn the_error_of_another_build_says_so() {
    let (ours, theirs) = pair();
    let mut bytes = PLAIN.to_bytes();
    bytes[4] = 9;
    socket::send(ours.as_fd(), &[IoSlice::new(&bytes)], &[]).unwrap();
    assert!(error(recv(theirs.as_fd())).contains("the peer is another build"));
}

#[test]
fn no_socket_is_an_error() {
    let null = null();
    assert!(matches!(recv(null.as_fd()), Err(Error::Os { .. })));
    send(null.as_fd(), 1, &[], &[]).unwrap_err();
    // A stream socket keeps no packets; the header notices.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    send(ours.as_fd(), 1, &[b"abc"], &[]).unwrap();
    send(ours.as_fd(), 2, &[b"def"], &[]).unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    recv(theirs.as_fd()).unwrap_err();
}
