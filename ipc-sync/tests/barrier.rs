//! Barriers between processes: what passes, what breaks, and who is told.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

mod support;

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ipc_core::Signal;
use ipc_core::primitive::process::Life;
use ipc_shm::raw::Shared;
use ipc_shm::{Arena, Atomic, Until};
use ipc_sync::raw::{Here, People, Person, RawBarrier};
use ipc_sync::{Barrier, Error};
use ipc_testkit::{GENEROUS, leaks, wait_until};

use support::{block_on, spawn};

const SHORT: Duration = Duration::from_millis(20);

fn wait(barrier: Barrier) -> ipc_sync::Result<usize> {
    barrier.wait().map(|passed| passed.index())
}

fn kill<T: ipc_core::Message>(child: ipc_core::Child<T>) {
    child.kill().unwrap();
    assert_eq!(child.join().err().unwrap().signal(), Some(Signal::KILL));
}

#[test]
fn the_death_of_one_who_has_come_breaks_it() {
    let _leaks = leaks();
    let barrier = Barrier::new(3).unwrap();
    let victim = spawn(wait, (barrier.clone(),)).unwrap();
    let other = spawn(wait, (barrier.clone(),)).unwrap();
    assert!(wait_until(GENEROUS, || barrier.waiting() == 2));
    kill(victim);
    assert!(matches!(other.join().unwrap(), Err(Error::BrokenBarrier)));
    assert!(barrier.is_broken() && matches!(barrier.wait(), Err(Error::BrokenBarrier)));
    barrier.reset().unwrap();
    let others = [(); 2].map(|()| spawn(wait, (barrier.clone(),)).unwrap());
    let mut all = vec![wait(barrier).unwrap()];
    all.extend(others.into_iter().map(|other| other.join().unwrap().unwrap()));
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2]);
}

/// In other processes, asleep and in an executor, and here: each round all pass, and each index is given once.
#[test]
fn futures_and_sleepers_pass_together() {
    // Helper threads keep their descriptors.
    let _leaks = leaks().allow(0, 8, 0);
    const ROUNDS: usize = 50;
    for barrier in [Barrier::new(4).unwrap(), Barrier::new_with(4, &Arena::new(1 << 18).unwrap()).unwrap()] {
        let sleeps = |barrier: Barrier| -> Vec<usize> {
            (0..ROUNDS).map(|_| barrier.wait_timeout(GENEROUS).unwrap().index()).collect()
        };
        let polls = |barrier: Barrier| -> Vec<usize> {
            (0..ROUNDS).map(|_| block_on(barrier.wait_async()).unwrap().index()).collect()
        };
        let sleeper = spawn(sleeps, (barrier.clone(),)).unwrap();
        let poller = spawn(polls, (barrier.clone(),)).unwrap();
        let acted = AtomicUsize::new(0);
        let act = || _ = acted.fetch_add(1, SeqCst);
        let mut mine = Vec::new();
        let other = std::thread::scope(|scope| {
            let other = scope.spawn(|| polls(barrier.clone()));
            for _ in 0..ROUNDS {
                let before = acted.load(SeqCst);
                mine.push(block_on(barrier.wait_with_async(act)).unwrap());
                // The last to come does it, before it passes.
                assert_eq!(acted.load(SeqCst) - before, usize::from(mine.last().unwrap().is_leader()));
            }
            other.join().unwrap()
        });
        let (sleeper, poller) = (sleeper.join().unwrap(), poller.join().unwrap());
        for round in 0..ROUNDS {
            let mut indices = [sleeper[round], poller[round], other[round], mine[round].index()];
            indices.sort_unstable();
            assert_eq!(indices, [0, 1, 2, 3]);
        }
        assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
    }
}

fn poll_once<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> bool {
    future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
}

#[test]
fn a_future_that_is_dropped_breaks_it_once_it_has_come() {
    let _leaks = leaks().allow(0, 8, 0);
    let barrier = Barrier::new(2).unwrap();
    // Not polled, it has not come.
    drop(barrier.wait_async());
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
    let other = spawn(wait, (barrier.clone(),)).unwrap();
    assert!(wait_until(GENEROUS, || barrier.waiting() == 1));
    barrier.abort().unwrap();
    assert!(matches!(other.join().unwrap(), Err(Error::BrokenBarrier)));
    barrier.reset().unwrap();
    let three = Barrier::new(3).unwrap();
    let other = spawn(wait, (three.clone(),)).unwrap();
    let mut future = Box::pin(three.wait_async());
    assert!(!poll_once(&mut future));
    assert!(wait_until(GENEROUS, || three.waiting() == 2));
    drop(future);
    assert!(matches!(other.join().unwrap(), Err(Error::BrokenBarrier)));
    assert!(three.is_broken() && matches!(block_on(three.wait_async()), Err(Error::BrokenBarrier)));
    three.reset().unwrap();
    // All have come, and then it is dropped: the others pass.
    let mut future = Box::pin(barrier.wait_async());
    assert!(!poll_once(&mut future));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait());
        assert!(wait_until(GENEROUS, || other.is_finished()));
        drop(future);
        assert!(other.join().unwrap().is_ok());
    });
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
}

