//! The word that says how many permits there are: what both kinds of semaphores wait for.
//!
//! | half of the word | what stands there |
//! |---|---|
//! | the lower | how many permits there are |
//! | the upper | how often some were put there, modulo 2³² |
//!
//! **Why the upper half.** A sleeper at a gate may sleep beside a state as it has seen it ([`gate::wait`](ipc_shm::gate::wait)), and what it has seen are permits that
//! another takes before it can. If as many are put back by one who is killed before it wakes anybody, the number alone would be the one that was
//! seen: the sleeper would sleep beside permits. (The models find that.)

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::AtomicU64;
use ipc_core::primitive::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

/// The most permits that a semaphore can have: as many as POSIX's.
pub const MAX_PERMITS: u32 = i32::MAX as u32;

/// How many permits a word says.
#[inline(always)]
pub(crate) fn count(word: u64) -> u32 {
    word as u32
}

/// Takes so many, if there are.
#[inline(always)]
pub(crate) fn take(word: &AtomicU64, permits: u32) -> bool {
    let mut seen = word.load(Relaxed);
    while count(seen) >= permits {
        match word.compare_exchange_weak(seen, seen - u64::from(permits), Acquire, Relaxed) {
            Ok(_) => return true,
            Err(now) => seen = now,
        }
    }
    false
}

/// Puts so many there, unless there are more than `most` then: gives how many there are. It ends in a step that reads and writes, as
/// [`gate::update`](ipc_shm::gate::update) wants it.
#[inline(always)]
pub(crate) fn put(word: &AtomicU64, permits: u32, most: u32) -> Result<(), u32> {
    let mut seen = word.load(Relaxed);
    loop {
        match count(seen).checked_add(permits) {
            Some(sum) if sum <= most => {}
            _ => return Err(count(seen)),
        }
        match word.compare_exchange_weak(seen, more(seen, permits), SeqCst, Relaxed) {
            Ok(_) => return Ok(()),
            Err(now) => seen = now,
        }
    }
}

#[inline(always)]
fn more(word: u64, permits: u32) -> u64 {
    let once = if mutant::is("what is put there is not counted") { 0 } else { 1 << 32 };
    word.wrapping_add(once + u64::from(permits))
}

/// There are so many, whatever the word says.
pub(crate) fn set(word: &AtomicU64, permits: u32) {
    let upper = word.load(Relaxed) & !u64::from(u32::MAX);
    word.swap(more(upper, permits), SeqCst);
}
