//! What the harness says to a contender, and the stop-watch that all contenders share.
//!
//! A contender is a program that does one task again and again: ours is `bench-ours`, each peer a binary of the
//! package `xtask/peers`, which compiles this very file, so that nobody is timed by another clock or loop. It is
//! started as `PROGRAM TASK PLACEMENT [MORE]` and says `ready` once it is warm. To each line `run N` it answers with one
//! line of N figures (nanoseconds, or the task's unit), or with `error: why`; at the end of its input it leaves. So the
//! harness can let one contender after the other do a short round, and start again with the first.
//!
//! Placement is the second thing they share, for a wake-up across two processors and one on the same differ tenfold:
//!
//! | placement | the parent | its server and its children |
//! |---|---|---|
//! | `free` | wherever the kernel likes | the same: what users get |
//! | `one:A` | pinned to A | pinned to A |
//! | `two:A:B` | pinned to A | pinned to B: a server is started there, an exec'd child moves there as its first act |

#![allow(
    dead_code,
    unreachable_pub,
    reason = "compiled into the harness, ours and the peers' library, each using a part"
)]

use std::io::{self, BufRead, Write};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::thread::CpuSet;

/// Which processors the parent and its children may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// No pinning.
    Free,
    /// Everybody on one processor.
    One(usize),
    /// The parent on one, everything that it starts on another.
    Two {
        /// The parent's processor.
        parent: usize,
        /// The processor of its server and children.
        child: usize,
    },
}

impl Placement {
    /// Where the servers that this process is about to start belong: a server keeps what it inherits.
    pub fn enter_for_servers(self) -> io::Result<()> {
        match self {
            Self::Free => Ok(()),
            Self::One(cpu) | Self::Two { child: cpu, .. } => pin(cpu),
        }
    }

    /// Where the parent itself belongs, from its first figure on.
    pub fn enter(self) -> io::Result<()> {
        match self {
            Self::Free => Ok(()),
            Self::One(cpu) | Self::Two { parent: cpu, .. } => pin(cpu),
        }
    }

    /// The processor that a child must be moved to, where it does not inherit the right one from its parent.
    pub fn child(self) -> Option<usize> {
        match self {
            Self::Two { child, .. } => Some(child),
            _ => None,
        }
    }
}

impl std::fmt::Display for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Free => write!(f, "free"),
            Self::One(cpu) => write!(f, "one:{cpu}"),
            Self::Two { parent, child } => write!(f, "two:{parent}:{child}"),
        }
    }
}

impl FromStr for Placement {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let cpu = |text: &str| text.parse().map_err(|_| invalid(format!("no processor number: {text}")));
        match parts[..] {
            ["free"] => Ok(Self::Free),
            ["one", only] => Ok(Self::One(cpu(only)?)),
            ["two", parent, child] => Ok(Self::Two { parent: cpu(parent)?, child: cpu(child)? }),
            _ => Err(invalid(format!("no placement: {text}"))),
        }
    }
}

/// Pins the calling thread, and whatever it starts from now on.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// The arguments of a contender's run: what it shall do, where, and what that task needs besides.
pub struct Call {
    /// The task's name.
    pub task: String,
    /// Who runs where.
    pub placement: Placement,
    /// Further arguments.
    pub more: Vec<String>,
}

impl Call {
    /// Reads `TASK PLACEMENT [MORE]`.
    pub fn parse(args: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let mut args = args.into_iter();
        match (args.next(), args.next()) {
            (Some(task), Some(placement)) => {
                Ok(Self { task, placement: placement.parse()?, more: args.collect() })
            }
            _ => Err(invalid("usage: PROGRAM TASK PLACEMENT [MORE], as cargo xtask bench calls it".into())),
        }
    }

    /// The error for a task that this contender does not know.
    pub fn unknown(&self) -> io::Error {
        invalid(format!("no task `{}` here", self.task))
    }
}

