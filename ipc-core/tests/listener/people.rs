//! Who is on the other side: peer credentials, the last one accepted, rules about users.

use std::time::Duration;

use ipc_core::{Address, Connection, Connector, Context, Error, Listener, connect, duplex};
use ipc_testkit::{GENEROUS, leaks, wait_until};

use crate::{Place, families, meet};

#[test]
fn the_kernel_says_who_it_is() {
    let _leaks = leaks();
    fn visit(address: Address) -> u32 {
        let server = connect::<u8, u8>(address).unwrap();
        let parent = server.credentials().unwrap().unwrap();
        assert_eq!(parent.pid, ipc_core::parent().unwrap().pid());
        // Until it is known here.
        server.recv().unwrap();
        std::process::id()
    }
    let place = Place::new();
    for address in &families(&place)[..2] {
        let listener = Listener::bind(address).unwrap();
        let child = Context::exec().spawn(visit, (listener.address().clone(),)).unwrap();
        let client = listener.accept::<u8, u8>().unwrap();
        let who = client.credentials().unwrap().unwrap();
        assert_eq!(who.pid, child.pid());
        assert!(who.is_same_user());
        // The process itself, where the kernel tells.
        if let Some(pidfd) = client.peer_pidfd().unwrap() {
            assert!(ipc_core::wait(&[&pidfd], Some(std::time::Duration::ZERO)).unwrap().is_empty());
            client.send(1).unwrap();
            assert_eq!(ipc_core::wait(&[&pidfd], None).unwrap(), [0]);
        } else {
            client.send(1).unwrap();
        }
        assert_eq!(child.join().unwrap(), who.pid);
    }
}

#[test]
fn over_tcp_nobody_knows() {
    let listener = Listener::bind(("127.0.0.1", 0)).unwrap();
    let (ours, theirs) = meet(&listener, &Connector::new());
    assert_eq!(ours.credentials().unwrap(), None);
    assert!(theirs.peer_pidfd().unwrap().is_none());
}

/// Each connection knows its own peer, however many threads accept at once.
#[test]
fn the_address_of_each_peer() {
    const CLIENTS: usize = 24;
    let _leaks = leaks();
    let listener = Listener::bind(("127.0.0.1", 0)).unwrap();
    let served = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Ok(client) = listener.accept::<u8, Address>() {
                    assert_eq!(client.peer_address().unwrap().unwrap(), client.recv().unwrap());
                    served.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    client.send(1).unwrap();
                }
            });
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let server = connect::<Address, u8>(listener.address()).unwrap();
                    assert_eq!(server.peer_address().unwrap().as_ref(), Some(listener.address()));
                    let own = rustix::net::getsockname(&server).unwrap();
                    server.send(std::net::SocketAddr::try_from(own).unwrap().into()).unwrap();
                    server.recv()
                })
            })
            .collect();
        let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        listener.close();
        assert!(answers.into_iter().all(|answer| matches!(answer, Ok(1))));
    });
    assert_eq!(served.into_inner(), CLIENTS);
}

#[test]
fn some_peers_have_no_address() {
    let _leaks = leaks();
    let place = Place::new();
    for address in &families(&place)[..2] {
        let (ours, theirs) = meet(&Listener::bind(address).unwrap(), &Connector::new());
        assert_eq!((ours.peer_address().unwrap(), theirs.peer_address().unwrap()), (None, None));
    }
    let pairs: [(Connection<u8>, Connection<u8>); 2] =
        [duplex().unwrap(), Context::threads().duplex().unwrap()];
    for (ours, theirs) in pairs {
        assert_eq!((ours.peer_address().unwrap(), theirs.peer_address().unwrap()), (None, None));
    }
    // After its end a peer is still known, until the connection is reset.
    let (ours, theirs) = meet(&Listener::bind(("127.0.0.1", 0)).unwrap(), &Connector::new());
    rustix::net::sockopt::set_socket_linger(&theirs, Some(Duration::ZERO)).unwrap();
    assert!(ours.peer_address().unwrap().is_some());
    drop(theirs);
    let forgotten = || {
        let answer = ours.peer_address();
        answer.is_err_and(|error| error.io_error().unwrap().kind() == std::io::ErrorKind::NotConnected)
    };
    assert!(wait_until(GENEROUS, forgotten));
}

#[test]
fn the_last_accepted() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let listener = Listener::bind(&address).unwrap();
        assert_eq!(listener.last_accepted(), None);
        let _both = meet(&listener, &Connector::new());
        let peer = listener.last_accepted().unwrap();
        if address.is_unix() {
            assert_eq!(peer.address, None);
            assert_eq!(peer.credentials.unwrap().pid, std::process::id());
            assert!(peer.to_string().contains(&std::process::id().to_string()));
        } else {
            assert_eq!(peer.credentials, None);
            assert!(peer.to_string().starts_with("127.0.0.1:"), "{peer}");
        }
    }
}

#[test]
fn rules_about_users() {
    let _leaks = leaks();
    let refused = |listener: &Listener| {
        std::thread::scope(|scope| {
            let theirs = scope.spawn(|| connect::<u8, u8>(listener.address()).unwrap_err());
            let ours = listener.accept::<u8, u8>().unwrap_err();
            let theirs = theirs.join().unwrap();
            for error in [&ours, &theirs] {
                assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
                assert!(error.to_string().contains("user"), "{error}");
            }
        });
    };
    let private = || Address::private().unwrap();
    meet(&Listener::builder().same_user(true).bind(private()).unwrap(), &Connector::new());
    meet(&Listener::builder().admit(|who| who.is_same_user()).bind(private()).unwrap(), &Connector::new());
    refused(&Listener::builder().admit(|who| who.uid == 4711).report_refused(true).bind(private()).unwrap());
    // Over TCP there is no knowledge, so nobody is let in.
    refused(&Listener::builder().same_user(true).report_refused(true).bind(("127.0.0.1", 0)).unwrap());
}
