//! The parent's side: one thread that receives records and hands them to the logger.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::up::{send, up};
use super::{Packet, Record, no_relay, on_behalf};
use crate::entry::panics;
use crate::error::Result;
use crate::message::codec::{Codec, Postcard};
use crate::poll::Until;
use crate::primitive::sync::{Condvar, Mutex};
use crate::sys::fork_local::ForkLocal;
use crate::sys::incarnation::Incarnation;
use crate::sys::inherit::BlockedSignals;
use crate::sys::private::{self, Private};
use crate::sys::{random, socket};

/// How long a join waits for records that a logger does not take.
const DRAIN: Duration = Duration::from_secs(1);

static RELAY: ForkLocal<Mutex<Option<Arc<Relay>>>> = ForkLocal::new();

thread_local! {
    /// Set on the relay's own thread, which must not wait for itself. (If it forks, in a function for records, the child's
    /// thread is not the relay's.)
    static ON_RELAY: Cell<Option<Incarnation>> = const { Cell::new(None) };
}

type Sink = Box<dyn Fn(&Record) + Send + Sync>;

pub(crate) struct Relay {
    /// What children get copies of.
    entrance: Private,
    sink: OnceLock<Sink>,
    /// The marks that somebody waits for, and that have not come yet.
    marks: Mutex<Vec<[u8; 16]>>,
    changed: Condvar,
}

/// From now on the children that this process starts send their log records here, to the logger of `log` and the global subscriber of
/// `tracing`. Calling it again changes nothing.
///
/// # Errors
/// [`Error::Os`](crate::Error::Os): no thread or no descriptor can be had.
pub fn relay() -> Result<()> {
    start().map(drop)
}

/// As [`relay`], but the records go to `sink`, in a thread of the relay's own.
///
/// # Errors
/// As [`relay`]; and [`Error::Invalid`](crate::Error::Invalid) where there is a sink already.
pub fn relay_to(sink: impl Fn(&Record) + Send + Sync + 'static) -> Result<()> {
    start()?.sink.set(Box::new(sink)).map_err(|_| crate::Error::Invalid {
        what: "a function for log records".into(),
        why: "there is one already".into(),
    })
}

/// Waits until the records that were made before were delivered, those of children included; at most a second, where the logger does not
/// take them.
///
/// [`Child::join`](crate::Child::join) does it by itself.
pub fn flush() {
    if let Some(relay) = relay_of_this_process() {
        relay.flush();
    }
}

pub(super) fn relay_of_this_process() -> Option<Arc<Relay>> {
    RELAY.get()?.lock().clone()
}

fn start() -> Result<Arc<Relay>> {
    let mut place = RELAY.get_or_make(|| Mutex::new(None)).lock();
    if let Some(relay) = &*place {
        return Ok(relay.clone());
    }
    let pair = || {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok([one, other])
    };
    let [exit, entrance] = private::make(pair).map_err(|e| no_relay("socketpair", e))?;
    let relay = Arc::new(Relay {
        entrance,
        sink: OnceLock::new(),
        marks: Mutex::new(Vec::new()),
        changed: Condvar::new(),
    });
    let theirs = relay.clone();
    let _blocked = BlockedSignals::all().map_err(|e| no_relay("sigprocmask", e))?;
    let thread = std::thread::Builder::new().name("ipc-logging".into());
    thread.spawn(move || theirs.run(&exit)).map_err(|e| no_relay("thread", e))?;
    // The last that this process does: its children have ended by then.
    let _ = crate::at_exit(i32::MIN, flush);
    Ok(place.insert(relay).clone())
}

impl Relay {
    pub(super) fn entrance(&self) -> BorrowedFd<'_> {
        self.entrance.as_fd()
    }

    fn run(&self, exit: &Private) {
        ON_RELAY.set(Some(Incarnation::this()));
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let mut descriptors = Vec::new();
            match socket::receive(exit.as_fd(), &mut buffer, &mut descriptors, true) {
                // Nobody sends descriptors here; they are closed. What a child has sent may be anything, and this thread goes on.
                Ok(socket::Packet::Data(data)) => {
                    panics::contain(|| self.take(&buffer[..data.len.min(buffer.len())]));
                }
                Ok(socket::Packet::None) => {}
                Ok(socket::Packet::End) => return,
                // Not in a circle that burns a processor.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn take(&self, bytes: &[u8]) {
        match Postcard.decode::<Packet>(bytes) {
            Ok(Packet::Record(record)) => match (self.sink.get(), up()) {
                (Some(sink), _) => on_behalf(&record.process, || sink(&record)),
                // This process is a child that relays as well, and has nobody who wants them here.
                (None, Some(up)) => up.send(record),
                (None, None) => on_behalf(&record.process, || record.deliver()),
            },
            Ok(Packet::Mark(mark)) => {
                self.forget(mark);
                self.changed.notify_all();
            }
            // A record that is none says nothing.
            Err(_) => {}
        }
    }

    fn flush(&self) {
        if ON_RELAY.get().is_some_and(Incarnation::is_this) {
            return;
        }
        let deadline = Instant::now() + DRAIN;
        // Where the system has no such number, there is no telling what has been delivered.
        let Ok(mine) = random::bytes() else { return };
        self.marks.lock().push(mine);
        // It queues up behind everything that was sent before.
        if send(self.entrance(), &Packet::Mark(mine), Until::Deadline(deadline)) != Some(true) {
            return self.forget(mine);
        }
        let mut marks = self.marks.lock();
        while marks.contains(&mine) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(marks);
                return self.forget(mine);
            }
            marks = self.changed.wait_timeout(marks, left).0;
        }
    }

    /// Nobody waits for this mark any more.
    fn forget(&self, mark: [u8; 16]) {
        self.marks.lock().retain(|waited| *waited != mark);
    }
}
