//! Group `sync`: semaphores and events that processes share.
//!
//! | row | a figure is |
//! |---|---|
//! | `semaphore uncontended` | acquire and release of a `CountingSemaphore`, whose permits belong to nobody, by one thread |
//! | `semaphore uncontended, owned` | the same of a `Semaphore`, whose permits come back with the death of who has them |
//! | `event ping-pong` | there and back between two processes, over two events |
//!
//! | peer | what it is |
//! |---|---|
//! | `sem_t` | POSIX's, shared between processes |
//! | `futex` | a word that is waited for and woken |
//! | `python` | `multiprocessing.Semaphore`, `multiprocessing.Event` |

use super::build::Workshop;
use super::protocol::Placement;
use super::row::{Invocation, Peer, Row, Start, Unit, placements};

/// How many make a repetition: enough that the stop-watch does not count.
const BATCH: usize = 10_000;

const OF_ONE: &[(&str, &str)] =
    &[("semaphore uncontended", "counting"), ("semaphore uncontended, owned", "owned")];

/// Builds the peers and lists the rows.
pub(crate) fn rows(workshop: &mut Workshop) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (name, kind) in OF_ONE {
        let args = vec!["uncontended".to_owned(), Placement::Free.to_string(), BATCH.to_string()];
        let peers =
            ["sem_t", "python"].map(|name| Peer { name, start: semaphore(workshop, name, args.clone()) });
        let mut ours = vec!["sync".to_owned()];
        ours.extend(args);
        ours.push((*kind).to_owned());
        let program = workshop.ours().to_owned();
        rows.push(Row {
            name: (*name).to_owned(),
            unit: Unit::Nanos,
            batch: BATCH,
            ours: Ok(Invocation { program, args: ours, env: Vec::new() }),
            peers: peers.into(),
        });
    }
    for (ending, placement) in placements() {
        let args = |placement: Placement| {
            ["round-trip".to_owned(), placement.to_string(), "8".to_owned(), "1".to_owned()].to_vec()
        };
        let futex = placement.clone().and_then(|placement| {
            let program = workshop.peer("ring", None)?;
            let mut args = args(placement);
            args.push("futex".to_owned());
            Ok(Invocation { program, args, env: Vec::new() })
        });
        let ours = placement.map(|placement| {
            let mut words = vec!["sync".to_owned()];
            words.extend(args(placement));
            Invocation { program: workshop.ours().to_owned(), args: words, env: Vec::new() }
        });
        let name = format!("event ping-pong, {ending}");
        let peers = vec![Peer { name: "futex", start: futex }];
        rows.push(Row { name, unit: Unit::Micros, batch: 1, ours, peers });
    }
    Ok(rows)
}

fn semaphore(workshop: &mut Workshop, name: &str, mut args: Vec<String>) -> Start {
    let program = match name {
        "sem_t" => {
            args.push(name.to_owned());
            workshop.peer("locks", None)?
        }
        _ => {
            args[0] = "semaphore".to_owned();
            args.insert(0, workshop.script("python/lock.py"));
            Workshop::python()?
        }
    };
    Ok(Invocation { program, args, env: Vec::new() })
}
