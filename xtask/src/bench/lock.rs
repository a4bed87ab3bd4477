//! Group `lock`: locks that processes share.
//!
//! | row | a figure is |
//! |---|---|
//! | `uncontended` | lock and unlock, by one thread |
//! | `value += 1` | the same with an increment of a shared number in between |
//! | `two processes` | increments a second of one number by two processes, both together |
//! | `two processes, slower's share` | what the slower of them has of these |
//!
//! Ours is what users write: `Lock::lock` and the guard's end, and `Value::update`. How the peers count is in `counting.rs`, by the very same
//! loops; each is in the module docs of its program in `xtask/peers`:
//!
//! | peer | what it is |
//! |---|---|
//! | `std` | `std::sync::Mutex`, which is for one process |
//! | `futex` | the usual mutex of three states, shared, and nothing else |
//! | `pthread`, `pthread robust` | `PTHREAD_PROCESS_SHARED`, without and with `PTHREAD_MUTEX_ROBUST` |
//! | `raw_sync` | its `Mutex` |
//! | `python` | `multiprocessing.Lock`; `with value.get_lock(): value.value += 1` |
//!
//! Only two processes wait for one another, so only those rows have placements: the two on two processors, on one, and free.

use super::build::Workshop;
use super::protocol::Placement;
use super::row::{Invocation, Peer, Row, Start, Unit, placements};

/// How many make a repetition: enough that the stop-watch does not count.
const BATCH: usize = 10_000;

struct Task {
    name: &'static str,
    task: &'static str,
    unit: Unit,
    peers: &'static [&'static str],
}

/// One thread.
const ALONE: &[&str] = &["std", "futex", "pthread", "pthread robust", "raw_sync", "python"];
const SHARED: &[&str] = &["futex", "pthread", "pthread robust", "raw_sync", "python"];

const OF_ONE: &[Task] = &[
    Task { name: "uncontended", task: "uncontended", unit: Unit::Nanos, peers: ALONE },
    Task { name: "value += 1", task: "add", unit: Unit::Nanos, peers: ALONE },
];

const OF_TWO: &[Task] = &[
    Task { name: "two processes", task: "total", unit: Unit::MillionsPerSecond, peers: SHARED },
    Task { name: "two processes, slower's share", task: "share", unit: Unit::Percent, peers: SHARED },
];

/// Builds the peers and lists the rows.
pub(crate) fn rows(workshop: &mut Workshop) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for task in OF_ONE {
        rows.push(row(workshop, task, task.name.to_owned(), BATCH, Ok(Placement::Free)));
    }
    for task in OF_TWO {
        for (ending, placement) in placements() {
            rows.push(row(workshop, task, format!("{}, {ending}", task.name), 1, placement));
        }
    }
    Ok(rows)
}

fn row(
    workshop: &mut Workshop,
    task: &Task,
    name: String,
    batch: usize,
    placement: Result<Placement, String>,
) -> Row {
    let start = |placement: Placement| vec![task.task.to_owned(), placement.to_string(), batch.to_string()];
    let peers = task.peers.iter().map(|&name| Peer {
        name,
        start: placement.clone().and_then(|placement| peer(workshop, name, start(placement))),
    });
    let peers = peers.collect();
    let ours = placement.map(|placement| {
        let mut args = vec!["lock".to_owned()];
        args.extend(start(placement));
        Invocation { program: workshop.ours().to_owned(), args, env: Vec::new() }
    });
    Row { name, unit: task.unit, batch, ours, peers }
}

fn peer(workshop: &mut Workshop, name: &'static str, mut args: Vec<String>) -> Start {
    let program = match name {
        "raw_sync" => workshop.peer("raw-sync", Some("raw-sync"))?,
        "python" => {
            args.insert(0, workshop.script("python/lock.py"));
            Workshop::python()?
        }
        kind => {
            args.push(kind.to_owned());
            workshop.peer("locks", None)?
        }
    };
    Ok(Invocation { program, args, env: Vec::new() })
}
