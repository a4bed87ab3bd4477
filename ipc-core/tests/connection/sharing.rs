//! One end, several threads, several processes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipc_core::{Bytes, Context, Sender, duplex, pipe};
use ipc_testkit::leaks;

use crate::{SOON, pattern};

const LENGTHS: [usize; 5] = [1, 100, 70_000, 1_000_000, 3_000];

/// Each sends messages of all lengths, short and long ones mixed.
fn send_all(sender: Sender<(u8, u32, Bytes)>, who: u8, count: u32) {
    for n in 0..count {
        let len = LENGTHS[(n as usize + usize::from(who)) % LENGTHS.len()];
        sender.send((who, n, pattern(len, who).into())).unwrap();
    }
}

fn check((who, n, bytes): &(u8, u32, Bytes)) {
    let len = LENGTHS[(*n as usize + usize::from(*who)) % LENGTHS.len()];
    assert!(*bytes == pattern(len, *who), "message {n} of {who}");
}

#[test]
fn several_threads_send_and_several_receive() {
    let _leaks = leaks();
    const SENDERS: u8 = 4;
    const COUNT: u32 = 60;
    let (sender, receiver) = pipe().unwrap();
    let received = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for who in 0..SENDERS {
            let sender = sender.clone();
            scope.spawn(move || send_all(sender, who, COUNT));
        }
        drop(sender);
        for way in 0..3 {
            let (receiver, received) = (&receiver, &received);
            scope.spawn(move || {
                loop {
                    let message = match way {
                        0 => receiver.recv().map(Some),
                        1 => receiver.recv_timeout(Duration::from_millis(1)),
                        _ => receiver.poll(Some(SOON)).and_then(|_| receiver.try_recv()),
                    };
                    match message {
                        Ok(Some(message)) => check(&message),
                        Ok(None) => continue,
                        Err(end) => {
                            assert!(end.is_disconnected(), "{end}");
                            return;
                        }
                    }
                    received.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(received.into_inner(), usize::from(SENDERS) * COUNT as usize);
}

#[test]
fn several_processes_send_by_one_end() {
    let _leaks = leaks();
    for context in [Context::exec(), Context::fork_server()] {
        let (sender, receiver) = pipe().unwrap();
        let children: Vec<_> =
            (0..3).map(|who| context.spawn(send_all, (sender.clone(), who, 50)).unwrap()).collect();
        drop(sender);
        let mut next = [0; 3];
        for message in &receiver {
            let message = message.unwrap();
            check(&message);
            assert_eq!(next[usize::from(message.0)], message.1, "in order, for each sender");
            next[usize::from(message.0)] += 1;
        }
        assert_eq!(next, [50; 3]);
        for child in children {
            child.join().unwrap();
        }
    }
}

#[test]
fn several_processes_receive_by_one_end() {
    let _leaks = crate::with_server();
    fn sum(receiver: ipc_core::Receiver<u64>) -> u64 {
        receiver.iter().map(Result::unwrap).sum()
    }
    let (sender, receiver) = pipe().unwrap();
    let children: Vec<_> =
        (0..3).map(|_| ipc_core::spawn(sum, (receiver.try_clone().unwrap(),)).unwrap()).collect();
    drop(receiver);
    for n in 1..=1000 {
        sender.send(n).unwrap();
    }
    drop(sender);
    let sums: Vec<u64> = children.into_iter().map(|child| child.join().unwrap()).collect();
    assert_eq!(sums.iter().sum::<u64>(), 500_500);
}

#[test]
fn several_processes_serve_one_connection() {
    fn double(peer: ipc_core::Connection<(u32, u64), u64>) -> usize {
        let mut served = 0;
        while let Ok(n) = peer.recv() {
            peer.send((std::process::id(), 2 * n)).unwrap();
            served += 1;
        }
        served
    }
    let _leaks = leaks();
    let (ours, theirs) = duplex::<u64, (u32, u64)>().unwrap();
    let start = |end| Context::exec().spawn(double, (end,)).unwrap();
    let children = [start(theirs.try_clone().unwrap()), start(theirs.try_clone().unwrap())];
    // The one here takes no part; it could have.
    drop(theirs);
    let mut answers: Vec<_> = std::thread::scope(|scope| {
        // Questions and answers together are more than the socket has room for.
        scope.spawn(|| (0..1000).for_each(|n| ours.send(n).unwrap()));
        (0..1000).map(|_| ours.recv_timeout(SOON).unwrap().unwrap()).collect()
    });
    answers.sort_by_key(|(_, n)| *n);
    assert!(answers.iter().map(|(_, n)| *n).eq((0..1000).map(|n| 2 * n)));
    let by = |pid| answers.iter().filter(|(who, _)| *who == pid).count();
    let counts = children.each_ref().map(|child| by(child.pid()));
    drop(ours);
    assert_eq!(children.map(|child| child.join().unwrap()), counts);
}

#[test]
fn a_clone_is_another_end() {
    let _leaks = leaks();
    let (sender, receiver) = pipe::<u8>().unwrap();
    receiver.set_max_message(77);
    let other = receiver.try_clone().unwrap();
    assert_eq!(other.max_message(), 77);
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert_eq!((receiver.recv().unwrap(), other.recv().unwrap()), (1, 2));
    // The pipe has a receiver as long as one of the two is there.
    drop(receiver);
    sender.send(3).unwrap();
    assert_eq!(other.recv().unwrap(), 3);
    drop(other);
    assert!(sender.send(4).unwrap_err().error().is_disconnected());

    let (ours, theirs) = duplex::<u8, u8>().unwrap();
    let other = ours.try_clone().unwrap();
    drop(ours);
    other.send(5).unwrap();
    assert_eq!(theirs.recv().unwrap(), 5);
    drop(other);
    assert!(theirs.recv().unwrap_err().is_disconnected());
}

#[test]
fn the_clone_of_a_half_ends_nothing() {
    let _leaks = leaks();
    let (ours, theirs) = duplex::<u8, u8>().unwrap();
    let (_sender, receiver) = ours.split();
    let other = receiver.try_clone().unwrap();
    drop(other);
    theirs.send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    let other = receiver.try_clone().unwrap();
    drop(receiver);
    assert!(theirs.send(2).unwrap_err().error().is_disconnected());
    assert!(other.recv().unwrap_err().is_disconnected());
}

#[test]
fn in_memory_there_is_no_clone() {
    let _leaks = leaks();
    let (_sender, receiver) = Context::threads().pipe::<u8>().unwrap();
    let error = receiver.try_clone().unwrap_err();
    assert!(error.to_string().contains("threads share it by reference"), "{error}");
    let (ours, _theirs) = Context::threads().duplex::<u8, u8>().unwrap();
    let error = ours.try_clone().unwrap_err();
    assert!(error.to_string().starts_with("a clone of a connection is not acceptable"), "{error}");
}

#[test]
fn a_deadline_holds_while_another_thread_waits() {
    let _leaks = leaks();
    let (ours, theirs) = duplex::<u8, u8>().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ours.recv());
        // It has the turn as soon as a look finds none to be had; either way there is no message.
        let (begin, wait) = (Instant::now(), Duration::from_millis(30));
        assert_eq!(ours.recv_timeout(wait).unwrap(), None);
        assert!(!ours.poll(Some(wait)).unwrap());
        assert_eq!(ours.try_recv().unwrap(), None);
        assert!(begin.elapsed() >= 2 * wait && begin.elapsed() < SOON);
        theirs.send(9).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), 9);
    });
}
