//! Measures this workspace and its peers, interleaved in one run.
//!
//! `cargo xtask bench [GROUP]... [--quick] [--json FILE] [--html FILE]`
//!
//! Without GROUP it runs all of them. Ours and every peer are separate programs that take turns: a short round of ours,
//! one of each peer, and again, seven times (`--quick`: three), so that a machine's moods fall on all alike. A round's figure
//! is the median of its repetitions; printed are the median, the minimum and the maximum of the rounds, the ratio (above 1:
//! ours is better) and beside it the aim, where there is one, and whether it was met. Rows that depend on it are measured in
//! three placements: `2 CPUs` (the parent pinned to one processor, its servers and children to another), `1 CPU` (all pinned
//! to one) and `free` (unpinned: what users get).
//!
//! What it needs it builds itself, in release: ours as the binary `bench-ours`, the peers from `xtask/peers`, which no
//! build of the workspace touches. A peer that cannot be built or run stays in the list with the reason.
//!
//! - `--json FILE` writes a list of `{group, name, unit, ours, peer, peer_name, ratio, spread}`. `spread` holds
//!   `[minimum, maximum]` of `ours`, `peer` and `ratio`; of a peer not measured, those are null and `not_measured` says why.
//! - `--html FILE` writes one page with a chart, readable without a network.
//!
//! A missed aim is no failure of the command: benchmarks are no tests. Ours not running is.

mod aims;
mod build;
mod contender;
mod html;
mod lock;
mod options;
mod pipe;
mod protocol;
mod queue;
mod report;
mod rounds;
mod row;
mod shm;
mod spawn;
mod stats;
mod sync;
mod table;

use build::Workshop;
use options::Options;
use row::Row;

/// A group: its name, and what makes its rows for a run.
struct Group {
    name: &'static str,
    rows: fn(&mut Workshop) -> Result<Vec<Row>, String>,
}

const GROUPS: &[Group] = &[
    Group { name: "spawn", rows: spawn::rows },
    Group { name: "pipe", rows: pipe::rows },
    Group { name: "lock", rows: lock::rows },
    Group { name: "shm", rows: shm::rows },
    Group { name: "sync", rows: sync::rows },
    Group { name: "queue", rows: queue::rows },
];

/// Runs the command with what follows its name.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let known: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
    let options = Options::parse(args, &known)?;
    let mut workshop = Workshop::open()?;
    let mut results = Vec::new();
    for group in GROUPS.iter().filter(|group| options.wants(group.name)) {
        let rows = (group.rows)(&mut workshop)?;
        table::heading(group.name, options.effort);
        for row in rows {
            let result = rounds::measure(group.name, row, options.effort);
            table::print(&result);
            results.push(result);
        }
    }
    table::summary(&results);
    if let Some(path) = &options.json {
        write(path, &report::json(&results))?;
    }
    if let Some(path) = &options.html {
        write(path, &html::page(&results, options.effort))?;
    }
    match results.iter().find_map(|result| result.ours.as_ref().err().map(|why| (result, why))) {
        Some((result, why)) => Err(format!("ours did not run in `{}`: {why}", result.name)),
        None => Ok(()),
    }
}

fn write(path: &str, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {path}: {error}"))?;
    println!("wrote {path}");
    Ok(())
}
