//! Listeners and clients killed in the middle of a handshake: nobody waits for the dead, the address of a dead listener can be
//! bound at once, and a listener goes on when its clients die.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ipc_core::crash::{CrashPoints, POINTS};
use ipc_core::{
    Address, Child, Connection, Connector, Context, Error, Listener, Sender, Signal, connect, pipe,
};
use ipc_testkit::{GENEROUS, Rng, kills, leaks};

use crate::{mine, points, program, rounds};

/// Addresses that no other test has, also where several run in one process.
fn families() -> [(&'static str, Address); 3] {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let path: PathBuf = std::env::temp_dir().join(format!("ipc-core-crash-{}-{number}", std::process::id()));
    [("path", path.into()), ("abstract", Address::private().unwrap()), ("tcp", ("127.0.0.1", 0).into())]
}

/// The client that may die.
fn hello(address: Address) {
    connect::<String, String>(address).unwrap().send("hello".into()).unwrap();
}

/// Has clients killed at a point, so many, and sends an honest one after each; says how many were killed.
fn kill_clients(address: Address, point: String, count: u32) -> u32 {
    let points = mine();
    let context = Context::fork_server();
    let before = points.kills(&point);
    for _ in 0..count {
        points.arm(&point, 1);
        let error = context.spawn(hello, (address.clone(),)).unwrap().join().unwrap_err();
        assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
        context.spawn(hello, (address.clone(),)).unwrap().join().unwrap();
    }
    points.kills(&point) - before
}

#[test]
fn a_client_killed_at_a_point_holds_up_nobody() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    for (family, address) in families() {
        let listener = Listener::builder().handshake_timeout(GENEROUS).bind(&address).unwrap();
        for point in points("client") {
            let count = rounds();
            let killer = program(&crash, kill_clients, (listener.address().clone(), point.to_owned(), count));
            let mut honest = 0;
            while honest < count {
                let client = listener.accept_timeout::<String, String>(GENEROUS).unwrap().unwrap();
                match client.recv() {
                    Ok(word) => {
                        assert_eq!(word, "hello");
                        honest += 1;
                    }
                    Err(error) => assert!(error.is_disconnected(), "{error}"),
                }
            }
            let killed = killer.join().unwrap_or_else(|error| panic!("{point}, {family}: {error}"));
            kills(&format!("{point}, {family}"), killed.into());
        }
    }
}

/// The listener that may die.
fn serve(address: Address, ready: Sender<Address>) {
    let listener = Listener::bind(address).unwrap();
    ready.send(listener.address().clone()).unwrap();
    loop {
        let client = listener.accept::<String, String>().unwrap();
        // Gone clients are no reason to stop.
        if let Ok(word) = client.recv() {
            let _ = client.send(word);
        }
    }
}

fn server(crash: &CrashPoints, address: &Address) -> (Child<()>, Address) {
    let (ready, bound) = pipe().unwrap();
    let child = program(crash, serve, (address.clone(), ready));
    let address = bound.recv().unwrap();
    (child, address)
}

/// A client of a listener that dies: an error soon, or the echo.
fn visit(address: &Address) -> bool {
    let visited = Connector::new().timeout(GENEROUS).connect::<String, String>(address).and_then(
        |server: Connection<_, _>| {
            server.send("hello".to_owned()).map_err(Error::from)?;
            server.recv()
        },
    );
    match visited {
        Ok(word) => {
            assert_eq!(word, "hello");
            true
        }
        Err(error) => {
            let refused = error.io_error().is_some_and(|io| {
                matches!(
                    io.kind(),
                    std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset
                )
            });
            assert!(error.is_disconnected() || refused, "{error}");
            false
        }
    }
}

fn is_killed(child: Child<()>) {
    let error = child.join().unwrap_err();
    assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
}

#[test]
fn a_listener_killed_at_a_point_leaves_its_address() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    for (family, address) in families() {
        for point in points("listener") {
            let before = crash.kills(point);
            for _ in 0..rounds().div_ceil(4) {
                let (child, address) = server(&crash, &address);
                crash.arm(point, 1);
                assert!(!visit(&address), "the dead answer");
                is_killed(child);
                let next =
                    Listener::bind(&address).unwrap_or_else(|error| panic!("{point}, {family}: {error}"));
                std::thread::scope(|scope| {
                    scope.spawn(|| hello(address.clone()));
                    assert_eq!(next.accept::<String, String>().unwrap().recv().unwrap(), "hello");
                });
            }
            kills(&format!("{point}, {family}"), (crash.kills(point) - before).into());
        }
    }
}

#[test]
fn a_listener_killed_at_a_random_instant_leaves_its_address() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    let mut rng = Rng::new();
    for (family, address) in families() {
        let count = rounds().div_ceil(2);
        for _ in 0..count {
            let (child, address) = server(&crash, &address);
            std::thread::scope(|scope| {
                let clients: Vec<_> = (0..2).map(|_| scope.spawn(|| while visit(&address) {})).collect();
                std::thread::sleep(rng.duration(Duration::from_micros(3000)));
                child.kill().unwrap();
                clients.into_iter().for_each(|client| client.join().unwrap());
            });
            is_killed(child);
            Listener::bind(&address).unwrap_or_else(|error| panic!("{family}: {error}"));
        }
        kills(&format!("listener: random instant, {family}"), count.into());
    }
}
