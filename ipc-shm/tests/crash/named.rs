//! Owners of names, those who take a dead owner's name, and the reaper, killed at each step of theirs: a dead owner's name names nothing at once and is gone
//! soon, a living owner's stays, and the same name can be made again.
//!
//! Each round is a family of its own (an authkey of its own), so that it begins without a reaper.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipc_core::primitive::crash::CrashPoints;
use ipc_core::{AuthKey, Child, Context, Function, Message, Signal};
use ipc_shm::{Atomic, Error, SharedMemory};
use ipc_testkit::{GENEROUS, Rng, kills, leaks, wait_until};

use crate::{METHODS, bury, context, crash_points, mine, points, program};

/// Who dies: the steps of `remover` are anybody's who takes a name away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    /// It makes names and unlinks them.
    Owner,
    /// It makes names that the dead have left.
    Heir,
    Reaper,
}

/// What somebody else's few steps take.
const SHORT: Duration = Duration::from_millis(20);

fn path(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(name)
}

/// What stands in /dev/shm of a round.
fn files(prefix: &str) -> Vec<String> {
    let all = fs::read_dir("/dev/shm").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

fn names_nothing(name: &str) -> bool {
    matches!(SharedMemory::attach(name), Err(Error::NotFound { .. }))
}

/// An owner's life; it counts the names that it has had.
fn own(name: String, had: Atomic<u32>) {
    loop {
        let memory = SharedMemory::create(&name, 10).unwrap();
        assert!(path(&name).exists());
        memory.unlink().unwrap();
        had.fetch_add(1, Release);
    }
}

/// An heir's life: each name that it makes has been another's.
fn inherit(name: String, had: Atomic<u32>) {
    // The record of one who had its pid once.
    let model = SharedMemory::create(format!("{name}-model"), 10).unwrap();
    let mut stale = fs::read(path(model.name())).unwrap();
    stale[24..32].copy_from_slice(&1_u64.to_ne_bytes());
    loop {
        fs::write(path(&name), &stale).unwrap();
        drop(SharedMemory::create(&name, 10).unwrap());
        had.fetch_add(1, Release);
    }
}

/// An owner that keeps its name.
fn keep(name: String, had: Atomic<u32>) {
    let _memory = SharedMemory::create(name, 5).unwrap();
    had.fetch_add(1, Release);
    loop {
        std::thread::park();
    }
}

/// The next owner's whole life.
fn once(name: String) {
    let memory = SharedMemory::create(&name, 10).unwrap();
    assert_eq!(SharedMemory::attach(&name).unwrap().len(), 10);
    memory.unlink().unwrap();
}

/// A family, and the names that its members have.
struct Family {
    context: Context,
    key: AuthKey,
    prefix: String,
}

impl Family {
    fn start<F, A>(&self, f: F, args: A) -> Child<F::Output>
    where
        F: Function<A>,
        A: Message,
        F::Output: Message,
    {
        self.context.builder().authkey(self.key.clone()).spawn(f, args).unwrap()
    }

    fn name(&self, of: &str) -> String {
        format!("{}-{of}", self.prefix)
    }

    /// One whose name is to be there in the end, when it has it.
    fn neighbour(&self) -> Child<()> {
        let had = Atomic::new(0).unwrap();
        let neighbour = self.start(keep, (self.name("near"), had.clone()));
        assert!(wait_until(GENEROUS, || had.load(Acquire) == 1));
        neighbour
    }

    /// Gone, though nobody has made another name.
    fn is_clean(&self, but: &[&str]) {
        let but: Vec<String> = but.iter().map(|of| self.name(of)).collect();
        let left = || files(&self.prefix).into_iter().filter(|name| !but.contains(name)).collect::<Vec<_>>();
        assert!(wait_until(GENEROUS, || left().is_empty()), "{:?} stay", left());
    }

    /// The family's next owner gets through.
    fn next(&self, of: &str) {
        let next = self.start(once, (self.name(of),));
        next.join_timeout(GENEROUS).unwrap().expect("the next owner waits for the dead");
    }
}

/// Ends who is no part of the round any more.
fn end(child: Child<()>) {
    child.kill().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(Signal::KILL));
}

fn came_by(points: &CrashPoints, point: &str, before: u32) {
    assert!(wait_until(GENEROUS, || points.kills(point) > before), "nobody comes to {point}");
}

