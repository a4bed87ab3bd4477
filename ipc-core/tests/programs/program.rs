//! The test's own executable, started once more as a program of its own.
//!
//! The second run is told its part by an environment variable and plays it in the test function of the same name. The two
//! talk by lines: the program's standard input, and lines on its standard output that begin with `@`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use ipc_testkit::GENEROUS;

const ROLE: &str = "IPC_TEST_ROLE";

/// What this run of the executable is to be; `None` for the test itself.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Says a line to whoever started this program (or the program that this is a child of).
pub(crate) fn say(line: impl std::fmt::Display) {
    // One write, so that lines of several processes do not mix.
    let line = format!("\n@{line}\n");
    rustix::io::write(std::io::stdout(), line.as_bytes()).expect("stdout");
}

/// Waits for a line from whoever started this program, or for the end of its input.
pub(crate) fn told() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("stdin");
    line.trim().to_owned()
}

/// A running program; killed when dropped.
pub(crate) struct Program {
    pub(crate) process: std::process::Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    /// Runs the test `test` of this executable in the role `role`.
    pub(crate) fn start(test: &str, role: &str) -> Program {
        let exe = std::env::current_exe().expect("current_exe");
        let mut command = Command::new(exe);
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
        Program::run(command)
    }

    /// Runs any program.
    pub(crate) fn run(mut command: Command) -> Program {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        let (send, lines) = channel();
        // It ends with the last process that has the pipe; whoever does not end is a failure of the test.
        std::thread::spawn(move || {
            for line in stdout.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                if let Some(line) = line.strip_prefix('@')
                    && send.send(line.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Program { process, lines, seen: Vec::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The rest of the line that begins with `word`, when it comes; lines that begin otherwise are kept for later calls.
    #[track_caller]
    pub(crate) fn hears(&mut self, word: &str) -> String {
        let rest = |line: &str| Some(line.strip_prefix(word)?.trim().to_owned());
        if let Some(at) = self.seen.iter().position(|line| rest(line).is_some()) {
            return rest(&self.seen.remove(at)).unwrap_or_default();
        }
        let end = Instant::now() + GENEROUS;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => match rest(&line) {
                    Some(rest) => return rest,
                    None => self.seen.push(line),
                },
                Err(why) => panic!("waited for {word:?} ({why}), heard {:?}", self.seen),
            }
        }
    }

    /// As [`hears`](Program::hears), a number.
    #[track_caller]
    pub(crate) fn hears_number(&mut self, word: &str) -> u32 {
        let text = self.hears(word);
        text.parse().unwrap_or_else(|_| panic!("{word:?} is followed by {text:?}"))
    }

    /// All lines that were said and not yet heard, after the end of all who could say some.
    #[track_caller]
    pub(crate) fn all(&mut self) -> Vec<String> {
        let end = Instant::now() + GENEROUS;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                    return std::mem::take(&mut self.seen);
                }
                Err(_) => panic!("somebody still holds the program's output; heard {:?}", self.seen),
            }
        }
    }

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.process.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("its standard input");
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let pidfd = super::pidfd(self.process.id());
        assert!(super::ends(&pidfd), "the program does not end");
        self.process.wait().expect("wait")
    }

    /// Waits for its end, which must be a success.
    #[track_caller]
    pub(crate) fn succeeds(&mut self) {
        let status = self.wait();
        assert!(status.success(), "{status}");
    }

    /// Kills it with SIGKILL and takes its status.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("kill");
        self.process.wait().expect("wait");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended and been waited for, then both do nothing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
