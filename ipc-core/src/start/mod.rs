//! Start methods: three ways to a new process, and one way to a thread. [`StartMethod`] compares them.
//!
//! Whichever way, what comes out is a [`Newborn`]: a process that waits on its control socket to be told what to be and what
//! to run ([`entry::bootstrap`](crate::entry::bootstrap)). Nothing after that depends on the method.
//!
//! The choice is a value, a [`Context`], and nothing but a `Context` makes it: there is no global method that
//! a library could change under a program.

pub(crate) mod exec;
pub(crate) mod fork;
pub(crate) mod fork_server;
pub(crate) mod supply;

use std::fmt;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock, Weak};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::connection::{self, Connection, Receiver, Sender};
use crate::entry::identity::Name;
use crate::entry::{Function, Message};
use crate::error::{Error, Ran, Result};
use crate::process::builder::Builder;
use crate::process::child::Child;
use crate::process::environment::Environment;
use crate::process::exit::ExitStatus;
use crate::process::setup::Setup;
use crate::process::signal::Signal;
use crate::process::spawn_error::SpawnError;
use crate::sys::clone::Born;
use crate::sys::private::{self, Private};
use crate::{lifeline, sys};
use fork_server::client::ForkServer;

/// The ways in which a child comes into being. A [`Context`] chooses one.
///
/// | method | how | costs | the child's memory | made by |
/// |---|---|---|---|---|
/// | `Spawn` | exec of this program's own image | as `std::process::Command` | fresh | [`Context::exec`] |
/// | `ForkServer` (default) | a process that was exec'd once and has one thread forks each child | a sixth of that | the server's, shared until written | [`Context::fork_server`] |
/// | `Fork` | `fork` of the calling process; `unsafe` | grows with the caller's memory | the caller's, as it is at that moment | [`Context::fork`] |
/// | `Thread` | a thread, for tests and tasks that need no isolation | least | the caller's own | [`Context::threads`] |
///
/// Where nothing speaks for another, the default is right. `Spawn` is for a process that has sandboxed itself, `Fork` for children that
/// need what cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartMethod {
    /// The program is executed again, for each child.
    Spawn,
    /// A server process, executed once, forks each child.
    ForkServer,
    /// The calling process is forked.
    Fork,
    /// A thread of the calling process.
    Thread,
}

/// A [start method](StartMethod) as a value. Cloning is cheap, and clones share their fork server. There is no global method that a
/// library could change under a program.
///
/// The default, which [`spawn`](crate::spawn) uses, is one fork server for the whole program, started with the first child.
///
/// ```
/// use ipc_core::{Context, StartMethod};
///
/// # fn main() -> ipc_core::Result<()> {
/// let context = Context::exec();
/// assert_eq!(context.method(), StartMethod::Spawn);
/// assert_eq!(context.spawn(|n: u64| n * n, (12,))?.join()?, 144);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Context(Way);

#[derive(Clone)]
enum Way {
    Exec,
    ForkServer(Arc<ForkServer>),
    Fork,
    Threads,
}

impl Context {
    /// Each child executes the program again: [`StartMethod::Spawn`]. The slowest way and the one without conditions; the one
    /// for a process that has put itself into a sandbox (seccomp, landlock) which its children are to share.
    pub fn exec() -> Context {
        Context(Way::Exec)
    }

    /// A fork server of one's own: [`StartMethod::ForkServer`]. It is started with the first child, and ends when the last clone of
    /// this context is dropped; children live on. What the calling process has changed since then goes with each request
    /// (environment, working directory, standard streams, umask, limits, affinity, signal mask, nice value); what
    /// cannot go replaces the server (user and groups, capabilities, `no_new_privs`, seccomp filters, namespaces, cgroup, root directory,
    /// session, process group; a working directory that has no name any more, a raised limit of descriptors).
    /// Where a fork server cannot be had, children are executed; [`fallback`](Context::fallback) says why.
    ///
    /// What is neither of both, children have as it was when the server started: `oom_score_adj`, scheduling policy, I/O priority, timer
    /// slack, personality. Who changes one of these and wants it in children uses [`exec`](Context::exec), or a new context.
    ///
    /// A child is cloned without the C library's `fork`: what a library has registered with `pthread_atfork` does not run. That matters
    /// only to what a [preload](Context::preload) has set up, for otherwise nothing has run in the server.
    pub fn fork_server() -> Context {
        Context(Way::ForkServer(Arc::new(ForkServer::new(None))))
    }

