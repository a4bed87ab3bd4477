//! Semaphores between processes: whose permits are whose, and what comes back.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

mod support;

use std::time::{Duration, Instant};

use ipc_core::Signal;
use ipc_shm::Arena;
use ipc_sync::{BoundedSemaphore, CountingSemaphore, Error, Event, MAX_PERMITS, Semaphore};
use ipc_testkit::{GENEROUS, leaks, wait_until};

use support::{block_on, spawn};

const SHORT: Duration = Duration::from_millis(20);

/// Acquires so many and is killed.
fn die_with(semaphore: Semaphore, permits: u32) {
    semaphore.acquire_many(permits).unwrap().forget();
    loop {
        std::thread::park();
    }
}

/// A child that has so many permits.
fn owner(semaphore: &Semaphore, permits: u32) -> ipc_core::Child<()> {
    let before = semaphore.available();
    let child = spawn(die_with, (semaphore.clone(), permits)).unwrap();
    assert!(wait_until(GENEROUS, || semaphore.available() + permits == before));
    child
}

fn kill(child: ipc_core::Child<()>) {
    child.kill().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(Signal::KILL));
}

#[test]
fn permits_of_the_dead_are_there_for_who_tries() {
    let _leaks = leaks();
    let semaphore = Semaphore::new(3).unwrap();
    let child = owner(&semaphore, 2);
    let mine = semaphore.acquire().unwrap();
    assert!(semaphore.try_acquire().unwrap().is_none());
    kill(child);
    assert_eq!(semaphore.try_acquire_many(2).unwrap().unwrap().permits(), 2);
    drop(mine);
    assert_eq!(semaphore.available(), 3);
}

#[test]
fn permits_of_the_dead_come_to_who_sleeps() {
    let _leaks = leaks();
    let semaphore = Semaphore::new(1).unwrap();
    let child = owner(&semaphore, 1);
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| semaphore.acquire_timeout(GENEROUS).unwrap().map(drop));
        std::thread::sleep(SHORT);
        kill(child);
        assert!(sleeper.join().unwrap().is_some());
    });
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn who_was_alone_learns_of_others() {
    let _leaks = leaks();
    // It sleeps for both, one of which is its own process's; the other one is acquired meanwhile, by one who dies.
    let semaphore = Semaphore::new(2).unwrap();
    let mine = semaphore.acquire().unwrap();
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| semaphore.acquire_many(2).map(drop));
        std::thread::sleep(SHORT);
        let child = owner(&semaphore, 1);
        drop(mine);
        kill(child);
        sleeper.join().unwrap().unwrap();
    });
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn a_debt_moves_with_a_release_elsewhere() {
    let _leaks = leaks();
    let semaphore = Semaphore::new(2).unwrap();
    let (two, one) = (owner(&semaphore, 1), owner(&semaphore, 1));
    semaphore.release_many(2).unwrap();
    assert_eq!(semaphore.available(), 2);
    kill(one);
    kill(two);
    let both = semaphore.try_acquire_many(2).unwrap().unwrap();
    assert!(semaphore.try_acquire().unwrap().is_none(), "nothing comes back twice");
    drop(both);
    semaphore.release().unwrap();
    assert_eq!(semaphore.available(), 3, "as in Python");
}

#[test]
fn a_bounded_one_has_no_more() {
    let _leaks = leaks();
    let semaphore = BoundedSemaphore::new(2).unwrap();
    let permit = semaphore.acquire().unwrap();
    assert!(matches!(
        semaphore.release_many(2),
        Err(Error::TooManyPermits { available: 1, released: 2, most: 2 })
    ));
    assert_eq!(semaphore.available(), 1);
    assert!(matches!(semaphore.acquire_many(3), Err(Error::Invalid { .. })));
    permit.forget();
    semaphore.release().unwrap();
    assert!(matches!(semaphore.release(), Err(Error::TooManyPermits { .. })));
    assert_eq!(format!("{semaphore:?}"), "BoundedSemaphore { available: 2 }");
}

