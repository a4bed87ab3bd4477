//! What a row is before it is measured: a name, a unit, and how each side of it is started.

use std::path::PathBuf;

use super::protocol::Placement;

/// The unit of a row's figures, and with it which direction is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Microseconds, from a contender's nanoseconds; less is better.
    Micros,
    /// Nanoseconds; less is better.
    Nanos,
    /// Kilobytes; less is better.
    Kilobytes,
    /// Millions a second, from a contender's figures a second; more is better.
    MillionsPerSecond,
    /// Percent, from a contender's hundredths of one; more is better.
    Percent,
}

impl Unit {
    /// As tables and JSON show it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Micros => "µs",
            Self::Nanos => "ns",
            Self::Kilobytes => "kB",
            Self::MillionsPerSecond => "M/s",
            Self::Percent => "%",
        }
    }

    /// What a contender's figures are multiplied by.
    pub(crate) fn factor(self) -> f64 {
        match self {
            Self::Micros => 1e-3,
            Self::Nanos | Self::Kilobytes => 1.0,
            Self::MillionsPerSecond => 1e-6,
            Self::Percent => 1e-2,
        }
    }

    /// Whether a contender's figure is the time that a repetition took, in nanoseconds.
    pub(crate) fn is_time(self) -> bool {
        matches!(self, Self::Micros | Self::Nanos)
    }

    /// Which direction is good.
    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Self::MillionsPerSecond | Self::Percent)
    }

    /// How much better ours is: above 1 means better.
    pub(crate) fn ratio(self, ours: f64, peer: f64) -> f64 {
        if self.more_is_better() { ours / peer } else { peer / ours }
    }
}

/// How a contender is started, or why it cannot be.
pub(crate) type Start = Result<Invocation, String>;

/// A contender's command line and environment.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(&'static str, String)>,
}

/// A peer in a row.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) start: Start,
}

/// A row: ours beside its peers.
pub(crate) struct Row {
    /// The row's name, the placement last where it has one.
    pub(crate) name: String,
    pub(crate) unit: Unit,
    /// How many of what the row is about one repetition does: contenders answer for all of them, the row shows one.
    pub(crate) batch: usize,
    pub(crate) ours: Start,
    pub(crate) peers: Vec<Peer>,
}

/// What ends a row's name, by its placement.
pub(crate) const ENDINGS: [&str; 3] = ["2 CPUs", "1 CPU", "free"];

/// The three placements with what ends a row's name, or why one is not to be had here.
pub(crate) fn placements() -> Vec<(&'static str, Result<Placement, String>)> {
    let allowed = rustix::thread::sched_getaffinity(None)
        .map(|set| (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect::<Vec<_>>())
        .unwrap_or_default();
    let two = match allowed[..] {
        [parent, child, ..] => Ok(Placement::Two { parent, child }),
        _ => Err("this machine lets us use one CPU only".to_owned()),
    };
    let one = allowed.first().map(|&cpu| Placement::One(cpu)).ok_or("no CPU can be pinned to".to_owned());
    ENDINGS.into_iter().zip([two, one, Ok(Placement::Free)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_means_that_ours_is_better() {
        assert_eq!(Unit::Micros.ratio(50.0, 200.0), 4.0);
        assert_eq!(Unit::Kilobytes.ratio(40.0, 20.0), 0.5);
        assert_eq!(Unit::MillionsPerSecond.ratio(40.0, 20.0), 2.0);
    }

    #[test]
    fn placements_survive_the_command_line() {
        for placement in [Placement::Free, Placement::One(3), Placement::Two { parent: 0, child: 1 }] {
            assert_eq!(placement.to_string().parse::<Placement>().unwrap(), placement);
        }
        assert!("two:1".parse::<Placement>().is_err());
    }
}
