//! Takes turns: ours, each peer, and again.
//!
//! What two contenders meet (a busy neighbour, processors near or far, a warm or a cold cache) changes within
//! seconds, so nobody is measured in one piece. Every second round goes the other way round, so that no one always follows
//! the same predecessor.

use super::contender::Contender;
use super::options::Effort;
use super::row::{Row, Start, Unit};
use super::stats::Summary;

/// A measured row.
pub(crate) struct Measured {
    pub(crate) group: &'static str,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) ours: Result<Summary, String>,
    pub(crate) peers: Vec<MeasuredPeer>,
}

/// A peer's side of a measured row.
pub(crate) struct MeasuredPeer {
    pub(crate) name: &'static str,
    pub(crate) figure: Result<Summary, String>,
    /// Round by round; none where either side was not measured. Its median is not the ratio of the medians, which is
    /// what reports show; its ends are the spread.
    pub(crate) ratios: Option<Summary>,
}

/// One side of a row while it is being measured.
struct Seat {
    contender: Result<Contender, String>,
    times: usize,
    rounds: Vec<f64>,
}

/// The fewest and the most repetitions that make a round.
const TIMES: std::ops::RangeInclusive<usize> = 3..=2000;

pub(crate) fn measure(group: &'static str, row: Row, effort: Effort) -> Measured {
    let mut ours = Seat::new(&row.ours);
    let mut seats: Vec<Seat> = row.peers.iter().map(|peer| Seat::new(&peer.start)).collect();
    ours.calibrate(row.unit, effort);
    seats.iter_mut().for_each(|seat| seat.calibrate(row.unit, effort));
    for round in 0..effort.rounds {
        let turns = std::iter::once(&mut ours).chain(&mut seats);
        if round % 2 == 0 {
            turns.for_each(Seat::round);
        } else {
            turns.rev().for_each(Seat::round);
        }
    }
    let our_rounds = ours.rounds.clone();
    let peers = row.peers.iter().zip(seats).map(|(peer, seat)| {
        let ratios: Vec<f64> = match seat.contender.is_ok() && ours.contender.is_ok() {
            true => {
                our_rounds.iter().zip(&seat.rounds).map(|(&ours, &peer)| row.unit.ratio(ours, peer)).collect()
            }
            false => Vec::new(),
        };
        MeasuredPeer {
            name: peer.name,
            figure: seat.figure(row.unit, row.batch),
            ratios: Summary::of(&ratios),
        }
    });
    let peers = peers.collect();
    Measured { group, name: row.name, unit: row.unit, ours: ours.figure(row.unit, row.batch), peers }
}

impl Seat {
    fn new(start: &Start) -> Self {
        let contender = start.clone().and_then(|invocation| Contender::start(&invocation));
        Self { contender, times: 0, rounds: Vec::new() }
    }

    /// Finds how many repetitions fill a round.
    fn calibrate(&mut self, unit: Unit, effort: Effort) {
        let least = *TIMES.start();
        self.times = match self.ask(least) {
            Some(median) if unit.is_time() => {
                let nanos = effort.round.as_nanos() as f64;
                ((nanos / median.max(1.0)) as usize).clamp(least, *TIMES.end())
            }
            _ => least,
        };
    }

    fn round(&mut self) {
        if let Some(median) = self.ask(self.times) {
            self.rounds.push(median);
        }
    }

    /// The median of so many repetitions. A contender that fails is out, with its reason.
    fn ask(&mut self, times: usize) -> Option<f64> {
        let figures = match &mut self.contender {
            Ok(contender) => contender.run(times),
            Err(_) => return None,
        };
        match figures {
            Ok(figures) => Summary::of(&figures).map(|summary| summary.median),
            Err(why) => {
                self.contender = Err(why);
                None
            }
        }
    }

    fn figure(self, unit: Unit, batch: usize) -> Result<Summary, String> {
        self.contender?;
        let summary = Summary::of(&self.rounds).ok_or("no round was measured")?;
        Ok(summary.scaled(unit.factor() / batch as f64))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::row::{Invocation, Peer};
    use super::*;

    fn shell(script: &str) -> Result<Invocation, String> {
        Ok(Invocation { program: "sh".into(), args: vec!["-c".into(), script.into()], env: Vec::new() })
    }

    #[test]
    fn a_row_holds_ours_every_peer_and_every_reason() {
        let constant = |figure: u32| {
            shell(&format!(
                "echo ready; while read run n; do seq -s ' ' 1 $n | sed 's/[0-9][0-9]*/{figure}/g'; done"
            ))
        };
        let row = Row {
            name: "r, free".into(),
            unit: Unit::Micros,
            batch: 10,
            ours: constant(20000),
            peers: vec![
                Peer { name: "slow", start: constant(80000) },
                Peer { name: "absent", start: Err("not measured: nowhere".into()) },
                Peer { name: "broken", start: shell("echo error: broken") },
            ],
        };
        let effort = Effort { rounds: 5, round: Duration::from_micros(20) };
        let measured = measure("g", row, effort);
        assert_eq!(measured.ours.unwrap().median, 2.0);
        assert_eq!(measured.peers[0].figure.as_ref().unwrap().median, 8.0);
        assert_eq!(measured.peers[0].ratios.unwrap().min, 4.0);
        assert_eq!(measured.peers[1].figure.as_ref().unwrap_err(), "not measured: nowhere");
        assert_eq!(measured.peers[2].figure.as_ref().unwrap_err(), "cannot run: broken");
        assert_eq!(measured.peers[2].ratios, None);
    }
}
