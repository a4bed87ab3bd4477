//! Group `queue`: items between two processes, in shared memory.
//!
//! | row | a figure is |
//! |---|---|
//! | `64 B 1:1` … `1 MiB 1:1` | one item of a batch, its last acknowledged: the batches are below |
//! | `64 B many 16` | the same, put and got sixteen at a time |
//! | `ping-pong` | there and back of one item of 8 bytes, over two queues |
//!
//! Ours are `Queue`s of `Bytes`: `put_bytes` and `get_into`, `put_many_bytes` and `get_many_into`; the other process is a child that our own `spawn` has made. The
//! traffic is that of group `pipe` (`traffic.rs`). The peers, each in the module docs of its program in `xtask/peers`:
//!
//! | peer | what it is |
//! |---|---|
//! | `ring` | a hand-written ring for one and one, of places that are all as long as the item; it looks and gives way, and never sleeps |
//! | `crossbeam` | `crossbeam-channel`, bounded, between two threads of one process |
//! | `seqpacket` | plain system calls on a socket pair |
//! | `futex` | a word that is waited for and woken, for `ping-pong` |
//! | `ipc-channel` | its bytes channel |
//! | `python` | `multiprocessing.Queue` |

use super::build::Workshop;
use super::protocol::Placement;
use super::row::{Invocation, Peer, Row, Start, Unit, placements};

struct Task {
    name: &'static str,
    task: &'static str,
    size: usize,
    batch: usize,
    /// How many are put and got at a time.
    many: usize,
    peers: &'static [&'static str],
}

const SMALL: &[&str] = &["ring", "crossbeam", "seqpacket", "ipc-channel", "python"];
const LARGE: &[&str] = &["ring", "crossbeam", "ipc-channel", "python"];
const ANSWERS: &[&str] = &["ring", "futex", "crossbeam", "seqpacket", "python"];

const TASKS: &[Task] = &[
    Task { name: "64 B 1:1", task: "one-way", size: 64, batch: 8000, many: 1, peers: SMALL },
    Task { name: "1 KiB 1:1", task: "one-way", size: 1 << 10, batch: 4000, many: 1, peers: SMALL },
    Task { name: "64 KiB 1:1", task: "one-way", size: 1 << 16, batch: 100, many: 1, peers: SMALL },
    Task { name: "1 MiB 1:1", task: "one-way", size: 1 << 20, batch: 10, many: 1, peers: LARGE },
    Task { name: "64 B many 16", task: "one-way", size: 64, batch: 8000, many: 16, peers: SMALL },
    Task { name: "ping-pong", task: "round-trip", size: 8, batch: 1, many: 1, peers: ANSWERS },
];

/// Builds the peers and lists the rows.
pub(crate) fn rows(workshop: &mut Workshop) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for task in TASKS {
        for (ending, placement) in placements() {
            let peers = task.peers.iter().map(|&name| Peer {
                name,
                start: placement.clone().and_then(|placement| peer(workshop, name, task.args(placement))),
            });
            let peers = peers.collect();
            rows.push(Row {
                name: format!("{}, {ending}", task.name),
                unit: Unit::Micros,
                batch: task.batch,
                ours: placement.map(|placement| {
                    let mut args = vec!["queue".to_owned()];
                    args.extend(task.args(placement));
                    args.push(task.many.to_string());
                    Invocation { program: workshop.ours().to_owned(), args, env: Vec::new() }
                }),
                peers,
            });
        }
    }
    Ok(rows)
}

impl Task {
    fn args(&self, placement: Placement) -> Vec<String> {
        vec![self.task.to_owned(), placement.to_string(), self.size.to_string(), self.batch.to_string()]
    }
}

fn peer(workshop: &mut Workshop, name: &str, mut args: Vec<String>) -> Start {
    let program = match name {
        "seqpacket" => {
            args.push("seqpacket".to_owned());
            workshop.peer("socketpair", None)?
        }
        "ring" | "futex" => {
            args.push(name.to_owned());
            workshop.peer("ring", None)?
        }
        "crossbeam" => workshop.peer("crossbeam", Some("crossbeam"))?,
        "ipc-channel" => workshop.peer("ipc-channel", Some("ipc-channel"))?,
        _ => {
            args.insert(0, workshop.script("python/queue_.py"));
            Workshop::python()?
        }
    };
    Ok(Invocation { program, args, env: Vec::new() })
}
