//! The child's side: where its records go, and what its own children are told.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Levels, Packet, Record, parent};
use crate::message::codec::{Codec, Postcard};
use crate::poll::Until;
use crate::sys::fork_local::ForkLocal;
use crate::sys::private::Private;
use crate::sys::scatter;

/// How long a child waits for a parent that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a child is told of logging with its start message.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Inherited {
    /// The last descriptor of the message is the sender for records.
    pub(crate) relayed: bool,
    levels: Levels,
}

/// The way of this process's records to an ancestor.
static UP: ForkLocal<Up> = ForkLocal::new();

pub(crate) struct Up {
    socket: Private,
    lost: AtomicU64,
    /// The last one found no room.
    stopped: AtomicBool,
}

/// Where this process's records go, if not to its own logger.
pub(super) fn up() -> Option<&'static Up> {
    UP.get()
}

impl Up {
    /// Sends a record, or counts it as lost.
    pub(super) fn send(&self, mut record: Record) {
        // What was lost below comes from a child, which may say anything.
        record.lost = record.lost.saturating_add(self.lost.swap(0, Ordering::Relaxed));
        let lost = record.lost.saturating_add(1);
        let until = if self.stopped.load(Ordering::Relaxed) { Until::Now } else { Until::after(PATIENCE) };
        let sent = send(self.socket.as_fd(), &Packet::Record(record), until);
        self.stopped.store(matches!(sent, Some(false)), Ordering::Relaxed);
        if sent != Some(true) {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

/// Sends a packet: `Some(false)` where there was no room in time, `None` where there never will be.
pub(super) fn send(socket: BorrowedFd<'_>, packet: &Packet, until: Until) -> Option<bool> {
    let mut bytes = Vec::new();
    Postcard.encode(packet, &mut bytes).ok()?;
    scatter::send(socket, &[IoSlice::new(&bytes)], &[], until).ok()
}

/// What children of this process get to send their records by: its own relay's, or what it has from its parent.
pub(crate) enum Entrance {
    Relay(Arc<parent::Relay>),
    Up(&'static Up),
}

impl AsFd for Entrance {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Entrance::Relay(relay) => relay.entrance(),
            Entrance::Up(up) => up.socket.as_fd(),
        }
    }
}

/// What a child of this process is told, and the descriptor that goes with it.
pub(crate) fn inherit() -> (Inherited, Option<Entrance>) {
    let own = parent::relay_of_this_process().map(Entrance::Relay);
    let entrance = own.or_else(|| up().map(Entrance::Up));
    (Inherited { relayed: entrance.is_some(), levels: super::levels() }, entrance)
}

/// Becomes a child whose records go where its parent said.
pub(crate) fn adopt(inherited: Inherited, sender: Option<OwnedFd>) {
    let relayed = sender.is_some();
    if let Some(sender) = sender {
        // A fork server's clones and forked copies make their own here, before anything of them logs.
        UP.get_or_make(|| Up {
            socket: sender.into(),
            lost: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
    }
    super::set_up(inherited.levels, relayed);
}
