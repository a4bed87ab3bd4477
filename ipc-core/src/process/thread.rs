//! The same interface over threads.
//!
//! For tests, and for tasks that need no isolation: the function runs on a thread of this process, its arguments and its value
//! are moved instead of encoded, and a panic is reported as from a process. What only a process has (signals, an
//! environment, limits) is refused with [`Error::Unsupported`]. A descriptor inside the arguments stays the
//! one it is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use rustix::event::{EventfdFlags, eventfd};

use super::current::{self, Identity};
use super::family;
use super::ledger::Ledger;
use super::life::{Body, Delivery, Life, Pipes};
use crate::entry::panics;
use crate::entry::trace::__rust_begin_short_backtrace;
use crate::entry::wire::Failure;
use crate::entry::{Function, Message};
use crate::error::{Call, Error, Result};
use crate::primitive::sync::Arc;
use crate::sys::incarnation::Incarnation;

/// Starts a thread that stands for a child.
pub(crate) fn start<F, A>(identity: Identity, f: F, args: A) -> Result<Arc<Life>, (A, Error)>
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    let failed = |what: &str, e| Error::os_in(Call::Thread, format!("could not start a child: {what}"), e);
    let ended = match eventfd(0, EventfdFlags::CLOEXEC) {
        Ok(ended) => ended,
        Err(e) => return Err((args, failed("eventfd", std::io::Error::from(e)))),
    };
    let life = Arc::new(Life {
        name: Mutex::new(identity.name.clone()),
        pid: std::process::id(),
        owner: Incarnation::this(),
        parent: std::process::id(),
        daemon: identity.daemon,
        detached: AtomicBool::new(false),
        body: Body::Thread { ended },
        ledger: Ledger::new(),
        pipes: Mutex::new(Pipes::default()),
        relayed: Vec::new(),
        server: None,
    });
    // The arguments go through a channel: if no thread can be made, they are still here.
    let (hand_over, receive) = std::sync::mpsc::sync_channel(1);
    let (name, theirs) = (identity.name.clone(), life.clone());
    let started = std::thread::Builder::new().name(name).spawn(move || {
        let Ok(args) = receive.recv() else { return };
        panics::install();
        let call = || {
            panics::watch(|| catch_unwind(AssertUnwindSafe(|| __rust_begin_short_backtrace(|| f.call(args)))))
        };
        let (delivery, code) = match current::as_thread(identity, call) {
            Ok(value) => (Delivery::Local(Box::new(value)), 0),
            Err(panic) => {
                let failure = Failure::Panicked(panic);
                let code = failure.exit_code();
                (Delivery::Failure(failure), code)
            }
        };
        theirs.ledger.put(delivery, code, || {
            if let Body::Thread { ended } = &theirs.body {
                // Eight bytes into a counter that is zero: there is room.
                let _ = rustix::io::write(ended, &1_u64.to_ne_bytes());
            }
        });
    });
    if let Err(e) = started {
        return Err((args, failed("thread", e)));
    }
    family::add(life.clone());
    // The thread is there and waits for exactly this.
    let _ = hand_over.send(args);
    Ok(life)
}