#[test]
fn numbers_at_the_edge() {
    let _leaks = leaks();
    assert!(matches!(Semaphore::new(MAX_PERMITS + 1), Err(Error::Invalid { .. })));
    assert!(matches!(CountingSemaphore::with_max(3, 2), Err(Error::Invalid { .. })));
    assert!(matches!(CountingSemaphore::with_max(0, 0), Err(Error::Invalid { .. })));
    let full = Semaphore::new(MAX_PERMITS).unwrap();
    assert!(matches!(full.release(), Err(Error::TooManyPermits { .. })));
    let full = CountingSemaphore::new(MAX_PERMITS).unwrap();
    assert!(matches!(full.release_many(u32::MAX), Err(Error::TooManyPermits { .. })));
    assert_eq!(full.available(), MAX_PERMITS);
    let two = CountingSemaphore::with_max(2, 2).unwrap();
    assert!(matches!(two.acquire_many(3), Err(Error::Invalid { .. })));
    assert!(two.try_acquire_many(2).unwrap() && !two.try_acquire().unwrap());
    assert!(two.try_acquire_many(0).unwrap());
    two.release_many(0).unwrap();
    assert_eq!(two.available(), 0);
}

#[test]
fn a_time_that_is_over() {
    let _leaks = leaks();
    let none = Semaphore::new(0).unwrap();
    let start = Instant::now();
    assert!(none.acquire_timeout(SHORT).unwrap().is_none());
    assert!(none.acquire_deadline(start).unwrap().is_none());
    assert!(start.elapsed() >= SHORT);
    let none = CountingSemaphore::new(0).unwrap();
    let start = Instant::now();
    assert!(!none.acquire_timeout(SHORT).unwrap() && !none.acquire_deadline(start).unwrap());
    assert!(start.elapsed() >= SHORT);
}

#[test]
fn a_fork_has_nothing() {
    let _leaks = leaks();
    let semaphore = Semaphore::new(1).unwrap();
    let permit = semaphore.acquire().unwrap();
    // SAFETY: the copy runs on the one thread there is, and leaves by `_exit`.
    let copy = unsafe { libc::fork() };
    if copy == 0 {
        drop(permit);
        let taken = i32::from(semaphore.available() != 0);
        // SAFETY: ends the copy, and nothing else.
        unsafe { libc::_exit(taken) };
    }
    let mut status = -1;
    // SAFETY: waits for the child made above; the status is a local.
    assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
    assert_eq!((status, semaphore.available()), (0, 0));
    drop(permit);
    assert_eq!(semaphore.available(), 1);
}

/// What was released by hand is not given back by the permit's drop as well: it would be another's, or one more than there are.
#[test]
fn a_permit_gives_back_what_its_process_has_and_no_more() {
    let _leaks = leaks();
    let two = Semaphore::new(2).unwrap();
    let over = Event::new().unwrap();
    let (held, holding) = (Event::new().unwrap(), two.clone());
    let hold = |two: Semaphore, held: Event, over: Event| {
        let _permit = two.acquire().unwrap();
        held.set();
        over.wait_timeout(GENEROUS)
    };
    let child = spawn(hold, (holding, held.clone(), over.clone())).unwrap();
    assert!(held.wait_timeout(GENEROUS));
    let permit = two.acquire().unwrap();
    two.release().unwrap();
    drop(permit);
    assert_eq!(two.available(), 1, "the child's was taken");
    let owned = two.acquire_owned().unwrap();
    two.release().unwrap();
    drop(owned);
    assert_eq!(two.available(), 1);
    over.set();
    assert!(child.join().unwrap());
    assert_eq!(two.available(), 2);
}

