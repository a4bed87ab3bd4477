//! Asking for a child: everything about it that is not its function.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::child::{Child, error_of};
use super::current::{self, AuthKey, Identity};
use super::environment::Environment;
use super::family;
use super::ledger::Ledger;
use super::life::{self, Body, Life, Pipes};
use super::relay;
use super::resource::{Limit, Resource};
use super::setup::Setup;
use super::spawn_error::SpawnError;
use super::stdio::{ParentSide, Stdio, Which};
use super::thread;
use crate::entry::bootstrap::{self, InMemory};
use crate::entry::identity::{self, Name};
use crate::entry::wire::{ChildStdio, Start};
use crate::entry::{Function, Message};
use crate::error::{Call, ChildId, Error, Ran, Result};
use crate::message::descriptors::{self, Encoded};
use crate::primitive::sync::Arc;
use crate::start::{Context, Newborn, fork};
use crate::sys;
use crate::sys::incarnation::Incarnation;
use crate::sys::private::Private;

mod check;

/// A child to be: its name, its surroundings, its limits. The shape is that of [`std::thread::Builder`] and
/// [`std::process::Command`].
///
/// ```
/// use ipc_core::{Builder, Error};
///
/// # fn main() -> ipc_core::Result<()> {
/// let greedy = Builder::new()
///     .name("greedy")
///     .env("LANG", "C")
///     .memory_limit(256 << 20)
///     .stderr(ipc_core::Stdio::null())
///     .spawn(|size: usize| vec![1_u8; size].len(), (1 << 30,))?;
/// let error = greedy.join().unwrap_err();
/// assert!(matches!(error, Error::Killed { .. }), "{error}"); // out of memory, which aborts
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[must_use = "a builder does nothing until its spawn is called"]
pub struct Builder {
    context: Context,
    name: Option<String>,
    daemon: Option<bool>,
    detached: bool,
    authkey: Option<AuthKey>,
    run_atexit: bool,
    /// Changes to the environment in their order: a value, or `None` to remove; and whether to begin with nothing.
    variables: Vec<(OsString, Option<OsString>)>,
    clear: bool,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
    descriptors: Vec<(i32, OwnedFd)>,
    setup: Setup,
}

impl Builder {
    /// A child like its parent, over the default [`Context`].
    pub fn new() -> Builder {
        Builder::default()
    }

    /// How the child comes into being. Default: the program's shared fork server.
    pub fn context(mut self, context: &Context) -> Builder {
        self.context = context.clone();
        self
    }

    /// Its name in messages and in [`current`](crate::current); need not be unique. Default: `Process-1`, `Process-2`, and
    /// `Process-2:1` for the first child of the second.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Whether the parent's normal exit terminates the child instead of waiting for it. Default: as the parent is. A daemon may
    /// have children.
    ///
    /// It gets SIGTERM, and all daemons together have one second ([at exit](crate#at-exit)). One that needs longer is ended by a
    /// [hook](crate::at_exit) of priority 0, which may wait as long as it likes:
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> ipc_core::Result<()> {
    /// let daemon = ipc_core::Builder::new().daemon(true).spawn(|| std::thread::park(), ())?;
    /// let _ = ipc_core::at_exit(0, move || {
    ///     let _ = daemon.terminate();
    ///     let _ = daemon.wait_timeout(Duration::from_secs(20));
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn daemon(mut self, daemon: bool) -> Builder {
        self.daemon = Some(daemon);
        self
    }

    /// Whether the child goes on when its parent ends, however that ends; such a child is not waited for either, nor is it among the
    /// [active ones](crate::active_children). Default: no. The handle is as good as any other's: who keeps it may join the child.
    ///
    /// It is on its own from the moment when it has read what it is to be. A parent that is killed inside `spawn` may leave it behind, or
    /// take it along where it has not come so far; never a child that stands still.
    pub fn detached(mut self, detached: bool) -> Builder {
        self.detached = detached;
        self
    }

    /// Sets a variable of the child's environment, which is otherwise the parent's.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Builder {
        self.variables.push((name.as_ref().into(), Some(value.as_ref().into())));
        self
    }

