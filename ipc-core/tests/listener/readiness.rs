//! Listeners that are served by whoever waits for their descriptor: what blocking calls promise holds there too.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use ipc_core::{Address, Connector, Listener, ListenerBuilder, wait};
use ipc_testkit::{GENEROUS, leaks};

use crate::attacks::{is_closed, raw};
use crate::{Place, SHORT, families, talk};

/// Serves silent clients by readiness until so many were refused; how often the listener was ready for that.
fn serve_until(listener: &Listener, refused: u64) -> u32 {
    let begin = Instant::now();
    let mut woken = 0;
    while listener.refused() < refused {
        assert!(!wait(&[listener], Some(GENEROUS)).unwrap().is_empty(), "{} refused", listener.refused());
        assert!(begin.elapsed() < GENEROUS, "{} refused", listener.refused());
        woken += 1;
        assert!(listener.try_accept::<u8, u8>().unwrap().is_none());
    }
    woken
}

fn silent(options: ListenerBuilder, address: &Address, count: usize) -> (Listener, Vec<OwnedFd>) {
    let listener = options.bind(address).unwrap();
    let clients = (0..count).map(|_| raw(listener.address())).collect();
    (listener, clients)
}

/// No deadline was in the epoll: silent clients stayed until somebody else came.
#[test]
fn a_silent_clients_time_ends_also_where_only_readiness_is_awaited() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let begin = Instant::now();
        let (listener, clients) = silent(Listener::builder().handshake_timeout(SHORT), &address, 3);
        let woken = serve_until(&listener, 3);
        assert!(begin.elapsed() >= SHORT);
        assert!(clients.iter().all(is_closed));
        // At most an arrival and an end of each, and one that came too early for its end.
        assert!(woken <= 9, "ready {woken} times");
        assert!(wait(&[&listener], Some(Duration::from_millis(10))).unwrap().is_empty(), "nobody is left");
    }
}

/// The socket stood in the epoll also as long as nobody could be let in: whoever waited was woken all the time.
#[test]
fn a_crowd_of_silent_clients_does_not_keep_the_listener_ready() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let (listener, clients) = silent(Listener::builder().backlog(300), &address, 200);
        // All but those for whom there is room.
        let woken = serve_until(&listener, 136);
        assert!(woken <= 400, "ready {woken} times");
        // An honest client is let in meanwhile, and the socket is heard again.
        std::thread::scope(|scope| {
            let theirs =
                scope.spawn(|| Connector::new().connect::<String, String>(listener.address()).unwrap());
            let ours = loop {
                assert!(!wait(&[&listener], Some(GENEROUS)).unwrap().is_empty());
                if let Some(ours) = listener.try_accept::<String, String>().unwrap() {
                    break ours;
                }
            };
            talk(&ours, &theirs.join().unwrap());
        });
        drop(clients);
    }
}