#[test]
fn owned_permits_go_where_they_are_wanted() {
    fn all<T: Send + Sync + 'static>(value: T) -> T {
        value
    }
    let _leaks = leaks().allow(0, 8, 0);
    for semaphore in
        [Semaphore::new(2).unwrap(), Semaphore::new_with(2, &Arena::new(1 << 16).unwrap()).unwrap()]
    {
        let both = all(semaphore.acquire_many_owned(2).unwrap());
        assert_eq!((both.permits(), semaphore.available()), (2, 0));
        assert!(semaphore.try_acquire_owned().unwrap().is_none());
        assert!(semaphore.try_acquire_many_owned(2).unwrap().is_none());
        assert!(semaphore.acquire_owned_timeout(SHORT).unwrap().is_none());
        assert!(semaphore.acquire_many_owned_timeout(2, SHORT).unwrap().is_none());
        assert!(semaphore.acquire_owned_deadline(Instant::now()).unwrap().is_none());
        assert!(semaphore.acquire_many_owned_deadline(2, Instant::now()).unwrap().is_none());
        // The future and what comes of it outlive the handle that it was asked of.
        let clone = semaphore.clone();
        let future = clone.acquire_owned_async();
        drop(clone);
        let waiting = std::thread::spawn(move || block_on(future));
        std::thread::spawn(move || drop(both)).join().unwrap();
        let one = waiting.join().unwrap().unwrap();
        assert_eq!((one.permits(), semaphore.available()), (1, 1));
        one.forget();
        assert_eq!(semaphore.available(), 1);
        semaphore.release().unwrap();
        let both = block_on(semaphore.acquire_many_owned_async(2)).unwrap();
        assert_eq!(format!("{both:?}"), "OwnedPermit { permits: 2 }");
        drop(both);
        let later = Instant::now() + GENEROUS;
        drop((
            semaphore.acquire_owned_deadline(later).unwrap(),
            semaphore.acquire_owned_timeout(GENEROUS).unwrap(),
        ));
        drop(semaphore.acquire_many_owned_deadline(2, later).unwrap().unwrap());
        drop(semaphore.acquire_many_owned_timeout(2, GENEROUS).unwrap().unwrap());
        drop((semaphore.try_acquire_owned().unwrap().unwrap(), semaphore.acquire_owned().unwrap()));
        drop(semaphore.try_acquire_many_owned(2).unwrap().unwrap());
        assert_eq!(semaphore.available(), 2);
    }
}

/// What there can never be is refused in each form, not waited for.
#[test]
fn more_than_there_can_be_is_refused_in_each_form() {
    let _leaks = leaks();
    let two = BoundedSemaphore::new(2).unwrap();
    let later = Instant::now() + GENEROUS;
    let refused = [
        two.acquire_many(3).map(drop),
        two.try_acquire_many(3).map(drop),
        two.acquire_many_timeout(3, GENEROUS).map(drop),
        two.acquire_many_deadline(3, later).map(drop),
        two.acquire_many_owned(3).map(drop),
        two.try_acquire_many_owned(3).map(drop),
        block_on(two.acquire_many_async(3)).map(drop),
        block_on(two.acquire_many_owned_async(3)).map(drop),
    ];
    assert!(refused.into_iter().all(|answer| matches!(answer, Err(Error::Invalid { .. }))));
    let two = CountingSemaphore::with_max(2, 2).unwrap();
    let refused = [
        two.acquire_many(3),
        two.try_acquire_many(3).map(drop),
        two.acquire_many_timeout(3, GENEROUS).map(drop),
    ];
    assert!(refused.into_iter().all(|answer| matches!(answer, Err(Error::Invalid { .. }))));
}

#[test]
fn many_in_an_arena() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 20).unwrap();
    let owned = Semaphore::new_with(1, &arena).unwrap();
    let bounded = BoundedSemaphore::new_with(1, &arena).unwrap();
    let counting = CountingSemaphore::new_with(0, 1, &arena).unwrap();
    let child = |owned: Semaphore, bounded: BoundedSemaphore, counting: CountingSemaphore| {
        let _permits = (owned.acquire().unwrap(), bounded.acquire().unwrap());
        counting.release().unwrap();
    };
    let child = spawn(child, (owned.clone(), bounded.clone(), counting.clone())).unwrap();
    counting.acquire().unwrap();
    child.join().unwrap();
    assert_eq!((owned.available(), bounded.available(), counting.available()), (1, 1, 0));
}

