//! What `xtask/parity.md` says of queues, semaphores, conditions and barriers, and no other test shows: mostly what Python's do wrong, and these must not.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::{Duration, Instant};

use ipc_core::{Bytes, Child, Context, Function, Message, Signal};
use ipc_shm::{Atomic, Guard, RLock, Value};
use ipc_sync::{
    Barrier, BoundedSemaphore, Condition, CountingSemaphore, Error, Event, Queue, QueueReceiver, QueueSender,
    Semaphore,
};
use ipc_testkit::{GENEROUS, leaks, wait_until};
use serde::{Deserialize, Serialize};

const SHORT: Duration = Duration::from_millis(50);

/// Runs a function in a child of its own.
fn spawn<F: Function<A>, A: Message>(f: F, args: A) -> Child<F::Output>
where
    F::Output: Message,
{
    Context::exec().spawn(f, args).unwrap()
}

/// Whether a process's first thread sleeps for something in shared memory.
fn sleeps(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.contains("futex"))
}

#[test]
fn many_put_and_many_get() {
    let _leaks = leaks();
    let (sender, receiver) = Queue::<u32>::bounded(10).unwrap().split();
    let put = |sender: QueueSender<u32>, from: u32| (from..from + 1000).all(|item| sender.put(item).is_ok());
    let get = |receiver: QueueReceiver<u32>| receiver.iter().map(Result::unwrap).collect::<Vec<u32>>();
    let consumers: Vec<_> = (0..3).map(|_| spawn(get, (receiver.clone(),))).collect();
    let producers: Vec<_> = (0..3).map(|number| spawn(put, (sender.clone(), number * 1000))).collect();
    drop((sender, receiver));
    assert!(producers.into_iter().all(|producer| producer.join().unwrap()));
    let mut all = Vec::new();
    for consumer in consumers {
        let got = consumer.join().unwrap();
        for producer in 0..3 {
            assert!(got.iter().filter(|item| *item / 1000 == producer).is_sorted());
        }
        all.extend(got);
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..3000), "each item once");
}

/// Python's waits for an item with the readers' lock in its hand.
#[test]
fn a_deadline_holds_while_another_waits() {
    let _leaks = leaks();
    let queue = Queue::<u32>::unbounded().unwrap();
    let waits = spawn(|queue: Queue<u32>| queue.get().unwrap(), (queue.clone(),));
    assert!(wait_until(GENEROUS, || sleeps(waits.pid())));
    let begun = Instant::now();
    assert_eq!(queue.try_get().unwrap(), None);
    assert_eq!(queue.get_timeout(SHORT).unwrap(), None);
    assert_eq!(queue.get_deadline(begun + 2 * SHORT).unwrap(), None);
    assert!((2 * SHORT..GENEROUS).contains(&begun.elapsed()));
    queue.put(7).unwrap();
    assert_eq!(waits.join().unwrap(), 7);
}

/// Who made a queue does not wait for who reads, and takes nothing with it.
#[test]
fn a_queue_outlives_who_made_it() {
    let _leaks = leaks();
    let make = || {
        let (sender, receiver) = Queue::<Bytes>::unbounded().unwrap().split();
        for number in 0..100_u8 {
            sender.put(Bytes::from(vec![number; 100_000])).unwrap();
        }
        receiver
    };
    let receiver = spawn(make, ()).join().unwrap();
    for number in 0..100_u8 {
        assert_eq!(*receiver.get().unwrap(), *vec![number; 100_000]);
    }
    assert!(receiver.get().unwrap_err().is_end());
}

/// A value that may change while nobody has it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
struct Live(Arc<AtomicU32>);

impl From<u32> for Live {
    fn from(number: u32) -> Live {
        Live(Arc::new(number.into()))
    }
}

impl From<Live> for u32 {
    fn from(live: Live) -> u32 {
        live.0.load(SeqCst)
    }
}

#[test]
fn a_value_is_put_as_it_is_then() {
    let _leaks = leaks();
    let queue = Queue::unbounded().unwrap();
    let live = Live::from(1);
    queue.put(live.clone()).unwrap();
    live.0.store(2, SeqCst);
    queue.put(live).unwrap();
    let got = [(); 2].map(|()| u32::from(queue.get().unwrap()));
    assert_eq!(got, [1, 2]);
}

