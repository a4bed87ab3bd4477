//! Locks without any crate. Named after the batch is the kind:
//!
//! | kind | what it is |
//! |---|---|
//! | `std` | `std::sync::Mutex`: for threads, so only for the tasks of one |
//! | `futex` | a word of three states (Drepper, *Futexes Are Tricky*, "mutex2"), that spins before it sleeps as std's does; shared |
//! | `pthread` | `pthread_mutex_t`, `PTHREAD_PROCESS_SHARED` |
//! | `pthread robust` | the same with `PTHREAD_MUTEX_ROBUST` |
//! | `sem_t` | POSIX's semaphore of one, shared |
//!
//! The counter stands beside its lock, as one would place it: in the same cache line.

use std::cell::UnsafeCell;
use std::hint::{black_box, spin_loop};
use std::io;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use peers::counting::{Counter, alone, is_alone};
use peers::protocol::{Call, contend};
use peers::{in_shared_memory, two_runners};
use rustix::thread::futex;

fn main() -> ExitCode {
    contend(std::env::args().skip(1), |call| match call.more.get(1).map(String::as_str) {
        Some("std") => alone(&call, black_box(&Std(Mutex::new(0)))),
        Some("futex") => {
            measure(&call, in_shared_memory(Locked { lock: Futex(AtomicU32::new(0)), count: 0.into() })?)
        }
        Some("pthread") => pthread(&call, false),
        Some("sem_t") => {
            // SAFETY: zeros are what `sem_init` finds as well as anything.
            let lock = Posix(UnsafeCell::new(unsafe { std::mem::zeroed() }));
            let locked = in_shared_memory(Locked { lock, count: 0.into() })?;
            // SAFETY: it stays where it is, and nobody uses it yet.
            errno(unsafe { libc::sem_init(locked.lock.0.get(), 1, 1) })?;
            measure(&call, locked)
        }
        Some("pthread robust") => pthread(&call, true),
        _ => Err(call.unknown()),
    })
}

fn measure(call: &Call, counter: &'static impl Counter) -> io::Result<()> {
    if is_alone(call) { alone(call, black_box(counter)) } else { two_runners(call, counter) }
}

fn pthread(call: &Call, robust: bool) -> io::Result<()> {
    let lock = Pthread(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
    let locked = in_shared_memory(Locked { lock, count: 0.into() })?;
    locked.lock.initialise(robust)?;
    measure(call, locked)
}

struct Std(Mutex<u64>);

impl Counter for Std {
    #[inline]
    fn touch(&self) -> io::Result<()> {
        self.0.lock().map(drop).map_err(|_| io::ErrorKind::Other.into())
    }

    #[inline]
    fn add(&self) -> io::Result<()> {
        *self.0.lock().map_err(|_| io::Error::from(io::ErrorKind::Other))? += 1;
        Ok(())
    }

    fn value(&self) -> io::Result<u64> {
        self.0.lock().map(|value| *value).map_err(|_| io::ErrorKind::Other.into())
    }
}

/// A lock, and what stands behind it.
#[repr(C)]
struct Locked<L> {
    lock: L,
    count: UnsafeCell<u64>,
}

trait Lock {
    fn lock(&self) -> io::Result<()>;
    fn unlock(&self) -> io::Result<()>;
}

impl<L: Lock> Counter for Locked<L> {
    #[inline]
    fn touch(&self) -> io::Result<()> {
        self.lock.lock()?;
        self.lock.unlock()
    }

    #[inline]
    fn add(&self) -> io::Result<()> {
        self.lock.lock()?;
        // SAFETY: who has the lock has the counter.
        unsafe { *self.count.get() += 1 };
        self.lock.unlock()
    }

    fn value(&self) -> io::Result<u64> {
        self.lock.lock()?;
        // SAFETY: as above.
        let value = unsafe { *self.count.get() };
        self.lock.unlock()?;
        Ok(value)
    }
}

/// 0: free; 1: held; 2: held, and somebody may sleep.
struct Futex(AtomicU32);

impl Lock for Futex {
    #[inline]
    fn lock(&self) -> io::Result<()> {
        if self.0.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            self.contend();
        }
        Ok(())
    }

    #[inline]
    fn unlock(&self) -> io::Result<()> {
        if self.0.swap(0, Release) == 2 {
            self.wake();
        }
        Ok(())
    }
}

impl Futex {
    #[cold]
    fn contend(&self) {
        let mut seen = self.spin();
        if seen == 0 {
            match self.0.compare_exchange(0, 1, Acquire, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        loop {
            if seen != 2 && self.0.swap(2, Acquire) == 0 {
                return;
            }
            let _ = futex::wait(&self.0, futex::Flags::empty(), 2, None);
            seen = self.spin();
        }
    }

    fn spin(&self) -> u32 {
        let mut left = 100;
        loop {
            let seen = self.0.load(Relaxed);
            if seen != 1 || left == 0 {
                return seen;
            }
            spin_loop();
            left -= 1;
        }
    }

    #[cold]
    fn wake(&self) {
        let _ = futex::wake(&self.0, futex::Flags::empty(), 1);
    }
}

struct Pthread(UnsafeCell<libc::pthread_mutex_t>);

impl Pthread {
    fn initialise(&self, robust: bool) -> io::Result<()> {
        let mut attributes = std::mem::MaybeUninit::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: the attributes are initialised first; the mutex stays where it is, and nobody has it yet.
        unsafe {
            done(libc::pthread_mutexattr_init(attributes))?;
            done(libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED))?;
            if robust {
                done(libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST))?;
            }
            done(libc::pthread_mutex_init(self.0.get(), attributes))
        }
    }
}

impl Lock for Pthread {
    #[inline]
    fn lock(&self) -> io::Result<()> {
        // SAFETY: initialised, and where it was then.
        done(unsafe { libc::pthread_mutex_lock(self.0.get()) })
    }

    #[inline]
    fn unlock(&self) -> io::Result<()> {
        // SAFETY: as above, and this thread has it.
        done(unsafe { libc::pthread_mutex_unlock(self.0.get()) })
    }
}

#[inline]
fn done(error: libc::c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

struct Posix(UnsafeCell<libc::sem_t>);

impl Lock for Posix {
    #[inline]
    fn lock(&self) -> io::Result<()> {
        // SAFETY: initialised, and where it was then.
        errno(unsafe { libc::sem_wait(self.0.get()) })
    }

    #[inline]
    fn unlock(&self) -> io::Result<()> {
        // SAFETY: as above.
        errno(unsafe { libc::sem_post(self.0.get()) })
    }
}

#[inline]
fn errno(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
