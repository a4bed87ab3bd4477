//! The operations of this crate, walked through while `cargo xtask fault` makes system calls fail.
//!
//! Whatever fails, and in whichever process, a scenario ends with the right data or with an error in words. Beyond what the runner looks for
//! (hanging, crashes, descriptors, segments and processes that stay), scenarios look at what is there after an error: a value that could not be put comes
//! back, an item that could not be taken is there for the next.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use ipc_core::{Child, Context, Descriptor, Message, pipe};
use ipc_sync::{
    Barrier, Condition, CountingSemaphore, Error, Event, Latch, Queue, QueueReceiver, QueueSender,
    RingReceiver, RingSender, Semaphore, Waitable, ring, select,
};
use ipc_testkit::Allowed;
use ipc_testkit::fault::{Region, walk};

type Answer = Result<(), String>;

/// Longer than anything here takes, shorter than the runner's patience.
const LONG: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    walk(&[
        ("make_queue", make_queue),
        ("make_queue_joinable", make_queue_joinable),
        ("make_ring", make_ring),
        ("make_event", make_event),
        ("make_semaphores", make_semaphores),
        ("sleep", sleep),
        ("sleep_without_baton", sleep_without_baton),
        ("make_others", make_others),
        ("queue_grows", queue_grows),
        ("queue_descriptors", queue_descriptors),
        ("queue_last_sender", queue_last_sender),
        ("queue_processes", queue_processes),
        ("ring_last_sender", ring_last_sender),
        ("ring_last_receiver", ring_last_receiver),
        ("semaphore_owner_dies", semaphore_owner_dies),
        ("await_event", await_event),
        ("await_semaphore", await_semaphore),
        ("poll_queue", poll_queue),
        ("poll_ring", poll_ring),
        ("poll_event", poll_event),
        ("send_queue", send_queue),
        ("send_ring", send_ring),
        ("send_event", send_event),
        ("send_semaphore", send_semaphore),
    ])
}

fn said(error: impl Into<Error>) -> String {
    error.into().to_string()
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn spawn<A: Message, R: Message>(
    f: impl ipc_core::Function<A, Output = R>,
    args: A,
) -> Result<Child<R>, String> {
    Context::exec().spawn(f, args).map_err(words)
}

/// A queue of numbers, put and taken.
fn is_good(queue: &Queue<u64>) -> Answer {
    for n in 0..10 {
        queue.put(n).map_err(said)?;
    }
    for n in 0..10 {
        assert_eq!(queue.get_timeout(LONG).map_err(said)?, Some(n));
    }
    Ok(())
}

fn make_queue(region: &mut Region) -> Answer {
    region.begin();
    is_good(&Queue::builder().items(100).bands(2).make().map_err(said)?)?;
    is_good(&Queue::unbounded().map_err(said)?)
}

fn make_queue_joinable(region: &mut Region) -> Answer {
    region.begin();
    let queue = Queue::builder().items(100).joinable().make().map_err(said)?;
    is_good(&queue)?;
    for _ in 0..10 {
        queue.task_done().map_err(said)?;
    }
    assert!(queue.join_timeout(LONG).map_err(said)?);
    Ok(())
}

fn make_ring(region: &mut Region) -> Answer {
    region.begin();
    let (mut sender, mut receiver) = ring::<u64>(1 << 16).map_err(said)?;
    sender.send(7).map_err(said)?;
    assert_eq!(receiver.recv_timeout(LONG).map_err(said)?, Some(7));
    Ok(())
}

fn make_event(region: &mut Region) -> Answer {
    region.begin();
    let event = Event::new().map_err(said)?;
    assert!(!event.wait_timeout(Duration::ZERO));
    assert!(event.set() && event.wait_timeout(LONG));
    Ok(())
}

fn make_semaphores(region: &mut Region) -> Answer {
    region.begin();
    let counting = CountingSemaphore::new(1).map_err(said)?;
    assert!(counting.acquire_timeout(LONG).map_err(said)?);
    assert!(!counting.try_acquire().map_err(said)?);
    let owned = Semaphore::new(1).map_err(said)?;
    let permit = owned.acquire_timeout(LONG).map_err(said)?;
    assert!(permit.is_some() && owned.try_acquire().map_err(said)?.is_none());
    Ok(())
}

/// The process's first sleep: what the kernel can is found out by a thread of its own.
fn sleep(region: &mut Region) -> Answer {
    let (event, semaphore) = (Event::new().map_err(said)?, Semaphore::new(1).map_err(said)?);
    let (lock, condition) = (ipc_shm::Lock::new().map_err(said)?, Condition::new().map_err(said)?);
    region.begin();
    assert!(!event.wait_timeout(Duration::from_millis(5)));
    let permit = semaphore.acquire_timeout(LONG).map_err(said)?;
    assert!(permit.is_some() && semaphore.acquire_timeout(Duration::from_millis(5)).map_err(said)?.is_none());
    let guard = lock.lock_timeout(LONG).map_err(said)?;
    let (guard, told) = condition.wait_timeout(guard, Duration::from_millis(5)).map_err(said)?;
    drop(guard);
    assert!(!told);
    Ok(())
}

/// On a kernel that gives no wake-up back: sleepers look again.
fn sleep_without_baton(region: &mut Region) -> Answer {
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("IPC_SHM_WITHOUT", "baton") };
    let (event, semaphore) = (Event::new().map_err(said)?, CountingSemaphore::new(0).map_err(said)?);
    region.begin();
    assert!(!event.wait_timeout(Duration::from_millis(20)));
    assert!(!semaphore.acquire_timeout(Duration::from_millis(20)).map_err(said)?);
    semaphore.release().map_err(said)?;
    assert!(semaphore.try_acquire().map_err(said)?);
    Ok(())
}

