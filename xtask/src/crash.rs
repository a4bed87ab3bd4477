//! Kill processes at named points and random instants: `cargo xtask crash [--full] [--seed N] [CRATE]`.
//!
//! Runs the tests of `CRATE/tests/crash*.rs`. `--full` sets IPC_CRASH_FULL, which raises their counts to
//! the hand-run ones of VERIFICATION.md; `--seed` sets IPC_CRASH_SEED and repeats a run's random decisions (each run prints
//! its seed). The tests print `kills POINT N`; the sums are shown, and a point never hit fails.

use crate::Result;
use crate::project::Means;
use crate::test;

/// `cargo xtask crash ARGS`.
pub(crate) fn run(args: &[String]) -> Result {
    test::run_means(Means::Crash, args)
}
