//! The client's side: starting the server, keeping a spare, replacing what was lost or has become unlike this process.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::{FORK, FORKED, PRELOAD_FAILED, READY, REFUSED, UNFIT, server};
use crate::entry::bootstrap;
use crate::entry::identity::Name;
use crate::entry::wire;
use crate::error::{Call, ChildId, Error, Ran, Result};
use crate::message::descriptors::{self, Descriptor};
use crate::message::packet::{self, Begun, Frame, Received};
use crate::poll;
use crate::process::baseline::Snapshot;
use crate::process::child::error_of;
use crate::process::current;
use crate::process::identity::next_child_begins_a_namespace;
use crate::process::setup::Setup;
use crate::start::supply::{Source, Supply};
use crate::start::{Cradle, Ends, Newborn, exec, socket_pair};
use crate::sys;
use crate::sys::fork_local::ForkLocal;
use crate::sys::private::Private;

/// A fork server as its client sees it. In a process that was itself forked it starts from nothing.
pub(crate) struct ForkServer {
    preload: Option<Name>,
    supply: ForkLocal<Supply<Link>>,
    fallback: ForkLocal<String>,
}

/// The connection with a server process.
pub(crate) struct Link {
    socket: Private,
    begun: Begun,
    /// The server itself: a child like others, that nobody else sees.
    process: Option<Newborn>,
    /// The newborns whose answers have not been read.
    asked: VecDeque<Asked>,
    /// What this process was like when the server was started.
    then: Snapshot,
    /// Whether this process might look into the server then: see [`Link::serves`].
    open: bool,
    lost: bool,
}

/// What is kept of a request until its answer.
struct Asked {
    ours: Ends,
    /// The newborn's end of its lifeline, which tells who it is even where it has died without a word.
    childs_line: Private,
}

/// What errors call it.
const NAME: &str = "fork server";

/// How long a server that has closed its socket has to end before its end is called unknown.
const DYING: Duration = Duration::from_secs(1);

/// How long a server may be silent before it is looked at: an answer takes it 100 µs, a preload as long as it likes.
const SILENT: Duration = Duration::from_secs(1);

/// How often a server that is lost in the middle of a request is replaced before the spawn fails.
const ATTEMPTS: usize = 3;

impl ForkServer {
    pub(crate) fn new(preload: Option<Name>) -> ForkServer {
        ForkServer { preload, supply: ForkLocal::new(), fallback: ForkLocal::new() }
    }

    /// A newborn, and what makes it look as if it came from this process as it is now; `None` where there can be no server.
    pub(crate) fn newborn(&self) -> Result<Option<(Newborn, Setup)>> {
        if self.fallback().is_some() {
            return Ok(None);
        }
        let captured = Snapshot::capture();
        let now = captured.map_err(|e| {
            Error::os_in(Call::Proc, "could not start a child: reading /proc/thread-self", e)
                .with_ran(Ran::DidNotRun)
        })?;
        let supply = self.supply();
        let mut attempt = 1;
        loop {
            let taken = supply.take(
                |link| match link {
                    Some(link) if !link.lost && link.serves(&now) => Ok(None),
                    _ => self.start(&now).map(Some),
                },
                // Where that cannot be known it is not taken: another is made for this caller then, and taken as it is.
                |newborn: &Newborn| poll::is_ready(newborn.pidfd.as_fd()).is_ok_and(|dead| !dead),
                give_up,
                |link| link.then.baseline.difference(&now.baseline),
            );
            match taken {
                Ok((newborn, mut setup)) => {
                    // The server blocks all signals, and so does what it forks until it is told otherwise.
                    setup.signal_mask = Some(now.baseline.signal_mask());
                    return Ok(Some((newborn, setup)));
                }
                Err(Trouble::Unfit(why)) => {
                    self.fallback.get_or_make(|| why);
                    return Ok(None);
                }
                Err(Trouble::Lost(_)) if attempt < ATTEMPTS => attempt += 1,
                Err(Trouble::Lost(error) | Trouble::Error(error)) => return Err(error),
            }
        }
    }

