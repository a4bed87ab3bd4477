//! The lines that children write, brought to the parent: one thread reads all pipes and hands out whole lines.
//!
//! The thread is started with the first pipe and then waits in poll(2) for all of them, and for an eventfd that says
//! that there is something new to do. It blocks all signals, so that no handler of the program runs on it. It never
//! ends: it costs nothing while nobody writes. A forked child has no such thread and makes its own (see
//! [`ForkLocal`]), and none of the pipes: with a read end kept there a writer would believe that somebody reads.
//!
//! # The end of a child
//!
//! A child's last words are still in the pipe when its death is known, and whoever joins it wants them delivered
//! first. EOF is the wrong thing to wait for: a grandchild may hold the pipe open for ever. But what the dead child
//! wrote is in the pipe *at that moment*; so [`Relayed::drain`] asks the thread to read as many bytes as the pipe
//! holds then, and waits for that. A grandchild that goes on writing delays nobody, and its later lines are relayed
//! all the same.
//!
//! | who dies | what happens |
//! |---|---|
//! | the child, with half a line written | the half is delivered, as a line |
//! | the child, a grandchild holding the pipe | what the pipe holds is delivered; the rest when it comes |
//! | the parent | its children get EPIPE or SIGPIPE, as with any pipe |
//! | a function given to [`lines`](super::stdio::Stdio::lines), by a panic | that line is lost, the relay goes on |

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, ioctl_fionread};

use super::lines::Lines;
use super::stdio::{Line, Sink, Stream};
use crate::entry::panics;
use crate::sys::fork_local::ForkLocal;
use crate::sys::incarnation::Incarnation;
use crate::sys::inherit::BlockedSignals;
use crate::sys::private::{self, Private};

/// How much is read at once: what a pipe holds.
const CHUNK: usize = 64 * 1024;

/// The relay of this process.
static RELAY: ForkLocal<Mutex<Shared>> = ForkLocal::new();

thread_local! {
    /// Set on the relay's own thread, which must not wait for itself. (If it forks, in the function of a line, the child's
    /// thread is not the relay's.)
    static ON_RELAY: Cell<Option<Incarnation>> = const { Cell::new(None) };
}

/// No code of the user's runs under these locks, so they are poisoned by nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread and the others share.
#[derive(Default)]
struct Shared {
    /// Rung when there is an arrival, or a stream is to be drained. `None`: the thread was not started yet.
    bell: Option<Arc<Private>>,
    /// Registered, and not yet taken over by the thread.
    arrivals: Vec<Open>,
}

/// A stream in the hands of the thread.
struct Open {
    pipe: Private,
    stream: Stream,
    sink: Sink,
    pid: u32,
    progress: Arc<Progress>,
    lines: Lines,
}

/// What others see of a stream.
struct Progress {
    name: Mutex<String>,
    drains: Mutex<Drains>,
    changed: Condvar,
}

#[derive(Default)]
struct Drains {
    asked: u64,
    done: u64,
    ended: bool,
}

/// Lets the relay read a pipe until its end, and give each line to the sink under this name and pid.
///
/// # Errors
///
/// The first call starts the thread: no descriptor or no thread can be had.
pub(crate) fn register(
    pipe: Private,
    stream: Stream,
    sink: Sink,
    name: &str,
    pid: u32,
) -> io::Result<Relayed> {
    // The description of the read end is our own: the child has the other end.
    fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
    let relay = RELAY.get_or_make(Mutex::default);
    let mut shared = lock(relay);
    let bell = match &shared.bell {
        Some(bell) => Arc::clone(bell),
        None => Arc::clone(shared.bell.insert(start(relay)?)),
    };
    let progress = Arc::new(Progress {
        name: Mutex::new(name.to_owned()),
        drains: Mutex::default(),
        changed: Condvar::new(),
    });
    let relayed =
        Relayed { progress: Arc::clone(&progress), bell: Arc::clone(&bell), owner: Incarnation::this() };
    shared.arrivals.push(Open { pipe, stream, sink, pid, progress, lines: Lines::default() });
    drop(shared);
    ring(&bell);
    Ok(relayed)
}

/// A registered stream: what the child's handle keeps.
pub(crate) struct Relayed {
    progress: Arc<Progress>,
    bell: Arc<Private>,
    /// The process whose relay it is.
    owner: Incarnation,
}

