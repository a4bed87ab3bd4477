//! Clients that mean ill or know nothing: silent, trickling, flooding, babbling. They cost nobody but themselves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use ipc_core::{Address, Connector, Descriptor, Error, Listener};
use ipc_testkit::{GENEROUS, leaks, wait_until};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::raw::{Canary, Header, packet};
use crate::{Place, SHORT, families, key, meet, pair, talk};

/// A raw client, as an attacker would write it.
pub(crate) fn raw(address: &Address) -> OwnedFd {
    let unix = |name: SocketAddrUnix| {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::connect(&socket, &name).unwrap();
        socket
    };
    match address {
        Address::Unix(path) => unix(SocketAddrUnix::new(path).unwrap()),
        Address::Abstract(name) => unix(SocketAddrUnix::new_abstract_name(name).unwrap()),
        Address::Tcp(host, port) => TcpStream::connect((host.as_str(), *port)).unwrap().into(),
    }
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> rustix::io::Result<usize> {
    rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)
}

/// Whether the listener has closed it: what it says before is read away.
pub(crate) fn is_closed(socket: &OwnedFd) -> bool {
    let mut buffer = [0; 1024];
    loop {
        match rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return true,
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => return false,
            Err(_) => return true,
        }
    }
}

/// A listener of each family, with a thread that accepts until `f` is done; gives how many were refused.
fn besieged(options: impl Fn() -> ipc_core::ListenerBuilder, f: impl Fn(&Listener)) {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let listener = options().bind(&address).unwrap();
        f(&listener);
    }
}

#[test]
fn garbage_is_refused_at_once() {
    besieged(Listener::builder, |listener| {
        let longest = [255; 256];
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0], &[1, 1], &[0; 300], &[255; 1000], &longest] {
            let attacker = raw(listener.address());
            send(&attacker, garbage).unwrap();
            let begin = Instant::now();
            let before = listener.refused();
            while listener.refused() == before {
                assert!(listener.accept_timeout::<u8, u8>(Duration::from_millis(5)).unwrap().is_none());
                assert!(begin.elapsed() < Duration::from_secs(4), "it waits for the deadline: {garbage:?}");
            }
            assert!(wait_until(GENEROUS, || is_closed(&attacker)));
        }
    });
}

#[test]
fn a_silent_client_is_closed_when_its_time_is_over() {
    besieged(
        || Listener::builder().handshake_timeout(SHORT).report_refused(true),
        |listener| {
            let silent = raw(listener.address());
            let begin = Instant::now();
            let error = listener.accept::<u8, u8>().unwrap_err();
            assert!(begin.elapsed() >= SHORT);
            assert!(
                matches!(error, Error::Unauthenticated { .. }) && error.to_string().contains("in time"),
                "{error}"
            );
            assert!(is_closed(&silent));
        },
    );
}

/// A byte now and then does not buy more time.
#[test]
fn a_trickling_client_is_closed_when_its_time_is_over() {
    besieged(
        || Listener::builder().handshake_timeout(SHORT).report_refused(true),
        |listener| {
            if listener.address().is_unix() {
                // A packet of one byte is no message, and refused at once.
                let trickling = raw(listener.address());
                send(&trickling, &[71]).unwrap();
                let error = listener.accept::<u8, u8>().unwrap_err();
                assert!(error.to_string().contains("not one message"), "{error}");
                return;
            }
            let trickling = raw(listener.address());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // As an honest client begins, but so slowly that it is not through when the time is over.
                    for byte in [&[71, 2][..], b"ipcA", &[1, 1], &[0; 32]].concat() {
                        if send(&trickling, &[byte]).is_err() {
                            break;
                        }
                        std::thread::sleep(SHORT / 20);
                    }
                });
                let begin = Instant::now();
                let error = listener.accept::<u8, u8>().unwrap_err();
                assert!(
                    begin.elapsed() >= SHORT && begin.elapsed() < SHORT + Duration::from_secs(2),
                    "{error}"
                );
                assert!(error.to_string().contains("in time"), "{error}");
            });
        },
    );
}

/// An honest client that is slow on the wire, a byte at a time, is let in.
#[test]
fn a_slow_wire_is_no_crime() {
    let _leaks = leaks();
    let (listener, client) = pair(Some("a"), Some("a"));
    let listener = listener.bind(("127.0.0.1", 0)).unwrap();
    // Between the two stands one who passes on single bytes.
    let middle = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::from(middle.local_addr().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (client, _) = middle.accept().unwrap();
            let Address::Tcp(host, port) = listener.address() else { panic!() };
            let server = TcpStream::connect((host.as_str(), *port)).unwrap();
            for stream in [&client, &server] {
                stream.set_nodelay(true).unwrap();
            }
            std::thread::scope(|scope| {
                for (mut from, mut to) in [(&client, &server), (&server, &client)] {
                    scope.spawn(move || {
                        let mut byte = [0];
                        while matches!(from.read(&mut byte), Ok(1)) && to.write_all(&byte).is_ok() {}
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            });
        });
        let theirs = scope.spawn(|| client.connect::<String, String>(address).unwrap());
        let ours = listener.accept::<String, String>().unwrap();
        talk(&ours, &theirs.join().unwrap());
    });
}