#[test]
fn a_future_is_told_of_a_death_a_time_and_a_panic() {
    let _leaks = leaks().allow(0, 8, 0);
    let barrier = Barrier::new(3).unwrap();
    let victim =
        spawn(|barrier: Barrier| block_on(barrier.wait_async()).is_ok(), (barrier.clone(),)).unwrap();
    let mut future = Box::pin(barrier.wait_async());
    assert!(!poll_once(&mut future));
    assert!(wait_until(GENEROUS, || barrier.waiting() == 2));
    kill(victim);
    assert!(matches!(block_on(future), Err(Error::BrokenBarrier)));
    let alone = Barrier::new(2).unwrap().with_timeout(SHORT);
    assert!(matches!(block_on(alone.wait_async()), Err(Error::BrokenBarrier)));
    assert_eq!(alone.waiting(), 0);
    let one = Barrier::new(1).unwrap();
    let panics = std::panic::AssertUnwindSafe(|| block_on(one.wait_with_async(|| panic!("on purpose"))));
    std::panic::catch_unwind(panics).unwrap_err();
    assert_eq!((one.waiting(), one.is_broken()), (0, true));
}

#[test]
fn the_last_to_come_does_not_pass_with_the_dead() {
    let _leaks = leaks();
    let barrier = Barrier::new(2).unwrap();
    let victim = spawn(wait, (barrier.clone(),)).unwrap();
    assert!(wait_until(GENEROUS, || barrier.waiting() == 1));
    kill(victim);
    assert!(matches!(barrier.wait(), Err(Error::BrokenBarrier)));
}

/// A process with a number that one has had which has died.
struct Again(Person);

impl People for Again {
    fn this(&self) -> ipc_sync::Result<Person> {
        Ok(self.0)
    }

    fn is_over(&self, life: Life) -> bool {
        Here.is_over(life)
    }

    fn now(&self) -> u64 {
        Here.now()
    }
}

/// It passed with the dead one, or slept beside it for good.
#[test]
fn a_dead_party_is_noticed_by_one_who_has_its_number() {
    let _leaks = leaks();
    for parties in [2, 3] {
        let barrier = Barrier::new(parties).unwrap();
        let raw = Shared::<RawBarrier>::try_from(barrier.segment().clone()).unwrap();
        let victim = spawn(wait, (barrier.clone(),)).unwrap();
        assert!(wait_until(GENEROUS, || barrier.waiting() == 1));
        let life = Life { pid: victim.pid(), started: 1 };
        kill(victim);
        let people = Again(Person { life, ..Here.this().unwrap() });
        let start = Instant::now();
        let told = raw.wait(ipc_shm::gate::current().unwrap(), &people, Until::after(GENEROUS), None::<fn()>);
        assert!(matches!(told, Err(Error::BrokenBarrier)), "{told:?}");
        assert!(start.elapsed() < GENEROUS, "it was not noticed");
    }
}

#[test]
fn death_at_the_action_breaks_it() {
    let _leaks = leaks();
    let barrier = Barrier::new(2).unwrap();
    let acts = |barrier: Barrier| drop(barrier.wait_with(|| std::process::abort()));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait());
        assert!(wait_until(GENEROUS, || barrier.waiting() == 1));
        assert_eq!(
            spawn(acts, (barrier.clone(),)).unwrap().join().unwrap_err().signal(),
            Some(Signal::ABORT)
        );
        assert!(matches!(other.join().unwrap(), Err(Error::BrokenBarrier)));
    });
}

#[test]
fn a_panic_of_the_action_breaks_it() {
    let _leaks = leaks();
    let barrier = Barrier::new(2).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait());
        assert!(wait_until(GENEROUS, || barrier.waiting() == 1));
        scope.spawn(|| barrier.wait_with(|| panic!("of the action"))).join().unwrap_err();
        assert!(matches!(other.join().unwrap(), Err(Error::BrokenBarrier)));
    });
    barrier.reset().unwrap();
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
}

