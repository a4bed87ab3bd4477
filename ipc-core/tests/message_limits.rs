//! A process at its limits of open descriptors and of file sizes: errors that name the limit, no descriptor left behind, and
//! a channel that goes on working.
//!
//! The only test of its file: it lowers limits of the whole process and counts all of its descriptors.
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::time::Duration;

use ipc_core::fuzzing::packet::{Begun, INLINE, Received, recv, send, try_recv};
use ipc_core::fuzzing::{Error, decode, encode};
use ipc_core::{Bytes, Descriptor, Sender, pipe};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize, Serializer};

/// The numbers of all open descriptors (one of them was that of the directory being read).
fn open() -> BTreeSet<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut numbers: BTreeSet<u64> =
        entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    numbers.retain(|number| std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok());
    numbers
}

/// The limit under which `room` more descriptors can be opened: it bounds the number and not the count.
fn room_for(room: usize) -> u64 {
    let open = open();
    (0..).filter(|number| !open.contains(number)).nth(room).unwrap()
}

fn limit_descriptors(descriptors: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), maximum }).unwrap();
}

#[test]
fn messages_at_the_limits_of_the_process() {
    open_descriptors();
    open_descriptors_over_a_connection();
    size_of_files();
}

/// A memory file counts as a file: writing beyond the limit would end the process with SIGXFSZ, so nobody tries.
fn size_of_files() {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let body = vec![1; 1 << 20];
    let usual = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some((1 << 20) - 1), maximum: usual.maximum }).unwrap();
    let long = send(ours.as_fd(), 1, &[&body], &[]);
    let short = send(ours.as_fd(), 2, &[&body[1..]], &[]);
    setrlimit(Resource::Fsize, usual).unwrap();
    assert_eq!(long.unwrap_err().kind(), ErrorKind::FileTooLarge);
    short.unwrap();
    match recv(theirs.as_fd()).unwrap() {
        Received::Frame(frame) => assert_eq!((frame.kind, frame.body.len()), (2, (1 << 20) - 1)),
        other => panic!("{other:?}"),
    }
}

fn open_descriptors() {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let null = File::open("/dev/null").unwrap();
    let usual = getrlimit(Resource::Nofile).current.unwrap();
    let before = open();
    let body = vec![1; INLINE + 1];

    // The limit may strike in each of the frame's packets, or at once, or leave room for everything.
    for count in [1, 253, 254, 600] {
        for room in [0, 1, 5, 252, 253, 254, 400, 506, 507, 599, 600, 601] {
            for body in [&b""[..], &body] {
                send(ours.as_fd(), 1, &[body], &vec![null.as_fd(); count]).unwrap();
                send(ours.as_fd(), 2, &[b"next"], &[]).unwrap();
                let lowered = room_for(room);
                limit_descriptors(lowered);
                let received = recv(theirs.as_fd());
                let next = recv(theirs.as_fd());
                limit_descriptors(usual);
                let needed = count + usize::from(!body.is_empty());
                // The body's file is closed once it is mapped, before the rest of a long frame arrives.
                let fits = room >= needed || (room + 1 == needed && count > 252 && !body.is_empty());
                match received {
                    Ok(Received::Frame(frame)) if fits => assert_eq!(frame.descriptors.len(), count),
                    Err(error) if !fits => {
                        let text = error.to_string();
                        assert!(text.contains(&format!("limit of {lowered} open")), "{text}");
                        match error {
                            Error::DescriptorsLost { sent, arrived, limit } => {
                                assert_eq!(sent as usize, needed);
                                assert!((arrived as usize) < needed, "{arrived} of {needed}");
                                assert_eq!(limit, Some(lowered));
                            }
                            other => panic!("{other}"),
                        }
                    }
                    other => panic!("{count} descriptors, room for {room}: {other:?}"),
                }
                match next {
                    Ok(Received::Frame(next)) => assert_eq!((next.kind, &*next.body), (2, &b"next"[..])),
                    other => panic!("{count} descriptors, room for {room}: {other:?}"),
                }
                assert_eq!(open(), before);
            }
        }
    }

    // The sending side: nothing is sent, nothing is left.
    let (none, one) = (room_for(0), room_for(1));
    limit_descriptors(none);
    let long = send(ours.as_fd(), 1, &[&body], &[]);
    let handle = Descriptor::from(null);
    let encoded = encode(&(1, &handle));
    limit_descriptors(one);
    let half = encode(&(&handle, &handle));
    limit_descriptors(usual);
    let error = long.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(24), "EMFILE and not {error}");
    assert_ne!(error.kind(), ErrorKind::BrokenPipe);
    for failed in [encoded, half] {
        let error = failed.unwrap_err().to_string();
        assert!(error.contains("cannot duplicate a file descriptor"), "{error}");
    }
    assert!(matches!(try_recv(theirs.as_fd(), &mut Begun::default()).unwrap(), Received::Empty));
    assert_eq!(open(), before);
    let fine = encode(&handle).unwrap();
    decode::<Descriptor>(&fine.body, fine.descriptors).unwrap();
    assert_eq!(open(), before);
}

