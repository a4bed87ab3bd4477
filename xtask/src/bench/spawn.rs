//! Group `spawn`: starting processes.
//!
//! | row | what is timed, again and again without a pause |
//! |---|---|
//! | `spawn` | by exec: from the call until the death of an empty child is known |
//! | `fork server` | the same over the fork server |
//! | `fork server start` | until the handle is there; the death is awaited outside the clock |
//! | `fork server value` | until a `u64` from the child is there; the death is awaited outside the clock |
//! | `idle child's own memory` | what an idle child has alone: the private part of its set size |
//! | `idle child memory` | proportional set size of an idle child, all others gone but its server and parent |
//! | `idle child memory, 16 alive` | the mean of sixteen together |
//!
//! The peers, each in the module docs of its program in `xtask/peers`: `zygote` is a bare zygote's start and join, in the
//! start and value rows too, because that is what those rows' aims refer to; `zygote value` is the variant which returns
//! a value. `command`, `crossmist` and `procspawn` do a row's task in their only way, by exec; `command` execs the very
//! binary that ours execs. `python` is the start method of the row's name, `python fork` the other natural one.

use super::build::Workshop;
use super::protocol::Placement;
use super::row::{Invocation, Peer, Row, Start, Unit, placements};

/// A row in every placement: our task, and each peer's name and task.
struct Task {
    name: &'static str,
    ours: &'static str,
    peers: &'static [(&'static str, &'static str)],
}

const TASKS: &[Task] = &[
    Task {
        name: "spawn",
        ours: "exec-join",
        peers: &[("command", "join"), ("crossmist", "join"), ("procspawn", "join"), ("python", "join:spawn")],
    },
    Task {
        name: "fork server",
        ours: "join",
        peers: &[
            ("zygote", "join"),
            ("command", "join"),
            ("crossmist", "join"),
            ("procspawn", "join"),
            ("python", "join:forkserver"),
            ("python fork", "join:fork"),
        ],
    },
    Task {
        name: "fork server start",
        ours: "start",
        peers: &[
            ("zygote", "join"),
            ("command", "start"),
            ("crossmist", "start"),
            ("procspawn", "start"),
            ("python", "start:forkserver"),
            ("python fork", "start:fork"),
        ],
    },
    Task {
        name: "fork server value",
        ours: "value",
        peers: &[
            ("zygote", "join"),
            ("zygote value", "value"),
            ("command", "value"),
            ("crossmist", "value"),
            ("procspawn", "value"),
            ("python", "value:forkserver"),
            ("python fork", "value:fork"),
        ],
    },
];

/// Builds the peers and lists the rows.
pub(crate) fn rows(workshop: &mut Workshop) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for task in TASKS {
        for (ending, placement) in placements() {
            let peers = task.peers.iter().map(|&(name, what)| Peer {
                name,
                start: placement.clone().and_then(|placement| peer(workshop, name, what, placement)),
            });
            let peers = peers.collect();
            rows.push(Row {
                name: format!("{}, {ending}", task.name),
                unit: Unit::Micros,
                batch: 1,
                ours: placement.map(|placement| ours(workshop, task.ours, placement, &[])),
                peers,
            });
        }
    }
    let shares = [
        ("idle child's own memory", "own", "1"),
        ("idle child memory", "idle", "1"),
        ("idle child memory, 16 alive", "idle", "16"),
    ];
    for (name, task, alive) in shares {
        let zygote = workshop.peer("zygote", None).map(|program| Invocation {
            program,
            args: [task, "free", alive].map(str::to_owned).to_vec(),
            env: Vec::new(),
        });
        rows.push(Row {
            name: name.to_owned(),
            unit: Unit::Kilobytes,
            batch: 1,
            ours: Ok(ours(workshop, task, Placement::Free, &[alive])),
            peers: vec![Peer { name: "zygote", start: zygote }],
        });
    }
    Ok(rows)
}

fn ours(workshop: &Workshop, task: &str, placement: Placement, more: &[&str]) -> Invocation {
    let mut args = vec!["spawn".to_owned(), task.to_owned(), placement.to_string()];
    args.extend(more.iter().map(|&arg| arg.to_owned()));
    Invocation { program: workshop.ours().to_owned(), args, env: Vec::new() }
}

fn peer(workshop: &mut Workshop, name: &str, task: &str, placement: Placement) -> Start {
    // What the peers' programs read before `main`: see `xtask/peers/src/lib.rs`.
    let env = placement.child().map(|cpu| ("BENCH_CHILD_CPU", cpu.to_string())).into_iter().collect();
    let mut args = vec![task.to_owned(), placement.to_string()];
    let program = match name {
        "zygote" | "zygote value" => workshop.peer("zygote", None)?,
        "command" => {
            args.push(workshop.ours().display().to_string());
            workshop.peer("command", None)?
        }
        "crossmist" => workshop.peer("crossmist", Some("crossmist"))?,
        "procspawn" => workshop.peer("procspawn", Some("procspawn"))?,
        _ => {
            let (what, method) = task.split_once(':').unwrap_or((task, "spawn"));
            let script = workshop.script("python/spawn.py");
            args = [&script, what, &placement.to_string(), method].map(|arg| arg.to_string()).to_vec();
            Workshop::python()?
        }
    };
    Ok(Invocation { program, args, env })
}
