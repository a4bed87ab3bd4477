//! Addresses of every family.

use std::os::unix::ffi::OsStrExt;

use ipc_core::{Address, Connector, Error, Listener, connect};
use ipc_testkit::leaks;

use crate::{Place, families, meet, talk};

#[test]
fn every_family() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let listener = Listener::bind(&address).unwrap();
        let (ours, theirs) = meet(&listener, &Connector::new());
        talk(&ours, &theirs);
        // And a second one.
        let (ours, theirs) = meet(&listener, &Connector::new());
        talk(&ours, &theirs);
        assert_eq!(listener.refused(), 0);
    }
}

#[test]
fn text_says_the_family() {
    let _leaks = leaks();
    let place = Place::new();
    let path = place.socket().to_str().unwrap().to_owned();
    for text in [path.as_str(), "@ipc-core-test-of-text", "127.0.0.1:0", "localhost:0"] {
        let listener = Listener::bind(text).unwrap();
        let (ours, theirs) = meet(&listener, &Connector::new());
        talk(&ours, &theirs);
    }
    let error = Listener::bind("localhost").unwrap_err().to_string();
    assert!(error.contains("HOST:PORT"), "{error}");
    let error = connect::<u8, u8>("localhost").unwrap_err().to_string();
    assert!(error.contains("HOST:PORT"), "{error}");
}

#[test]
fn borrowed_paths_and_text() {
    let _leaks = leaks();
    let place = Place::new();
    let path = place.socket();
    let listener = Listener::bind(&path).unwrap();
    assert_eq!(*listener.address(), Address::Unix(path.clone()));
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| connect::<u8, u8>(&path).unwrap());
        listener.accept::<u8, u8>().unwrap();
        theirs.join().unwrap();
    });
    drop(listener);
    let text = path.to_str().unwrap().to_owned();
    Listener::bind(&text).unwrap();
    let any = &std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    Listener::bind(any).unwrap();
}

/// What each side receives at most is its own to say.
#[test]
fn limits_of_length_on_both_sides() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let listener = Listener::builder().max_message(1000).bind(&address).unwrap();
        let (ours, theirs) = meet(&listener, &Connector::new().max_message(2000));
        assert_eq!((ours.max_message(), theirs.max_message()), (1000, 2000));
        for (from, to, limit) in [(&theirs, &ours, 1000), (&ours, &theirs, 2000)] {
            from.send_bytes(&vec![1; limit]).unwrap();
            from.send_bytes(&vec![2; limit + 1]).unwrap();
            from.send_bytes(b"next").unwrap();
            assert_eq!(to.recv_bytes().unwrap().len(), limit);
            match to.recv_bytes().unwrap_err() {
                Error::TooLong { length, limit: told } => {
                    assert_eq!((length, told), (limit as u64 + 1, limit));
                }
                other => panic!("{other}"),
            }
            assert_eq!(*to.recv_bytes().unwrap(), *b"next");
        }
        drop((ours, theirs));
        // If nobody says anything, strangers are limited and listeners are not.
        drop(listener);
        let listener = Listener::bind(&address).unwrap();
        let (ours, theirs) = meet(&listener, &Connector::new());
        assert_eq!((ours.max_message(), theirs.max_message()), (64 << 20, usize::MAX));
    }
}

#[test]
fn port_zero_is_a_real_one_afterwards() {
    let listener = Listener::bind(("127.0.0.1", 0)).unwrap();
    let Address::Tcp(host, port) = listener.address() else { panic!("{:?}", listener.address()) };
    assert_eq!(host, "127.0.0.1");
    assert_ne!(*port, 0);
}

#[test]
fn private_addresses_are_abstract_and_differ() {
    let (one, other) = (Listener::private().unwrap(), Listener::private().unwrap());
    assert!(matches!(one.address(), Address::Abstract(_)));
    assert_ne!(one.address(), other.address());
}

/// The kernel's addresses hold 107 bytes.
#[test]
fn paths_of_any_length() {
    let _leaks = leaks();
    let place = Place::new();
    let long = place.0.join("a".repeat(100)).join("b".repeat(200));
    std::fs::create_dir_all(&long).unwrap();
    let path = long.join("socket");
    assert!(path.as_os_str().as_bytes().len() > 300);
    for _ in 0..2 {
        let listener = Listener::bind(path.as_path()).unwrap();
        let (ours, theirs) = meet(&listener, &Connector::new());
        talk(&ours, &theirs);
        drop(listener);
        assert!(!path.exists());
    }
}

#[test]
fn a_relative_path_is_whole_in_the_address() {
    let listener = Listener::bind(format!("./ipc-core-test-{}", std::process::id())).unwrap();
    let Address::Unix(path) = listener.address() else { panic!() };
    assert!(path.is_absolute());
    let path = path.clone();
    assert!(path.exists());
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn what_cannot_be_bound_says_why() {
    let _leaks = leaks();
    let place = Place::new();
    let cases = [
        (Address::Unix("/nowhere/at/all".into()), "No such file"),
        (Address::Unix(place.0.clone()), "what is there is no socket"),
        (Address::Abstract(Vec::new()), "must not be empty"),
        (Address::Abstract(vec![b'a'; 108]), "at most 107 bytes"),
        (Address::Unix(place.0.join("a".repeat(255))), "too long"),
        (("192.0.2.1", 0).into(), "Cannot assign requested address"),
    ];
    for (address, why) in cases {
        let error = Listener::bind(&address).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn connecting_to_nobody_says_so() {
    let _leaks = leaks();
    let place = Place::new();
    let gone = Listener::bind(("127.0.0.1", 0)).unwrap().address().clone();
    for (address, kind) in [
        (place.socket().into(), std::io::ErrorKind::NotFound),
        (Address::private().unwrap(), std::io::ErrorKind::ConnectionRefused),
        (gone, std::io::ErrorKind::ConnectionRefused),
    ] {
        let error = connect::<u8, u8>(&address).unwrap_err();
        assert_eq!(error.io_error().unwrap().kind(), kind, "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}

/// Two would take bytes of one message: where the kernel does not keep messages whole, there is no clone.
#[test]
fn over_tcp_an_end_that_receives_is_not_cloned() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let (ours, theirs) = meet(&Listener::bind(&address).unwrap(), &Connector::new());
        if address.is_unix() {
            let other = ours.try_clone().unwrap();
            drop(ours);
            assert_eq!(other.max_message(), 64 << 20);
            talk(&other, &theirs);
            continue;
        }
        for error in
            [ours.try_clone().map(drop).unwrap_err(), ours.receiver().try_clone().map(drop).unwrap_err()]
        {
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
            assert!(error.to_string().contains("over TCP"), "{error}");
        }
        talk(&ours, &theirs);
    }
}
