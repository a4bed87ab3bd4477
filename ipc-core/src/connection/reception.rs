//! Where clients wait until they have shown who they are.
//!
//! A client that connects and then says nothing must cost nobody but itself. So a listener keeps all clients whose handshakes are
//! under way side by side, waits for all of them at once, and hands out whoever is through first.
//!
//! | a client | what becomes of it |
//! |---|---|
//! | answers rightly | is handed out |
//! | answers wrongly, or with something that is no handshake | is told so and closed at once |
//! | is silent, or sends a byte now and then | is closed when its time is over, counted from its arrival |
//! | comes when [`ROOM`] are there | waits in the system's backlog |
//!
//! A crowd of silent clients would so lock out honest ones for the length of the time-out. When there is no room and
//! others wait, the oldest is sent away once it has been there for [`GRACE`]: an honest client needs a fraction of a
//! millisecond, and some hundred where the machine is busy.
//!
//! Nothing happens between calls: there is no thread. That is why a listener's descriptor is an epoll that holds the socket,
//! all who wait here, and a timer for the first of them whose time will be over: whoever polls it knows when to call. As long
//! as the next client can only wait for room, the socket is silent in it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, Result};
use rustix::net::{SocketAddrAny, SocketFlags};

use super::auth::{Refusal, Role};
use super::endpoint;
use super::pending::{Pending, Step};
use crate::AuthKey;
use crate::poll::Until;
use crate::sys::incarnation::Incarnation;
use crate::sys::wait;

/// How many handshakes may be under way at once.
pub(crate) const ROOM: usize = 64;

/// How long one may stay when others have no room.
pub(crate) const GRACE: Duration = Duration::from_millis(250);

/// What the handshakes are held to.
pub(crate) struct Rules<'a> {
    pub(crate) key: Option<AuthKey>,
    pub(crate) stream: bool,
    pub(crate) time: Duration,
    /// Whether the client on this socket may try.
    pub(crate) admits: &'a dyn Fn(BorrowedFd<'_>) -> bool,
}

/// What the outside sees of a reception, and how it calls. A forked copy has none: both are the original's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Front<'a> {
    /// Ready when there is something to do.
    pub(crate) epoll: BorrowedFd<'a>,
    /// Ready when the service is to end.
    pub(crate) bell: BorrowedFd<'a>,
    /// In the epoll, and set to the instant when somebody is sent away.
    pub(crate) timer: BorrowedFd<'a>,
}

/// A client whose handshake has ended.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Where it came from; Unix clients have no address.
    pub(crate) from: Option<SocketAddrAny>,
    /// The connection, or why there is none.
    pub(crate) outcome: std::result::Result<OwnedFd, Refusal>,
}

#[derive(Debug)]
struct Guest {
    pending: Pending,
    from: Option<SocketAddrAny>,
    since: Instant,
    deadline: Option<Instant>,
    waits_for: PollFlags,
}

/// The clients of one listener. Nothing of it is shared: who serves the listener has it.
#[derive(Debug)]
pub(crate) struct Reception {
    socket: Arc<OwnedFd>,
    guests: Vec<Guest>,
    /// In a forked copy the guests are the original's: both would answer them.
    owner: Incarnation,
    /// What the front was told: whether the socket is silent in the epoll, and what the timer is set to.
    silent: bool,
    alarm: Option<Instant>,
}

impl Reception {
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Reception {
        Reception { socket, guests: Vec::new(), owner: Incarnation::this(), silent: false, alarm: None }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        (*self.socket).as_fd()
    }

    /// Gives the next client whose handshake has ended, in whichever way; `None` when the time is over or somebody has rung
    /// the bell, which stays as it is.
    pub(crate) fn next(
        &mut self,
        rules: &Rules<'_>,
        front: Option<Front<'_>>,
        until: Until,
    ) -> Result<Option<Arrival>> {
        if !self.owner.is_this() {
            self.owner = Incarnation::this();
            self.guests.clear();
        }
        loop {
            let more_wait = self.admit(rules, front)?;
            // Each in turn, until one is through; the others' sockets stay ready.
            for place in 0..self.guests.len() {
                if let Some(outcome) = self.guests[place].step(front) {
                    return Ok(Some(self.leave(place, outcome, front)));
                }
            }
            let now = Instant::now();
            if let Some(place) =
                self.guests.iter().position(|guest| guest.deadline.is_some_and(|at| at <= now))
            {
                return Ok(Some(self.send_away(place, Refusal::Late, front)));
            }
            let crowded = more_wait.then(|| self.guests.first().map(|oldest| oldest.since + GRACE)).flatten();
            if crowded.is_some_and(|at| at <= now) {
                return Ok(Some(self.send_away(0, Refusal::Crowded, front)));
            }
            self.tell(front, crowded)?;
            if until.left().is_some_and(|left| left.is_zero()) || !self.wait(front, until, crowded)? {
                return Ok(None);
            }
        }
    }

