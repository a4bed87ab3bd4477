//! A child process and its socket, as the kernel keeps them: death comes once, its status is given once, and what was sent
//! before it can be read after it.

use std::collections::VecDeque;
use std::sync::Arc;

use ipc_core::modelled::{ExitStatus, Ledger, Mail, MailSource, Receipt, status};
use ipc_core::primitive::sync::{Condvar, Mutex};

/// What a child sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Packet {
    Entered,
    /// A value, and the exit code that goes with it.
    Value(u32, i32),
}

pub(crate) struct Process {
    kept: Mutex<Kept>,
    changed: Condvar,
}

struct Kept {
    socket: VecDeque<Packet>,
    open: bool,
    ended: Option<ExitStatus>,
    /// How often the status was given away.
    given: usize,
    /// The next wait that is under way ends for no reason: a signal, or a spurious wake.
    interrupted: bool,
    /// Every deadline has passed.
    late: bool,
}

/// `exit(code)` as waitid tells it.
pub(crate) fn exited(code: i32) -> ExitStatus {
    status(Some(code << 8))
}

pub(crate) fn killed() -> ExitStatus {
    status(Some(9))
}

impl Process {
    pub(crate) fn new() -> Process {
        let kept = Kept {
            socket: VecDeque::new(),
            open: true,
            ended: None,
            given: 0,
            interrupted: false,
            late: false,
        };
        Process { kept: Mutex::new(kept), changed: Condvar::new() }
    }

    /// The child sends; `false` if it was killed before.
    pub(crate) fn send(&self, packet: Packet) -> bool {
        let mut kept = self.kept.lock();
        let alive = kept.ended.is_none();
        if alive {
            kept.socket.push_back(packet);
            self.changed.notify_all();
        }
        alive
    }

    /// The child closes its end, and lives.
    pub(crate) fn close(&self) {
        self.kept.lock().open = false;
        self.changed.notify_all();
    }

    /// The child ends; whichever way comes first is its status.
    pub(crate) fn end(&self, status: ExitStatus) {
        let mut kept = self.kept.lock();
        kept.open = false;
        kept.ended.get_or_insert(status);
        self.changed.notify_all();
    }

    /// Code that is not ours waits for any child: a status that is there is gone.
    pub(crate) fn foreign_wait(&self) {
        let mut kept = self.kept.lock();
        kept.given += usize::from(kept.ended.is_some());
    }

    /// `poll` for the socket and the pidfd.
    pub(crate) fn poll(&self) {
        let mut kept = self.kept.lock();
        while kept.socket.is_empty() && kept.open && kept.ended.is_none() && !kept.interrupted {
            kept = self.changed.wait(kept);
        }
        kept.interrupted = false;
    }

    /// The same with a deadline; `false` if that has passed.
    pub(crate) fn poll_in_time(&self) -> bool {
        let mut kept = self.kept.lock();
        let nothing = |kept: &Kept| kept.socket.is_empty() && kept.open && kept.ended.is_none();
        while nothing(&kept) && !kept.interrupted && !kept.late {
            kept = self.changed.wait(kept);
        }
        let expired = nothing(&kept) && kept.late;
        kept.interrupted = false;
        !expired
    }

    /// Ends a wait for no reason.
    pub(crate) fn interrupt(&self) {
        self.kept.lock().interrupted = true;
        self.changed.notify_all();
    }

    /// Lets every deadline pass.
    pub(crate) fn be_late(&self) {
        self.kept.lock().late = true;
        self.changed.notify_all();
    }

    /// `poll` for the pidfd.
    pub(crate) fn poll_end(&self) {
        let mut kept = self.kept.lock();
        while kept.ended.is_none() {
            kept = self.changed.wait(kept);
        }
    }

    /// How often the status was given away.
    pub(crate) fn given(&self) -> usize {
        self.kept.lock().given
    }
}

/// A number from here on is a failure's, not a value's.
pub(crate) const FAILURE: u32 = 100;

impl MailSource for Process {
    type Mail = u32;

    fn again(mail: &u32) -> Option<u32> {
        (*mail >= FAILURE).then_some(*mail)
    }

    fn reap(&self) -> Option<ExitStatus> {
        let mut kept = self.kept.lock();
        let ended = kept.ended?;
        kept.given += 1;
        Some(if kept.given == 1 { ended } else { status(None) })
    }

    fn receive(&self) -> Receipt<u32> {
        let mut kept = self.kept.lock();
        match kept.socket.pop_front() {
            Some(Packet::Entered) => Receipt::Entered,
            Some(Packet::Value(value, code)) => Receipt::Mail(value, code),
            None if kept.open => Receipt::Empty,
            None => Receipt::Closed,
        }
    }
}

/// A child as its parent's process keeps it, waited for as `process/life.rs` does.
pub(crate) struct Child {
    pub(crate) ledger: Ledger<u32>,
    pub(crate) process: Arc<Process>,
}

/// What a join finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Found {
    Value(u32),
    Taken,
    Nothing,
}

impl Child {
    pub(crate) fn new() -> Child {
        Child { ledger: Ledger::new(), process: Arc::new(Process::new()) }
    }

    pub(crate) fn status(&self) -> Option<ExitStatus> {
        self.ledger.status(&*self.process)
    }

    pub(crate) fn wait(&self) -> ExitStatus {
        loop {
            if let Some(status) = self.status() {
                return status;
            }
            self.process.poll_end();
        }
    }

    pub(crate) fn value(&self) -> Found {
        loop {
            match self.ledger.take(&*self.process) {
                Mail::Here(value) => return Found::Value(value),
                Mail::Taken => return Found::Taken,
                Mail::None => return Found::Nothing,
                Mail::Awaited => self.process.poll(),
            }
        }
    }

    /// As `Life::take_mail` with a deadline: looks once more when that has passed. `None`: it has.
    pub(crate) fn value_in_time(&self) -> Option<Found> {
        let mut expired = false;
        loop {
            match self.ledger.take(&*self.process) {
                Mail::Here(value) => return Some(Found::Value(value)),
                Mail::Taken => return Some(Found::Taken),
                Mail::None => return Some(Found::Nothing),
                Mail::Awaited if expired => return None,
                Mail::Awaited => expired = !self.process.poll_in_time(),
            }
        }
    }

    pub(crate) fn join(&self) -> (Found, ExitStatus) {
        let found = self.value();
        (found, self.wait())
    }

    pub(crate) fn wait_entered(&self) {
        while !self.ledger.has_entered(&*self.process) {
            self.process.poll();
        }
    }
}
