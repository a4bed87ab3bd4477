//! Group `shm`: memory that processes share.
//!
//! | row | a figure is |
//! |---|---|
//! | `create 1 MiB`, `create 1 GiB` | a segment is made, reserved, mapped, sent to a child and mapped there, which says so |
//! | `array copy` | a megabyte into an array under its lock, and out again |
//!
//! | peer | what it is |
//! |---|---|
//! | `raw calls` | memfd_create, ftruncate, fallocate, F_ADD_SEALS, mmap, sendmsg; recvmsg, mmap: and no look at anything |
//! | `memcpy` | the same copies to and from the same kind of memory, without a lock |
//!
//! Giving the memory back is not timed. Whoever waits for the child waits as long on either side, and this is no row of waiting: parent and
//! child share one processor, where that is shortest and what else is done weighs most.

use super::build::Workshop;
use super::row::{Invocation, Peer, Row, Unit, placements};

struct Task {
    name: &'static str,
    task: &'static str,
    size: usize,
    peer: &'static str,
}

const TASKS: &[Task] = &[
    Task { name: "create 1 MiB", task: "create", size: 1 << 20, peer: "raw calls" },
    Task { name: "create 1 GiB", task: "create", size: 1 << 30, peer: "raw calls" },
    Task { name: "array copy", task: "copy", size: 1 << 20, peer: "memcpy" },
];

/// Builds the peers and lists the rows.
pub(crate) fn rows(workshop: &mut Workshop) -> Result<Vec<Row>, String> {
    let one = placements().into_iter().find(|(ending, _)| *ending == "1 CPU").map(|(_, placement)| placement);
    let one = one.ok_or("no placement is named `1 CPU`")?;
    let rows = TASKS.iter().map(|task| {
        let args = one
            .clone()
            .map(|placement| vec![task.task.to_owned(), placement.to_string(), task.size.to_string()]);
        let ours = args.clone().map(|mut args| {
            args.insert(0, "shm".to_owned());
            Invocation { program: workshop.ours().to_owned(), args, env: Vec::new() }
        });
        let start = args.and_then(|args| {
            Ok(Invocation { program: workshop.peer("raw-shm", None)?, args, env: Vec::new() })
        });
        let peers = vec![Peer { name: task.peer, start }];
        Row { name: task.name.to_owned(), unit: Unit::Micros, batch: 1, ours, peers }
    });
    Ok(rows.collect())
}