    /// Each child is a copy of the calling process: [`StartMethod::Fork`]. Costs grow with the memory of the caller.
    ///
    /// [`Builder::fork`](crate::Builder::fork) does the same for a closure that captures.
    ///
    /// # Safety
    /// In the child only the thread that forked exists. A lock that another thread held at that moment stays locked
    /// for ever, and what it protected may be half changed; that includes locks inside libraries. The caller vouches that
    /// this process has one thread, or that what the child runs touches nothing that another thread could have held. Standard output, and
    /// what this crate itself takes in the child, may be used: the fork waits until they are free, and holds them. A child that panics may
    /// hang if another thread was reporting a panic, or setting a panic hook, at that moment.
    ///
    /// A thread that panics cannot fork: that is [`Error::Unsupported`].
    pub unsafe fn fork() -> Context {
        Context(Way::Fork)
    }

    /// Each child is a thread of the calling process: [`StartMethod::Thread`]. The same interface for tests and for tasks that
    /// need no isolation; what only a process has is [`Error::Unsupported`]. The first of them puts a panic hook before the process's
    /// own, to tell the error where the function panicked; the process's own is called after it as ever.
    pub fn threads() -> Context {
        Context(Way::Threads)
    }

    /// Has the fork server run `f` once, when it starts: what it loads, all children share until they write to it. Where the
    /// server is replaced, it runs again.
    ///
    /// It must leave no threads behind. Children that it starts are the server's: they end with it, and are not its copies'. If it panics, exits, or does leave threads, the next spawn returns
    /// [`Error::Preload`]. In the children of such a server the function runs on a fresh thread, so
    /// that random keys which the preload may have made are not shared. No effect on other start methods, nor after a
    /// [`fallback`](Context::fallback): there is no process to run it in.
    ///
    /// A context has one preload, and the last one counts: to load two things, load both in one function. The context that this
    /// returns has a server of its own.
    #[must_use]
    pub fn preload<F: Function<(), Output = ()>>(self, f: F) -> Context {
        match self.0 {
            Way::ForkServer(_) => {
                Context(Way::ForkServer(Arc::new(ForkServer::new(Some(Name::of::<F, ()>(f))))))
            }
            _ => self,
        }
    }

    /// Runs `f(args…)` in a child made in this way.
    ///
    /// # Errors
    /// As [`spawn`](crate::spawn).
    pub fn spawn<F, A>(&self, f: F, args: A) -> Result<Child<F::Output>, SpawnError<A>>
    where
        F: Function<A>,
        A: Message,
        F::Output: Message,
    {
        self.builder().spawn(f, args)
    }

    /// A [`Builder`] for children made in this way.
    pub fn builder(&self) -> Builder {
        Builder::new().context(self)
    }

    /// A pipe to and from children of this kind: as [`pipe`](crate::pipe()), and for [`Context::threads`] in memory, where values are
    /// moved and not encoded.
    ///
    /// ```
    /// let context = ipc_core::Context::threads();
    /// let (sender, receiver) = context.pipe::<String>()?;
    /// let child = context.spawn(|sender: ipc_core::Sender<String>| sender.send("moved".into()).is_ok(), (sender,))?;
    /// assert_eq!(receiver.recv()?, "moved");
    /// assert!(child.join()?);
    /// # Ok::<(), ipc_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`pipe`](crate::pipe()).
    pub fn pipe<T: Message>(&self) -> Result<(Sender<T>, Receiver<T>)> {
        if self.is_threads() { connection::pipe::pipe_in_memory() } else { crate::pipe() }
    }

    /// As [`pipe`](Context::pipe), with two directions: as [`duplex`](crate::duplex()).
    ///
    /// # Errors
    /// As [`duplex`](crate::duplex()).
    pub fn duplex<S: Message, R: Message>(&self) -> Result<(Connection<S, R>, Connection<R, S>)> {
        if self.is_threads() { connection::pipe::duplex_in_memory() } else { crate::duplex() }
    }

    /// The method by which children are made: after a [`fallback`](Context::fallback), [`StartMethod::Spawn`].
    pub fn method(&self) -> StartMethod {
        match &self.0 {
            Way::Exec => StartMethod::Spawn,
            Way::ForkServer(server) if server.fallback().is_some() => StartMethod::Spawn,
            Way::ForkServer(_) => StartMethod::ForkServer,
            Way::Fork => StartMethod::Fork,
            Way::Threads => StartMethod::Thread,
        }
    }

    /// Why a fork server could not be had and children are executed instead; `None` as long as it can, or was not tried.
    ///
    /// Children that are executed do not find what a [`preload`](Context::preload) would have loaded: a child that needs it must be
    /// able to load it itself.
    pub fn fallback(&self) -> Option<String> {
        match &self.0 {
            Way::ForkServer(server) => server.fallback(),
            _ => None,
        }
    }

