//! The one policy of waiting for another process: when to look again, when to yield, when to sleep.
//!
//! A round trip between two processes that both run takes some 0.2 µs, one that sleeps and is woken on another CPU 50; so who has to wait looks
//! again for a while. But if the other side is on the same CPU, it cannot do anything while one looks: there a sleep and a wake-up take 4 µs, and a pause
//! loop takes a time slice. And the scheduler puts two processes on one CPU as it likes. So each side tells, in memory that both have, on which CPU
//! it runs ([`Place`]), and who waits does this ([`look_awhile`]):
//!
//! | the other side | until then | what |
//! |---|---|---|
//! | is on this CPU | two yields | yields, and looks after each |
//! | is elsewhere, or nobody knows | 5 µs | looks again after each pause; in a stream the first time after 8, the second after 2 ([`Pace`]) |
//! | | 80 µs in all | yields, and looks after each; one that takes 20 µs was the last: others want this CPU |
//! | in any case | then | sleeps, which is the caller's part: at a [`gate`](ipc_shm::gate), which marks, looks once more, and sleeps |
//!
//! What is measured (two CPUs, virtual): a tight loop takes the cache line away from who is writing it, a stream of messages was 40 % slower for it; ten
//! yields beside another process that wants the CPU took 1.4 ms.
//!
//! When a process dies: nothing here is owned or owed. A dead one's place stays as it was, and misleads who waits for it for 80 µs at most.

use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::sync::atomic::Ordering::Relaxed;
use ipc_core::primitive::time::Until;
use ipc_core::primitive::{MODEL, hint, thread};

/// How long a look after a pause is worth more than a yield.
const LOOKS: Duration = Duration::from_micros(5);

/// How long, looks included, a yield is worth more than a sleep.
const AWAKE: Duration = Duration::from_micros(80);

/// A yield that takes so long went to somebody else.
const SLOW_YIELD: Duration = Duration::from_micros(20);

/// How many yields who is on this CPU is given.
const YIELDS_HERE: u32 = 2;

/// After so many pauses the clock is looked at.
const PAUSES: u32 = 16;

/// So many pauses one who waits for the next of a stream leaves it to who is writing it, at first.
pub(crate) const GATHER: u32 = 8;

/// The CPU on which somebody runs or ran last, for who waits for it: it stands in shared memory, beside the gate at which that one sleeps itself.
/// All zero: nobody has told.
///
/// Where many take turns on one side, it is the place of the last.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Place(AtomicU32);

impl Default for Place {
    fn default() -> Place {
        Place::new()
    }
}

impl Place {
    /// Not known yet.
    pub(crate) fn new() -> Place {
        Place(AtomicU32::new(0))
    }

    /// The calling thread is here. Costs a nanosecond or two, and writes only where it was elsewhere before.
    #[inline(always)]
    pub(crate) fn tell(&self) {
        let here = here();
        if self.0.load(Relaxed) != here {
            self.0.store(here, Relaxed);
        }
    }

    /// Whether that one is on the CPU of the calling thread.
    #[inline(always)]
    pub(crate) fn is_here(&self) -> bool {
        let there = self.0.load(Relaxed);
        there != 0 && there == here()
    }
}

/// The calling thread's CPU, by its number and one; 0 where nobody can tell. glibc reads it from `rseq`'s area, where the kernel writes it.
#[inline(always)]
fn here() -> u32 {
    if MODEL {
        return 0;
    }
    // SAFETY: takes nothing, gives a number or −1.
    let cpu = unsafe { libc::sched_getcpu() };
    u32::try_from(cpu).map_or(0, |cpu| cpu + 1)
}

/// How often to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Many things come one after the other, and throughput counts: not at once, which leaves the cache line to who is writing for a moment.
    Stream,
    /// One thing is waited for, an answer say: at every chance.
    Answer,
}

/// Looks again for as long as that is worth more than a sleep, and gives what `look` finds; `None`: go to sleep, or the time is over. Who calls has looked
/// already, and looks again before it sleeps.
///
/// `other` is the place of the side that is waited for. In models this does nothing.
#[inline]
pub(crate) fn look_awhile<T>(
    other: &Place,
    pace: Pace,
    until: Until,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    if MODEL || until == Until::Now {
        return None;
    }
    if other.is_here() {
        return (0..YIELDS_HERE).find_map(|_| {
            thread::yield_now();
            look()
        });
    }
    // The clock costs as much as a look or two, so it is asked after the first ones, which count for nothing.
    let mut begun = None;
    let end = match until {
        Until::Deadline(deadline) => Some(deadline),
        _ => None,
    };
    let over = |now: Instant| end.is_some_and(|end| now >= end);
    let mut pauses = match pace {
        Pace::Stream => GATHER,
        Pace::Answer => 1,
    };
    let mut rest = pauses;
    loop {
        for _ in 0..PAUSES {
            hint::spin_loop();
            rest -= 1;
            if rest > 0 {
                continue;
            }
            if let Some(found) = look() {
                return Some(found);
            }
            pauses = (pauses / 4).max(1);
            rest = pauses;
        }
        let now = Instant::now();
        if over(now) {
            return None;
        }
        // It may have come here meanwhile, and then waits for this CPU.
        if now - *begun.get_or_insert(now) >= LOOKS || other.is_here() {
            break;
        }
    }
    let begun = begun.unwrap_or_else(Instant::now);
    loop {
        let before = Instant::now();
        thread::yield_now();
        if let Some(found) = look() {
            return Some(found);
        }
        let now = Instant::now();
        if over(now) || now - before >= SLOW_YIELD || now - begun >= AWAKE {
            return None;
        }
    }
}

/// What the first of two futures gives that is done.
pub(crate) async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    std::future::poll_fn(|context| match one.as_mut().poll(context) {
        Poll::Pending => other.as_mut().poll(context),
        done => done,
    })
    .await
}

#[cfg(all(test, not(ipc_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn who_waits_goes_to_sleep_in_time() {
        for pace in [Pace::Stream, Pace::Answer] {
            let mut looks = 0;
            let found = look_awhile(&Place::new(), pace, Until::Forever, || {
                looks += 1;
                None::<()>
            });
            assert!(found.is_none() && looks > 1);
        }
    }

    #[test]
    fn what_comes_meanwhile_is_found() {
        let mut looks = 0;
        let found = look_awhile(&Place::new(), Pace::Answer, Until::Forever, || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, Some(3));
    }

    #[test]
    fn who_shares_the_cpu_is_given_two_yields() {
        // The thread may be moved in between; then it has looked more often, and does so once more.
        let seen = (0..1000).any(|_| {
            let place = Place::new();
            place.tell();
            let mut looks = 0;
            let found = look_awhile(&place, Pace::Stream, Until::Forever, || {
                looks += 1;
                None::<()>
            });
            found.is_none() && looks == YIELDS_HERE
        });
        assert!(seen);
    }

    #[test]
    fn no_time_is_no_look() {
        assert!(look_awhile(&Place::new(), Pace::Answer, Until::Now, || Some(())).is_none());
    }
}