fn make_others(region: &mut Region) -> Answer {
    region.begin();
    Barrier::new(1).map_err(said)?.wait_timeout(LONG).map_err(said)?;
    let latch = Latch::new(1).map_err(said)?;
    latch.count_down(1);
    assert!(latch.wait_timeout(LONG));
    Condition::new().map_err(said)?.notify_all().map_err(said)
}

/// More than the memory that a queue begins with: what could not be put comes back, and the rest is there.
fn queue_grows(region: &mut Region) -> Answer {
    let queue = Queue::<Vec<u8>>::builder().bytes(1 << 20).make().map_err(said)?;
    region.begin();
    let mut put = 0;
    let mut failed = Ok(());
    for n in 0..8_u8 {
        match queue.try_put(vec![n; 100_000]) {
            Ok(()) => put += 1,
            Err(error) => {
                let (value, error) = error.into_parts();
                assert_eq!(value, vec![n; 100_000], "it comes back as it was");
                failed = Err(said(error));
                break;
            }
        }
    }
    for n in 0..put {
        let item = queue.try_get().map_err(said)?;
        assert_eq!(item, Some(vec![n; 100_000]));
    }
    failed
}

fn file(words: &str) -> Result<File, String> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(self::words)?;
    rustix::io::write(&writer, words.as_bytes()).map_err(self::words)?;
    Ok(File::from(reader))
}

fn text(descriptor: Descriptor) -> Result<String, String> {
    let mut text = String::new();
    File::from(descriptor.into_inner::<OwnedFd>()).read_to_string(&mut text).map_err(words)?;
    Ok(text)
}

/// Descriptors inside items: those of an item that could not be taken are there for the next who tries.
fn queue_descriptors(region: &mut Region) -> Answer {
    let files = [file("one")?, file("two")?];
    let queue = Queue::<(u32, Descriptor)>::bounded(10).map_err(said)?;
    region.begin();
    let mut put = Vec::new();
    let mut failed = Ok(());
    for (n, file) in files.into_iter().enumerate() {
        match queue.put_timeout((n as u32, Descriptor::from(OwnedFd::from(file))), Duration::from_millis(300))
        {
            Ok(()) => put.push(n as u32),
            Err(error) => failed = Err(said(error)),
        }
    }
    for n in put {
        let (got, descriptor) = match queue.get_timeout(LONG) {
            Ok(item) => item.expect("an item is not there"),
            Err(error) => {
                failed = Err(said(error));
                // Once more: an item that was refused stays.
                queue.get_timeout(LONG).map_err(said)?.expect("an item is lost")
            }
        };
        assert_eq!((got, text(descriptor)?.as_str()), (n, ["one", "two"][n as usize]));
    }
    failed
}

/// The last sender of a queue goes while this process waits.
fn queue_last_sender(region: &mut Region) -> Answer {
    fn put(jobs: QueueSender<u64>) -> Answer {
        jobs.put(1).map_err(said)
    }
    let (sender, receiver) = Queue::<u64>::bounded(10).map_err(said)?.split();
    let child = spawn(put, (sender,))?;
    region.begin();
    let got = receiver.get_timeout(LONG).map_err(said);
    let end = receiver.get_timeout(LONG);
    child.join().map_err(words)??;
    assert_eq!(got?, Some(1));
    assert!(matches!(end, Err(Error::Disconnected)), "{end:?}");
    Ok(())
}