#[test]
fn a_hundred_silent_clients_do_not_hold_up_an_honest_one() {
    besieged(
        || Listener::builder().backlog(256).handshake_timeout(GENEROUS),
        |listener| {
            let silent: Vec<_> = (0..100).map(|_| raw(listener.address())).collect();
            let begin = Instant::now();
            let (ours, theirs) = meet(listener, &Connector::new());
            talk(&ours, &theirs);
            assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
            // Some had to make room, the youngest did not.
            assert!(listener.refused() >= 37 && listener.refused() < 100, "{}", listener.refused());
            assert!(!is_closed(silent.last().unwrap()));
        },
    );
}

/// They come again and again, as fast as they can.
#[test]
fn a_flood_does_not_hold_up_honest_ones() {
    let _leaks = leaks();
    let listener =
        Listener::builder().handshake_timeout(Duration::from_millis(100)).bind(("127.0.0.1", 0)).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let attacker = raw(listener.address());
                let _ = send(&attacker, &[7; 300]);
            }
        });
        for _ in 0..20 {
            let (ours, theirs) = meet(&listener, &Connector::new());
            talk(&ours, &theirs);
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// A listener where each client that is let in finds the next one there already, ten thousand times; `at` sees each come.
fn overrun(at: impl Fn(&Listener, usize) + Send + Sync + 'static) -> (Arc<Listener>, Arc<AtomicUsize>) {
    let (itself, came) = (Arc::new(OnceLock::<Weak<Listener>>::new()), Arc::new(AtomicUsize::new(0)));
    let admit = {
        let (itself, came) = (itself.clone(), came.clone());
        move |_: &ipc_core::Credentials| {
            let number = came.fetch_add(1, Ordering::Relaxed);
            if let Some(listener) = itself.get().and_then(Weak::upgrade)
                && number < 10_000
            {
                at(&listener, number);
                babble(&listener);
            }
            true
        }
    };
    let listener = Listener::builder().admit(admit).bind(Address::private().unwrap()).unwrap();
    let listener = Arc::new(listener);
    itself.set(Arc::downgrade(&listener)).unwrap();
    babble(&listener);
    (listener, came)
}

/// A client that is no client, gone before anybody looks; or there is no listener any more.
fn babble(listener: &Listener) {
    let Address::Abstract(name) = listener.address() else { panic!() };
    let name = SocketAddrUnix::new_abstract_name(name).unwrap();
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .unwrap();
    if rustix::net::connect(&socket, &name).is_ok() {
        send(&socket, b"x").unwrap();
    }
}

/// As long as there was another client to refuse, nobody looked at the clock.
#[test]
fn clients_to_refuse_hold_nobody_beyond_the_time_given() {
    let _leaks = leaks();
    let (listener, came) = overrun(|_, _| ());
    assert!(listener.try_accept::<u8, u8>().unwrap().is_none());
    assert!(came.load(Ordering::Relaxed) < 1000, "{came:?}");
    let begin = Instant::now();
    let time = Duration::from_millis(20);
    assert!(listener.accept_timeout::<u8, u8>(time).unwrap().is_none());
    assert!(begin.elapsed() >= time && came.load(Ordering::Relaxed) < 10_000, "{came:?}");
    // An honest one is not behind more of them than that.
    let (ours, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| ipc_core::connect::<String, String>(listener.address()).unwrap());
        let ours = loop {
            if let Some(ours) = listener.try_accept::<String, String>().unwrap() {
                break ours;
            }
        };
        (ours, theirs.join().unwrap())
    });
    talk(&ours, &theirs);
}

/// Nor at whether the listener was closed.
#[test]
fn clients_to_refuse_keep_nobody_from_seeing_the_end() {
    let _leaks = leaks();
    let (listener, came) = overrun(|listener, number| {
        if number == 100 {
            listener.close();
        }
    });
    assert!(listener.accept::<u8, u8>().unwrap_err().is_disconnected());
    assert!(came.load(Ordering::Relaxed) < 1000, "{came:?}");
}

/// A client that goes in the middle of the handshake, or before it.
#[test]
fn clients_that_go_are_passed_over() {
    besieged(Listener::builder, |listener| {
        for _ in 0..5 {
            drop(raw(listener.address()));
            let attacker = raw(listener.address());
            // The beginning of an ANSWER, where a beginning can be sent.
            if !listener.address().is_unix() {
                send(&attacker, &[71, 2, b'i']).unwrap();
            }
        }
        let (ours, theirs) = meet(listener, &Connector::new());
        talk(&ours, &theirs);
        assert_eq!(listener.refused(), 10);
    });
}

