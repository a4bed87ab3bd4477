//! Beside robust mutexes of the C library, in the same thread.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::mem::MaybeUninit;
use std::sync::mpsc::channel;

use ipc_shm::Segment;
use ipc_sync::{CountingSemaphore, Event, Latch};
use ipc_testkit::leaks;

/// When the time of who waits for a robust mutex is over, glibc leaves it announced (`list_op_pending`), whatever becomes of it.
#[test]
fn a_mutex_that_was_announced_and_is_gone() {
    let _leaks = leaks();
    let (semaphore, event, latch) =
        (CountingSemaphore::new(0).unwrap(), Event::new().unwrap(), Latch::new(1).unwrap());
    let segment = Segment::new(4096).unwrap();
    let at = segment.as_ptr().as_ptr() as usize;
    let mutex = move || at as *mut libc::pthread_mutex_t;
    let mut attributes = MaybeUninit::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: the attributes are made before they are used, and the mutex is made of zeros that nobody else has.
    unsafe {
        assert_eq!(libc::pthread_mutexattr_init(attributes), 0);
        assert_eq!(libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST), 0);
        assert_eq!(libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED), 0);
        assert_eq!(libc::pthread_mutex_init(mutex(), attributes), 0);
    }
    let ((locked, is_locked), (tried, was_tried)) = (channel(), channel());
    let owner = std::thread::spawn(move || {
        // SAFETY: a mutex, mapped until this thread was joined.
        unsafe {
            assert_eq!(libc::pthread_mutex_lock(mutex()), 0);
            locked.send(()).unwrap();
            was_tried.recv().unwrap();
            assert_eq!(libc::pthread_mutex_unlock(mutex()), 0);
        }
    });
    is_locked.recv().unwrap();
    let long_ago = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    // SAFETY: as above; another thread has it.
    assert_eq!(unsafe { libc::pthread_mutex_timedlock(mutex(), &raw const long_ago) }, libc::ETIMEDOUT);
    tried.send(()).unwrap();
    owner.join().unwrap();
    // SAFETY: nobody has it, and nobody will.
    assert_eq!(unsafe { libc::pthread_mutex_destroy(mutex()) }, 0);
    drop(segment);
    semaphore.release().unwrap();
    semaphore.acquire().unwrap();
    assert!(event.set());
    latch.count_down(1);
    latch.wait();
}