/// A contender's `main` with its arguments: an error becomes the line that the harness shows as the reason.
pub fn contend(
    args: impl IntoIterator<Item = String>,
    serve: impl FnOnce(Call) -> io::Result<()>,
) -> std::process::ExitCode {
    match Call::parse(args).and_then(serve) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {}", error.to_string().replace('\n', " "));
            std::process::ExitCode::FAILURE
        }
    }
}

/// Answers the harness until it hangs up. `once` does the task one time and returns its figure.
///
/// A tenth of each round is done untimed first: the others have had the caches since.
pub fn serve(mut once: impl FnMut() -> io::Result<f64>) -> io::Result<()> {
    once()?;
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line?;
        let times: usize = line
            .strip_prefix("run ")
            .and_then(|times| times.parse().ok())
            .ok_or_else(|| invalid(format!("not understood: {line}")))?;
        for _ in 0..(times / 10).max(1) {
            once()?;
        }
        let mut answer = String::with_capacity(times * 8);
        for _ in 0..times {
            answer += &format!("{:.0} ", once()?);
        }
        println!("{}", answer.trim_end());
        io::stdout().flush()?;
    }
    Ok(())
}

/// The nanoseconds that `work` takes, and what it returns.
pub fn timed<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<(f64, T)> {
    let start = Instant::now();
    let value = work()?;
    Ok((start.elapsed().as_nanos() as f64, value))
}

/// The argument with which `Command`'s child is to leave at once.
pub const COMMAND_EXIT: &str = "command-exit";

/// The argument with which `Command`'s child is to write [`VALUE`] to its stdout and leave.
pub const COMMAND_VALUE: &str = "command-value";

/// What the program that `Command` starts does: nothing, or to write eight bytes. True if this process is it.
///
/// It stands in the binary that ours is exec'd from, so that both sides exec the same file.
pub fn was_command_child() -> io::Result<bool> {
    let mut args = std::env::args().skip(1);
    let value = match args.next().as_deref() {
        Some(COMMAND_EXIT) => false,
        Some(COMMAND_VALUE) => true,
        _ => return Ok(false),
    };
    if let Some(cpu) = args.next().and_then(|cpu| cpu.parse().ok()) {
        pin(cpu)?;
    }
    if value {
        io::stdout().write_all(&VALUE.to_le_bytes())?;
        io::stdout().flush()?;
    }
    Ok(true)
}

/// The value that children return where the task is to return one.
pub const VALUE: u64 = 42;

/// Waits for the end of a process, whoever reaps it, so that one child's death does not fall into the next one's time.
///
/// Meant for a child that has just given its value: its number cannot have been given away again yet.
pub fn await_end(pid: u32) -> io::Result<()> {
    match rustix::process::pidfd_open(pid_of(pid)?, PidfdFlags::empty()) {
        Ok(process) => {
            let mut fds = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, None)?;
            Ok(())
        }
        Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What an idle child does: it stops itself, so that who measures it knows that it has come to rest.
pub fn idle() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
}

/// What is counted of an idle child's memory.
#[derive(Clone, Copy, Debug)]
pub enum Share {
    /// Its proportional set size: what it shares counts in equal parts to all who share it.
    Proportional,
    /// What it has alone: the cost of one more, and what comes back when it ends.
    Own,
}

/// The kilobytes that an idle child costs, once it has stopped.
pub fn idle_memory(pid: u32, share: Share) -> io::Result<f64> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The state follows the name in parentheses, which may hold anything.
        if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
            break;
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("the idle child did not come to rest within 10 s"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let fields: &[&str] = match share {
        Share::Proportional => &["Pss:"],
        Share::Own => &["Private_Clean:", "Private_Dirty:"],
    };
    let kilobytes = |field: &&str| -> Option<f64> {
        let value = rollup.lines().find_map(|line| line.strip_prefix(*field))?;
        value.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    let found: Option<Vec<f64>> = fields.iter().map(kilobytes).collect();
    found
        .map(|found| found.iter().sum())
        .ok_or_else(|| io::Error::other(format!("no {fields:?} in smaps_rollup")))
}

fn pid_of(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| invalid(format!("no process id: {pid}")))
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
