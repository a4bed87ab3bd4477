//! The raw lock and the thread's robust list, with the real kernel.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use ipc_shm::Until;
use ipc_shm::raw::{RawLock, Refused, Taken};
use ipc_testkit::{GENEROUS, wait_until};

fn lock() -> &'static RawLock {
    Box::leak(Box::new(RawLock::new()))
}

fn take(lock: &'static RawLock, until: Until) -> Result<Taken, Refused> {
    // SAFETY: leaked.
    unsafe { lock.take(until) }
}

fn free(lock: &'static RawLock) -> bool {
    // SAFETY: leaked.
    unsafe { lock.free() }
}

#[test]
fn taken_and_freed() {
    let lock = lock();
    assert_eq!(take(lock, Until::Now), Ok(Taken::Whole));
    assert!(lock.is_mine() && lock.is_locked());
    assert_eq!(lock.owner(), Some(std::process::id()));
    assert_eq!(take(lock, Until::Forever), Err(Refused::AlreadyHeld));
    let other = std::thread::spawn(move || {
        (take(lock, Until::Now), take(lock, Until::after(Duration::from_millis(20))))
    });
    assert_eq!(other.join().unwrap(), (Err(Refused::Busy), Err(Refused::TimedOut)));
    assert!(free(lock));
    assert!(!lock.is_mine() && !lock.is_locked());
    assert!(free(lock), "who does not have it changes nothing");
    let other = std::thread::spawn(move || (take(lock, Until::Now), free(lock)));
    assert_eq!(other.join().unwrap(), (Ok(Taken::Whole), true));
}

#[test]
fn a_thread_that_ends_with_it_is_a_dead_owner() {
    let lock = lock();
    std::thread::spawn(move || take(lock, Until::Forever).unwrap()).join().unwrap();
    assert_eq!(take(lock, Until::Forever), Ok(Taken::OwnerDied(std::process::id())));
    lock.repaired();
    free(lock);
    assert_eq!(take(lock, Until::Forever), Ok(Taken::Whole));
    free(lock);
    // Nobody repairs it.
    std::thread::spawn(move || take(lock, Until::Forever).unwrap()).join().unwrap();
    assert_eq!(take(lock, Until::Forever), Ok(Taken::OwnerDied(std::process::id())));
    free(lock);
    assert_eq!(take(lock, Until::Forever), Err(Refused::Lost));
    assert_eq!(take(lock, Until::Now), Err(Refused::Lost));
    assert!(!lock.is_locked());
}

#[test]
fn who_waits_is_woken_by_a_death() {
    let lock = lock();
    let (tell, told) = std::sync::mpsc::channel();
    let owner = std::thread::spawn(move || {
        take(lock, Until::Forever).unwrap();
        told.recv().unwrap();
    });
    assert!(wait_until(GENEROUS, || lock.is_locked()));
    let waiter = std::thread::spawn(move || {
        let taken = take(lock, Until::after(GENEROUS));
        free(lock);
        taken
    });
    tell.send(()).unwrap();
    owner.join().unwrap();
    assert_eq!(waiter.join().unwrap(), Ok(Taken::OwnerDied(std::process::id())));
}

/// As many as the kernel looks at; one more is refused, and all are marked when the thread ends.
#[test]
fn as_many_as_the_kernel_looks_after() {
    const MOST: usize = 2047;
    let locks: &'static [RawLock] = Box::leak((0..=MOST).map(|_| RawLock::new()).collect());
    let holder = std::thread::spawn(|| {
        for lock in &locks[..MOST] {
            assert_eq!(take(lock, Until::Now), Ok(Taken::Whole));
        }
        assert_eq!(take(&locks[MOST], Until::Now), Err(Refused::TooMany));
        // In the middle of the list, and again at its front.
        assert!(free(&locks[1000]) && free(&locks[0]) && free(&locks[MOST - 1]));
        for at in [0, 1000, MOST - 1] {
            assert_eq!(take(&locks[at], Until::Now), Ok(Taken::Whole));
        }
        assert_eq!(take(&locks[MOST], Until::Now), Err(Refused::TooMany));
    });
    holder.join().unwrap();
    let died = Ok(Taken::OwnerDied(std::process::id()));
    for lock in &locks[..MOST] {
        assert_eq!(take(lock, Until::Now), died);
        lock.repaired();
        free(lock);
    }
    assert_eq!(take(&locks[MOST], Until::Now), Ok(Taken::Whole));
    free(&locks[MOST]);
}