    /// Has a spare made, without waiting for it.
    pub(crate) fn renew(&self) {
        if let Some(supply) = self.supply.get() {
            supply.renew();
        }
    }

    pub(crate) fn fallback(&self) -> Option<String> {
        self.fallback.get().cloned()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        let process = |link: &Link| link.process.as_ref().map(|process| process.pid);
        self.supply.get()?.with(|link| link.and_then(process))
    }

    fn supply(&self) -> &'static Supply<Link> {
        self.supply.get_or_make(Supply::new)
    }

    /// Starts a server process.
    fn start(&self, now: &Snapshot) -> Result<Link, Trouble> {
        // A kernel without the links has no such namespaces either.
        if next_child_begins_a_namespace().unwrap_or(false) {
            let why =
                "the server would be process 1 of a new pid namespace, which cannot clone with CLONE_PARENT";
            return Err(Trouble::Unfit(why.into()));
        }
        let [socket, theirs] = socket_pair()?;
        // That of the snapshot, not that of a moment later: it is told apart from it for ever after.
        let (process, setup) = exec::newborn(Some(now.baseline.environment()))?;
        let identity_of_server = current::identity_of_helper(NAME);
        let start = wire::Start {
            function: Some(Name::of(server::serve)),
            identity: identity_of_server,
            setup: Setup { signal_mask: Some(u64::MAX), ..setup },
            stdio: [wire::ChildStdio::Null, wire::ChildStdio::Null, wire::ChildStdio::Null],
            numbers: Vec::new(),
            captured: None,
            acknowledge: false,
            detached: false,
            run_atexit: false,
            #[cfg(any(feature = "log", feature = "tracing"))]
            logging: None,
        };
        let mut link = Link {
            socket,
            begun: Begun::default(),
            process: Some(process),
            asked: VecDeque::new(),
            then: now.clone(),
            open: false,
            lost: false,
        };
        link.open = link.is_open();
        if let Some(process) = &link.process {
            let args = descriptors::encode(&(Descriptor::from(OwnedFd::from(theirs)), self.preload));
            let args =
                args.map_err(|e| Error::encode("the fork server's arguments", e).with_ran(Ran::DidNotRun))?;
            if let Err(error) = bootstrap::send_start(process.control.as_fd(), &start, &[], &args, None) {
                return Err(if error.is_hung_up() { link.bury("it ended") } else { error.into() });
            }
        }
        let frame = match link.receive() {
            // Another server would run the same function.
            Err(Trouble::Lost(error)) if self.preload.is_some() => {
                let why = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                return Err(Trouble::Error(Error::Preload { why }));
            }
            received => received?,
        };
        let text = || String::from_utf8_lossy(&frame.body).into_owned();
        match frame.kind {
            READY => Ok(link),
            UNFIT => Err(Trouble::Unfit(text())),
            PRELOAD_FAILED => Err(Trouble::Error(Error::Preload { why: text() })),
            kind => Err(Error::protocol(format!("the fork server's first frame is of kind {kind}")).into()),
        }
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        if let Some(supply) = self.supply.get() {
            supply.clear(give_up);
        }
    }
}

impl Link {
    /// Whether its children can be made to look as if this process had made them as it is now.
    ///
    /// Nothing in /proc tells of a Landlock domain (landlock(7)), and a process may enter one at any time. But one inside may
    /// not look into one outside: what was allowed when the server was started is refused then.
    fn serves(&self, now: &Snapshot) -> bool {
        self.then.identity == now.identity
            && self.then.baseline.can_become(&now.baseline)
            && (!self.open || self.is_open())
    }

    /// Whether the kernel lets this process look into the server.
    fn is_open(&self) -> bool {
        self.process.as_ref().is_some_and(|process| sys::process::may_look_into(process.pid))
    }

