//! Running one command so that nothing of it stays behind.
//!
//! Every command gets an environment variable that no other has, and all its descendants inherit it. What
//! still runs some seconds after the command has ended was leaked: it is found in `/proc/*/environ`, named
//! and killed. A child that cleared its environment escapes that search, but not the second one: xtask is a
//! *subreaper* (prctl(2), PR_SET_CHILD_SUBREAPER), so that orphans become its children instead of pid 1's.
//! It reaps those that are dead while it waits, as pid 1 would: a test that waits until an orphan is gone
//! must not wait for a zombie.
//!
//! Standard output and standard error go into one pipe, for their order tells which binary a line is from.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

use crate::Result;

/// The variable by which the descendants of one command are known.
const MARK: &str = "IPC_XTASK_CELL";
/// How long a descendant may outlive its command. Lifelines fire within a millisecond; a busy machine may
/// need longer to run what they kill.
const GRACE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(10);

/// The commands that run now: their ends are theirs to await, all other dead children are orphans.
static OURS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
static NEXT: AtomicU32 = AtomicU32::new(0);
static SUBREAPER: AtomicBool = AtomicBool::new(false);

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// `None`: it ran into its limit and was killed.
    pub(crate) status: Option<ExitStatus>,
    /// Both streams, in the order of writing.
    pub(crate) output: String,
    pub(crate) time: Duration,
    /// What it left running, a line each.
    pub(crate) left: Vec<String>,
}

impl Finished {
    pub(crate) fn ok(&self) -> bool {
        self.status.is_some_and(|status| status.success()) && self.left.is_empty()
    }

    /// Why it was no success.
    pub(crate) fn why(&self) -> String {
        let mut why = match self.status {
            None => format!("killed after {:.0} s", self.time.as_secs_f64()),
            Some(status) => status.to_string(),
        };
        for left in &self.left {
            why += &format!("; left running: {left}");
        }
        why
    }
}

/// A command that has been started, with the mark of its descendants.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) mark: String,
}

/// Starts a command with a mark of its own. Who calls it must call [`Running::end`].
pub(crate) fn start(mut command: Command) -> Result<Running> {
    let mark = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut ours = ours();
    let child = command
        .env(MARK, &mark)
        .spawn()
        .map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))?;
    ours.insert(child.id());
    Ok(Running { child, mark })
}

impl Running {
    /// Waits for the end, at most until `deadline`; then it is killed with all its descendants.
    pub(crate) fn wait(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        let mut pause = Duration::from_millis(1);
        loop {
            reap_orphans();
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                self.kill();
                return Ok(None);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(STEP);
        }
    }

    pub(crate) fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(|error| format!("cannot wait: {error}"))
    }

    pub(crate) fn kill(&mut self) {
        // Both may find nobody any more, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        kill_marked(&self.mark);
    }

    /// After the end: who is left once the grace has passed. They are killed.
    pub(crate) fn end(self) -> Vec<String> {
        let deadline = Instant::now() + GRACE;
        let left = loop {
            reap_orphans();
            let left = marked(&self.mark);
            if left.is_empty() || Instant::now() >= deadline {
                break left;
            }
            thread::sleep(STEP);
        };
        // Described first: the dead have no command line.
        let described = left.into_iter().map(describe).collect();
        kill_marked(&self.mark);
        ours().remove(&self.child.id());
        described
    }
}

/// Which lines of a command's output are shown as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    Nothing,
    /// All but the messages that cargo writes for programs.
    Text,
}

/// Runs a command to its end, in the project's own way of streams, mark and limit.
pub(crate) fn run(mut command: Command, limit: Duration, echo: Echo) -> Result<Finished> {
    let begin = Instant::now();
    let (reader, writer) = std::io::pipe().map_err(|error| format!("pipe: {error}"))?;
    let second = writer.try_clone().map_err(|error| format!("pipe: {error}"))?;
    command.stdin(Stdio::null()).stdout(writer).stderr(second);
    // `start` consumes the command, and with it our copies of the writing end.
    let mut running = start(command)?;
    let output = thread::spawn(move || {
        let mut output = String::new();
        let mut line = Vec::new();
        let mut reader = BufReader::new(reader);
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            if echo == Echo::Text && !text.starts_with('{') {
                print!("{text}");
            }
            output += &text;
            line.clear();
        }
        output
    });
    let status = running.wait(begin + limit);
    let time = begin.elapsed();
    let left = running.end();
    let output = output.join().unwrap_or_default();
    Ok(Finished { status: status?, output, time, left })
}