#[test]
fn futures_are_woken_by_a_release_and_by_a_death() {
    // Helper threads keep their descriptors.
    let _leaks = leaks().allow(0, 8, 0);
    let semaphore = Semaphore::new(1).unwrap();
    let permit = semaphore.acquire().unwrap();
    let counting = CountingSemaphore::new(0).unwrap();
    std::thread::scope(|scope| {
        let (one, other) = (&semaphore, &counting);
        let future = scope.spawn(move || block_on(async { one.acquire_async().await.map(drop) }));
        let signal = scope.spawn(move || block_on(other.acquire_async()));
        std::thread::sleep(SHORT);
        drop(permit);
        counting.release().unwrap();
        future.join().unwrap().unwrap();
        signal.join().unwrap().unwrap();
    });
    let child = owner(&semaphore, 1);
    std::thread::scope(|scope| {
        let one = &semaphore;
        let future = scope.spawn(move || block_on(async { one.acquire_async().await.map(drop) }));
        std::thread::sleep(SHORT);
        kill(child);
        future.join().unwrap().unwrap();
    });
    assert_eq!(semaphore.available(), 1);
}

/// The ledger has room for 120 processes that have permits; the next is told so, and gets in when one of them has died.
#[test]
fn so_many_processes_and_no_more() {
    let _leaks = leaks();
    const PLACES: u32 = 120;
    let semaphore = Semaphore::new(2 * PLACES).unwrap();
    let context = ipc_core::Context::fork_server();
    let owner = || context.spawn(die_with, (semaphore.clone(), 1)).unwrap();
    let mut owners: Vec<_> = (0..PLACES).map(|_| owner()).collect();
    assert!(wait_until(GENEROUS, || semaphore.available() == PLACES));
    let full = semaphore.acquire().unwrap_err();
    assert!(matches!(full, Error::TooManyProcesses { most: PLACES }), "{full}");
    assert!(full.to_string().contains("120"), "{full}");
    assert_eq!(semaphore.available(), PLACES, "nothing is lost");
    kill(owners.pop().unwrap());
    let mine = semaphore.acquire_many(2).unwrap();
    assert_eq!(semaphore.available(), PLACES - 1, "that of the dead is back");
    drop(mine);
    owners.into_iter().for_each(kill);
    assert_eq!(semaphore.try_acquire_many(2 * PLACES).unwrap().unwrap().permits(), 2 * PLACES);
}

#[test]
fn many_permits_are_awaited() {
    // Helper threads keep their descriptors.
    let _leaks = leaks().allow(0, 8, 0);
    let (semaphore, counting) = (Semaphore::new(3).unwrap(), CountingSemaphore::new(0).unwrap());
    let child = owner(&semaphore, 2);
    std::thread::scope(|scope| {
        let three = scope.spawn(|| block_on(semaphore.acquire_many_async(3)).map(|permit| permit.permits()));
        let two = scope.spawn(|| block_on(counting.acquire_many_async(2)));
        counting.release().unwrap();
        counting.release().unwrap();
        two.join().unwrap().unwrap();
        kill(child);
        assert_eq!(three.join().unwrap().unwrap(), 3);
    });
    assert_eq!((semaphore.available(), counting.available()), (3, 0));
}

#[test]
fn many_permits_are_waited_for_so_long() {
    let _leaks = leaks();
    let (owned, counting) = (Semaphore::new(2).unwrap(), CountingSemaphore::new(2).unwrap());
    let (soon, long) = (Instant::now() + SHORT, Instant::now() + GENEROUS);
    assert!(owned.acquire_many_timeout(3, SHORT).unwrap().is_none());
    assert!(owned.acquire_many_deadline(3, soon).unwrap().is_none());
    assert!(Instant::now() >= soon);
    assert_eq!(owned.acquire_many_timeout(2, GENEROUS).unwrap().unwrap().permits(), 2);
    assert_eq!(owned.acquire_many_deadline(2, long).unwrap().unwrap().permits(), 2);
    counting.acquire().unwrap();
    assert!(!counting.acquire_many_timeout(2, SHORT).unwrap());
    assert!(!counting.acquire_many_deadline(2, Instant::now() + SHORT).unwrap());
    counting.release().unwrap();
    assert!(counting.acquire_many_timeout(1, GENEROUS).unwrap());
    assert!(counting.acquire_many_deadline(1, long).unwrap());
    assert_eq!(counting.available(), 0);
}