    /// The server's next frame.
    fn receive(&mut self) -> Result<Frame, Trouble> {
        loop {
            match packet::try_recv(self.socket.as_fd(), &mut self.begun) {
                Ok(Received::Frame(frame)) => return Ok(frame),
                Ok(Received::Empty) => {}
                Ok(Received::Closed) => return Err(self.bury("it closed its socket")),
                Err(e) => return Err(self.lose(e.to_string())),
            }
            let ended = self.process.as_ref().map(|process| process.pidfd.as_fd());
            let both: Vec<_> = [self.socket.as_fd()].into_iter().chain(ended).collect();
            match poll::wait(&both, Some(Instant::now() + SILENT)) {
                Ok(true) => {}
                // One that was stopped will not answer before somebody lets it go on, who may be waiting for this answer.
                Ok(false)
                    if self.process.as_ref().is_some_and(|server| sys::process::is_stopped(server.pid)) =>
                {
                    return Err(self.lose("it was stopped (SIGSTOP)".into()));
                }
                Ok(false) => continue,
                // The answer that was waited for would be taken for the next one's.
                Err(e) => return Err(self.lose(format!("poll: {e}"))),
            }
            // In this order: what it has said is there when its end is.
            let ended = ended.map_or(Ok(false), poll::is_ready);
            let dumb = ended.and_then(|ended| Ok(ended && !poll::is_ready(self.socket.as_fd())?));
            match dumb {
                Ok(false) => {}
                Ok(true) => return Err(self.bury("it was killed")),
                Err(e) => return Err(self.lose(format!("poll: {e}"))),
            }
        }
    }

    fn lose(&mut self, why: String) -> Trouble {
        self.lost = true;
        let why = std::io::Error::other(why);
        Trouble::Lost(
            Error::os("could not start a child: the fork server was lost", why).with_ran(Ran::DidNotRun),
        )
    }

    /// As [`lose`](Link::lose) for a server that has ended: the reason is what it said, else how it ended.
    fn bury(&mut self, seen: &str) -> Trouble {
        let why = self.process.as_ref().and_then(|process| {
            let id = ChildId { name: NAME.into(), pid: process.pid };
            // It has closed its socket, so this is a matter of microseconds, unless it is stopped now. All it had to say is said
            // then.
            let _ = sys::wait::wait_exited(process.pidfd.as_fd(), Some(Instant::now() + DYING));
            if let Some(failure) = bootstrap::refusal(process.control.as_fd()) {
                return Some(error_of(id, failure).to_string());
            }
            let status = sys::wait::try_reap(process.pidfd.as_fd()).ok()??;
            Some(Error::from_status(id, status).to_string())
        });
        self.lose(why.unwrap_or_else(|| seen.into()))
    }
}

impl Source for Link {
    type Newborn = Newborn;
    type Error = Trouble;

    fn ask(&mut self) -> Result<(), Trouble> {
        let Cradle { ours, theirs } = Cradle::new()?;
        let ends = [theirs.control.as_fd(), theirs.lifeline.as_fd()];
        match packet::send(self.socket.as_fd(), FORK, &[], &ends) {
            Ok(()) => {
                crash_point!("parent: request sent");
                self.asked.push_back(Asked { ours, childs_line: theirs.lifeline });
                Ok(())
            }
            Err(e) => {
                let error = Error::os("could not ask the fork server for a child: sendmsg", e);
                if error.is_hung_up() {
                    return Err(self.bury("it closed its socket"));
                }
                Err(error.with_ran(Ran::DidNotRun).into())
            }
        }
    }