/// Python's starts a thread at the first `put`.
#[test]
fn a_queue_has_no_thread() {
    let _leaks = leaks();
    let life = || {
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let before = threads();
        let queue = Queue::<u32>::bounded(4).unwrap();
        queue.put(1).unwrap();
        let with = threads();
        queue.get_timeout(SHORT).unwrap().unwrap();
        [before, with, threads()]
    };
    let [before, with, after] = spawn(life, ()).join().unwrap();
    assert_eq!([with, after], [before; 2]);
}

/// Python counts alone, so anybody may say it.
#[test]
fn done_is_said_by_who_has_it() {
    let _leaks = leaks();
    let jobs = Queue::<u32>::builder().joinable().make().unwrap();
    jobs.put(1).unwrap();
    jobs.get().unwrap();
    let says = |jobs: Queue<u32>| matches!(jobs.task_done(), Err(Error::Invalid { .. }));
    assert!(spawn(says, (jobs.clone(),)).join().unwrap());
    assert!(!jobs.join_timeout(SHORT).unwrap());
    jobs.task_done().unwrap();
    jobs.join().unwrap();
}

#[test]
fn what_semaphores_look_like() {
    let _leaks = leaks();
    let (semaphore, counting) = (Semaphore::new(2).unwrap(), CountingSemaphore::new(3).unwrap());
    let _permit = semaphore.acquire().unwrap();
    counting.acquire().unwrap();
    let look = |semaphore: Semaphore, counting: CountingSemaphore| {
        [format!("{semaphore:?}"), format!("{counting:?}")]
    };
    let expected = ["Semaphore { available: 1 }", "CountingSemaphore { available: 2 }"];
    assert_eq!(look(semaphore.clone(), counting.clone()), expected);
    assert_eq!(spawn(look, (semaphore.clone(), counting)).join().unwrap(), expected);
}

/// Python looks at the number, and then releases.
#[test]
fn a_bounded_one_takes_one_release_of_several_at_once() {
    const TURNS: u32 = 200;
    fn race(semaphore: BoundedSemaphore, start: Barrier, released: Atomic<u32>) {
        for _ in 0..TURNS {
            if start.wait().unwrap().is_leader() {
                semaphore.acquire().unwrap().forget();
            }
            start.wait().unwrap();
            match semaphore.release() {
                Ok(()) => _ = released.fetch_add(1, SeqCst),
                Err(error) => assert!(matches!(error, Error::TooManyPermits { .. }), "{error}"),
            }
        }
    }
    let _leaks = leaks();
    let semaphore = BoundedSemaphore::new(1).unwrap();
    let (start, released) = (Barrier::new(3).unwrap(), Atomic::new(0).unwrap());
    let args = || (semaphore.clone(), start.clone(), released.clone());
    let others = [(); 2].map(|()| spawn(race, args()));
    race(semaphore.clone(), start.clone(), released.clone());
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!((released.load(SeqCst), semaphore.available()), (TURNS, 1));
}

#[test]
fn a_notification_for_nobody_is_forgotten() {
    let _leaks = leaks();
    let (lock, condition) = (RLock::new().unwrap(), Condition::new().unwrap());
    for _ in 0..3 {
        let _guard = lock.lock().unwrap();
        condition.notify_one().unwrap();
        condition.notify(2).unwrap();
        condition.notify_all().unwrap();
    }
    let wait =
        |lock: RLock, condition: Condition| condition.wait_timeout(lock.lock().unwrap(), SHORT).unwrap().1;
    let elsewhere = spawn(wait, (lock.clone(), condition.clone()));
    assert!(!wait(lock, condition) && !elsewhere.join().unwrap());
}

#[test]
fn the_last_word_of_a_predicate() {
    let _leaks = leaks();
    let (state, condition) = (Value::new(0_u32).unwrap(), Condition::new().unwrap());
    let begun = Instant::now();
    let never = |_: &mut Guard<'_, u32>| None::<u32>;
    let (guard, found) = condition.wait_for_timeout(state.lock().unwrap(), SHORT, never).unwrap();
    assert!(found.is_none() && begun.elapsed() >= SHORT);
    drop(guard);
    // Nobody notifies: it is asked again when the time is over.
    let mut asked = 0;
    let second = |_: &mut Guard<'_, u32>| {
        asked += 1;
        (asked == 2).then_some(asked)
    };
    let (guard, found) = condition.wait_for_timeout(state.lock().unwrap(), SHORT, second).unwrap();
    assert_eq!(found, Some(2));
    drop(guard);
    let change = |state: Value<u32>, condition: Condition| {
        *state.lock().unwrap() = 5;
        condition.notify_one().unwrap();
    };
    let child = spawn(change, (state.clone(), condition.clone()));
    let changed = |guard: &mut Guard<'_, u32>| (**guard != 0).then_some(**guard);
    let (guard, found) = condition.wait_for_timeout(state.lock().unwrap(), GENEROUS, changed).unwrap();
    assert_eq!(found, Some(5));
    drop(guard);
    child.join().unwrap();
}

