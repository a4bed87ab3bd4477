//! A child is killed: its parent gets an error that names the signal, or the value if that was sent, and never waits for the
//! dead. Nothing is left of it.

use std::time::{Duration, Instant};

use ipc_core::crash::{CrashPoints, POINTS};
use ipc_core::{Bytes, Child, Context, Error, Ran, Signal};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

use crate::{METHODS, add, context, mine, points, program, rounds};

/// Large enough to travel outside the packet.
fn echo(bytes: Bytes) -> Bytes {
    bytes
}

/// Takes so many microseconds for it, so that a random instant finds it at work.
fn add_slowly(a: u64, b: u64, micros: u64) -> u64 {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
    a + b
}

/// Joins in one of the ways there are.
fn joined<T: ipc_core::Message>(child: Child<T>, rng: &mut Rng) -> Result<T, Error> {
    match rng.below(4) {
        0 => child.join(),
        1 => child.value(),
        2 => child.join_timeout(GENEROUS).map(|value| value.expect("the child ends")),
        _ => {
            child.wait().unwrap();
            child.join()
        }
    }
}

/// Starts and joins a child of one of several kinds: `true` for its value, `false` for an error that says SIGKILL.
///
/// `most` are the microseconds it may take; `act` is called when it has been started, with what kills it.
fn comes_through(context: &Context, rng: &mut Rng, most: u64, act: impl FnOnce(&dyn Fn(), &mut Rng)) -> bool {
    let mut builder = context.builder();
    if rng.below(2) == 0 {
        // A wish, so that the spawn waits until it is fulfilled.
        builder = builder.umask(0o27);
    }
    let result = if rng.below(4) == 0 {
        let bytes = Bytes::from(vec![7_u8; 100_000]);
        match builder.spawn(echo, (bytes.clone(),)) {
            Ok(child) => {
                act(&|| child.kill().unwrap(), rng);
                joined(child, rng).map(|back| assert!(back == bytes))
            }
            Err(failed) => {
                let (args, error) = failed.into_parts();
                assert!(args.0 == bytes, "the arguments come back");
                Err(error)
            }
        }
    } else {
        match builder.spawn(add_slowly, (2, 3, rng.below(most))) {
            Ok(child) => {
                act(&|| child.kill().unwrap(), rng);
                joined(child, rng).map(|sum| assert_eq!(sum, 5))
            }
            Err(failed) => Err(failed.into()),
        }
    };
    match result {
        Ok(()) => true,
        Err(error @ Error::Killed { .. }) => {
            assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
            false
        }
        Err(error @ Error::NotStarted { .. }) => {
            assert_eq!(error.ran(), Ran::DidNotRun);
            assert!(error.to_string().contains("SIGKILL"), "{error}");
            false
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// Kills children at a point, so many; says how many of them were missed: their value was there, or they were spares.
fn kill_at(method: String, point: String, rounds: u32, seed: u64) -> u64 {
    let points = mine();
    let _leaks = leaks();
    let mut rng = Rng::from_seed(seed);
    let context = context(&method);
    // A server goes through the same points when it starts, and it is not meant here.
    assert_eq!(context.spawn(add, (1, 1)).unwrap().join().unwrap(), 2);
    let mut through = 0;
    for _ in 0..rounds {
        let before = points.kills(&point);
        points.arm(&point, 1 + rng.below(2) as u32);
        while points.kills(&point) == before {
            through += u64::from(comes_through(&context, &mut rng, 0, |_, _| {}));
        }
        assert!(
            comes_through(&context, &mut rng, 0, |_, _| {}) || method != "exec",
            "nothing is armed any more"
        );
    }
    // Of some only the value was awaited.
    assert!(wait_until(GENEROUS, || ipc_core::active_children().is_empty()));
    through
}

/// Kills children at random instants, so many; says how many of them came through.
fn kill_at_random(method: String, rounds: u32, seed: u64) -> u64 {
    let _leaks = leaks();
    let mut rng = Rng::from_seed(seed);
    let context = context(&method);
    let mut through = 0;
    for _ in 0..rounds {
        through += u64::from(comes_through(&context, &mut rng, 3000, |kill, rng| {
            std::thread::sleep(rng.duration(Duration::from_micros(3000)));
            kill();
        }));
    }
    // Of some only the value was awaited.
    assert!(wait_until(GENEROUS, || ipc_core::active_children().is_empty()));
    through
}

#[test]
fn a_child_killed_at_a_point_is_reported() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    let mut rng = Rng::new();
    for method in METHODS {
        for point in points("child") {
            let (before, seed) = (crash.kills(point), rng.next_u64());
            let through = program(&crash, kill_at, (method.to_owned(), point.to_owned(), rounds(), seed));
            let through = through.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
            if point == "child: reported" {
                assert!(through >= u64::from(rounds()), "what was sent arrives");
            }
            kills(&format!("{point}, {method}"), (crash.kills(point) - before).into());
        }
    }
}

#[test]
fn a_child_killed_at_a_random_instant_is_reported_or_comes_through() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    let mut rng = Rng::new();
    for method in METHODS {
        let (count, seed) = (rounds() * 10, rng.next_u64());
        let through = program(&crash, kill_at_random, (method.to_owned(), count, seed));
        let through = through.join().unwrap_or_else(|error| panic!("{method}, {seed}: {error}"));
        println!("{through} of {count} came through");
        kills(&format!("child: random instant, {method}"), u64::from(count) - through);
    }
}
