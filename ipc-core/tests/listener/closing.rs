//! Closing: while others accept, twice, with clients on their way.

use std::time::Duration;

use ipc_core::{Address, Connector, Listener, connect, wait};
use ipc_testkit::{GENEROUS, leaks, wait_until};

use crate::{Place, families, meet, talk};

#[test]
fn closing_wakes_those_who_accept() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let listener = Listener::bind(&address).unwrap();
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..3)
                .map(|which| {
                    let listener = &listener;
                    scope.spawn(move || match which {
                        0 => listener.accept::<u8, u8>().map(Some),
                        1 => listener.accept_timeout::<u8, u8>(GENEROUS),
                        _ => {
                            wait(&[listener], None).unwrap();
                            listener.try_accept::<u8, u8>()
                        }
                    })
                })
                .collect();
            // Whether or not they wait already, they must end.
            std::thread::sleep(Duration::from_millis(20));
            listener.close();
            for one in waiting {
                let error = one.join().unwrap().unwrap_err();
                assert!(error.is_disconnected() && error.to_string().contains("is closed"), "{error}");
            }
        });
        listener.close();
        assert!(listener.accept::<u8, u8>().unwrap_err().is_disconnected());
        // Nobody listens any more, though the handle is still there.
        assert!(connect::<u8, u8>(listener.address()).unwrap_err().io_error().is_some());
        Listener::bind(listener.address()).unwrap();
    }
}

#[test]
fn accepted_connections_outlive_the_listener() {
    let _leaks = leaks();
    let listener = Listener::private().unwrap();
    let (ours, theirs) = meet(&listener, &Connector::new());
    drop(listener);
    talk(&ours, &theirs);
}

/// A client in the middle of its handshake, and one in the backlog, learn of it.
#[test]
fn clients_on_their_way_are_told() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let listener = Listener::bind(&address).unwrap();
        let address = listener.address().clone();
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| connect::<u8, u8>(&address))).collect();
            // One at least has come so far that it is let in; it may wait in vain for its answer.
            let first = listener.accept::<u8, u8>().unwrap();
            listener.close();
            drop(first);
            for one in waiting {
                match one.join().unwrap() {
                    Ok(connection) => assert!(connection.recv().unwrap_err().is_disconnected()),
                    Err(error) => assert!(
                        error.is_disconnected()
                            || error.io_error().is_some_and(|io| {
                                matches!(
                                    io.kind(),
                                    std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound
                                )
                            }),
                        "{error}"
                    ),
                }
            }
        });
    }
}

#[test]
fn several_threads_accept() {
    let _leaks = leaks();
    const CLIENTS: usize = 40;
    let listener = Listener::bind(Address::private().unwrap()).unwrap();
    let sum = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Ok(client) = listener.accept::<u64, u64>() {
                    sum.fetch_add(client.recv().unwrap(), std::sync::atomic::Ordering::Relaxed);
                    client.send(1).unwrap();
                }
            });
        }
        for number in 1..=CLIENTS as u64 {
            let server = connect::<u64, u64>(listener.address()).unwrap();
            server.send(number).unwrap();
            assert_eq!(server.recv().unwrap(), 1);
        }
        listener.close();
    });
    assert_eq!(sum.into_inner(), (1..=CLIENTS as u64).sum());
    assert!(wait_until(GENEROUS, || connect::<u8, u8>(listener.address()).is_err()));
}