/// Items there and back, with a child whose calls fail too.
fn queue_processes(region: &mut Region) -> Answer {
    fn answer(questions: QueueReceiver<u64>, answers: QueueSender<u64>) -> Answer {
        for question in &mut questions.iter() {
            answers.put_timeout(question.map_err(said)? + 1, LONG).map_err(said)?;
        }
        Ok(())
    }
    let (asks, questions) = Queue::<u64>::bounded(2).map_err(said)?.split();
    let (gives, answers) = Queue::<u64>::bounded(2).map_err(said)?.split();
    let child = spawn(answer, (questions, gives))?;
    region.begin();
    let mut all = Ok(());
    for n in 0..20 {
        let answered =
            asks.put_timeout(n, LONG).map_err(said).and_then(|()| answers.get_timeout(LONG).map_err(said));
        match answered {
            Ok(answer) => assert_eq!(answer, Some(n + 1), "it is lost"),
            Err(error) => {
                all = Err(error);
                break;
            }
        }
    }
    drop(asks);
    let there = child.join().map_err(words)?;
    all.and(there)
}

fn ring_last_sender(region: &mut Region) -> Answer {
    let (mut sender, mut receiver) = ring::<u64>(1 << 12).map_err(said)?;
    sender.send(1).map_err(said)?;
    region.begin();
    drop(sender);
    assert_eq!(receiver.recv_timeout(LONG).map_err(said)?, Some(1));
    let end = receiver.recv_timeout(LONG);
    assert!(end.as_ref().is_err_and(Error::is_disconnected), "{end:?}");
    Ok(())
}

/// It is killed, and tells nobody: who finds no room looks.
fn ring_last_receiver(region: &mut Region) -> Answer {
    fn die(receiver: RingReceiver<Vec<u8>>) {
        let _held = receiver;
        std::process::abort();
    }
    let (mut sender, receiver) = ring::<Vec<u8>>(1 << 12).map_err(said)?;
    let child = spawn(die, (receiver,))?;
    let _ = child.join();
    region.begin();
    for _ in 0..10 {
        match sender.send_timeout(vec![7; 1000], LONG) {
            Ok(()) => {}
            Err(error) => {
                let (value, error) = error.into_parts();
                assert!(value.len() == 1000 && error.is_disconnected(), "{error}");
                return Ok(());
            }
        }
    }
    panic!("a ring of 4096 bytes took 10 000");
}

/// A process dies with a permit: it comes back, also where /proc cannot be asked for a while.
fn semaphore_owner_dies(region: &mut Region) -> Answer {
    fn die(semaphore: Semaphore) -> Answer {
        semaphore.acquire().map_err(said)?.forget();
        std::process::abort();
    }
    let semaphore = Semaphore::new(1).map_err(said)?;
    let child = spawn(die, (semaphore.clone(),))?;
    let _ = child.join();
    region.begin();
    let permit = semaphore.acquire_timeout(LONG).map_err(said)?;
    assert!(permit.is_some(), "it went with the dead");
    Ok(())
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(done) => return done,
            std::task::Poll::Pending => std::thread::park_timeout(LONG),
        }
    }
}

/// What the threads keep that wait on behalf of futures.
const HELPERS: Allowed = Allowed { children: 0, descriptors: 4, segments: 0 };

fn await_event(region: &mut Region) -> Answer {
    fn later(event: Event) {
        std::thread::sleep(Duration::from_millis(30));
        event.set();
    }
    let event = Event::new().map_err(said)?;
    let setter = spawn(later, (event.clone(),))?;
    region.allow(HELPERS);
    region.begin();
    let awaited = block_on(event.wait_async()).map_err(said);
    setter.join().map_err(words)?;
    awaited
}

fn await_semaphore(region: &mut Region) -> Answer {
    fn later(semaphore: CountingSemaphore) -> Answer {
        std::thread::sleep(Duration::from_millis(30));
        semaphore.release().map_err(said)
    }
    let semaphore = CountingSemaphore::new(0).map_err(said)?;
    let releaser = spawn(later, (semaphore.clone(),))?;
    region.allow(HELPERS);
    region.begin();
    let awaited = block_on(semaphore.acquire_async()).map_err(said);
    releaser.join().map_err(words)??;
    // Acquired, or there for who tries.
    if awaited.is_err() {
        assert!(semaphore.try_acquire().map_err(said)?, "a permit is lost");
    }
    awaited
}