/// Kills one who makes names, or takes them over.
fn kill_owner(family: &Family, points: &CrashPoints, point: &str, heir: bool, rng: &mut Rng) {
    let starts = matches!(point, "name: address bound" | "name: reaper started");
    let neighbour = (!starts && rng.below(2) == 0).then(|| family.neighbour());
    // What stands in an heir's way is met first, and what it made itself next.
    let nth = if starts { 1 } else { 1 + rng.below(3) as u32 * if heir { 2 } else { 1 } };
    let mut before = points.kills(point);
    points.arm(point, nth);
    let (name, had) = (family.name("own"), Atomic::new(0).unwrap());
    let args = (name.clone(), had.clone());
    let mut victim = vec![if heir { family.start(inherit, args) } else { family.start(own, args) }];
    let died = wait_until(GENEROUS, || {
        if points.kills(point) > before && !wait_until(SHORT, || !victim[0].is_alive()) {
            // A reaper was first, which has found a dead owner's name of whatever test. The next name but one is another's.
            before = points.kills(point);
            points.arm(point, nth + 2);
        }
        !victim[0].is_alive()
    });
    assert!(died, "nobody has died");
    bury(&mut victim);
    points.disarm();
    assert!(names_nothing(&name));
    // What an heir has found is no name of this family's, until one makes it anew.
    family.is_clean(if heir { &["own", "near"] } else { &["near"] });
    family.next("own");
    family.is_clean(&["near"]);
    if let Some(neighbour) = neighbour {
        assert_eq!(SharedMemory::attach(family.name("near")).unwrap().len(), 5);
        end(neighbour);
        family.is_clean(&[]);
    }
}

/// Kills the reaper while its owners live: they have another one with their next name.
fn kill_reaper_of_the_living(family: &Family, points: &CrashPoints, point: &str, rng: &mut Rng) {
    let first = matches!(point, "reaper: born" | "reaper: apart" | "reaper: looked around");
    let before = points.kills(point);
    // Only the first one is told something by the owner that has started it; others come.
    let mut neighbour =
        (point == "reaper: accepted" || (!first && rng.below(2) == 0)).then(|| family.neighbour());
    let once =
        first || matches!(point, "reaper: accepted" | "reaper: owner heard" | "reaper: owner answered");
    points.arm(point, if once { 1 } else { 1 + rng.below(5) as u32 });
    let (name, had) = (family.name("own"), Atomic::new(0).unwrap());
    let owner = family.start(own, (name.clone(), had.clone()));
    came_by(points, point, before);
    // The second of these was begun when the reaper was dead.
    let then = had.load(Acquire);
    assert!(wait_until(GENEROUS, || had.load(Acquire) >= then + 2), "the owner waits for the dead");
    if let Some(near) = neighbour.take_if(|_| rng.below(2) == 0) {
        // It has told nobody but the dead.
        end(near);
        family.is_clean(&["own"]);
    }
    end(owner);
    assert!(names_nothing(&name));
    family.is_clean(&["near"]);
    family.next("own");
    if let Some(neighbour) = neighbour {
        assert_eq!(SharedMemory::attach(family.name("near")).unwrap().len(), 5);
        end(neighbour);
    }
    family.is_clean(&[]);
}

/// Kills the reaper when an owner has died: the family's next name brings another one, which finds what is left.
fn kill_reaper_of_the_dead(family: &Family, points: &CrashPoints, point: &str, rng: &mut Rng) {
    let before = points.kills(point);
    let ends = point == "reaper: about to end";
    let mut neighbour = (!ends && rng.below(2) == 0).then(|| family.neighbour());
    let name = family.name("own");
    // An owner whose memory is gone before it is dead is through with that: not each comes to each step.
    let came = (0..100).any(|_| {
        let had = Atomic::new(0).unwrap();
        let owner = family.start(keep, (name.clone(), had.clone()));
        assert!(wait_until(GENEROUS, || had.load(Acquire) == 1));
        points.arm(point, 1);
        end(owner);
        assert!(names_nothing(&name));
        wait_until(GENEROUS, || points.kills(point) > before || !path(&name).exists());
        wait_until(SHORT, || points.kills(point) > before)
    });
    assert!(came, "nobody comes to {point}");
    // The first one's may have come late, for the second.
    points.disarm();
    if let Some(near) = neighbour.take_if(|_| rng.below(2) == 0) {
        // Owner and reaper, before the family's next name.
        end(near);
    }
    family.next("other");
    family.is_clean(&["near"]);
    family.next("own");
    if let Some(neighbour) = neighbour {
        assert_eq!(SharedMemory::attach(family.name("near")).unwrap().len(), 5);
        end(neighbour);
    }
    family.is_clean(&[]);
}