    /// Sets variables of the child's environment.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Builder {
        variables.into_iter().fold(self, |builder, (name, value)| builder.env(name, value))
    }

    /// Removes a variable from the child's environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Builder {
        self.variables.push((name.as_ref().into(), None));
        self
    }

    /// Begins the child's environment with nothing: not with the parent's, and without what was set before this call.
    pub fn env_clear(mut self) -> Builder {
        self.clear = true;
        self.variables.clear();
        self
    }

    /// The child's working directory. It is entered as the child's user; spawning fails if that is impossible.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.setup.current_dir = Some(directory.into().into_os_string().into_vec());
        self
    }

    /// The child's standard input. Default: `/dev/null`, because several readers of one input take it from each other.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Builder {
        self.stdin = Some(stdin.into());
        self
    }

    /// The child's standard output. Default: the parent's.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Builder {
        self.stdout = Some(stdout.into());
        self
    }

    /// The child's standard error. Default: the parent's.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Builder {
        self.stderr = Some(stderr.into());
        self
    }

    /// Limits a resource of the child ([setrlimit(2)](https://man7.org/linux/man-pages/man2/setrlimit.2.html)): the limit
    /// in force and the one up to which the child may raise it, `None` for no limit. The former is never above the latter:
    /// [`Error::Invalid`].
    pub fn rlimit(mut self, resource: Resource, soft: Option<u64>, hard: Option<u64>) -> Builder {
        self.setup.rlimits.retain(|(set, _)| *set != resource);
        self.setup.rlimits.push((resource, Limit { soft, hard }));
        self
    }

    /// Limits the child's address space (`RLIMIT_AS`, in bytes, the program itself included). A Rust program that reaches it aborts.
    pub fn memory_limit(self, bytes: u64) -> Builder {
        self.rlimit(Resource::As, Some(bytes), Some(bytes))
    }

    /// The processors that the child may run on, by number: at least one, none above 1023. Of those that are not there, or that this
    /// process's cpuset does not allow, the system takes no notice as long as one is; else the [error](Error::Setup) lists what is allowed.
    pub fn affinity(mut self, processors: impl IntoIterator<Item = usize>) -> Builder {
        let processors = processors.into_iter().map(|cpu| u32::try_from(cpu).unwrap_or(u32::MAX));
        self.setup.affinity = Some(processors.collect());
        self
    }

    /// The user that the child runs as (real, effective and saved). `u32::MAX` is no user, nor a [group](Builder::gid):
    /// [`Error::Invalid`].
    ///
    /// Set [`gid`](Builder::gid) too: the group alone stays the parent's, and of a parent that is root that is group 0, to which much is
    /// open still. The supplementary groups are those of [`groups`](Builder::groups); where that says nothing, a child of root has
    /// none, any other its parent's.
    pub fn uid(mut self, uid: u32) -> Builder {
        self.setup.uid = Some(uid);
        self
    }

    /// The group that the child runs as (real, effective and saved). The supplementary ones are a matter of [`groups`](Builder::groups) and
    /// [`uid`](Builder::uid).
    pub fn gid(mut self, gid: u32) -> Builder {
        self.setup.gid = Some(gid);
        self
    }

    /// The child's supplementary groups.
    pub fn groups(mut self, groups: impl IntoIterator<Item = u32>) -> Builder {
        self.setup.groups = Some(groups.into_iter().collect());
        self
    }

    /// The permissions that files made by the child do *not* get, as in [umask(2)](https://man7.org/linux/man-pages/man2/umask.2.html);
    /// at most `0o777`.
    pub fn umask(mut self, bits: u32) -> Builder {
        self.setup.umask = Some(bits);
        self
    }

    /// The child's nice value, -20 (first) to 19 (last).
    pub fn nice(mut self, nice: i32) -> Builder {
        self.setup.nice = Some(nice);
        self
    }

    /// A descriptor that the child has under this number, not close-on-exec, as a shell's `3<file` gives it. Of two for one number
    /// the later wins, and the earlier is closed. Numbers 0 to 2 are the standard streams' ([`stdin`](Builder::stdin) and its kin).
    ///
    /// Descriptors without a fixed number travel as [arguments](crate::Descriptor).
    pub fn descriptor(mut self, number: i32, descriptor: impl Into<OwnedFd>) -> Builder {
        self.descriptors.retain(|(taken, _)| *taken != number);
        self.descriptors.push((number, descriptor.into()));
        self
    }

    /// The key by which processes of a family know each other. Default: the parent's.
    pub fn authkey(mut self, key: AuthKey) -> Builder {
        self.authkey = Some(key);
        self
    }

    /// Whether the child ends by `exit`, which runs what libraries have registered with atexit, and C++ destructors. Default: it
    /// runs its [exit hooks](crate::at_exit), flushes its output and ends by `_exit`, which is faster. A coverage build's profile is
    /// written either way; its file's name (`LLVM_PROFILE_FILE`) should hold `%m`, because `%p` is the fork server's pid in all its children.
    pub fn run_atexit(mut self, run: bool) -> Builder {
        self.run_atexit = run;
        self
    }

    /// Starts the child, which runs `f(args…)`.
    ///
    /// Arguments and value are copied by serde, descriptors among them are duplicated.
    ///
    /// By whatever method, this returns as soon as the child has its arguments in its mailbox. Only where it was asked for something that
    /// can fail in the child (directory, limits, processors, nice value, umask, user and groups, descriptors by number), it waits
    /// until the child has become that, or could not. So what keeps a child from beginning otherwise, [`Child::join`] tells:
    /// [`Error::NotStarted`], [`Error::Setup`], [`Error::Decode`].
    ///
    /// # Errors
    /// Nothing was run, and the arguments come back in the [`SpawnError`]:
    /// [`Error::Os`] (a limit of processes, descriptors or memory was reached), [`Error::Setup`] (a wish cannot be fulfilled),
    /// [`Error::Invalid`], [`Error::Encode`], [`Error::NoEntry`], [`Error::Image`], [`Error::Preload`], [`Error::Unsupported`].
    pub fn spawn<F, A>(self, f: F, args: A) -> Result<Child<F::Output>, SpawnError<A>>
    where
        F: Function<A>,
        A: Message,
        F::Output: Message,
    {
        let function = Name::of(f);
        if self.context.is_threads() {
            let identity = self.check_thread().and_then(|()| self.identity());
            let started = match identity {
                Ok(identity) => thread::start(identity, f, args),
                Err(error) => Err((args, error)),
            };
            return started
                .map(Child::new)
                .map_err(|(args, error)| SpawnError::new(args, error.with_ran(Ran::DidNotRun)));
        }
        let encoded = descriptors::encode(&args);
        let started = encoded.map_err(|e| Error::encode("the arguments", e)).and_then(|mut encoded| {
            let started = self.start(Some(function), &encoded, None);
            if started.is_err() {
                encoded.take_back();
            }
            started
        });
        match started {
            Ok(life) => Ok(Child::new(life)),
            Err(error) => Err(SpawnError::new(args, error.with_ran(Ran::DidNotRun))),
        }
    }

    /// Forks this process and runs `f` in the child: a closure that may capture anything, also what cannot be sent. Its value is sent as
    /// usual. The [context](Builder::context) does not matter.
    ///
    /// This process drops its own copy of what `f` captured. Ends of ipc-sync's queues and rings in it are the child's from then on; those that it did not
    /// capture, or that stand behind an `Arc` which this process has as well, the child does not hold open. Whatever else has a `drop` that others notice is dropped
    /// here: a permit of a semaphore is given back, and the child takes one of its own.
    ///
    /// ```
    /// # fn main() -> ipc_core::Result<()> {
    /// let table: Vec<u64> = (0..1000).collect();
    /// // SAFETY: the closure reads memory and allocates, and glibc keeps its allocator usable after a fork.
    /// let child = unsafe { ipc_core::Builder::new().fork(move || table.iter().sum::<u64>())? };
    /// assert_eq!(child.join()?, 499_500);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Builder::spawn).
    ///
    /// # Safety
    /// As [`Context::fork`].
    pub unsafe fn fork<R: Message>(self, f: impl FnOnce() -> R + 'static) -> Result<Child<R>> {
        let nothing = Encoded::default();
        let started = self.start(None, &nothing, Some(Box::new(move || identity::run(f))));
        started.map(Child::new).map_err(|error| error.with_ran(Ran::DidNotRun))
    }

    fn identity(&self) -> Result<Identity> {
        current::identity_of_child(self.name.clone(), self.daemon, self.authkey.clone())
    }

    /// The child's whole environment, where it is not the parent's.
    fn environment(&self) -> Result<Option<Environment>> {
        if !self.clear && self.variables.is_empty() {
            return Ok(None);
        }
        let mut all: Vec<(OsString, OsString)> =
            if self.clear { Vec::new() } else { std::env::vars_os().collect() };
        for (name, value) in &self.variables {
            all.retain(|(known, _)| known != name);
            all.extend(value.clone().map(|value| (name.clone(), value)));
        }
        Environment::from_pairs(all).map(Some)
    }

    /// Starts a process: named function and encoded arguments, or a function in memory, whose process is then a copy of this one.
    fn start(
        mut self,
        function: Option<Name>,
        args: &Encoded,
        in_memory: Option<InMemory>,
    ) -> Result<Arc<Life>> {
        self.check()?;
        let identity = self.identity()?;
        let environment = self.environment()?;
        let daemon = identity.daemon;
        let name = identity.name.clone();

        let forked = in_memory.is_some();
        let (newborn, mut setup, captured) = match in_memory {
            Some(function) => {
                let (newborn, mut setup, captured) = fork::newborn_with(function)?;
                setup.environment = environment;
                (newborn, setup, Some(captured))
            }
            None => {
                let (newborn, setup) = self.context.newborn(environment.as_ref(), &args.descriptors)?;
                (newborn, setup, None)
            }
        };
        crash_point!("parent: newborn taken");
        // While it waits to be told: what is done is not to be reported, and nobody waits for the report. What fails is left to it, which says why.
        if self.setup.pin(newborn.pid) {
            setup.affinity = None;
        }
        let acknowledge = !self.setup.is_empty() || !self.descriptors.is_empty();
        merge(&mut setup, self.setup);

        // Opened after the birth: a copy of this process would keep the parent's ends, and never see the end of its input.
        let wished = [self.stdin.take(), self.stdout.take(), self.stderr.take()];
        let (theirs, ours) = match open_streams(wished) {
            Ok(opened) => opened,
            Err(error) => {
                let _ = newborn.abandon();
                return Err(error);
            }
        };
        // Before the child is told anything: what it writes finds its reader, and without one it is not run.
        let pid = newborn.pid;
        let mut pipes = Pipes::default();
        let mut relayed = Vec::new();
        for side in ours {
            match side {
                ParentSide::Nothing => {}
                ParentSide::Stdin(end) => pipes.stdin = Some(end),
                ParentSide::Stdout(end) => pipes.stdout = Some(end),
                ParentSide::Stderr(end) => pipes.stderr = Some(end),
                ParentSide::Relay { pipe, stream, sink } => {
                    match relay::register(pipe, stream, sink, &name, pid) {
                        Ok(registered) => relayed.push(registered),
                        Err(e) => {
                            let _ = newborn.abandon();
                            return Err(Error::os_in(Call::Thread, "could not relay a child's output", e));
                        }
                    }
                }
            }
        }
        let streams: Vec<_> = (0..).zip(theirs).map(|(number, end)| stream(number, end, &newborn)).collect();
        #[cfg(any(feature = "log", feature = "tracing"))]
        let (logging, records) = crate::logging::inherit();
        #[cfg(not(any(feature = "log", feature = "tracing")))]
        let records: Option<std::os::fd::OwnedFd> = None;
        let start = Start {
            function,
            identity,
            setup,
            stdio: std::array::from_fn(|at| streams[at].0),
            numbers: self.descriptors.iter().map(|(number, _)| *number).collect(),
            captured,
            acknowledge,
            detached: self.detached,
            run_atexit: self.run_atexit,
            #[cfg(any(feature = "log", feature = "tracing"))]
            logging: Some(logging),
        };
        let numbered = self.descriptors.iter().map(|(_, descriptor)| descriptor.as_fd());
        let placed: Vec<_> = streams
            .iter()
            .filter_map(|(_, given)| given.as_ref().map(Given::as_fd))
            .chain(numbered)
            .collect();
        // Before it begins: what cannot be detached must not have run.
        let detached = match self.detached {
            true => life::give_lifeline(newborn.control.as_fd(), newborn.lifeline.as_fd())
                .map_err(|e| Error::os("could not start a child: detaching it", e)),
            false => Ok(()),
        };
        if self.detached {
            crash_point!("detacher: lifeline given");
        }
        let records = records.as_ref().map(AsFd::as_fd);
        let told = detached
            .and_then(|()| bootstrap::send_start(newborn.control.as_fd(), &start, &placed, args, records));
        if self.detached {
            crash_point!("detacher: child told");
        }
        drop(streams);
        if let Err(error) = told {
            let child = ChildId { name, pid: newborn.pid };
            // If it has ended before, it may have said why.
            let refusal = bootstrap::refusal(newborn.control.as_fd());
            // The same whether it is killed now or had ended: then its status is its own.
            let ended = newborn.abandon();
            return Err(match (refusal, ended) {
                (Some(failure), _) => error_of(child, failure),
                (None, Ok(status)) if error.is_hung_up() => Error::NotStarted {
                    child,
                    why: format!("it ended before it was told what to run: {status}"),
                },
                _ => error.with_child(child),
            });
        }

        crash_point!("parent: start sent");
        let life = Arc::new(Life {
            name: Mutex::new(name),
            pid,
            owner: Incarnation::this(),
            parent: std::process::id(),
            daemon,
            detached: AtomicBool::new(self.detached),
            body: Body::Process {
                pidfd: newborn.pidfd,
                control: newborn.control,
                begun: Mutex::default(),
                lifeline: Mutex::new((!self.detached).then_some(newborn.lifeline)),
            },
            ledger: Ledger::new(),
            pipes: Mutex::new(pipes),
            relayed,
            server: if forked { None } else { self.context.server() },
        });
        crash_point!("parent: before the registry");
        family::add(life.clone());
        // Where that cannot be awaited, there is a child all the same, and its join will tell.
        if acknowledge
            && life.wait_entered().is_ok()
            && let Some(failed) = life.setup_failure()
        {
            // Nobody gets a handle of it.
            if life.exit_status().is_some() {
                family::registry().remove(&life);
            }
            return Err(failed);
        }
        Ok(life)
    }
}