/// Something to read, and one descriptor as many times as it is to be sent; over there they are that many.
#[derive(Debug, Deserialize)]
struct Many {
    body: Bytes,
    descriptors: Vec<Descriptor>,
    #[serde(skip)]
    times: usize,
}

impl Serialize for Many {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all: Vec<_> = self.descriptors.iter().cycle().take(self.times).collect();
        (&self.body, all).serialize(serializer)
    }
}

/// The same over a connection, whose messages are put together of parts: whichever part the limit strikes, and also where a look ahead
/// has taken the parts in.
fn open_descriptors_over_a_connection() {
    let (sender, receiver) = pipe::<Many>().unwrap();
    let mut many = Many { body: Bytes::default(), descriptors: Vec::new(), times: 0 };
    many.descriptors.push(File::open("/dev/null").unwrap().into());
    let usual = getrlimit(Resource::Nofile).current.unwrap();
    let before = open();
    for count in [1, 253, 254, 600] {
        for length in [0, 100_000] {
            for room in [0, 1, 5, 252, 253, 254, 400, 506, 507, 599, 600] {
                for looks in [false, true] {
                    many.times = count;
                    many.body = vec![7; length].into();
                    many = sent(&sender, many);
                    many.times = 0;
                    many = sent(&sender, many);
                    let lowered = room_for(room);
                    limit_descriptors(lowered);
                    let seen = looks.then(|| receiver.poll(Some(Duration::ZERO)));
                    let received = receiver.try_recv();
                    let next = receiver.try_recv();
                    limit_descriptors(usual);
                    assert!(seen.is_none_or(|seen| seen.unwrap()));
                    match received {
                        Ok(Some(message)) if room >= count => {
                            assert_eq!((message.descriptors.len(), message.body.len()), (count, length));
                        }
                        Err(error) if room < count => {
                            let text = error.to_string();
                            assert!(matches!(error, ipc_core::Error::Decode { .. }), "{text}");
                            assert!(text.contains(&format!("limit of {lowered} open")), "{text}");
                            assert!(text.contains(&format!("a message with {count} descriptors")), "{text}");
                        }
                        other => panic!("{count} descriptors, room for {room}: {other:?}"),
                    }
                    // It is gone, whole, and the next one is what it was.
                    let next = next.unwrap().unwrap();
                    assert_eq!((next.descriptors.len(), next.body.len()), (0, length));
                    assert_eq!(open(), before);
                }
            }
        }
    }
    assert!(receiver.try_recv().unwrap().is_none());

    // The sending side: nothing is sent, the value comes back, nothing is left.
    many.times = 5;
    limit_descriptors(room_for(4));
    let failed = sender.try_send(many);
    limit_descriptors(usual);
    let failed = failed.unwrap_err();
    assert!(failed.to_string().contains("cannot duplicate a file descriptor"), "{failed}");
    let many = failed.into_value();
    assert_eq!(many.times, 5);
    assert_eq!(open(), before);
    assert!(receiver.try_recv().unwrap().is_none());
}

/// Sends it at once, and makes the same again: what was sent is dropped.
fn sent(sender: &Sender<Many>, many: Many) -> Many {
    let again = Many {
        body: many.body.clone(),
        descriptors: vec![many.descriptors[0].as_fd().try_clone_to_owned().unwrap().into()],
        times: many.times,
    };
    sender.try_send(many).unwrap();
    again
}
