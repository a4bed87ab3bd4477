//! What was aimed at: one table, printed beside the rows.
//!
//! An aim belongs to a row without its placement and counts in each of them.

use super::rounds::Measured;
use super::row::ENDINGS;

/// How far ours may go: at most so far, or at least where more is better.
enum Bound {
    /// So many times this peer's figure.
    Of(&'static str, f64),
    /// This figure.
    Absolute(f64),
}

use Bound::{Absolute, Of};

const AIMS: &[(&str, Bound)] = &[
    ("spawn", Of("command", 1.1)),
    ("fork server", Of("zygote", 0.75)),
    ("fork server", Of("command", 0.25)),
    ("fork server", Of("crossmist", 0.25)),
    ("fork server", Of("procspawn", 0.25)),
    ("fork server", Of("python", 0.05)),
    // Both against the bare zygote's start *and join*: its whole fork.
    ("fork server start", Of("zygote", 0.2)),
    ("fork server value", Of("zygote", 0.6)),
    ("idle child's own memory", Absolute(40.0)),
    // The raw socket pair: of packets for small messages, for a stream without lengths keeps none apart; the better of the two
    // kinds where messages are long.
    ("8 B round trip", Of("socketpair seqpacket", 1.1)),
    ("64 B one way", Of("socketpair seqpacket", 1.1)),
    ("1 KiB one way", Of("socketpair seqpacket", 1.1)),
    ("64 KiB one way", Of("socketpair seqpacket", 1.1)),
    ("64 KiB one way", Of("socketpair stream", 1.1)),
    ("1 MiB one way", Of("socketpair stream", 1.1)),
    ("1 MiB one way", Of("memfd", 1.1)),
    ("8 B round trip, typed", Of("socketpair postcard", 1.1)),
    ("64 B one way, typed", Of("socketpair postcard", 1.1)),
    ("1 KiB one way, typed", Of("socketpair postcard", 1.1)),
    ("64 KiB one way, typed", Of("socketpair postcard", 1.1)),
    ("uncontended", Of("std", 1.15)),
    ("uncontended", Of("pthread robust", 1.0 / 2.2)),
    ("uncontended", Of("python", 0.1)),
    ("two processes", Of("pthread", 1.0)),
    ("two processes, slower's share", Absolute(25.0)),
    ("value += 1", Absolute(10.0)),
    ("create 1 MiB", Of("raw calls", 1.1)),
    ("create 1 GiB", Of("raw calls", 1.1)),
    ("array copy", Of("memcpy", 1.1)),
    ("semaphore uncontended", Of("sem_t", 1.1)),
    ("semaphore uncontended, owned", Of("sem_t", 2.5)),
    ("64 B 1:1", Of("ring", 1.0 / 0.6)),
    ("64 B 1:1", Of("crossbeam", 1.0 / 1.2)),
    ("64 B 1:1", Of("python", 0.01)),
    ("64 B many 16", Of("crossbeam", 0.25)),
    ("1 MiB 1:1", Of("ring", 1.0 / 0.8)),
    ("64 B 1:1", Of("iceoryx2", 1.0 / 6.0)),
    ("64 B 2:2", Of("crossbeam", 1.0 / 1.3)),
    // Which has one that gets.
    ("64 B 2:2", Of("iceoryx2", 0.5)),
    // Both running: two processors; the futex is for one, where nobody can look and wait.
    ("ping-pong", Of("ring", 2.5)),
    ("ping-pong", Of("futex", 1.2)),
];

/// Aims of every row that has such a peer, by the row's group.
const AIMS_OF_GROUPS: &[(&str, Bound)] = &[("pipe", Of("ipc-channel", 1.0)), ("pipe", Of("crossmist", 1.0))];

/// An aim held against a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// The most that ours may be, or the least where more is better: as a multiple of the peer, or in the row's unit.
    pub(crate) bound: f64,
    /// What it is, in the same terms.
    pub(crate) is: f64,
    more_is_better: bool,
}

impl Verdict {
    pub(crate) fn met(self) -> bool {
        if self.more_is_better { self.is >= self.bound } else { self.is <= self.bound }
    }

    /// `at most` or `at least`, and the sign for it.
    pub(crate) fn direction(self) -> (&'static str, &'static str) {
        if self.more_is_better { ("at least", "≥") } else { ("at most", "≤") }
    }

