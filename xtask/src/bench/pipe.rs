//! Group `pipe`: messages between two processes.
//!
//! | row | a figure is |
//! |---|---|
//! | `8 B round trip` | there and back of one message |
//! | `64 B one way` … `64 MiB one way` | one message of a batch, its last acknowledged: the batches are below |
//! | `…, typed` | the same with values, of records with numbers, a string and a list |
//!
//! Bytes go by `send_bytes` and `recv_into`, values by `send` and `recv`, over one `duplex`, whose other end is an argument
//! of a child that our own `spawn` has made. The peers, each in the module docs of its program in `xtask/peers`:
//!
//! | peer | in rows of | what it is |
//! |---|---|---|
//! | `socketpair stream`, `socketpair seqpacket` | bytes | plain system calls; a packet holds no 1 MiB |
//! | `memfd` | 64 KiB and more | a fresh one a message |
//! | `socketpair postcard` | values | plain system calls, bare postcard |
//! | `ipc-channel` | both | its bytes channel, its typed one |
//! | `crossmist` | bytes | its duplex channel |
//! | `python` | both | `Pipe`: `send_bytes`, `recv_bytes`; `send`, `recv` |

use super::build::Workshop;
use super::protocol::Placement;
use super::row::{Invocation, Peer, Row, Start, Unit, placements};

/// A row in every placement: the task with its size and its batch, and the peers.
struct Task {
    name: &'static str,
    task: &'static str,
    size: usize,
    batch: usize,
    peers: &'static [&'static str],
}

/// The peers of every row of bytes.
const SMALL: &[&str] = &["socketpair seqpacket", "socketpair stream", "ipc-channel", "crossmist", "python"];
const LARGE: &[&str] =
    &["socketpair seqpacket", "socketpair stream", "memfd", "ipc-channel", "crossmist", "python"];
const HUGE: &[&str] = &["socketpair stream", "memfd", "ipc-channel", "crossmist", "python"];
/// From here on the question is whether a memory file of its own would be worth it: `Decisions` in ARCHITECTURE.md.
const VAST: &[&str] = &["socketpair stream", "memfd"];
const VALUES: &[&str] = &["socketpair postcard", "ipc-channel", "python"];

const TASKS: &[Task] = &[
    Task { name: "8 B round trip", task: "round-trip", size: 8, batch: 1, peers: SMALL },
    Task { name: "64 B one way", task: "one-way", size: 64, batch: 1000, peers: SMALL },
    Task { name: "1 KiB one way", task: "one-way", size: 1 << 10, batch: 1000, peers: SMALL },
    Task { name: "64 KiB one way", task: "one-way", size: 1 << 16, batch: 100, peers: LARGE },
    Task { name: "1 MiB one way", task: "one-way", size: 1 << 20, batch: 10, peers: HUGE },
    Task { name: "16 MiB one way", task: "one-way", size: 16 << 20, batch: 2, peers: VAST },
    Task { name: "64 MiB one way", task: "one-way", size: 64 << 20, batch: 1, peers: VAST },
    Task { name: "8 B round trip, typed", task: "round-trip typed", size: 8, batch: 1, peers: VALUES },
    Task { name: "64 B one way, typed", task: "one-way typed", size: 64, batch: 1000, peers: VALUES },
    Task { name: "1 KiB one way, typed", task: "one-way typed", size: 1 << 10, batch: 500, peers: VALUES },
    Task { name: "64 KiB one way, typed", task: "one-way typed", size: 1 << 16, batch: 20, peers: VALUES },
];

/// Builds the peers and lists the rows.
pub(crate) fn rows(workshop: &mut Workshop) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for task in TASKS {
        for (ending, placement) in placements() {
            let peers = task.peers.iter().map(|&name| Peer {
                name,
                start: placement.clone().and_then(|placement| peer(workshop, name, task, placement)),
            });
            let peers = peers.collect();
            rows.push(Row {
                name: format!("{}, {ending}", task.name),
                unit: Unit::Micros,
                batch: task.batch,
                ours: placement.map(|placement| {
                    let mut args = vec!["pipe".to_owned()];
                    args.extend(task.args(placement));
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

fn peer(workshop: &mut Workshop, name: &str, task: &Task, placement: Placement) -> Start {
    let mut args = task.args(placement);
    let program = match name {
        "socketpair seqpacket" | "socketpair stream" => {
            args.extend(name.split(' ').nth(1).map(str::to_owned));
            workshop.peer("socketpair", None)?
        }
        "socketpair postcard" => workshop.peer("socketpair-postcard", Some("postcard"))?,
        "memfd" => workshop.peer("memfd", None)?,
        "ipc-channel" => workshop.peer("ipc-channel", Some("ipc-channel"))?,
        "crossmist" => workshop.peer("crossmist-pipe", Some("crossmist"))?,
        _ => {
            args.insert(0, workshop.script("python/pipe.py"));
            Workshop::python()?
        }
    };
    Ok(Invocation { program, args, env: Vec::new() })
}
