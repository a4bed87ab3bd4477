//! What the peers share: the harness's protocol and stop-watch, and a constructor that puts exec'd children in their place.
//!
//! Each peer is a small program in `bin/`, its module docs say what it measures. None is part of the workspace: `cargo
//! xtask bench` builds what a run needs, into a target directory of its own.

mod apart;
#[path = "../../src/bench/counting.rs"]
pub mod counting;
#[path = "../../src/bench/memory.rs"]
pub mod memory;
#[cfg(feature = "values")]
#[path = "../../src/bench/parcel.rs"]
pub mod parcel;
#[path = "../../src/bench/protocol.rs"]
pub mod protocol;
mod runners;
#[path = "../../src/bench/traffic.rs"]
pub mod traffic;

pub use apart::apart;
pub use runners::{in_shared_memory, two_runners};

/// The variable that names the processor of exec'd children, where a placement wants them apart from their parent.
///
/// The harness sets it for the parent, which pins itself anew in `main`; what the parent execs finds it before `main`,
/// as the earliest act that works for every peer alike, whatever it passes to its children.
pub const CHILD_CPU: &str = "BENCH_CHILD_CPU";

#[used]
#[unsafe(link_section = ".init_array")]
static PLACE: extern "C" fn() = place;

extern "C" fn place() {
    if let Some(cpu) = std::env::var(CHILD_CPU).ok().and_then(|cpu| cpu.parse().ok()) {
        let _ = protocol::pin(cpu);
    }
}