    /// A bound against a peer, as a ratio that is above 1 where ours is better.
    pub(crate) fn ratio(self) -> f64 {
        if self.more_is_better { self.bound } else { 1.0 / self.bound }
    }
}

/// The aim of a row against a peer; none without an aim, or where either was not measured.
pub(crate) fn against(row: &Measured, peer: &str) -> Option<Verdict> {
    let ours = row.ours.as_ref().ok()?.median;
    let theirs = row.peers.iter().find(|each| each.name == peer)?.figure.as_ref().ok()?.median;
    let bound = of_row(row).find_map(|bound| match bound {
        Of(name, bound) if *name == peer => Some(*bound),
        _ => None,
    })?;
    Some(Verdict { bound, is: ours / theirs, more_is_better: row.unit.more_is_better() })
}

/// The aim of a row on its own.
pub(crate) fn alone(row: &Measured) -> Option<Verdict> {
    let is = row.ours.as_ref().ok()?.median;
    let bound = of_row(row).find_map(|bound| match bound {
        Absolute(bound) => Some(*bound),
        Of(..) => None,
    })?;
    Some(Verdict { bound, is, more_is_better: row.unit.more_is_better() })
}

fn of_row(row: &Measured) -> impl Iterator<Item = &'static Bound> {
    let name = without_placement(&row.name).to_owned();
    let group = row.group;
    let of_row = AIMS.iter().filter(move |(aimed, _)| *aimed == name);
    let of_group = AIMS_OF_GROUPS.iter().filter(move |(aimed, _)| *aimed == group);
    of_row.chain(of_group).map(|(_, bound)| bound)
}

/// A row's name without the placement that ends it, where it has one.
fn without_placement(name: &str) -> &str {
    ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)?.strip_suffix(", ")).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::super::report::sample;
    use super::super::row::Unit;
    use super::*;

    #[test]
    fn an_aim_is_found_by_row_and_peer_in_any_placement() {
        let row = sample("fork server, 2 CPUs", 30.0, &[("zygote", Some(60.0)), ("command", Some(900.0))]);
        assert_eq!(against(&row, "zygote"), Some(Verdict { bound: 0.75, is: 0.5, more_is_better: false }));
        assert!(against(&row, "command").unwrap().met());
        assert_eq!(alone(&row), None);
    }

    #[test]
    fn values_have_aims_of_their_own_and_groups_have_some_for_all_rows() {
        let row = sample("8 B round trip, typed, 1 CPU", 30.0, &[("socketpair postcard", Some(30.0))]);
        assert_eq!(
            against(&row, "socketpair postcard"),
            Some(Verdict { bound: 1.1, is: 1.0, more_is_better: false })
        );
        let of_spawn = sample("64 B one way, free", 30.0, &[("ipc-channel", Some(60.0))]);
        assert_eq!(against(&of_spawn, "ipc-channel"), None);
        let of_pipe = Measured { group: "pipe", ..of_spawn };
        assert_eq!(
            against(&of_pipe, "ipc-channel"),
            Some(Verdict { bound: 1.0, is: 0.5, more_is_better: false })
        );
    }

    #[test]
    fn where_more_is_better_an_aim_is_the_least() {
        let row = sample("two processes, 2 CPUs", 30.0, &[("pthread", Some(20.0))]);
        let row = Measured { unit: Unit::MillionsPerSecond, ..row };
        assert!(against(&row, "pthread").unwrap().met());
        assert_eq!(against(&row, "pthread").unwrap().ratio(), 1.0);
        let share = sample("two processes, slower's share, free", 24.0, &[]);
        let share = Measured { unit: Unit::Percent, ..share };
        assert!(!alone(&share).unwrap().met());
        assert_eq!(alone(&share).unwrap().direction(), ("at least", "≥"));
    }

    #[test]
    fn only_a_placement_is_taken_off_a_name() {
        assert_eq!(without_placement("64 B one way, typed, 1 CPU"), "64 B one way, typed");
        assert_eq!(without_placement("two processes, slower's share"), "two processes, slower's share");
    }

    #[test]
    fn what_was_not_measured_meets_nothing() {
        let row = sample("fork server, free", 30.0, &[("crossmist", None)]);
        assert_eq!(against(&row, "crossmist"), None);
    }

    #[test]
    fn an_absolute_aim_needs_no_peer() {
        let row = sample("idle child's own memory", 41.0, &[]);
        assert!(!alone(&row).unwrap().met());
    }
}