/// It passed in its parent's place.
#[test]
fn a_copy_forked_by_the_action_passes_nothing() {
    let _leaks = leaks();
    let barrier = Barrier::new(1).unwrap();
    let mut copy = -1;
    // SAFETY: the copy leaves by `_exit`.
    let passed = barrier.wait_with(|| copy = unsafe { libc::fork() });
    if copy == 0 {
        // SAFETY: ends the copy, and nothing else.
        unsafe { libc::_exit(i32::from(!matches!(passed, Err(Error::Memory(_))))) };
    }
    let mut status = -1;
    // SAFETY: waits for the child made above; the status is a local.
    assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
    assert_eq!(status, 0);
    assert!(passed.unwrap().is_leader());
    assert!(barrier.wait().unwrap().is_leader() && !barrier.is_broken());
}

#[test]
fn an_action_may_abort() {
    let _leaks = leaks();
    let barrier = Barrier::new(1).unwrap();
    let told = barrier.wait_with(|| barrier.abort().unwrap());
    assert!(matches!(told, Err(Error::BrokenBarrier)) && barrier.is_broken());
}

#[test]
fn a_time_out_holds_whoever_has_died() {
    let _leaks = leaks();
    let barrier = Barrier::new(3).unwrap();
    let victim = spawn(wait, (barrier.clone(),)).unwrap();
    assert!(wait_until(GENEROUS, || barrier.waiting() == 1));
    let start = Instant::now();
    assert!(matches!(barrier.wait_timeout(SHORT), Err(Error::BrokenBarrier)));
    assert!(start.elapsed() >= SHORT);
    assert!(matches!(victim.join().unwrap(), Err(Error::BrokenBarrier)));
}

#[test]
fn a_slow_action_is_timed_out() {
    let _leaks = leaks();
    let barrier = Barrier::new(2).unwrap();
    let over = Atomic::new(0_u32).unwrap();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| barrier.wait_with(|| _ = over.wait(0)));
        assert!(wait_until(GENEROUS, || barrier.waiting() == 1));
        // Whoever comes last acts; this one comes last, without an action: so both pass.
        assert!(barrier.wait_timeout(GENEROUS).is_ok());
        assert!(slow.join().unwrap().is_ok());
        let quick = scope.spawn(|| barrier.wait_timeout(SHORT));
        assert!(wait_until(GENEROUS, || barrier.waiting() == 1 || barrier.is_broken()));
        let slow = scope.spawn(|| barrier.wait_with(|| _ = over.wait(0)));
        assert!(matches!(quick.join().unwrap(), Err(Error::BrokenBarrier)));
        over.store(1, std::sync::atomic::Ordering::SeqCst);
        assert!(matches!(slow.join().unwrap(), Err(Error::BrokenBarrier)));
    });
}

#[test]
fn no_parties() {
    let _leaks = leaks();
    assert!(matches!(Barrier::new(0), Err(Error::Invalid { .. })));
    let alone = Barrier::new(1).unwrap();
    assert!((0..3).all(|_| alone.wait().unwrap().is_leader()));
    assert_eq!(format!("{alone:?}"), "Barrier { parties: 1, waiting: 0, broken: false }");
}

#[test]
fn one_in_an_arena() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 20).unwrap();
    let barrier = Barrier::new_with(2, &arena).unwrap();
    let child = spawn(wait, (barrier.clone(),)).unwrap();
    let mine = barrier.wait().unwrap().index();
    assert_eq!(mine + child.join().unwrap().unwrap(), 1);
}

#[test]
fn deadlines_hold_and_actions_run() {
    let _leaks = leaks();
    let (soon, long) = (|| Instant::now() + SHORT, Instant::now() + GENEROUS);
    let alone = Barrier::new(1).unwrap();
    let mut acted = 0;
    assert!(alone.wait_deadline(long).unwrap().is_leader());
    alone.wait_timeout_with(GENEROUS, || acted += 1).unwrap();
    alone.wait_deadline_with(long, || acted += 1).unwrap();
    assert_eq!(acted, 2);
    let two = Barrier::new(2).unwrap();
    for wait in [Barrier::wait_deadline, |barrier: &Barrier, deadline| {
        barrier.wait_deadline_with(deadline, || panic!("nobody else has come"))
    }] {
        let deadline = soon();
        assert!(matches!(wait(&two, deadline), Err(Error::BrokenBarrier)));
        assert!(Instant::now() >= deadline && two.is_broken());
        two.reset().unwrap();
    }
}
