//! A running contender, seen from the harness: started, asked for rounds, and told from a corpse.
//!
//! The other end of the conversation is in `protocol.rs`. A contender that hangs is killed after a minute; one that
//! panics is quoted: its message and place are the reason that the table shows.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::row::Invocation;

const PATIENCE: Duration = Duration::from_secs(60);

/// A contender that has said `ready`.
pub(crate) struct Contender {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Contender {
    /// Starts it and waits until it is warm.
    pub(crate) fn start(invocation: &Invocation) -> Result<Self, String> {
        let mut child = Command::new(&invocation.program)
            .args(&invocation.args)
            .envs(invocation.env.iter().cloned())
            // Backtraces would be captured inside somebody's time, or drown the reason.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run: {}: {error}", invocation.program.display()))?;
        let stdin = child.stdin.take();
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let stderr = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = stderr.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        });
        let mut contender = Self { child, stdin, lines, stderr };
        match contender.answer()?.as_str() {
            "ready" => Ok(contender),
            other => Err(format!("cannot run: not understood: {other}")),
        }
    }

    /// Has it do its task so many times; its figures, in its own unit.
    pub(crate) fn run(&mut self, times: usize) -> Result<Vec<f64>, String> {
        let asked = match &mut self.stdin {
            Some(stdin) => writeln!(stdin, "run {times}").and_then(|()| stdin.flush()),
            None => Ok(()),
        };
        // If it is dead already, its last words say more than a broken pipe.
        let answer = self.answer();
        if let (Err(error), Ok(_)) = (asked, &answer) {
            return Err(format!("cannot run: {error}"));
        }
        let answer = answer?;
        let figures: Vec<f64> = answer.split_whitespace().map_while(|figure| figure.parse().ok()).collect();
        if figures.len() == times {
            Ok(figures)
        } else {
            Err(format!("cannot run: not understood: {answer}"))
        }
    }

    fn answer(&mut self) -> Result<String, String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => match line.strip_prefix("error: ") {
                Some(error) => Err(self.autopsy(Some(error))),
                None => Ok(line),
            },
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                Err(format!("cannot run: hangs ({} s without an answer)", PATIENCE.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.autopsy(None)),
        }
    }

    /// The reason that a contender which ended gives: its own error and the panic on its stderr, if there are any.
    fn autopsy(&mut self, error: Option<&str>) -> String {
        self.stdin = None;
        let status = self.child.wait();
        // Its children may still hold the pipe: killing is not needed, they end with it or say something soon.
        let stderr = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        let panic = panic_in(&stderr);
        let reason = match (error, panic) {
            (Some(error), Some(panic)) => format!("{error} ({panic})"),
            (Some(error), None) => error.to_owned(),
            (None, Some(panic)) => panic,
            (None, None) => match (stderr.trim().lines().last(), status) {
                (Some(line), _) => line.to_owned(),
                (None, Ok(status)) => status.to_string(),
                (None, Err(error)) => error.to_string(),
            },
        };
        format!("cannot run: {reason}")
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // The end of its input is its leave; one that does not take it is made to.
        self.stdin = None;
        for _ in 0..500 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first panic in a program's stderr: `panicked: MESSAGE (FILE:LINE:COLUMN)`, the file from its package on.
fn panic_in(stderr: &str) -> Option<String> {
    let mut lines = stderr.lines();
    let place = lines.find_map(|line| line.split_once(" panicked at ").map(|(_, place)| place))?;
    let message = lines.next().unwrap_or_default().trim();
    let place = place.trim_end_matches(':');
    // Where this machine keeps its registry is nobody's business.
    let place = match place.split_once("/registry/src/").and_then(|(_, path)| path.split_once('/')) {
        Some((_, path)) => path,
        None => place,
    };
    Some(format!("panicked: {message} ({place})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Invocation {
        Invocation { program: "sh".into(), args: vec!["-c".into(), script.into()], env: Vec::new() }
    }

    #[test]
    fn a_contender_answers_as_often_as_it_is_asked() {
        let mut contender =
            Contender::start(&shell("echo ready; while read run times; do echo 1 2 3; done")).unwrap();
        assert_eq!(contender.run(3).unwrap(), [1.0, 2.0, 3.0]);
        assert_eq!(contender.run(3).unwrap(), [1.0, 2.0, 3.0]);
        assert!(contender.run(4).unwrap_err().contains("1 2 3"));
    }

    #[test]
    fn a_contender_that_ends_is_quoted() {
        let reason = |script: &str| Contender::start(&shell(script)).err().unwrap();
        assert_eq!(reason("echo error: no such thing; exit 1"), "cannot run: no such thing");
        assert_eq!(reason("echo oh dear >&2; exit 1"), "cannot run: oh dear");
        assert_eq!(reason("exit 3"), "cannot run: exit status: 3");
    }

    #[test]
    fn a_panic_is_told_without_this_machine() {
        let stderr =
            "note\nthread 'main' (1) panicked at /x/registry/src/host-1/c-1.1/src/b.rs:61:1:\nunreachable\n";
        assert_eq!(panic_in(stderr).unwrap(), "panicked: unreachable (c-1.1/src/b.rs:61:1)");
        assert_eq!(panic_in("nothing of the kind"), None);
    }
}
