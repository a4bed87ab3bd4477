//! What was aimed at: one table, printed beside the rows.
//!
//! An aim belongs to a row without its placement and counts in each of them.

use super::rounds::Measured;

/// How far ours may go.
enum Bound {
    /// At most so many times this peer's figure.
    Of(&'static str, f64),
    /// At most this figure.
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
];

/// An aim held against a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// The most that ours may be: as a multiple of the peer, or in the row's unit.
    pub(crate) at_most: f64,
    /// What it is, in the same terms.
    pub(crate) is: f64,
}

impl Verdict {
    pub(crate) fn met(self) -> bool {
        self.is <= self.at_most
    }
}

/// The aim of a row against a peer; none without an aim, or where either was not measured.
pub(crate) fn against(row: &Measured, peer: &str) -> Option<Verdict> {
    let ours = row.ours.as_ref().ok()?.median;
    let theirs = row.peers.iter().find(|each| each.name == peer)?.figure.as_ref().ok()?.median;
    let at_most = of_row(row).find_map(|bound| match bound {
        Of(name, at_most) if *name == peer => Some(*at_most),
        _ => None,
    })?;
    Some(Verdict { at_most, is: ours / theirs })
}

/// The aim of a row on its own.
pub(crate) fn alone(row: &Measured) -> Option<Verdict> {
    let is = row.ours.as_ref().ok()?.median;
    let at_most = of_row(row).find_map(|bound| match bound {
        Absolute(at_most) => Some(*at_most),
        Of(..) => None,
    })?;
    Some(Verdict { at_most, is })
}

fn of_row(row: &Measured) -> impl Iterator<Item = &'static Bound> {
    let name = row.name.split(", ").next().unwrap_or_default().to_owned();
    AIMS.iter().filter(move |(aimed, _)| *aimed == name).map(|(_, bound)| bound)
}

#[cfg(test)]
mod tests {
    use super::super::report::sample;
    use super::*;

    #[test]
    fn an_aim_is_found_by_row_and_peer_in_any_placement() {
        let row = sample("fork server, 2 CPUs", 30.0, &[("zygote", Some(60.0)), ("command", Some(900.0))]);
        assert_eq!(against(&row, "zygote"), Some(Verdict { at_most: 0.75, is: 0.5 }));
        assert!(against(&row, "command").unwrap().met());
        assert_eq!(alone(&row), None);
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