    fn answer(&mut self) -> Result<Newborn, Trouble> {
        let Some(asked) = self.asked.pop_front() else {
            return Err(Error::protocol("the fork server was asked for nothing").into());
        };
        let answer = if self.lost { Err(self.lose("it is gone".into())) } else { self.receive() };
        let mut frame = match answer {
            Ok(frame) => frame,
            // Perhaps it was forked and only the answer is missing.
            Err(Trouble::Lost(error)) => return recover(asked).ok_or(Trouble::Lost(error)),
            Err(other) => {
                // The answer is still to come, and the next request's would be taken for it.
                self.lost = true;
                return Err(other);
            }
        };
        let number = <[u8; 4]>::try_from(&frame.body[..]).map(u32::from_le_bytes);
        match (frame.kind, number, frame.descriptors.pop()) {
            (FORKED, Ok(pid), pidfd) => match pidfd.map_or_else(|| open(pid), Ok) {
                Ok(pidfd) => Ok(asked.ours.into_newborn(sys::clone::Born { pid, pidfd }, false)),
                Err(e) => {
                    Err(Error::os("could not start a child: pidfd_open", e).with_ran(Ran::DidNotRun).into())
                }
            },
            // Not a limit that was met, but the call itself: a sandbox, an older kernel, or the server is process 1.
            (REFUSED, Ok(errno), None)
                if matches!(errno as i32, libc::EPERM | libc::ENOSYS | libc::EINVAL) =>
            {
                self.lost = true;
                let refused = std::io::Error::from_raw_os_error(errno as i32);
                Err(Trouble::Unfit(format!(
                    "clone with CLONE_PARENT is refused in the fork server: {refused}"
                )))
            }
            (REFUSED, Ok(errno), None) => {
                let refused = std::io::Error::from_raw_os_error(errno as i32);
                let failed = "could not start a child: clone in the fork server";
                Err(Error::os_in(Call::ServersProcess, failed, refused).with_ran(Ran::DidNotRun).into())
            }
            (kind, ..) => {
                self.lost = true;
                Err(Error::protocol(format!("the fork server answered with a frame of kind {kind}")).into())
            }
        }
    }

    fn is_lost(&self) -> bool {
        self.lost
    }
}

/// Nobody asks how it ended.
fn give_up(newborn: Newborn) {
    let _ = newborn.abandon();
}

/// A newborn whose server died before it said who it is: asked itself. `None` when it was never born, or has died; then it has been
/// waited for.
fn recover(asked: Asked) -> Option<Newborn> {
    let Asked { ours, childs_line } = asked;
    match who(ours.control.as_fd()) {
        Some(pid) => {
            let pidfd = open(pid).ok()?;
            Some(ours.into_newborn(sys::clone::Born { pid, pidfd }, false))
        }
        None => {
            // Whom its lifeline would end is who it was. Nobody else knows of it, so nobody has waited for it.
            if let Ok(Some(pid)) = sys::process::signalled_when_ready(childs_line.as_fd()) {
                sys::wait::end_by_number(pid);
            }
            None
        }
    }
}

/// A newborn's pid, in its own words. One that is stopped is given up: there will be another.
fn who(control: BorrowedFd<'_>) -> Option<u32> {
    packet::send(control, wire::WHO, &[], &[]).ok()?;
    let until = Instant::now() + DYING;
    let mut begun = Begun::default();
    loop {
        match packet::try_recv(control, &mut begun) {
            Ok(Received::Frame(frame)) if frame.kind == wire::WHO => {
                return frame.body[..].try_into().ok().map(u32::from_le_bytes);
            }
            Ok(Received::Empty) if poll::wait(&[control], Some(until)).unwrap_or(false) => {}
            _ => return None,
        }
    }
}

/// The descriptor of a newborn that nobody else knows of, so that nobody has waited for it; where it cannot be had the newborn
/// is ended, for nobody could wait for it later.
fn open(pid: u32) -> std::io::Result<OwnedFd> {
    sys::wait::pidfd_open(pid).inspect_err(|_| sys::wait::end_by_number(pid))
}

impl Drop for Link {
    fn drop(&mut self) {
        // Killed rather than asked: nothing in it is worth a farewell, and its end must not be waited for long.
        self.process.take().into_iter().for_each(give_up);
    }
}

/// Why there is no newborn.
pub(crate) enum Trouble {
    /// There can be no fork server here.
    Unfit(String),
    /// The server is gone; another may do.
    Lost(Error),
    Error(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Error(error)
    }
}
