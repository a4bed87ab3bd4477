//! Waiting: for listeners, connections and children at once; for clients that never come; through signals.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ipc_core::{Connector, Context, Listener, connect, pipe, wait, wait_deadline};
use ipc_testkit::{GENEROUS, leaks};

use crate::{Place, SHORT, families, talk};

#[test]
fn all_kinds_at_once() {
    let _leaks = leaks();
    let listener = Listener::private().unwrap();
    let (sender, receiver) = pipe::<u8>().unwrap();
    let child = Context::exec().spawn(|| std::thread::sleep(Duration::from_secs(600)), ()).unwrap();
    let (_, silent) = std::io::pipe().map(|(read, write)| (write, read)).unwrap();
    let many: [&dyn AsFd; 4] = [&silent, &listener, &receiver, &child];
    // The writing end of `silent` is gone: it has hung up.
    assert_eq!(wait(&many, None).unwrap(), [0]);
    let many = &many[1..];
    assert!(wait(many, Some(Duration::ZERO)).unwrap().is_empty());
    sender.send(1).unwrap();
    assert_eq!(wait(many, None).unwrap(), [1]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(wait(many, None).unwrap(), [1, 2]);
    assert!(ipc_core::active_children().is_empty());
    std::thread::scope(|scope| {
        scope.spawn(|| connect::<u8, u8>(listener.address()).unwrap().send(1).unwrap());
        while !wait(many, None).unwrap().contains(&0) {}
        assert_eq!(listener.accept::<u8, u8>().unwrap().recv().unwrap(), 1);
    });
}

/// A loop around `wait` and `try_accept` lets everybody in, whatever the handshakes wait for in between.
#[test]
fn a_listener_is_ready_whenever_it_has_something_to_do() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let listener = Listener::bind(&address).unwrap();
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..10)
                .map(|_| scope.spawn(|| connect::<String, String>(listener.address()).unwrap()))
                .collect();
            let mut ours = Vec::new();
            while ours.len() < 10 {
                let ready = wait(&[&listener], Some(GENEROUS)).unwrap();
                if ready.is_empty() {
                    listener.close();
                    panic!("not ready after {} clients", ours.len());
                }
                ours.extend(listener.try_accept::<String, String>().unwrap());
            }
            for theirs in clients {
                theirs.join().unwrap().send("hello".into()).unwrap();
            }
            for ours in ours {
                assert_eq!(ours.recv().unwrap(), "hello");
            }
        });
        // And nobody is there any more.
        assert!(wait(&[&listener], Some(Duration::from_millis(10))).unwrap().is_empty());
    }
}

#[test]
fn nobody_comes() {
    let listener = Listener::private().unwrap();
    let begin = Instant::now();
    assert!(listener.try_accept::<u8, u8>().unwrap().is_none());
    assert!(listener.accept_timeout::<u8, u8>(Duration::ZERO).unwrap().is_none());
    assert!(listener.accept_deadline::<u8, u8>(begin).unwrap().is_none());
    assert!(begin.elapsed() < Duration::from_secs(5));
    let begin = Instant::now();
    assert!(listener.accept_timeout::<u8, u8>(SHORT).unwrap().is_none());
    assert!(begin.elapsed() >= SHORT);
    // A time that no clock can hold is for ever, not an overflow.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| listener.accept_timeout::<u8, u8>(Duration::MAX));
        connect::<u8, u8>(listener.address()).unwrap();
        assert!(waiting.join().unwrap().unwrap().is_some());
    });
}

#[test]
fn deadlines_and_empty_lists() {
    let begin = Instant::now();
    assert!(wait(&[], None).unwrap().is_empty());
    assert!(wait(&[], Some(Duration::MAX)).unwrap().is_empty());
    let (_sender, receiver) = pipe::<u8>().unwrap();
    assert!(wait_deadline(&[&receiver], begin).unwrap().is_empty());
    assert!(wait_deadline(&[&receiver], begin - Duration::from_millis(1)).unwrap().is_empty());
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(wait(&[&receiver, &receiver], Some(SHORT)).unwrap().is_empty());
    assert!(begin.elapsed() >= SHORT);
}

/// The same descriptor twice is ready twice.
#[test]
fn places_are_what_is_given() {
    let (sender, receiver) = pipe::<u8>().unwrap();
    let (_silent, other) = pipe::<u8>().unwrap();
    sender.send(1).unwrap();
    assert_eq!(wait(&[&receiver, &other, &receiver], None).unwrap(), [0, 2]);
}

/// A full backlog makes clients wait, and their time ends.
#[test]
fn connecting_has_a_deadline_also_where_the_backlog_is_full() {
    let _leaks = leaks();
    let listener = Listener::builder().backlog(0).bind(ipc_core::Address::private().unwrap()).unwrap();
    let client = Connector::new().timeout(SHORT);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| client.connect::<u8, u8>(listener.address()).unwrap_err()))
            .collect();
        for one in all {
            let error = one.join().unwrap();
            assert!(error.is_timed_out(), "{error}");
        }
    });
    assert!(begin.elapsed() >= SHORT);
}

static SIGNALS: AtomicU32 = AtomicU32::new(0);

/// Signals interrupt nothing: neither who accepts nor who connects nor who waits.
#[test]
fn signals_are_waited_out() {
    extern "C" fn count(_: i32) {
        SIGNALS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler adds to a number; without SA_RESTART, so that calls are interrupted.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as extern "C" fn(i32) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let listener = Listener::bind(&address).unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            // SAFETY: of this thread, which lives until the scope's end.
            let accepting = unsafe { libc::pthread_self() } as usize;
            let (over, listener) = (&over, &listener);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // SAFETY: the thread lives, see above.
                    unsafe { libc::pthread_kill(accepting as libc::pthread_t, libc::SIGUSR1) };
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
            let client = scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                connect::<String, String>(listener.address()).unwrap()
            });
            let before = SIGNALS.load(Ordering::Relaxed);
            let ours = listener.accept::<String, String>().unwrap();
            assert!(SIGNALS.load(Ordering::Relaxed) > before, "there were signals");
            talk(&ours, &client.join().unwrap());
            over.store(true, Ordering::Relaxed);
        });
    }
}
