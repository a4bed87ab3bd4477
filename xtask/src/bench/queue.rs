//! Group `queue`: items between two processes, in shared memory.
//!
//! | row | a figure is |
//! |---|---|
//! | `64 B 1:1` … `1 MiB 1:1` | one item of a batch, its last acknowledged: the batches are below |
//! | `64 B many 16` | the same, put and got sixteen at a time |
//! | `64 B 2:2` | the same, put by two processes and got by two |
//! | `ping-pong` | there and back of one item of 8 bytes, over two queues |
//! | `ring, …` | as above, over our `ring` instead of a queue |
//! | `ring, 1 MiB in place` | written into a loan and committed, and read where it stands, of which only the ends are looked at |
//!
//! Ours are `Queue`s of `Bytes`: `put_bytes` and `get_into`, `put_many_bytes` and `get_many_into`; the other process is a child that our own `spawn` has made. The
//! traffic is that of group `pipe` (`traffic.rs`). The peers, each in the module docs of its program in `xtask/peers`:
//!
//! | peer | what it is |
//! |---|---|
//! | `ring` | a hand-written ring for one and one, of places that are all as long as the item; it looks and gives way, and never sleeps |
//! | `memcpy` | one copy into memory as long, by one process: what writing it takes in any case |
//! | `crossbeam` | `crossbeam-channel`, bounded, between threads of one process |
//! | `iceoryx2` | a publisher that loans, copies and sends, and a subscriber that looks all the time and copies; of `2:2`, two publishers and one |
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
    ours: Ours,
    peers: &'static [&'static str],
}

/// What ours is.
#[derive(Clone, Copy)]
enum Ours {
    /// A queue: so many are put and got at a time.
    Queue(usize),
    /// A queue of several.
    Crowd,
    /// A ring.
    Ring,
    /// A ring, and messages in place.
    Loan,
}

impl Ours {
    fn arg(self) -> String {
        match self {
            Ours::Queue(many) => many.to_string(),
            Ours::Crowd => "crowd".to_owned(),
            Ours::Ring => "ring".to_owned(),
            Ours::Loan => "loan".to_owned(),
        }
    }
}

const SMALL: &[&str] = &["ring", "crossbeam", "iceoryx2", "seqpacket", "ipc-channel", "python"];
const LARGE: &[&str] = &["ring", "crossbeam", "iceoryx2", "ipc-channel", "python"];
const ANSWERS: &[&str] = &["ring", "futex", "crossbeam", "seqpacket", "python"];

const TASKS: &[Task] = &[
    Task { name: "64 B 1:1", task: "one-way", size: 64, batch: 8000, ours: Ours::Queue(1), peers: SMALL },
    Task {
        name: "1 KiB 1:1",
        task: "one-way",
        size: 1 << 10,
        batch: 4000,
        ours: Ours::Queue(1),
        peers: SMALL,
    },
    Task {
        name: "64 KiB 1:1",
        task: "one-way",
        size: 1 << 16,
        batch: 100,
        ours: Ours::Queue(1),
        peers: SMALL,
    },
    Task { name: "1 MiB 1:1", task: "one-way", size: 1 << 20, batch: 10, ours: Ours::Queue(1), peers: LARGE },
    Task {
        name: "64 B many 16",
        task: "one-way",
        size: 64,
        batch: 8000,
        ours: Ours::Queue(16),
        peers: SMALL,
    },
    Task {
        name: "64 B 2:2",
        task: "many-to-many",
        size: 64,
        batch: 8000,
        ours: Ours::Crowd,
        peers: &["crossbeam", "iceoryx2"],
    },
    Task { name: "ping-pong", task: "round-trip", size: 8, batch: 1, ours: Ours::Queue(1), peers: ANSWERS },
    Task {
        name: "ring, 64 B",
        task: "one-way",
        size: 64,
        batch: 8000,
        ours: Ours::Ring,
        peers: &["ring", "crossbeam", "iceoryx2"],
    },
    Task {
        name: "ring, 1 MiB",
        task: "one-way",
        size: 1 << 20,
        batch: 10,
        ours: Ours::Ring,
        peers: &["ring", "crossbeam", "iceoryx2"],
    },
    Task {
        name: "ring, 1 MiB in place",
        task: "one-way",
        size: 1 << 20,
        batch: 10,
        ours: Ours::Loan,
        peers: &["memcpy", "ring"],
    },
    Task {
        name: "ring, ping-pong",
        task: "round-trip",
        size: 8,
        batch: 1,
        ours: Ours::Ring,
        peers: &["ring", "futex", "crossbeam"],
    },
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
                    args.push(task.ours.arg());
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
        "ring" | "futex" | "memcpy" => {
            args.push(name.to_owned());
            workshop.peer("ring", None)?
        }
        "crossbeam" => workshop.peer("crossbeam", Some("crossbeam"))?,
        "iceoryx2" => workshop.peer("iceoryx2", Some("iceoryx2"))?,
        "ipc-channel" => workshop.peer("ipc-channel", Some("ipc-channel"))?,
        _ => {
            args.insert(0, workshop.script("python/queue_.py"));
            Workshop::python()?
        }
    };
    Ok(Invocation { program, args, env: Vec::new() })
}