impl Relayed {
    /// Waits until everything that is in the pipe now was delivered, or the time is over. True if it was delivered.
    ///
    /// It gives up at once in a process that did not register the stream, and in a function that the relay itself is
    /// calling: waiting there would wait for the caller.
    pub(crate) fn drain(&self, timeout: Duration) -> bool {
        // Not even the lock is another process's to take: a thread that is not here may hold it.
        if !self.owner.is_this() {
            return false;
        }
        let mut drains = lock(&self.progress.drains);
        if drains.ended || ON_RELAY.get().is_some_and(Incarnation::is_this) {
            return drains.ended;
        }
        drains.asked += 1;
        let mine = drains.asked;
        drop(drains);
        ring(&self.bell);
        let deadline = Instant::now() + timeout;
        let mut drains = lock(&self.progress.drains);
        while !drains.ended && drains.done < mine {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.progress.changed.wait_timeout(drains, left);
            drains = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The name that further lines bear.
    pub(crate) fn rename(&self, name: &str) {
        name.clone_into(&mut lock(&self.progress.name));
    }
}

fn ring(bell: &Private) {
    // Full means rung; nothing else can fail.
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

fn start(relay: &'static Mutex<Shared>) -> io::Result<Arc<Private>> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let [bell] = private::make(|| Ok([eventfd(0, flags)?]))?;
    let bell = Arc::new(bell);
    let blocked = BlockedSignals::all()?;
    let mine = Arc::clone(&bell);
    std::thread::Builder::new().name("ipc-relay".to_owned()).spawn(move || run(relay, &mine))?;
    drop(blocked);
    Ok(bell)
}

fn run(relay: &'static Mutex<Shared>, bell: &Private) {
    ON_RELAY.set(Some(Incarnation::this()));
    let mut streams: Vec<Open> = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let ready = wait(bell, &streams);
        let mut alive = Vec::with_capacity(streams.len());
        for (mut stream, ready) in mem::take(&mut streams).into_iter().zip(ready) {
            if !ready || stream.read_some(&mut chunk) {
                alive.push(stream);
            } else {
                stream.end();
            }
        }
        streams = alive;
        // Emptied before looking: what comes after this rings again.
        let _ = rustix::io::read(bell, &mut [0_u8; 8]);
        streams.append(&mut lock(relay).arrivals);
        let asked = |stream: &Open| {
            Some(lock(&stream.progress.drains)).filter(|it| it.asked > it.done).map(|it| it.asked)
        };
        let mut alive = Vec::with_capacity(streams.len());
        for mut stream in mem::take(&mut streams) {
            match asked(&stream) {
                None => alive.push(stream),
                Some(number) if stream.drain(&mut chunk) => {
                    lock(&stream.progress.drains).done = number;
                    stream.progress.changed.notify_all();
                    alive.push(stream);
                }
                Some(_) => stream.end(),
            }
        }
        streams = alive;
    }
}

/// Waits for the bell or a stream; says which streams to look at.
fn wait(bell: &Private, streams: &[Open]) -> Vec<bool> {
    let pipes = streams.iter().map(|stream| stream.pipe.as_fd());
    let mut polled: Vec<PollFd<'_>> =
        pipes.chain([bell.as_fd()]).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    match poll(&mut polled, None) {
        Ok(_) => polled.iter().take(streams.len()).map(|fd| !fd.revents().is_empty()).collect(),
        Err(Errno::INTR) => vec![false; streams.len()],
        Err(_) => {
            // RLIMIT_NOFILE was lowered below the number of pipes, or the kernel has no memory: look at all, slowly.
            // Reading does not block.
            std::thread::sleep(Duration::from_millis(10));
            vec![true; streams.len()]
        }
    }
}

impl Open {
    /// One read; false at the end.
    fn read_some(&mut self, chunk: &mut [u8]) -> bool {
        match rustix::io::read(&self.pipe, &mut *chunk) {
            Ok(0) => false,
            Ok(length) => {
                self.deliver(|lines, emit| lines.feed(&chunk[..length], emit));
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        }
    }

    /// Reads what the pipe holds at this moment and delivers all of it, an unfinished line too; false at the end.
    fn drain(&mut self, chunk: &mut [u8]) -> bool {
        let mut left =
            ioctl_fionread(&self.pipe).map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        while left > 0 {
            let room = left.min(chunk.len());
            match rustix::io::read(&self.pipe, &mut chunk[..room]) {
                Ok(0) => return false,
                Ok(length) => {
                    left -= length;
                    self.deliver(|lines, emit| lines.feed(&chunk[..length], emit));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return false,
            }
        }
        self.deliver(Lines::finish);
        // If that was all, the end is seen now, so that after a join no descriptor is left.
        self.read_some(chunk)
    }

    /// The stream is over: the rest is delivered, then pipe and function are dropped, then the waiting are told.
    fn end(mut self) {
        self.deliver(Lines::finish);
        let Open { pipe, sink, progress, .. } = self;
        drop(pipe);
        // What the user's function has captured may panic when dropped.
        panics::contain(|| drop(sink));
        lock(&progress.drains).ended = true;
        progress.changed.notify_all();
    }

    fn deliver(&mut self, feed: impl FnOnce(&mut Lines, &mut dyn FnMut(&[u8]))) {
        let Open { lines, sink, progress, stream, pid, .. } = self;
        feed(lines, &mut |line| {
            let name = lock(&progress.name).clone();
            match sink {
                Sink::Print => print(&name, *pid, *stream, line),
                Sink::Call(f) => {
                    let text = String::from_utf8_lossy(line).into_owned();
                    let line = Line { name, pid: *pid, stream: *stream, text };
                    // The panic hook has reported it.
                    panics::contain(|| f(line));
                }
            }
        });
    }
}

/// One write under the lock of std's stream, so that a line mixes neither with other children's nor with the
/// parent's own.
fn print(name: &str, pid: u32, stream: Stream, line: &[u8]) {
    let mut text = Vec::with_capacity(line.len() + name.len() + 16);
    text.extend_from_slice(format!("[{} {pid}] ", Plain(name)).as_bytes());
    text.extend_from_slice(String::from_utf8_lossy(line).as_bytes());
    text.push(b'\n');
    // A parent without a readable output loses the lines, as a child with one would.
    let _ = match stream {
        Stream::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(&text).and_then(|()| out.flush())
        }
        Stream::Stderr => io::stderr().lock().write_all(&text),
    };
}

/// A name as it may stand in a line: control characters would end it, or speak to the terminal.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if c.is_control() { write!(f, "{}", c.escape_debug()) } else { f.write_char(c) }
        })
    }
}

#[cfg(test)]
mod tests;
