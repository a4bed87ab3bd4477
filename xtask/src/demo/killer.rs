//! Who kills the workers: at random instants, a random one of those running.
//!
//! The instants come from a seeded generator, and are no nearer to what the victim does than chance
//! brings them: some kills hit a worker before its first file or after its last. Those count as kills,
//! but not towards the number that is wanted; what counts is what the dead worker's pipe says.
//!
//! The pause between two kills is as long as a worker lives, on average: of two workers at work more
//! than half then reach their end, so the input gets done while it is shot at.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// So many workers are to be killed with a file in hand.
pub(super) const WANTED: usize = 50;
/// A batch that was killed this often in one pass is left alone, so that the pass ends.
const PATIENCE: u32 = 16;
/// Without a hit for so long, it is given up: an input so small that no kill finds a file in hand.
const GIVE_UP: Duration = Duration::from_secs(60);

/// A worker that was killed with a file in hand.
pub(super) struct Kill {
    pub(super) pid: u32,
    pub(super) pass: u32,
    pub(super) batch: usize,
    pub(super) file: PathBuf,
}

pub(super) struct Killer {
    pub(super) seed: u64,
    random: u64,
    pause: Duration,
    next: Instant,
    last_hit: Instant,
    pub(super) hits: Vec<Kill>,
    /// Killed, but with no file in hand.
    pub(super) misses: u32,
    /// Shot, but its value was already there.
    pub(super) too_late: u32,
}

impl Killer {
    /// `life`: how long a worker lives if nobody kills it.
    pub(super) fn new(seed: u64, life: Duration) -> Killer {
        let now = Instant::now();
        let pause = life.max(Duration::from_micros(20));
        let (hits, misses, too_late) = (Vec::new(), 0, 0);
        Killer { seed, random: seed, pause, next: now, last_hit: now, hits, misses, too_late }
    }

    pub(super) fn has_enough(&self) -> bool {
        self.hits.len() >= WANTED
    }

    pub(super) fn is_hopeless(&self) -> bool {
        !self.has_enough() && self.last_hit.elapsed() > GIVE_UP
    }

    /// How long until the next kill; nothing if there will be none.
    pub(super) fn due_in(&self) -> Option<Duration> {
        (!self.has_enough()).then(|| self.next.saturating_duration_since(Instant::now()))
    }

    /// If it is time: which of these to kill, given how often each one's batch was killed in this pass.
    pub(super) fn choose(&mut self, victims: &[(usize, u32)]) -> Option<usize> {
        if self.due_in() != Some(Duration::ZERO) {
            return None;
        }
        self.next = Instant::now() + self.pause.mul_f64(2.0 * self.draw());
        let candidates: Vec<usize> =
            victims.iter().filter(|(_, killed)| *killed < PATIENCE).map(|(index, _)| *index).collect();
        candidates.get((self.draw() * candidates.len() as f64) as usize).copied()
    }

    pub(super) fn hit(&mut self, kill: Kill) {
        self.hits.push(kill);
        self.last_hit = Instant::now();
    }

    /// The next random number in 0..1 (SplitMix64: Steele, Lea and Flood, 2014).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_stays_between_0_and_1() {
        let draws = |seed| {
            let mut killer = Killer::new(seed, Duration::ZERO);
            (0..1000).map(|_| killer.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        assert!(draws(7).iter().all(|x| (0.0..1.0).contains(x)));
        let mean = draws(7).iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }

    #[test]
    fn who_was_killed_too_often_is_spared_and_enough_is_enough() {
        let mut killer = Killer::new(1, Duration::ZERO);
        assert_eq!(killer.choose(&[(4, PATIENCE)]), None);
        killer.next = Instant::now();
        assert_eq!(killer.choose(&[(4, PATIENCE), (5, 0)]), Some(5));
        for pid in 0..WANTED as u32 {
            killer.hit(Kill { pid, pass: 1, batch: 0, file: PathBuf::new() });
        }
        killer.next = Instant::now();
        assert!(killer.has_enough() && killer.due_in().is_none() && killer.choose(&[(5, 0)]).is_none());
    }
}