/// Runs many commands, as many at a time as there are CPUs; the results stand in the order of the commands.
pub(crate) fn run_all<T: Sync, R: Send>(jobs: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((at, job)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(at).map(|job| (at, job))
                } {
                    let result = work(job);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// From now on orphans come to us.
pub(crate) fn become_subreaper() {
    // Without it (a sandbox may refuse) the search by mark remains.
    let done = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    SUBREAPER.store(done.is_ok(), Ordering::Relaxed);
}

/// Living children that are no command of ours, once the grace has passed: what a command left and the
/// search by mark did not see. To be called when no command runs; they are killed.
pub(crate) fn strangers() -> Vec<String> {
    let deadline = Instant::now() + GRACE;
    let me = std::process::id();
    let strangers = loop {
        reap_orphans();
        let strangers: Vec<u32> = processes()
            .filter(|pid| stat(*pid).is_some_and(|(state, parent)| parent == me && state != 'Z'))
            .filter(|pid| !ours().contains(pid))
            .collect();
        if strangers.is_empty() || Instant::now() >= deadline {
            break strangers;
        }
        thread::sleep(STEP);
    };
    let described = strangers.iter().copied().map(describe).collect();
    strangers.into_iter().for_each(kill);
    described
}

fn ours() -> MutexGuard<'static, BTreeSet<u32>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reaps dead children that are not ours. A dead command of ours hides what stands behind it in the
/// kernel's list until its own waiter has taken it, a step later.
fn reap_orphans() {
    if !SUBREAPER.load(Ordering::Relaxed) {
        return;
    }
    let ours = ours();
    let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while let Ok(Some(_)) = rustix::process::waitid(WaitId::All, peek) {
        // waitid's answer does not carry the pid through rustix; the dead say so themselves.
        let me = std::process::id();
        let dead: Vec<u32> = processes()
            .filter(|pid| !ours.contains(pid))
            .filter(|pid| stat(*pid).is_some_and(|(state, parent)| parent == me && state == 'Z'))
            .collect();
        if dead.is_empty() {
            return;
        }
        for pid in dead {
            let _ = rustix::process::waitpid(as_pid(pid), WaitOptions::NOHANG);
        }
    }
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
}

/// State and parent of a process.
pub(crate) fn stat(pid: u32) -> Option<(char, u32)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(stat: &str) -> Option<(char, u32)> {
    // The name in brackets may hold anything, brackets too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// The processes whose environment holds the mark. The dead have none any more.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}");
    processes()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
        })
        .collect()
}

fn kill_marked(mark: &str) {
    let deadline = Instant::now() + GRACE;
    loop {
        let marked = marked(mark);
        if marked.is_empty() || Instant::now() >= deadline {
            return;
        }
        marked.into_iter().for_each(kill);
        thread::sleep(STEP);
        reap_orphans();
    }
}

fn kill(pid: u32) {
    if let Some(pid) = as_pid(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

pub(crate) fn as_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// Pid, command line, and the test it came from where nextest tells.
fn describe(pid: u32) -> String {
    let words = |file: &str| -> Vec<String> {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).split('\0').map(str::to_owned).collect()
    };
    let environ = words("environ");
    let from = |name: &str| environ.iter().find_map(|entry| entry.strip_prefix(name)).unwrap_or_default();
    let test = format!("{} {}", from("NEXTEST_BINARY_ID="), from("NEXTEST_TEST_NAME="));
    format!("{pid} `{}` {}", words("cmdline").join(" ").trim(), test.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_streams_arrive_in_order() {
        let done = run(sh("echo a; echo b >&2; echo c"), Duration::from_secs(60), Echo::Nothing).unwrap();
        assert_eq!(done.output, "a\nb\nc\n");
        assert!(done.ok(), "{}", done.why());
    }

    #[test]
    fn what_outlives_its_command_is_named_and_killed() {
        let done = run(sh("sleep 1000 & echo $!"), Duration::from_secs(60), Echo::Nothing).unwrap();
        let pid: u32 = done.output.trim().parse().unwrap();
        assert!(!done.ok());
        assert!(done.left.iter().any(|left| left.contains("sleep 1000")), "{:?}", done.left);
        // Its environment goes before it is dead.
        let dead = || stat(pid).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'));
        assert!(ipc_testkit::wait_until(ipc_testkit::GENEROUS, dead));
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let done = run(sh("sleep 1000 & sleep 1000"), Duration::from_millis(200), Echo::Nothing).unwrap();
        assert!(done.status.is_none() && !done.ok(), "{}", done.why());
    }

    #[test]
    fn results_stand_in_the_order_of_the_jobs() {
        assert_eq!(run_all(&[3, 1, 2], |job| job * 2), [6, 2, 4]);
        assert!(run_all(&[0; 0], |job| *job).is_empty());
    }

    #[test]
    fn a_process_name_may_hold_anything() {
        assert_eq!(parse_stat("7 (a) b)) S 42 7 7"), Some(('S', 42)));
        assert_eq!(parse_stat("nonsense"), None);
    }
}
