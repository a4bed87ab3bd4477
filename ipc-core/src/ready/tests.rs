//! Unit tests of `ready`, on an executor of a dozen lines.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::*;

/// The helper is the process's, and these tests look at all of it: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Count {
    thread: std::thread::Thread,
    woken: AtomicUsize,
}

impl Count {
    fn new() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count { thread: std::thread::current(), woken: AtomicUsize::new(0) });
        (count.clone(), count.into())
    }

    fn wait(&self, times: usize) {
        while self.woken.load(Ordering::Acquire) < times {
            std::thread::park();
        }
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Release);
        self.thread.unpark();
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn block_on<F: Future>(future: F) -> F::Output {
    let (count, waker) = Count::new();
    let mut future = pin!(future);
    for times in 1.. {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        count.wait(times);
    }
    unreachable!()
}

#[test]
fn what_is_ready_needs_no_waiting() {
    let _alone = alone();
    let (a, mut b) = UnixStream::pair().unwrap();
    let (_, waker) = Count::new();
    assert!(poll_once(&mut writable(&a), &waker).is_ready());
    b.write_all(b"x").unwrap();
    assert!(poll_once(&mut readable(&a), &waker).is_ready());
    // A file always is, though no epoll takes one.
    assert!(poll_once(&mut readable(std::fs::File::open("/proc/self/exe").unwrap()), &waker).is_ready());
    assert_eq!(helper::waiting(), 0);
}

#[test]
fn data_and_the_end_wake() {
    let _alone = alone();
    let (a, mut b) = UnixStream::pair().unwrap();
    let (count, waker) = Count::new();
    let mut future = readable(&a);
    assert!(poll_once(&mut future, &waker).is_pending());
    assert_eq!(helper::waiting(), 1);
    b.write_all(b"x").unwrap();
    count.wait(1);
    assert!(poll_once(&mut future, &waker).is_ready());
    assert_eq!(helper::waiting(), 0);
    let (c, d) = UnixStream::pair().unwrap();
    let end = std::thread::spawn(move || block_on(readable(c)));
    drop(d);
    end.join().unwrap().unwrap();
}

#[test]
fn readers_and_writers_of_one_socket() {
    let _alone = alone();
    let (a, mut b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    while (&a).write(&[0; 4096]).is_ok() {}
    let (reads, reader) = Count::new();
    let (writes, writer) = Count::new();
    let (mut read, mut again, mut write) = (readable(&a), readable(&a), writable(&a));
    assert!(poll_once(&mut read, &reader).is_pending());
    assert!(poll_once(&mut again, &reader).is_pending());
    assert!(poll_once(&mut write, &writer).is_pending());
    assert_eq!(helper::waiting(), 3);
    b.write_all(b"x").unwrap();
    reads.wait(2);
    assert_eq!(helper::waiting(), 1);
    assert!(poll_once(&mut write, &writer).is_pending());
    b.set_nonblocking(true).unwrap();
    while std::io::Read::read(&mut b, &mut [0; 4096]).is_ok() {}
    writes.wait(1);
    assert!(poll_once(&mut write, &writer).is_ready());
    assert!(poll_once(&mut read, &reader).is_ready());
}

#[test]
fn a_dropped_future_leaves_nothing() {
    let _alone = alone();
    let (a, mut b) = UnixStream::pair().unwrap();
    let (count, waker) = Count::new();
    let mut future = readable(&a);
    assert!(poll_once(&mut future, &waker).is_pending());
    drop(future);
    assert_eq!(helper::waiting(), 0);
    b.write_all(b"x").unwrap();
    block_on(readable(&a)).unwrap();
    assert_eq!(count.woken.load(Ordering::Acquire), 0);
    // The future's waker was the other reference.
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1);
}

#[test]
fn the_last_waker_counts() {
    let _alone = alone();
    let (a, mut b) = UnixStream::pair().unwrap();
    let ((first, one), (second, two)) = (Count::new(), Count::new());
    let mut future = readable(&a);
    assert!(poll_once(&mut future, &one).is_pending());
    assert!(poll_once(&mut future, &two).is_pending());
    b.write_all(b"x").unwrap();
    second.wait(1);
    assert_eq!(first.woken.load(Ordering::Acquire), 0);
}

#[test]
fn a_thousand_at_once() {
    let _alone = alone();
    let pairs: Vec<_> = (0..1000).map_while(|_| UnixStream::pair().ok()).collect();
    assert!(pairs.len() >= 400, "the limit of descriptors is {}", pairs.len());
    let (mine, mut theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let (count, waker) = Count::new();
    // More futures than descriptors, where there are few of these.
    let mut futures: Vec<_> = (0..1000).map(|n| readable(&mine[n % mine.len()])).collect();
    for future in &mut futures {
        assert!(poll_once(future, &waker).is_pending());
    }
    assert_eq!(helper::waiting(), 1000);
    for peer in &mut theirs {
        peer.write_all(b"x").unwrap();
    }
    count.wait(1000);
    for future in &mut futures {
        assert!(poll_once(future, &waker).is_ready());
    }
    assert_eq!(helper::waiting(), 0);
}

static WORD: AtomicU32 = AtomicU32::new(0);

#[test]
fn a_word_that_changes() {
    let word_now = AtomicU32::new(3);
    block_on(word(&word_now, 2)).unwrap();
    let changer = std::thread::spawn(|| {
        for value in 1..=100 {
            // Until the future's thread has seen the one before.
            while WORD.load(Ordering::Acquire) != 2 * (value - 1) {
                std::thread::yield_now();
            }
            WORD.store(2 * value - 1, Ordering::Release);
            wake_one(&WORD);
        }
    });
    for value in 1..=100 {
        block_on(async {
            while WORD.load(Ordering::Acquire) == 2 * (value - 1) {
                word(&WORD, 2 * (value - 1)).await.unwrap();
            }
        });
        WORD.store(2 * value, Ordering::Release);
    }
    changer.join().unwrap();
}

#[test]
fn more_words_than_the_kernel_takes_at_once() {
    let words: Vec<AtomicU32> = (0..300).map(|_| AtomicU32::new(0)).collect();
    let (count, waker) = Count::new();
    let mut futures: Vec<_> = words.iter().map(|w| word(w, 0)).collect();
    for future in &mut futures {
        assert!(poll_once(future, &waker).is_pending());
    }
    for word in &words {
        word.store(1, Ordering::Release);
        wake_one(word);
    }
    count.wait(300);
    for future in &mut futures {
        assert!(poll_once(future, &waker).is_ready());
    }
}

#[test]
fn a_wake_up_is_not_lost_with_a_dropped_future() {
    let gate = AtomicU32::new(0);
    let (first, one) = Count::new();
    let (second, two) = Count::new();
    let mut dropped = word(&gate, 0);
    let mut waits = word(&gate, 0);
    assert!(poll_once(&mut dropped, &one).is_pending());
    assert!(poll_once(&mut waits, &two).is_pending());
    // One wake-up, without a change: it may be given to either.
    while first.woken.load(Ordering::Acquire) + second.woken.load(Ordering::Acquire) == 0 {
        wake_one(&gate);
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(dropped);
    second.wait(1);
    assert!(poll_once(&mut waits, &two).is_ready());
}
