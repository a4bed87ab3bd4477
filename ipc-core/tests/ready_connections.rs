//! Sending and receiving as futures.
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::pin::pin;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use ipc_core::{Bytes, Context, Sender, duplex, pipe, spawn};
use ipc_testkit::leaks;

/// The helper's epoll and a runtime's parts may stay.
fn tidy() -> ipc_testkit::LeakGuard {
    leaks().allow(2, 8, 0)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Task::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[test]
fn values_of_any_size_in_order() {
    let _tidy = tidy();
    runtime().block_on(async {
        // Far more than any socket's buffer, so that a send waits in the middle of a message.
        let sizes = [0, 1, 70_000, 5_000_000, 3, 900_000];
        let (sender, receiver) = pipe::<Bytes>().unwrap();
        let sends = tokio::spawn(async move {
            for size in sizes {
                sender.send_async(vec![size as u8; size].into()).await.unwrap();
            }
        });
        for size in sizes {
            assert_eq!(receiver.recv_async().await.unwrap(), vec![size as u8; size]);
        }
        assert!(receiver.recv_async().await.unwrap_err().is_disconnected());
        sends.await.unwrap();
    });
}

#[test]
fn a_dropped_send_is_not_received_and_the_next_is() {
    let _tidy = tidy();
    let (sender, receiver) = pipe::<Bytes>().unwrap();
    assert!(poll_once(sender.send_async(vec![1; 20_000_000].into())).is_none());
    let reads = std::thread::spawn(move || receiver.recv().unwrap());
    sender.send(vec![2; 10].into()).unwrap();
    assert_eq!(reads.join().unwrap(), vec![2; 10]);
}

#[test]
fn a_dropped_receive_has_taken_nothing() {
    let _tidy = tidy();
    let (ours, theirs) = duplex::<u32, u32>().unwrap();
    assert!(poll_once(theirs.recv_async()).is_none());
    ours.send(1).unwrap();
    assert_eq!(poll_once(theirs.recv_async()).unwrap().unwrap(), 1);
    drop(ours);
    assert!(poll_once(theirs.recv_async()).unwrap().unwrap_err().is_disconnected());
}

#[test]
fn a_value_comes_back_where_nobody_receives() {
    let _tidy = tidy();
    let (sender, receiver) = pipe::<String>().unwrap();
    drop(receiver);
    let failed = poll_once(sender.send_async("kept".into())).unwrap().unwrap_err();
    assert!(failed.error().is_disconnected());
    assert_eq!(failed.into_value(), "kept");
}

#[test]
fn many_tasks_share_the_ends() {
    let _tidy = tidy();
    runtime().block_on(async {
        let (sender, receiver) = pipe::<u64>().unwrap();
        let receiver = std::sync::Arc::new(receiver);
        let sends: Vec<_> = (0..4)
            .map(|task| {
                let sender = sender.clone();
                tokio::spawn(async move {
                    for n in 0..500 {
                        sender.send_async(task * 500 + n).await.unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let receives: Vec<_> = (0..3)
            .map(|_| {
                let receiver = receiver.clone();
                tokio::spawn(async move {
                    let mut sum = 0;
                    while let Ok(n) = receiver.recv_async().await {
                        sum += n;
                    }
                    sum
                })
            })
            .collect();
        for send in sends {
            send.await.unwrap();
        }
        let mut sum = 0;
        for receive in receives {
            sum += receive.await.unwrap();
        }
        assert_eq!(sum, (0..2000).sum());
    });
}

#[test]
fn pipes_in_memory_too() {
    let _tidy = tidy();
    runtime().block_on(async {
        let (sender, receiver) = Context::threads().pipe::<u64>().unwrap();
        let sends = tokio::spawn(async move {
            for n in 0..2000 {
                sender.send_async(n).await.unwrap();
            }
        });
        for n in 0..2000 {
            assert_eq!(receiver.recv_async().await.unwrap(), n);
        }
        sends.await.unwrap();
    });
}

#[test]
fn from_a_child_and_with_a_deadline_of_the_runtime() {
    let _tidy = tidy();
    runtime().block_on(async {
        let (sender, receiver) = pipe::<u64>().unwrap();
        let send = |sender: Sender<u64>| sender.send(5).map_err(ipc_core::Error::from);
        let child = spawn(send, (sender.clone(),)).unwrap();
        assert_eq!(receiver.recv_async().await.unwrap(), 5);
        child.await.unwrap().unwrap();
        // Nobody sends: the deadline drops the future.
        tokio::time::timeout(Duration::from_millis(5), receiver.recv_async()).await.unwrap_err();
        sender.send_bytes(b"later").unwrap();
        assert_eq!(receiver.recv_bytes_async().await.unwrap(), b"later"[..]);
    });
}