    /// Lets in whoever waits at the socket; says whether somebody waits for whom there is no room.
    fn admit(&mut self, rules: &Rules<'_>, front: Option<Front<'_>>) -> Result<bool> {
        while self.guests.len() < ROOM {
            let (socket, from) = match rustix::net::acceptfrom_with(self.socket(), SocketFlags::CLOEXEC) {
                Ok(accepted) => accepted,
                Err(Errno::AGAIN) => return Ok(false),
                // Of a connection that has failed before it was taken (accept(2) lists them): the next one is as good.
                Err(
                    Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::NETDOWN
                    | Errno::PROTO
                    | Errno::NOPROTOOPT
                    | Errno::HOSTDOWN
                    | Errno::NONET
                    | Errno::HOSTUNREACH
                    | Errno::OPNOTSUPP
                    | Errno::NETUNREACH,
                ) => continue,
                Err(error) => return Err(error),
            };
            let admitted = (rules.admits)(socket.as_fd());
            let mut pending = Pending::new(socket, rules.stream, Role::Listener, rules.key.clone())?;
            if !admitted {
                pending.refuse(Refusal::Credentials);
            }
            let since = Instant::now();
            let deadline = since.checked_add(rules.time);
            let mut guest = Guest { pending, from, since, deadline, waits_for: PollFlags::IN };
            // An error of the system with this one is the end of this one alone, which its next step tells.
            if let Err(error) = guest.welcome(rules.stream, front) {
                guest.pending.refuse(Refusal::Failed(error.raw_os_error()));
            }
            crash_point!("listener: client admitted");
            self.guests.push(guest);
        }
        // Full: is there anybody?
        crate::poll::is_ready(self.socket())
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// Has the front be ready when there will be something to do, and not before.
    fn tell(&mut self, front: Option<Front<'_>>, crowded: Option<Instant>) -> Result<()> {
        let Some(front) = front else { return Ok(()) };
        let silent = crowded.is_some();
        if silent != self.silent {
            let flags = if silent { EventFlags::empty() } else { EventFlags::IN };
            epoll::modify(front.epoll, self.socket(), EventData::new_u64(0), flags)?;
            self.silent = silent;
        }
        let alarm = self.soonest(crowded);
        if alarm != self.alarm {
            let after = alarm.map(|at| at.saturating_duration_since(Instant::now()));
            wait::set_timer(front.timer, after)?;
            self.alarm = alarm;
        }
        Ok(())
    }

    /// When the first of those who are here is late, or must make room.
    fn soonest(&self, crowded: Option<Instant>) -> Option<Instant> {
        self.guests.iter().filter_map(|guest| guest.deadline).chain(crowded).min()
    }

    /// Waits for whatever may make a difference; `false` where that is the bell or the end of the caller's time.
    fn wait(&self, front: Option<Front<'_>>, until: Until, crowded: Option<Instant>) -> Result<bool> {
        let mut fds = Vec::with_capacity(2 + self.guests.len());
        // With nobody let in, the socket itself would be ready all the time.
        let door =
            if self.guests.len() < ROOM || crowded.is_none() { PollFlags::IN } else { PollFlags::empty() };
        fds.push(PollFd::from_borrowed_fd(self.socket(), door));
        fds.extend(front.map(|front| PollFd::from_borrowed_fd(front.bell, PollFlags::IN)));
        fds.extend(self.guests.iter().map(|guest| PollFd::new(&guest.pending, guest.waits_for)));
        // Those who are late are not looked for in vain: the earliest deadline ends the wait.
        let soonest = match (until, self.soonest(crowded)) {
            (Until::Deadline(theirs), Some(ours)) => Until::Deadline(theirs.min(ours)),
            (Until::Forever, Some(ours)) => Until::Deadline(ours),
            (until, _) => until,
        };
        crate::poll::any(&mut fds, soonest)?;
        Ok(front.is_none() || !fds[1].revents().contains(PollFlags::IN))
    }

    fn send_away(&mut self, place: usize, why: Refusal, front: Option<Front<'_>>) -> Arrival {
        self.guests[place].pending.refuse(why.clone());
        self.leave(place, Err(why), front)
    }

    /// Takes a guest out. (In order: the first is the oldest.)
    fn leave(
        &mut self,
        place: usize,
        outcome: std::result::Result<(), Refusal>,
        front: Option<Front<'_>>,
    ) -> Arrival {
        let guest = self.guests.remove(place);
        // The epoll would keep it as long as anybody has a copy of its descriptor.
        if let Some(front) = front {
            let _ = epoll::delete(front.epoll, &guest.pending);
        }
        // There is room now. Where that cannot be told, the next call tells it: this arrival must not be lost.
        let _ = self.tell(front, None);
        let outcome = outcome.map(|()| guest.pending.into_socket());
        if outcome.is_ok() {
            crash_point!("listener: client through");
        }
        Arrival { from: guest.from, outcome }
    }
}

impl Guest {
    /// Begins the handshake.
    fn welcome(&mut self, stream: bool, front: Option<Front<'_>>) -> Result<()> {
        if stream {
            endpoint::prepare_stream(self.pending.as_fd())?;
        }
        // At once: those behind one who is through have no turn now, and nothing would call for another.
        self.waits_for = self.pending.greet()?;
        match front {
            Some(front) => {
                epoll::add(front.epoll, &self.pending, EventData::new_u64(0), events(self.waits_for))
            }
            None => Ok(()),
        }
    }

    /// Goes on with the handshake; gives how it ended, once it has. An error of the system is the end of this one alone.
    fn step(&mut self, front: Option<Front<'_>>) -> Option<std::result::Result<(), Refusal>> {
        let step = self.pending.step().and_then(|step| {
            if let (Step::Waits(flags), Some(front)) = (&step, front)
                && *flags != self.waits_for
            {
                epoll::modify(front.epoll, &self.pending, EventData::new_u64(0), events(*flags))?;
            }
            Ok(step)
        });
        match step {
            Ok(Step::Done(outcome)) => Some(outcome),
            Ok(Step::Waits(flags)) => {
                self.waits_for = flags;
                None
            }
            Err(error) => Some(Err(Refusal::Failed(error.raw_os_error()))),
        }
    }
}

fn events(flags: PollFlags) -> EventFlags {
    if flags == PollFlags::OUT { EventFlags::OUT } else { EventFlags::IN }
}

#[cfg(test)]
mod tests;
