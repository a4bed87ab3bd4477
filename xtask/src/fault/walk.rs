//! One run of a scenario with strace attached, and the verdict on it.
//!
//! strace counts calls (`when=N`) for each thread apart, from the moment it attaches. So the program stops
//! itself where its region begins, strace attaches, and the program is continued: the N-th call is the
//! N-th of the region, whatever loader and runtime did before, and also the N-th of each process that is
//! born in the region. Because a count that is a thread's own hits several processes at once, a scenario is
//! swept up to three times, see [`Who`].

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::trace::Trace;
use crate::Result;
use crate::exec::{self, Running};

/// How long a walk may take once it goes on: a guard against hanging.
pub(super) const HANG: Duration = Duration::from_secs(10);
/// How long until it stands at its mark, and until strace is attached.
const READY: Duration = Duration::from_secs(30);

/// In whose threads calls are counted and fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The one thread that walks: a single failure, in a fixed order.
    Caller,
    /// It and whatever it starts in the region. The N-th call of each of them fails.
    Family,
    /// The processes that it started before the region (a fork server) and what they start: failures
    /// that meet the children, while the caller's own calls succeed.
    Children,
}

impl Who {
    pub(super) const ALL: [Who; 3] = [Who::Caller, Who::Family, Who::Children];

    pub(super) fn name(self) -> &'static str {
        match self {
            Who::Caller => "caller",
            Who::Family => "family",
            Who::Children => "children",
        }
    }
}

/// Which call fails.
#[derive(Clone, Debug)]
pub(super) struct Injection<'a> {
    pub(super) call: &'a str,
    pub(super) error: &'a str,
    pub(super) at: u32,
}

/// How a walk went.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) trace: Trace,
    pub(super) caller: u32,
    /// What the program answered, or what is wrong with it.
    pub(super) verdict: Result<Answer>,
    pub(super) time: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It succeeded all the same.
    Ok,
    Error(String),
}

