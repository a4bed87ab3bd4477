//! Futures on several executors: one of a dozen lines, and tokio's two. The same bodies run with the feature `tokio` and without.
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

mod support;

use std::future::{Future, IntoFuture};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};

use ipc_core::{Child, Descriptor, Signal, ready};
use ipc_testkit::leaks;
use support::Method;

/// Polls only when it was woken.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread, std::sync::atomic::AtomicBool);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.1.store(true, std::sync::atomic::Ordering::Release);
            self.0.unpark();
        }
    }
    let woken = Arc::new(Unpark(std::thread::current(), false.into()));
    let waker = woken.clone().into();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        while !woken.1.swap(false, std::sync::atomic::Ordering::Acquire) {
            std::thread::park();
        }
    }
}

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The helper's epoll, its thread's stack and a runtime's parts may stay.
fn tidy() -> ipc_testkit::LeakGuard {
    leaks().allow(0, 4, 0)
}

async fn children(method: Method) {
    let context = method.context();
    let child = context.spawn(|a: u32, b: u32| a + b, (2, 3)).unwrap();
    assert_eq!(child.await.unwrap(), 5);
    let (mut gate, wait) = UnixStream::pair().unwrap();
    let child = context.spawn(waits, (wait.into(),)).unwrap();
    // A future that is dropped leaves the child as it is.
    assert!(poll_once(child.join_async()).is_none());
    assert!(child.is_alive());
    gate.write_all(b"x").unwrap();
    drop(gate);
    assert_eq!(child.join_async().await.unwrap(), "x");
    assert!(child.join_async().await.unwrap_err().to_string().contains("already taken"));
    if method != Method::Threads {
        let child: Child<()> = context.spawn(forever, ()).unwrap();
        let join = child.join_async();
        child.kill().unwrap();
        assert_eq!(join.await.unwrap_err().signal(), Some(Signal::KILL));
    }
}

fn waits(descriptor: Descriptor) -> String {
    std::io::read_to_string(descriptor.into_inner::<UnixStream>()).unwrap()
}

fn forever() {
    loop {
        std::thread::park();
    }
}

fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[test]
fn children_are_awaited_on_an_executor_of_a_dozen_lines() {
    let _tidy = tidy();
    for method in [Method::Exec, Method::ForkServer, Method::Threads] {
        block_on(children(method));
    }
}

#[test]
fn children_are_awaited_under_tokio() {
    let _tidy = tidy();
    for method in [Method::Exec, Method::ForkServer, Method::Threads] {
        current_thread().block_on(children(method));
        multi_thread().block_on(children(method));
    }
}

async fn echo(one: UnixStream, mut other: UnixStream) {
    ready::writable(&one).await.unwrap();
    (&one).write_all(b"there").unwrap();
    ready::readable(&other).await.unwrap();
    let mut buffer = [0; 5];
    std::io::Read::read_exact(&mut other, &mut buffer).unwrap();
    other.write_all(&buffer).unwrap();
    ready::readable(&one).await.unwrap();
}

#[test]
fn tasks_that_talk_to_each_other() {
    let _tidy = tidy();
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..50)
                .map(|_| {
                    let (one, other) = UnixStream::pair().unwrap();
                    tokio::spawn(echo(one, other))
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
}

/// A runtime without the driver for descriptors: the helper does it, also with the feature.
#[test]
fn a_runtime_without_a_driver() {
    let _tidy = tidy();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (one, mut other) = UnixStream::pair().unwrap();
    let sender = std::thread::spawn(move || {
        other.write_all(b"x").unwrap();
        other
    });
    runtime.block_on(async { ready::readable(&one).await }).unwrap();
    sender.join().unwrap();
}

/// A future that had waited in a runtime that then ended told its next poller of that end, as an error.
#[test]
fn a_future_outlives_the_runtime_it_waited_in() {
    let _tidy = tidy();
    let (one, mut other) = UnixStream::pair().unwrap();
    let mut waiting = pin!(ready::readable(&one));
    let mut waits = async || assert!(poll_once(waiting.as_mut()).is_none());
    // The second has a runtime after it, the last has none.
    current_thread().block_on(waits());
    multi_thread().block_on(waits());
    block_on(waits());
    other.write_all(b"x").unwrap();
    block_on(waiting).unwrap();
}

/// In a program of its own, where no other test opens descriptors.
#[test]
fn select_drops_the_loser_and_nothing_stays() {
    let _tidy = tidy();
    support::program(losers_are_dropped, ());
}

fn losers_are_dropped() {
    let _tidy = tidy();
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async {
            let (silent, _peer) = UnixStream::pair().unwrap();
            let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
            for round in 0..100 {
                let (one, mut other) = UnixStream::pair().unwrap();
                let sender = tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    other.write_all(b"x").unwrap();
                    other
                });
                tokio::select! {
                    biased;
                    _ = ready::readable(&silent) => panic!("nobody wrote, round {round}"),
                    result = ready::readable(&one) => result.unwrap(),
                }
                sender.await.unwrap();
            }
            // The helper's own, where this was its first use.
            assert!(std::fs::read_dir("/proc/self/fd").unwrap().count() <= before + 1);
        });
    }
}

/// The helper of a program is not in its forked children: they start their own, and the parent's futures go on.
#[test]
fn after_a_fork() {
    support::run(Method::Fork, |_: Method| {
        let _tidy = tidy();
        let (one, mut other) = UnixStream::pair().unwrap();
        let mut waiting = pin!(ready::readable(&one));
        let noop = &mut Context::from_waker(std::task::Waker::noop());
        assert!(waiting.as_mut().poll(noop).is_pending());
        // SAFETY: the helper thread holds no lock that the child needs: it sleeps in epoll_wait.
        let context = unsafe { ipc_core::Context::fork() };
        let child = context.spawn(
            || {
                let (mine, theirs) = UnixStream::pair().unwrap();
                let mut waiting = pin!(ready::readable(&mine));
                assert!(
                    waiting.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending()
                );
                drop(theirs);
                block_on(waiting).unwrap();
                std::fs::read_dir("/proc/self/task").unwrap().count()
            },
            (),
        );
        assert_eq!(block_on(child.unwrap().into_future()).unwrap(), 2, "its own helper");
        other.write_all(b"x").unwrap();
        block_on(waiting).unwrap();
    });
}