fn is_ready(what: &dyn Waitable, timeout: Duration) -> Result<bool, String> {
    Ok(!select(&[what], Some(timeout)).map_err(said)?.is_empty())
}

/// Without a descriptor for both, the bell alone is polled.
fn poll_queue(region: &mut Region) -> Answer {
    let (sender, receiver) = Queue::<u64>::bounded(1).map_err(said)?.split();
    region.begin();
    assert!(!is_ready(&receiver, Duration::from_millis(1))?, "there is an item");
    assert!(is_ready(&sender, LONG)?, "there is no room");
    sender.put(1).map_err(said)?;
    assert!(is_ready(&receiver, LONG)?, "there is no item");
    assert!(!is_ready(&sender, Duration::from_millis(1))?, "there is room");
    assert_eq!(receiver.get().map_err(said)?, 1);
    assert!(is_ready(&sender, LONG)?, "there is no room again");
    drop(sender);
    assert!(is_ready(&receiver, LONG)?, "the end is not seen");
    Ok(())
}

fn poll_ring(region: &mut Region) -> Answer {
    let (mut sender, mut receiver) = ring::<u64>(1 << 12).map_err(said)?;
    region.begin();
    assert!(!is_ready(&receiver, Duration::from_millis(1))?, "there is a message");
    sender.send(1).map_err(said)?;
    assert!(is_ready(&receiver, LONG)?, "there is no message");
    assert_eq!(receiver.recv().map_err(said)?, 1);
    // Who is to wait again tries first, and finds nothing.
    assert_eq!(receiver.try_recv().map_err(said)?, None);
    if is_ready(&receiver, Duration::from_millis(1))? {
        // A hint that could not be taken back.
        assert_eq!(receiver.try_recv().map_err(said)?, None);
    }
    drop(sender);
    assert!(is_ready(&receiver, LONG)?, "the end is not seen");
    let end = receiver.recv_timeout(LONG);
    assert!(end.as_ref().is_err_and(Error::is_disconnected), "{end:?}");
    Ok(())
}

fn poll_event(region: &mut Region) -> Answer {
    let event = Event::new().map_err(said)?;
    region.begin();
    let pollable = event.pollable().map_err(said)?;
    assert!(!is_ready(&pollable, Duration::from_millis(1))?, "it is set");
    event.set();
    assert!(is_ready(&pollable, LONG)?, "it is not set");
    event.clear();
    assert!(!is_ready(&pollable, Duration::from_millis(1))?, "it is set again");
    Ok(())
}

/// Through a pipe: it arrives, or its sender or receiver says why not.
fn send<T: Message>(sent: T) -> Result<T, String> {
    let (sender, receiver) = pipe::<T>().map_err(words)?;
    sender.send(sent).map_err(words)?;
    receiver.recv_timeout(LONG).map_err(words)?.ok_or_else(|| "it does not arrive".to_owned())
}

fn send_queue(region: &mut Region) -> Answer {
    let queue = Queue::<u64>::builder().items(10).joinable().make().map_err(said)?;
    queue.put(1).map_err(said)?;
    region.begin();
    let (sender, receiver): (QueueSender<u64>, QueueReceiver<u64>) =
        send((queue.sender(), queue.receiver()))?;
    sender.put(2).map_err(said)?;
    assert_eq!((receiver.get().map_err(said)?, queue.get().map_err(said)?), (1, 2));
    Ok(())
}

fn send_ring(region: &mut Region) -> Answer {
    let (mut sender, receiver) = ring::<u64>(1 << 12).map_err(said)?;
    sender.send(1).map_err(said)?;
    region.begin();
    let mut receiver = send(receiver)?;
    let mut sender: RingSender<u64> = send(sender)?;
    sender.send(2).map_err(said)?;
    assert_eq!((receiver.recv().map_err(said)?, receiver.recv().map_err(said)?), (1, 2));
    Ok(())
}

fn send_event(region: &mut Region) -> Answer {
    let event = Event::new().map_err(said)?;
    region.begin();
    let arrived = send(event.clone())?;
    arrived.set();
    assert!(event.is_set());
    assert!(is_ready(&event.pollable().map_err(said)?, LONG)?, "its descriptor is another");
    Ok(())
}

fn send_semaphore(region: &mut Region) -> Answer {
    let semaphore = CountingSemaphore::new(0).map_err(said)?;
    region.begin();
    send(semaphore.clone())?.release().map_err(said)?;
    assert!(semaphore.try_acquire().map_err(said)?);
    Ok(())
}