/// The program and where its runs may leave their files.
pub(super) struct Walker {
    pub(super) program: PathBuf,
    pub(super) scratch: PathBuf,
    /// [`HANG`], but for tests of hanging.
    pub(super) hang: Duration,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Walker {
    pub(super) fn scenarios(&self) -> Result<Vec<String>> {
        let done = exec::run(Command::new(&self.program), READY, exec::Echo::Nothing)?;
        if !done.ok() {
            return Err(format!("{}: {}\n{}", self.program.display(), done.why(), done.output));
        }
        Ok(done.output.lines().map(str::to_owned).collect())
    }

    /// `None`: there is nobody to attach to (no children yet at the beginning of the region).
    pub(super) fn walk(
        &self,
        scenario: &str,
        who: Who,
        injection: Option<&Injection<'_>>,
    ) -> Result<Option<Walked>> {
        let stem =
            self.scratch.join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let files = Files { stem };
        let walked = self.walk_with(&files, scenario, who, injection);
        files.remove();
        walked
    }

    fn walk_with(
        &self,
        files: &Files,
        scenario: &str,
        who: Who,
        injection: Option<&Injection<'_>>,
    ) -> Result<Option<Walked>> {
        let mut command = Command::new(&self.program);
        command.arg(scenario).env("IPC_FAULT_STOP", "1").env_remove("RUST_BACKTRACE").stdin(Stdio::null());
        command.stdout(files.create("out")?).stderr(files.create("err")?);
        let mut program = exec::start(command)?;
        let caller = program.child.id();
        let attached = stands(&mut program, files).and_then(|()| attach(files, who, injection, &program));
        let mut strace = match attached {
            Ok(Some(strace)) => strace,
            other => {
                program.kill();
                program.end();
                return other.map(|_| None);
            }
        };
        let begin = Instant::now();
        if let Some(pid) = exec::as_pid(caller) {
            // If it is gone, the wait below says so.
            let _ = rustix::process::kill_process(pid, Signal::CONT);
        }
        let status = program.wait(begin + self.hang)?;
        let time = begin.elapsed();
        let left = program.end();
        // strace ends with the last of what it traced, and all of that is gone now.
        strace.wait(Instant::now() + READY)?;
        strace.end();

        let trace = Trace::parse(&files.read("trace"), who != Who::Children);
        let verdict = match status {
            None => Err(format!("hung: killed after {} s", self.hang.as_secs())),
            Some(_) if !left.is_empty() => Err(format!("left running: {}", left.join("; "))),
            Some(status) if !status.success() => Err(format!("{status}: {}", files.said())),
            Some(_) => answer(&files.read("out")),
        };
        Ok(Some(Walked { trace, caller, verdict, time }))
    }
}

/// Its last line: `ok`, or `error: ` and something to read.
fn answer(out: &str) -> Result<Answer> {
    match out.lines().last().unwrap_or_default() {
        "ok" => Ok(Answer::Ok),
        line => match line.strip_prefix("error: ").filter(|text| !text.trim().is_empty()) {
            Some(text) => Ok(Answer::Error(text.to_owned())),
            None => Err(format!("exit 0, and neither `ok` nor `error: …`: {out:?}")),
        },
    }
}

/// Waits until the program has stopped itself at the beginning of its region.
fn stands(program: &mut Running, files: &Files) -> Result {
    let deadline = Instant::now() + READY;
    loop {
        if let Some(status) = program.try_wait()? {
            return Err(format!("ended before its region ({status}): {}", files.said()));
        }
        match exec::stat(program.child.id()) {
            Some(('T' | 't', _)) => return Ok(()),
            _ if Instant::now() >= deadline => return Err("never began its region".to_owned()),
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn attach(
    files: &Files,
    who: Who,
    injection: Option<&Injection<'_>>,
    program: &Running,
) -> Result<Option<Running>> {
    let caller = program.child.id();
    let targets = match who {
        Who::Caller | Who::Family => vec![caller],
        // One may have done its part by now.
        Who::Children => {
            exec::marked(&program.mark).into_iter().filter(|pid| *pid != caller && !is_over(*pid)).collect()
        }
    };
    if targets.is_empty() {
        return Ok(None);
    }
    let mut strace = Command::new("strace");
    strace.arg("-o").arg(files.path("trace")).stdin(Stdio::null()).stdout(Stdio::null());
    strace.stderr(files.create("strace")?);
    if who != Who::Caller {
        strace.arg("-f");
    }
    if let Some(Injection { call, error, at }) = injection {
        strace.arg("-e").arg(format!("trace={call},getpriority"));
        strace.arg("-e").arg(format!("inject={call}:error={error}:when={at}"));
    }
    for target in &targets {
        strace.arg("-p").arg(target.to_string());
    }
    let mut strace = exec::start(strace)?;
    let deadline = Instant::now() + READY;
    while files.read("strace").matches(" attached").count() < targets.len() {
        let ended = strace.try_wait()?.is_some();
        if ended || Instant::now() >= deadline {
            strace.kill();
            strace.end();
            if ended && targets.iter().any(|target| *target != caller && is_over(*target)) {
                return attach(files, who, injection, program);
            }
            return Err(format!("strace cannot attach: {}", files.read("strace").trim()));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(Some(strace))
}

/// Whether a process has ended, also where nobody has waited for it yet.
fn is_over(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_none_or(|state| matches!(state, 'Z' | 'X'))
}

/// The files of one run.
struct Files {
    stem: PathBuf,
}

impl Files {
    fn path(&self, kind: &str) -> PathBuf {
        self.stem.with_extension(kind)
    }

    fn create(&self, kind: &str) -> Result<File> {
        let path = self.path(kind);
        File::create(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn read(&self, kind: &str) -> String {
        fs::read(self.path(kind))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// What the program printed, on one line.
    fn said(&self) -> String {
        let text = self.read("out") + &self.read("err");
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join(" / ")
    }

    fn remove(&self) {
        for kind in ["out", "err", "strace", "trace"] {
            // A file that was never made is as good as removed.
            let _ = fs::remove_file(self.path(kind));
        }
    }
}

/// Where the runs' files go.
pub(super) fn scratch(target: &Path) -> Result<PathBuf> {
    let scratch = target.join("fault");
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    Ok(scratch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_answer() {
        assert_eq!(answer("chatter\nok\n"), Ok(Answer::Ok));
        assert_eq!(answer("error: spawn: no memory\n"), Ok(Answer::Error("spawn: no memory".to_owned())));
        assert!(answer("error: \n").is_err());
        assert!(answer("").is_err());
    }
}
