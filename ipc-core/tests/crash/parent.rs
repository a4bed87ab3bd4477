//! A parent is killed: its children, theirs, the fork servers and the newborns that nobody knows yet are gone soon after.

use std::io::{BufRead, BufReader, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ipc_core::crash::{CrashPoints, POINTS};
use ipc_core::{Descriptor, Signal};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, process_gone, wait_until};

use crate::{METHODS, add, context, mine, points, program, rounds, stay};

/// A program: has a family where it is to be killed after that has come into being, says so, and goes on until it dies.
fn family(method: String, early: bool, said: Descriptor, told: Descriptor) {
    // Points are reached by whoever has children. Before the family is there, that is only this process.
    mine();
    if !early {
        let said = also(&said);
        let child = context(&method).builder().spawn(generation, (method.clone(), 2_u32, said)).unwrap();
        drop(child);
    } else {
        say(&said, std::process::id());
    }
    drop(said);
    // The word that the point is armed.
    PipeReader::from(OwnedFd::from(told)).read_to_end(&mut Vec::new()).unwrap();
    let context = context(&method);
    for n in 0.. {
        drop(context.spawn(stay, ()).unwrap());
        assert_eq!(context.spawn(add, (n, 1)).unwrap().join().unwrap(), n + 1);
    }
}

/// Children down to the last generation; then all stay.
fn generation(method: String, below: u32, said: Descriptor) {
    if below > 1 {
        let theirs = also(&said);
        drop(context(&method).spawn(generation, (method.clone(), below - 1, theirs)).unwrap());
    }
    say(&said, std::process::id());
    stay();
}

fn say(said: &Descriptor, pid: u32) {
    // One write of few bytes: lines do not mix.
    rustix::io::write(said, format!("{pid}\n").as_bytes()).unwrap();
}

fn also(descriptor: &Descriptor) -> Descriptor {
    descriptor.as_fd().try_clone_to_owned().unwrap().into()
}

/// The living processes whose environment, as they were executed, names these points. Forked ones share it.
fn left(points: &CrashPoints) -> Vec<u32> {
    let (name, value) = points.env().unwrap();
    let mark = format!("{name}={value}");
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let marked = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes()))
    };
    pids.filter(marked).collect()
}

/// How a program is to be killed.
enum Death {
    /// At a point, as the n-th to come by.
    At(&'static str, u32),
    /// After a random time.
    After(Duration),
}

fn round(points: &CrashPoints, method: &str, early: bool, death: Death) {
    let (hear, said) = std::io::pipe().unwrap();
    let (told, tell) = std::io::pipe().unwrap();
    let ends = (Descriptor::from(OwnedFd::from(said)), Descriptor::from(OwnedFd::from(told)));
    let program = program(points, family, (method.to_owned(), early, ends.0, ends.1));
    let mut hear = BufReader::new(hear);
    let mut family = Vec::new();
    for _ in 0..if early { 1 } else { 2 } {
        let mut line = String::new();
        assert!(hear.read_line(&mut line).unwrap() > 0, "the family did not come into being");
        family.push(line.trim().parse::<u32>().unwrap());
    }
    match death {
        Death::At(point, nth) => {
            let before = points.kills(point);
            points.arm(point, nth);
            drop(tell);
            assert!(program.wait_timeout(GENEROUS).unwrap().is_some(), "nobody came to {point}");
            assert_eq!(points.kills(point), before + 1, "{point}");
        }
        Death::After(time) => {
            drop(tell);
            std::thread::sleep(time);
            program.kill().unwrap();
        }
    }
    assert_eq!(program.join().unwrap_err().signal(), Some(Signal::KILL));
    let mut alive = Vec::new();
    let gone = wait_until(GENEROUS, || {
        alive = left(points);
        alive.is_empty()
    });
    assert!(gone, "{method}: {alive:?} live on, of the family {family:?}");
    // The dying have no environment any more.
    assert!(wait_until(GENEROUS, || family.iter().all(|pid| process_gone(*pid))));
}

#[test]
fn a_parent_killed_at_a_point_takes_its_family_with_it() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    let mut rng = Rng::new();
    for method in METHODS {
        for point in points("parent") {
            if method == "exec" && point == "parent: request sent" {
                continue; // there is nobody to ask
            }
            let before = crash.kills(point);
            for _ in 0..rounds() {
                // Once a fork server is there, nothing more is executed.
                let early = rng.below(3) == 0 || method != "exec" && point == "parent: child executed";
                let most = if early && method != "exec" && point == "parent: child executed" { 1 } else { 5 };
                round(&crash, method, early, Death::At(point, 1 + rng.below(most) as u32));
            }
            kills(&format!("{point}, {method}"), (crash.kills(point) - before).into());
        }
    }
}

#[test]
fn a_parent_killed_at_a_random_instant_takes_its_family_with_it() {
    let _leaks = leaks();
    let crash = CrashPoints::create(&POINTS).unwrap();
    let mut rng = Rng::new();
    for method in METHODS {
        for _ in 0..rounds() {
            let time = rng.duration(Duration::from_millis(20));
            round(&crash, method, rng.below(3) == 0, Death::After(time));
        }
        kills(&format!("parent: random instant, {method}"), rounds().into());
    }
}