/// What a builder was asked for goes before what the parent is.
fn merge(setup: &mut Setup, wishes: Setup) {
    let rlimits = wishes.rlimits;
    setup.rlimits.retain(|(resource, _)| !rlimits.iter().any(|(wished, _)| wished == resource));
    setup.rlimits.extend(rlimits);
    setup.current_dir = wishes.current_dir;
    setup.affinity = wishes.affinity.or(setup.affinity.take());
    setup.nice = wishes.nice.or(setup.nice);
    setup.umask = wishes.umask.or(setup.umask);
    setup.groups = wishes.groups;
    setup.gid = wishes.gid;
    setup.uid = wishes.uid;
}

/// The child's ends of its standard streams, and what the parent keeps of them.
fn open_streams(wished: [Option<Stdio>; 3]) -> Result<(Vec<End>, Vec<ParentSide>)> {
    let [stdin, stdout, stderr] = wished;
    let streams = [
        (Which::Stdin, stdin.unwrap_or_else(Stdio::null)),
        (Which::Stdout, stdout.unwrap_or_else(Stdio::inherit)),
        (Which::Stderr, stderr.unwrap_or_else(Stdio::inherit)),
    ];
    let mut theirs = Vec::with_capacity(3);
    let mut ours = Vec::with_capacity(3);
    for (which, stdio) in streams {
        if stdio.is_null() || stdio.is_inherit() {
            theirs.push(if stdio.is_null() { End::Null } else { End::Inherit });
            continue;
        }
        let failed =
            |e| Error::os(format!("could not start a child: its {which:?}"), e).with_ran(Ran::DidNotRun);
        let (end, parents_side) = stdio.resolve(which).map_err(failed)?;
        theirs.push(end.map_or(End::Inherit, End::New));
        ours.push(parents_side);
    }
    Ok((theirs, ours))
}

/// A standard stream as the parent gives it away.
enum End {
    Null,
    Inherit,
    New(Private),
}

/// What a stream's descriptor is sent from.
enum Given {
    New(Private),
    Ours(BorrowedFd<'static>),
}

impl Given {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Given::New(end) => end.as_fd(),
            Given::Ours(stream) => *stream,
        }
    }
}

/// A standard stream for a child that was born with ours, or with `/dev/null` in all places.
fn stream(number: i32, end: End, newborn: &Newborn) -> (ChildStdio, Option<Given>) {
    match end {
        End::New(end) => (ChildStdio::Given, Some(Given::New(end))),
        End::Null if newborn.has_our_streams => (ChildStdio::Null, None),
        End::Inherit if !newborn.has_our_streams => match sys::descriptor::standard_stream(number) {
            Some(ours) => (ChildStdio::Given, Some(Given::Ours(ours))),
            // Closed here: a child gets `/dev/null`, as std gives a program that is started so.
            None => (ChildStdio::Keep, None),
        },
        End::Null | End::Inherit => (ChildStdio::Keep, None),
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("daemon", &self.daemon)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}
