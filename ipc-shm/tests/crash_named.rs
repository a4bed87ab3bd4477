//! Owners of names, killed at random instants, and the reaper beside them: all their names go, and nobody else's.
//!
//! `cargo xtask crash [--full] [--seed N] ipc-shm`, or `cargo test --test crash_named`.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use ipc_core::{AuthKey, Child, Context, Signal};
use ipc_shm::{Error, Item, SharedMemory, SharedMemoryScope};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

/// Of each method: executed children cost more than ten times as much.
fn rounds(method: &str) -> usize {
    let (exec, server) = match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => (10_000, 90_000),
        (false, true) => (20, 80),
        (false, false) => (200, 800),
    };
    if method == "exec" { exec } else { server }
}

/// Names that an owner of a round may have: `PREFIX-NUMBER-…`.
fn names(prefix: &str) -> Vec<String> {
    let all = fs::read_dir("/dev/shm").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// An owner's life: names made, found, taken over from those that died here before, and taken away.
fn live(prefix: String, seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let mut kept = Vec::new();
    loop {
        let name = format!("{prefix}-{}", rng.below(8));
        match rng.below(4) {
            0 | 1 => match SharedMemory::create(name, 10) {
                Ok(memory) => kept.push(memory),
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => panic!("{error}"),
            },
            2 if !kept.is_empty() => {
                let memory = kept.swap_remove(rng.below(kept.len() as u64) as usize);
                assert!(!matches!(memory.unlink(), Err(error) if !matches!(error, Error::NotFound { .. })));
            }
            _ => {
                let scope = SharedMemoryScope::new();
                let list = scope.shareable_list([Item::from(7)]).unwrap();
                assert_eq!(list.get(0).unwrap(), 7.into());
            }
        }
    }
}

/// The variable that tells this family's processes from others.
const FAMILY: &str = "IPC_TEST_FAMILY";

/// The family's reaper, whoever has started it: it leads a session.
fn reaper() -> Option<i32> {
    let family = format!("{FAMILY}={}", std::env::var(FAMILY).unwrap()).into_bytes();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        // State, parent, group, session.
        fields.len() > 3
            && fields[0] != "Z"
            && fields[3] == pid.to_string()
            && environment.split(|byte| *byte == 0).any(|pair| pair == family)
    })
}

/// In a family of its own.
fn killed_at_random(method: String, seed: u64) -> (u64, u64, u64) {
    let context = if method == "exec" { Context::exec() } else { Context::fork_server() };
    let mut rng = Rng::from_seed(seed);
    let prefix = format!("crash-{}", std::process::id());
    let ours = SharedMemory::new(5).unwrap();
    let mut owners: Vec<(String, Child<()>)> = Vec::new();
    let (mut killed, mut with_names, mut reapers) = (0, 0, 0);
    for round in 0..rounds(&method) {
        let own = format!("{prefix}-{round}-");
        while owners.len() < 2 {
            // The second lives on: its names must not go with the first's.
            let own = format!("{own}{}", owners.len());
            owners.push((own.clone(), context.spawn(live, (own, rng.next_u64())).unwrap()));
        }
        let at = rng.below(2) as usize;
        // Every other time not before it has a name.
        if round % 2 == 0 {
            assert!(wait_until(GENEROUS, || !names(&owners[at].0).is_empty()));
        }
        std::thread::sleep(rng.duration(Duration::from_millis(3)));
        let reaper = if round % 16 == 7 { reaper() } else { None };
        if let Some(pid) = reaper {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            reapers += 1;
        }
        let (own, victim) = owners.swap_remove(at);
        victim.kill().unwrap();
        assert_eq!(victim.join().unwrap_err().signal(), Some(Signal::KILL));
        killed += 1;
        with_names += u64::from(!names(&own).is_empty());
        if reaper.is_some() {
            // Nobody was left for it: the next name finds that out, and the next reaper what stands there.
            drop(SharedMemory::new(1).unwrap());
        }
        // What is found before it is removed names nothing.
        for name in names(&own) {
            assert!(matches!(SharedMemory::attach(name), Err(Error::NotFound { .. })));
        }
        assert!(wait_until(GENEROUS, || names(&own).is_empty()), "{:?} stay", names(&own));
        assert!(Path::new("/dev/shm").join(ours.name()).exists());
        assert_eq!(SharedMemory::attach(ours.name()).unwrap().len(), 5);
    }
    for (own, owner) in owners {
        owner.kill().unwrap();
        owner.join().unwrap_err();
        drop(SharedMemory::new(1).unwrap());
        assert!(wait_until(GENEROUS, || names(&own).is_empty()), "{:?} stay", names(&own));
    }
    (killed, with_names, reapers)
}

fn in_a_family(method: &str) {
    let _leaks = leaks();
    let mut rng = Rng::new();
    let family = Context::exec().builder().authkey(AuthKey::random().unwrap());
    let family = family.env(FAMILY, rng.next_u64().to_string());
    let family = family.spawn(killed_at_random, (method.to_owned(), rng.next_u64())).unwrap();
    let (killed, with_names, reapers) = family.join().unwrap_or_else(|error| panic!("{error}"));
    println!(
        "{method}: {with_names} of {killed} left names for the reaper, which was killed {reapers} times"
    );
    assert!(with_names > 0 && reapers > 0);
    kills(&format!("owner of names, random instant, {method}"), killed);
    kills(&format!("reaper, random instant, {method}"), reapers);
}

#[test]
fn owners_of_names_killed_at_random_instants_executed() {
    in_a_family("exec");
}

#[test]
fn owners_of_names_killed_at_random_instants_cloned() {
    in_a_family("fork server");
}
