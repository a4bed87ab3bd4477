//! Listeners and those who connect to them, by topic.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

#[path = "../connection/raw.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of connections")]
mod raw;
#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod closing;
mod families;
mod frames;
mod keys;
mod names;
mod people;
mod readiness;
mod tcp;
mod waiting;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ipc_core::{Address, AuthKey, Connection, Connector, Listener, ListenerBuilder};

/// Longer than a handshake takes on a busy machine, shorter than the tests' patience.
const SHORT: Duration = Duration::from_millis(300);

fn key(text: &str) -> AuthKey {
    AuthKey::from_bytes(text)
}

/// A path in a directory of the test's own, which goes with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ipc-core-listener-{}-{next}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Place(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    fn lock(&self) -> PathBuf {
        self.0.join("socket.lock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An address to bind, of each family.
fn families(place: &Place) -> [Address; 3] {
    [place.socket().into(), Address::private().unwrap(), ("127.0.0.1", 0).into()]
}

/// Builders of both sides, with keys by choice.
fn pair(ours: Option<&str>, theirs: Option<&str>) -> (ListenerBuilder, Connector) {
    let listener = match ours {
        Some(text) => Listener::builder().authkey(key(text)),
        None => Listener::builder().without_authentication(),
    };
    let client = match theirs {
        Some(text) => Connector::new().authkey(key(text)),
        None => Connector::new().without_authentication(),
    };
    (listener, client)
}

type Words = Connection<String, String>;

/// Connects while somebody accepts, gives both ends.
fn meet(listener: &Listener, client: &Connector) -> (Words, Words) {
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| client.connect::<String, String>(listener.address()).unwrap());
        let ours = listener.accept::<String, String>().unwrap();
        (ours, theirs.join().unwrap())
    })
}

/// Says something to and fro.
fn talk(ours: &Words, theirs: &Words) {
    theirs.send("hello".into()).unwrap();
    assert_eq!(ours.recv().unwrap(), "hello");
    ours.send("welcome".into()).unwrap();
    assert_eq!(theirs.recv().unwrap(), "welcome");
}
