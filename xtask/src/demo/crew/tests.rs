//! The crew beside its killer: workers that die by themselves.

use super::super::input::tests::Scratch;
use super::super::input::{Input, Root};
use super::*;

/// A tree of two batches' worth of text, and what is in it.
fn tree() -> (Scratch, Input) {
    let scratch = Scratch::new();
    for name in ["a", "b", "c"] {
        scratch.file(name, &b"one two two\n".repeat(20_000));
    }
    let input = Input::find(&Root::given(scratch.0.clone())).unwrap();
    (scratch, input)
}

/// Runs a crew of two whose first worker is killed from outside, by nobody's killer, as soon as it is there;
/// its batch has lost this many workers before.
fn with_a_death(died: u32) -> Result<Totals, Failure> {
    let (scratch, input) = tree();
    let batches = input.batches(2);
    let (stop, _ring) = Stop::unheard().unwrap();
    assert!(batches.len() >= 2);
    let mut display = Display::new(2, &scratch.0);
    let mut crew = Crew::new(&batches, 2, &stop, &mut display);
    crew.died[0] = died;
    let first = crew.waiting.pop_front().unwrap();
    crew.start(first).map_err(|_| Failure::Failed("no worker".to_owned()))?;
    crew.running[0].child.kill().unwrap();
    crew.run()
}

#[test]
fn a_worker_that_dies_by_itself_costs_nothing_but_time() {
    let Ok(totals) = with_a_death(0) else { panic!("the pass failed") };
    assert_eq!(totals.tally.sorted(), [("two", 120_000), ("one", 60_000)]);
    assert_eq!(totals.text_files, 3);
}

#[test]
fn a_batch_whose_workers_always_die_fails_the_pass() {
    match with_a_death(TRIES - 1) {
        Err(Failure::Failed(why)) => assert!(why.contains("batch 0") && why.contains("pid"), "{why}"),
        _ => panic!("it went on"),
    }
}