/// Any order of taking and freeing, of ours and of glibc's own robust mutexes, leaves the list whole: all that is held is marked.
#[test]
fn beside_robust_mutexes_of_the_c_library() {
    for seed in 0..200 {
        let ours: &'static [RawLock] = Box::leak((0..8).map(|_| RawLock::new()).collect());
        let theirs: &'static [Theirs] = Box::leak((0..8).map(|_| Theirs::new()).collect());
        let holder = std::thread::spawn(move || {
            let mut rng = ipc_testkit::Rng::from_seed(seed);
            let (mut mine, mut glibcs) = ([false; 8], [false; 8]);
            for _ in 0..300 {
                let at = rng.below(8) as usize;
                if rng.below(2) == 0 {
                    if mine[at] {
                        assert!(free(&ours[at]), "a link is not what it was");
                    } else {
                        take(&ours[at], Until::Now).unwrap();
                    }
                    mine[at] = !mine[at];
                } else {
                    if glibcs[at] {
                        theirs[at].unlock();
                    } else {
                        assert_eq!(theirs[at].lock(), 0);
                    }
                    glibcs[at] = !glibcs[at];
                }
            }
            (mine, glibcs)
        });
        let (mine, glibcs) = holder.join().unwrap();
        for at in 0..8 {
            let expected = if mine[at] { Taken::OwnerDied(std::process::id()) } else { Taken::Whole };
            assert_eq!(take(&ours[at], Until::Now), Ok(expected), "seed {seed}");
            lock_is_repaired(&ours[at]);
            assert_eq!(theirs[at].lock(), if glibcs[at] { libc::EOWNERDEAD } else { 0 }, "seed {seed}");
            theirs[at].unlock();
        }
    }
}

fn lock_is_repaired(lock: &'static RawLock) {
    lock.repaired();
    free(lock);
}

/// A robust mutex of the C library.
struct Theirs(std::cell::UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a mutex is for several threads.
unsafe impl Sync for Theirs {}

impl Theirs {
    fn new() -> Theirs {
        let mutex = Theirs(std::cell::UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
        // SAFETY: fresh memory of the right types.
        unsafe {
            let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
            libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            assert_eq!(libc::pthread_mutex_init(mutex.0.get(), &raw const attributes), 0);
        }
        mutex
    }

    fn lock(&self) -> i32 {
        // SAFETY: an initialised mutex.
        unsafe { libc::pthread_mutex_lock(self.0.get()) }
    }

    fn unlock(&self) {
        // SAFETY: an initialised mutex.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}

/// A forked copy of an owner is no owner.
#[test]
fn a_copy_of_its_owner_does_not_have_it() {
    let lock = lock();
    take(lock, Until::Forever).unwrap();
    // SAFETY: the child makes no call but these, which take no lock of the process.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let right =
            !lock.is_mine() && free(lock) && lock.is_locked() && take(lock, Until::Now) == Err(Refused::Busy);
        // SAFETY: ends the copy.
        unsafe { libc::_exit(i32::from(!right)) };
    }
    let mut status = -1;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
    assert!(lock.is_mine() && free(lock));
    assert_eq!(take(lock, Until::Now), Ok(Taken::Whole));
    free(lock);
}

/// Threads on one lock: each addition is there.
#[test]
fn many_threads_count() {
    struct Count(std::cell::UnsafeCell<u64>);
    // SAFETY: touched under the lock.
    unsafe impl Sync for Count {}
    static COUNT: Count = Count(std::cell::UnsafeCell::new(0));
    let lock = lock();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..100_000 {
                    assert_eq!(take(lock, Until::Forever), Ok(Taken::Whole));
                    // SAFETY: this thread has the lock.
                    unsafe { *COUNT.0.get() += 1 };
                    free(lock);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // SAFETY: all threads have ended.
    assert_eq!(unsafe { *COUNT.0.get() }, 400_000);
}
