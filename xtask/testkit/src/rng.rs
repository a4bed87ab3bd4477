//! Random decisions of crash tests, repeatable by their seed.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled"): a few
/// instructions, and good enough to decide who dies when.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose seed comes from `IPC_CRASH_SEED` (`cargo xtask crash --seed N`), else from the
    /// system. The seed is printed, so that a failed run can be repeated.
    pub fn new() -> Rng {
        let given = std::env::var("IPC_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
        println!("seed {seed}");
        Rng::from_seed(seed)
    }

    /// A generator that repeats what this seed gave before. Neighbouring seeds give unrelated sequences.
    pub fn from_seed(seed: u64) -> Rng {
        // One step of splitmix64 spreads small seeds; the state must not be zero.
        let mut state = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Rng((state ^ (state >> 31)).max(1))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`; zero if `bound` is. The bias of the multiplication is far below what a
    /// crash test could see.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A time from zero up to `limit`, for a kill at a random instant.
    pub fn duration(&mut self, limit: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Default for Rng {
    fn default() -> Self {
        Rng::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence_and_others_do_not() {
        let take = |seed| {
            let mut rng = Rng::from_seed(seed);
            [rng.next_u64(), rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
        assert_ne!(take(0), [0; 3]);
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_below_it() {
        let mut rng = Rng::from_seed(1);
        let mut seen = [false; 5];
        (0..1000).for_each(|_| seen[rng.below(5) as usize] = true);
        assert_eq!((seen, rng.below(0)), ([true; 5], 0));
        assert!(rng.duration(Duration::from_millis(3)) < Duration::from_millis(3));
    }
}