fn kill_at(method: String, point: String, part: u8, rounds: usize, seed: u64) {
    let points = mine();
    // The reaper stays as long as its process: a child, its handle's descriptors, and the connection.
    let _leaks = leaks().allow(1, 5, 0);
    let mut rng = Rng::from_seed(seed);
    // Of another family: it looks on.
    let other = SharedMemory::new(7).unwrap();
    for round in 0..rounds {
        let prefix = format!("crash-{}-{round}", other.name());
        let family = Family { context: context(&method), key: AuthKey::random().unwrap(), prefix };
        let dies_with_another = ["remover", "reaper: owner has", "reaper: owner is", "reaper: about"]
            .iter()
            .any(|one| point.starts_with(one));
        match part {
            0 => kill_owner(&family, &points, &point, false, &mut rng),
            1 => kill_owner(&family, &points, &point, true, &mut rng),
            _ if dies_with_another => kill_reaper_of_the_dead(&family, &points, &point, &mut rng),
            _ => kill_reaper_of_the_living(&family, &points, &point, &mut rng),
        }
        assert_eq!(SharedMemory::attach(other.name()).unwrap().len(), 7);
    }
}

/// Of each point, by method: executed children cost more than ten times as much.
fn rounds(method: &str) -> usize {
    let (exec, server) = match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => (100, 300),
        (false, true) => (2, 2),
        (false, false) => (6, 12),
    };
    if method == "exec" { exec } else { server }
}

/// One of these tests at a time: the first thing that a reaper of any family does is to remove what the dead of all have left.
static ALONE: Mutex<()> = Mutex::new(());

fn killed_at_points(part: Part, roles: &[&str]) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _leaks = leaks();
    let crash = crash_points();
    let mut rng = Rng::new();
    for method in METHODS {
        for point in points(roles) {
            // An heir's own steps.
            if part == Part::Owner && matches!(point, "name: found taken" | "name: free again") {
                continue;
            }
            let (before, seed) = (crash.kills(point), rng.next_u64());
            let args = (method.to_owned(), point.to_owned(), part as u8, rounds(method), seed);
            let killer = program(&crash, "", kill_at, args);
            killer.join().unwrap_or_else(|error| panic!("{point}, {part:?}, {method}, {seed}: {error}"));
            kills(&format!("{point}, {part:?}, {method}"), (crash.kills(point) - before).into());
        }
    }
}

#[test]
fn owners_of_names_killed_at_points() {
    killed_at_points(Part::Owner, &["name", "remover"]);
}

#[test]
fn heirs_of_names_killed_at_points() {
    killed_at_points(Part::Heir, &["name: found taken", "name: free again", "name: published", "remover"]);
}

#[test]
fn reapers_killed_at_points() {
    killed_at_points(Part::Reaper, &["reaper", "remover"]);
}

/// Has the reaper die when it has answered for a name that is not made yet, and the next one at its birth: it is started by nobody but the maker that looks again,
/// for no other name is made. Now and then the first one dies too late for that.
fn dies_before_its_name_is_made(method: String) {
    let points = mine();
    let _leaks = leaks().allow(1, 5, 0);
    // So that it has time to die.
    points.stall("name: published");
    for round in 0..20 {
        let prefix = format!("crash-told-{}-{round}", std::process::id());
        let family = Family { context: context(&method), key: AuthKey::random().unwrap(), prefix };
        let died = || [points.kills("reaper: owner answered"), points.kills("reaper: born")];
        let before = died();
        points.arm_both("reaper: owner answered", "reaper: born");
        let had = Atomic::new(0).unwrap();
        let owner = family.start(keep, (family.name("own"), had.clone()));
        let made = wait_until(GENEROUS, || had.load(Acquire) == 1);
        let now = died();
        points.disarm();
        end(owner);
        assert!(made && now[0] > before[0], "made: {made}, died: {now:?}");
        family.next("own");
        family.is_clean(&[]);
        if now[1] > before[1] {
            return;
        }
    }
    panic!("who makes a name does not notice that nobody looks after it");
}

#[test]
fn a_reaper_that_dies_before_its_name_is_made_is_replaced() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _leaks = leaks();
    let crash = crash_points();
    for method in METHODS {
        let killer = program(&crash, "", dies_before_its_name_is_made, (method.to_owned(),));
        killer.join().unwrap_or_else(|error| panic!("{method}: {error}"));
        kills(&format!("reaper: owner answered, before the name, {method}"), 1);
    }
}