    /// The fork server's process id, if this context has one that was started.
    #[doc(hidden)]
    pub fn server_pid(&self) -> Option<u32> {
        match &self.0 {
            Way::ForkServer(server) => server.pid(),
            _ => None,
        }
    }

    /// A new process of this kind, and what it must be told to look as if made from this process as it is now.
    ///
    /// `environment` is the child's whole environment, if it is not to be this process's; `args` the descriptors that it will be sent.
    pub(crate) fn newborn(
        &self,
        environment: Option<&Environment>,
        args: &[std::os::fd::OwnedFd],
    ) -> Result<(Newborn, Setup)> {
        match &self.0 {
            Way::Exec => exec::newborn(environment),
            Way::Fork => {
                let (newborn, mut setup) = fork::newborn(args)?;
                setup.environment = environment.cloned();
                Ok((newborn, setup))
            }
            Way::ForkServer(server) => match server.newborn()? {
                Some((newborn, mut setup)) => {
                    if let Some(environment) = environment {
                        setup.environment = Some(environment.clone());
                    }
                    Ok((newborn, setup))
                }
                None => exec::newborn(environment),
            },
            Way::Threads => Err(Error::Unsupported {
                what: "a process of Context::threads".into(),
                why: "its children are threads".into(),
            }),
        }
    }

    /// The server that this context's children come from, for those who renew its spares.
    pub(crate) fn server(&self) -> Option<Weak<ForkServer>> {
        match &self.0 {
            Way::ForkServer(server) => Some(Arc::downgrade(server)),
            _ => None,
        }
    }

    pub(crate) fn is_threads(&self) -> bool {
        matches!(self.0, Way::Threads)
    }
}

impl Default for Context {
    /// The fork server that the whole program shares.
    fn default() -> Context {
        static DEFAULT: OnceLock<Context> = OnceLock::new();
        DEFAULT.get_or_init(Context::fork_server).clone()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("method", &self.method()).field("fallback", &self.fallback()).finish()
    }
}

/// A process that was born and waits to be told what it is.
pub(crate) struct Newborn {
    pub(crate) pid: u32,
    pub(crate) pidfd: Private,
    pub(crate) control: Private,
    pub(crate) lifeline: Private,
    /// Whether it has this process's standard streams, or `/dev/null` for all of them.
    pub(crate) has_our_streams: bool,
}

impl Newborn {
    /// Gives up a newborn: it dies with its lifeline, and is waited for. Gives its status, which is its own if it had ended.
    pub(crate) fn abandon(self) -> std::io::Result<ExitStatus> {
        let Newborn { pidfd, control, lifeline, .. } = self;
        drop((control, lifeline));
        // It may have become another user's, then the lifeline alone must do, and does.
        let _ = sys::wait::send_signal(pidfd.as_fd(), Signal::KILL);
        sys::wait::reap(pidfd.as_fd())
    }
}

/// The two connections with a child before it is born.
pub(crate) struct Cradle {
    pub(crate) ours: Ends,
    pub(crate) theirs: Ends,
}

/// One side's ends of the control socket and the lifeline.
pub(crate) struct Ends {
    pub(crate) control: Private,
    pub(crate) lifeline: Private,
}

impl Cradle {
    pub(crate) fn new() -> Result<Cradle> {
        let [ours, theirs] = socket_pair()?;
        let [our_line, their_line] = lifeline::new()
            .map_err(|e| Error::os("could not start a child: pipe2", e).with_ran(Ran::DidNotRun))?;
        crash_point!("parent: socket pair made");
        Ok(Cradle {
            ours: Ends { control: ours, lifeline: our_line },
            theirs: Ends { control: theirs, lifeline: their_line },
        })
    }
}

/// Two connected sockets for frames.
pub(crate) fn socket_pair() -> Result<[Private; 2]> {
    let pair = || socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    private::make(|| Ok(pair()?.into()))
        .map_err(|e| Error::os("could not start a child: socketpair", e).with_ran(Ran::DidNotRun))
}

impl Ends {
    /// Our ends of a child that has come into being with the others.
    pub(crate) fn into_newborn(self, born: Born, has_our_streams: bool) -> Newborn {
        Newborn {
            pid: born.pid,
            pidfd: born.pidfd.into(),
            control: self.control,
            lifeline: self.lifeline,
            has_our_streams,
        }
    }
}

/// What a child that inherits everything from this process must still be told: its signal mask was blocked meanwhile.
pub(crate) fn as_this_process() -> Result<Setup> {
    let mask = sys::inherit::signal_mask()
        .map_err(|e| Error::os("could not start a child: rt_sigprocmask", e).with_ran(Ran::DidNotRun))?;
    Ok(Setup { signal_mask: Some(mask), ..Setup::default() })
}