/// Descriptors in the packets of a stranger are dropped by the kernel.
#[test]
fn descriptors_of_a_stranger_are_not_taken() {
    let _leaks = leaks();
    let listener = Listener::builder().report_refused(true).bind(Address::private().unwrap()).unwrap();
    let attacker = raw(listener.address());
    let (_keep, given) = std::io::pipe().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let descriptors = [given.as_fd()];
    assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&descriptors)));
    rustix::net::sendmsg(&attacker, &[std::io::IoSlice::new(&[1, 9])], &mut control, SendFlags::empty())
        .unwrap();
    let before = ipc_testkit::Snapshot::take().unwrap();
    listener.accept::<u8, u8>().unwrap_err();
    assert!(ipc_testkit::Snapshot::take().unwrap().descriptors.len() <= before.descriptors.len());
}

/// A false listener: what a client makes of it.
#[test]
fn clients_are_as_careful() {
    let _leaks = leaks();
    let false_one = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::from(false_one.local_addr().unwrap());
    for (says, error) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "no handshake"),
        (&[0], "no handshake"),
        (&[], "closed the connection in the middle of the handshake"),
    ] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut client, _) = false_one.accept().unwrap();
                // 72 bytes, of which HTTP's answer has fewer: the end comes.
                client.write_all(says).unwrap();
                // It may have heard enough, and be gone.
                let _ = client.shutdown(std::net::Shutdown::Write);
                let _ = client.read_to_end(&mut Vec::new());
            });
            let failed = ipc_core::connect::<u8, u8>(&address).unwrap_err().to_string();
            assert!(failed.contains(error) || failed.contains("middle of the handshake"), "{failed}");
        });
    }
    // And one that says nothing.
    let begin = Instant::now();
    let error = Connector::new().timeout(SHORT).authkey(key("a")).connect::<u8, u8>(&address).unwrap_err();
    assert!(error.is_timed_out() && begin.elapsed() >= SHORT, "{error}");
}

/// A frame that is longer than allowed was skipped to its end, by whoever wanted nothing but to look.
#[test]
fn a_frame_without_end_holds_nobody_beyond_the_time_given() {
    let _leaks = leaks();
    let listener = Listener::bind(("127.0.0.1", 0)).unwrap();
    let (ours, theirs) = meet(&listener, &Connector::new());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let begin = Instant::now();
                let bytes = vec![255; 1 << 20];
                // As long as anybody is held, but not for ever.
                while !over.load(Ordering::Relaxed) && begin.elapsed() < Duration::from_secs(8) {
                    let _ = rustix::net::send(&theirs, &bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
                }
            });
        }
        let error = ours.recv().unwrap_err();
        let begin = Instant::now();
        let time = Duration::from_millis(20);
        for _ in 0..5 {
            assert_eq!(ours.recv_timeout(time).unwrap(), None);
            assert_eq!(ours.try_recv().unwrap(), None);
            assert!(!ours.receiver().poll(Some(time)).unwrap());
        }
        over.store(true, Ordering::Relaxed);
        assert!(matches!(error, Error::TooLong { .. }), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    });
}

/// The parts of a message that does not end could take all descriptors that the listener's process may have.
#[test]
fn the_descriptors_of_what_is_unfinished_are_bounded() {
    let _leaks = leaks();
    let listener = Listener::private().unwrap();
    let (ours, theirs) = meet(&listener, &Connector::new());
    let canary = Canary::new();
    let begin = |id, total| {
        let header = Header { here: 253, total, ..Header::part(id, 0, 1 << 20) };
        packet(theirs.as_fd(), &[&header.bytes()[..], b"x"].concat(), &[canary.as_fd(); 253]);
    };
    begin(1, 1 << 16);
    let error = ours.receiver().recv_bytes_timeout(GENEROUS).unwrap_err();
    assert!(error.to_string().contains("it has 65536 descriptors, and at most 253"), "{error}");
    assert_eq!(canary.copies(), 0);
    for id in 2..6 {
        begin(id, 253);
        assert!(ours.receiver().try_recv_bytes().unwrap().is_none());
        assert_eq!(canary.copies(), 253);
    }
    talk(&ours, &theirs);
}

#[test]
fn how_many_descriptors_a_message_may_have_can_be_said() {
    let _leaks = leaks();
    let listener = Listener::builder().max_descriptors(300).bind(Address::private().unwrap()).unwrap();
    let (theirs, ours) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| ipc_core::connect::<Vec<Descriptor>, ()>(listener.address()).unwrap());
        let ours = listener.accept::<(), Vec<Descriptor>>().unwrap();
        (theirs.join().unwrap(), ours)
    });
    let canary = Canary::new();
    let many = |count| (0..count).map(|_| canary.as_fd().try_clone_to_owned().unwrap().into()).collect();
    for (count, comes) in [(300, true), (301, false), (3, true)] {
        theirs.send(many(count)).unwrap();
        assert!(ours.receiver().poll(None).unwrap());
        match ours.recv() {
            Ok(all) => assert!(comes && all.len() == count, "{count}"),
            Err(error) => assert!(!comes && matches!(error, Error::Decode { .. }), "{count}: {error}"),
        }
        assert_eq!(canary.copies(), 0);
    }
}