#[test]
fn a_wait_at_a_barrier_ends_in_time_with_a_party_dead() {
    let _leaks = leaks();
    let barrier = Barrier::new(3).unwrap();
    let victim = spawn(|barrier: Barrier| barrier.wait().is_ok(), (barrier.clone(),));
    assert!(wait_until(GENEROUS, || barrier.waiting() == 1));
    victim.kill().unwrap();
    victim.join().unwrap_err();
    let begun = Instant::now();
    assert!(matches!(barrier.wait_timeout(SHORT), Err(Error::BrokenBarrier)));
    assert!(begun.elapsed() < GENEROUS);
    barrier.reset().unwrap();
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
}

/// How often the handler ran in this process.
static RUNS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_signal: libc::c_int) {
    RUNS.fetch_add(1, SeqCst);
}

fn count_signals(ready: &Event) {
    // SAFETY: the handler changes an atomic, and nothing else.
    unsafe { libc::signal(libc::SIGUSR1, count as *const () as libc::sighandler_t) };
    // SAFETY: as it is by default, whatever this process was started with.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    ready.set();
}

fn acquires(ready: Event, semaphore: Semaphore) -> bool {
    count_signals(&ready);
    let permit = semaphore.acquire().unwrap();
    permit.permits() == 1 && RUNS.load(SeqCst) == 1
}

fn waits(ready: Event, lock: RLock, condition: Condition) -> bool {
    let guard = lock.lock().unwrap();
    count_signals(&ready);
    let _guard = condition.wait(guard).unwrap();
    lock.depth() == 1 && RUNS.load(SeqCst) == 1
}

fn passes(ready: Event, barrier: Barrier) -> bool {
    count_signals(&ready);
    barrier.wait().is_ok() && RUNS.load(SeqCst) == 1
}

/// Interrupts a child that waits, and has it sleep again.
fn interrupt(child: &Child<bool>, ready: &Event) {
    ready.wait();
    assert!(wait_until(GENEROUS, || sleeps(child.pid())));
    child.signal(Signal::USR1).unwrap();
    std::thread::sleep(SHORT);
    assert!(child.is_alive() && wait_until(GENEROUS, || sleeps(child.pid())));
}

#[test]
fn a_handler_runs_and_the_wait_goes_on() {
    let _leaks = leaks();
    let ready = Event::new().unwrap();
    let semaphore = Semaphore::new(0).unwrap();
    let child = spawn(acquires, (ready.clone(), semaphore.clone()));
    interrupt(&child, &ready);
    semaphore.release().unwrap();
    assert!(child.join().unwrap());

    ready.clear();
    let (lock, condition) = (RLock::new().unwrap(), Condition::new().unwrap());
    let child = spawn(waits, (ready.clone(), lock.clone(), condition.clone()));
    interrupt(&child, &ready);
    let guard = lock.lock().unwrap();
    condition.notify_one().unwrap();
    drop(guard);
    assert!(child.join().unwrap());

    ready.clear();
    let barrier = Barrier::new(2).unwrap();
    let child = spawn(passes, (ready.clone(), barrier.clone()));
    interrupt(&child, &ready);
    barrier.wait().unwrap();
    assert!(child.join().unwrap());
}

#[test]
fn an_interrupt_ends_who_waits_where_nobody_handles_it() {
    let _leaks = leaks();
    let (ready, semaphore) = (Event::new().unwrap(), Semaphore::new(0).unwrap());
    let child = spawn(acquires, (ready.clone(), semaphore.clone()));
    ready.wait();
    assert!(wait_until(GENEROUS, || sleeps(child.pid())));
    child.interrupt().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(Signal::INT));
    // It left nothing behind: who comes next gets the next permit.
    semaphore.release().unwrap();
    assert!(semaphore.try_acquire().unwrap().is_some());
}
