//! Any sequence of operations on the handle of a child gives what a small model says, by exec and over a fork server.
//!
//! The child is steered by a pipe and answers by another, so every state of it is waited for and none is slept for: it
//! works; it has reported (or called `exit`) and stands in an exit hook; it is stopped, perhaps with a signal
//! that will end it once it goes on; it has ended.

// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ipc_core::{Child, Context, Descriptor, Error, ExitStatus, Signal, Stdio, active_children};
use ipc_testkit::{GENEROUS, leaks, wait_until};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, pidfd_send_signal, waitid};

/// What the child is told, and answers with the same byte: that one is there, and that its exit hook has begun.
const PING: u8 = b'p';
const HOOK: u8 = b'h';
/// What it is told and does not answer.
const RETURN: u8 = b'r';
const PANIC: u8 = b'!';
const EXIT: u8 = b'x';

const VALUE: u32 = 42;
/// What it returns when its parent's end is closed instead.
const AT_END: u32 = 7;
const CODE: i32 = 3;

/// The child: does what it is told.
fn steered(told: Descriptor, answers: Descriptor) -> u32 {
    let mut told = PipeReader::from(OwnedFd::from(told));
    let mut answers = PipeWriter::from(OwnedFd::from(answers));
    let (mut hook_told, mut hook_answers) = (told.try_clone().unwrap(), answers.try_clone().unwrap());
    let _ = ipc_core::at_exit(0, move || {
        // The parent may be gone; then there is nobody to tell, nor anything to wait for.
        let _ = hook_answers.write_all(&[HOOK]);
        let _ = hook_told.read(&mut [0]);
    });
    let mut word = [0];
    while told.read(&mut word).unwrap() == 1 {
        match word[0] {
            PING => answers.write_all(&[PING]).unwrap(),
            RETURN => return VALUE,
            PANIC => panic!("as it was told"),
            _ => std::process::exit(CODE),
        }
    }
    AT_END
}

/// What is done with a handle, before the last.
#[derive(Clone, Debug)]
enum Op {
    TryJoin,
    JoinTimeout,
    ExitStatus,
    IsAlive,
    WaitTimeout,
    Listed,
    Close,
    SetName(String),
    Ping,
    /// A signal that is ignored by default.
    Winch,
    Stop,
    Continue,
    Terminate,
    Interrupt,
    Kill,
    /// The child is told to return, panic or exit, and does so as far as its exit hook.
    Tell(u8),
    /// The exit hook is let go.
    LetGo,
}

/// What is done last.
#[derive(Clone, Copy, Debug)]
enum Last {
    Join,
    Value,
    Detach,
    Drop,
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::TryJoin),
        1 => Just(Op::JoinTimeout),
        2 => Just(Op::ExitStatus),
        2 => Just(Op::IsAlive),
        1 => Just(Op::WaitTimeout),
        1 => Just(Op::Listed),
        2 => Just(Op::Close),
        1 => "[a-z]{1,6}".prop_map(Op::SetName),
        2 => Just(Op::Ping),
        1 => Just(Op::Winch),
        2 => Just(Op::Stop),
        2 => Just(Op::Continue),
        1 => Just(Op::Terminate),
        1 => Just(Op::Interrupt),
        1 => Just(Op::Kill),
        3 => prop_oneof![Just(RETURN), Just(PANIC), Just(EXIT)].prop_map(Op::Tell),
        3 => Just(Op::LetGo),
    ]
}

fn last() -> impl Strategy<Value = Last> {
    prop_oneof![Just(Last::Join), Just(Last::Value), Just(Last::Detach), Just(Last::Drop), Just(Last::Close)]
}

/// How a child ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Code(i32),
    Signal(Signal),
}

impl End {
    fn is(self, status: ExitStatus) -> bool {
        match self {
            End::Code(code) => status.code() == Some(code),
            End::Signal(signal) => status.signal() == Some(signal),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mail {
    None,
    Value(u32),
    Panic,
    Taken,
}

/// The model: what is known of the child.
#[derive(Clone, Debug)]
struct Model {
    name: String,
    /// How it will end once it is let go, if it stands in its exit hook.
    leaving: Option<i32>,
    stopped: bool,
    /// The signal that ends it when it goes on.
    pending: Option<Signal>,
    ended: Option<End>,
    mail: Mail,
}

impl Model {
    /// Whether it does what it is told.
    fn works(&self) -> bool {
        self.ended.is_none() && !self.stopped && self.leaving.is_none()
    }

    /// What a join of an ended child says, or `value` of one that has reported.
    fn outcome(&mut self, outcome: Result<u32, Error>) -> TestCaseResult {
        let name = outcome.as_ref().err().and_then(|error| error.child()).map(|child| child.name.clone());
        prop_assert!(name.is_none_or(|name| name == self.name), "{:?}, not {}", outcome, self.name);
        let right = match (self.mail, self.ended, &outcome) {
            (Mail::Value(value), _, Ok(joined)) => *joined == value,
            (Mail::Panic, _, Err(error)) => {
                error.panic().is_some_and(|panic| panic.message == "as it was told")
                    && error.ran() == ipc_core::Ran::Ran
            }
            (Mail::Taken, _, Err(error @ Error::Taken { .. })) => error.ran() == ipc_core::Ran::Ran,
            (Mail::None, Some(End::Code(code)), Err(Error::Exited { code: left, .. })) => code == *left,
            (Mail::None, Some(End::Signal(signal)), Err(error)) => error.signal() == Some(signal),
            _ => false,
        };
        prop_assert!(right, "{:?}, and the model is {:?}", outcome, self);
        if let Mail::Value(_) = self.mail {
            self.mail = Mail::Taken;
        }
        Ok(())
    }

    /// A signal that ends it.
    fn struck(&mut self, signal: Signal) {
        if self.ended.is_some() {
            return;
        }
        if self.stopped && signal != Signal::KILL {
            // Of several the kernel delivers the one with the lowest number first.
            let first = self.pending.is_none_or(|pending| signal.as_raw() < pending.as_raw());
            self.pending = if first { Some(signal) } else { self.pending };
        } else {
            self.ended = Some(End::Signal(signal));
        }
    }
}

/// A child, its steering, and what is known of it.
struct Bench {
    child: Child<u32>,
    tell: PipeWriter,
    answers: PipeReader,
    model: Model,
}

impl Bench {
    fn new(context: &Context) -> Bench {
        let (told, tell) = std::io::pipe().unwrap();
        let (answers, answer) = std::io::pipe().unwrap();
        let args = (Descriptor::from(OwnedFd::from(told)), Descriptor::from(OwnedFd::from(answer)));
        let builder = context.builder().name("steered").stderr(Stdio::null());
        let child = builder.spawn(steered, args).unwrap();
        let model = Model {
            name: "steered".into(),
            leaving: None,
            stopped: false,
            pending: None,
            ended: None,
            mail: Mail::None,
        };
        let mut bench = Bench { child, tell, answers, model };
        // Its hook stands.
        bench.ping();
        bench
    }

    fn hear(&mut self, word: u8) {
        let mut heard = [0];
        self.answers.read_exact(&mut heard).unwrap();
        assert_eq!(heard[0], word);
    }

    fn ping(&mut self) {
        self.tell.write_all(&[PING]).unwrap();
        self.hear(PING);
    }

    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.pid())).ok()?;
        stat.rsplit_once(')')?.1.trim().chars().next()
    }

    /// What is true of the handle in any state; waits for the end where the model says that it has come.
    fn check(&self) -> TestCaseResult {
        if let Some(end) = self.model.ended {
            let status = self.child.wait_timeout(GENEROUS).unwrap();
            prop_assert!(status.is_some_and(|status| end.is(status)), "{status:?}, not {end:?}");
        }
        prop_assert_eq!(self.child.is_alive(), self.model.ended.is_none());
        prop_assert_eq!(self.child.exit_status().is_some(), self.model.ended.is_some());
        prop_assert_eq!(self.child.name(), self.model.name.as_str());
        Ok(())
    }

    /// What a join says that does not wait.
    fn check_join(&mut self, joined: Result<Option<u32>, Error>) -> TestCaseResult {
        if self.model.ended.is_none() {
            prop_assert!(matches!(joined, Ok(None)), "{joined:?} of one that is alive");
            return Ok(());
        }
        let value =
            joined.and_then(|joined| joined.ok_or(Error::Invalid { what: "None".into(), why: "".into() }));
        self.model.outcome(value)
    }

    fn act(mut self, op: &Op) -> Result<Bench, TestCaseError> {
        let alive = self.model.ended.is_none();
        match op {
            Op::TryJoin => {
                let joined = self.child.try_join();
                self.check_join(joined)?;
            }
            Op::JoinTimeout => {
                let joined = self.child.join_timeout(Duration::ZERO);
                self.check_join(joined)?;
            }
            Op::ExitStatus => {
                let status = self.child.exit_status();
                let right = match (status, self.model.ended) {
                    (None, None) => true,
                    (Some(status), Some(end)) => end.is(status),
                    _ => false,
                };
                prop_assert!(right, "{:?}, and the model is {:?}", status, self.model);
            }
            Op::IsAlive => prop_assert_eq!(self.child.is_alive(), alive),
            Op::WaitTimeout => {
                prop_assert_eq!(self.child.wait_timeout(Duration::ZERO).unwrap().is_some(), !alive);
            }
            Op::Listed => {
                let pid = self.child.pid();
                // A number that was given out again is another child's, of a test beside this one, say.
                let name = &self.model.name;
                let listed = active_children().iter().any(|one| one.pid() == pid && one.name() == *name);
                prop_assert_eq!(listed, alive);
            }
            Op::Close if alive => {
                let Err(refused) = self.child.close() else {
                    return Err(TestCaseError::fail("closed while it runs"));
                };
                let still_running = matches!(refused.error(), Error::StillRunning { .. });
                prop_assert!(still_running, "{}", refused);
                self.child = refused.into_child();
            }
            Op::Close => {} // it takes the handle: see `Last::Close`
            Op::SetName(name) => {
                self.child.set_name(name.as_str());
                self.model.name.clone_from(name);
            }
            Op::Ping if self.model.works() => self.ping(),
            Op::Winch => self.child.signal(Signal::WINCH).unwrap(),
            Op::Stop => {
                self.child.signal(Signal::STOP).unwrap();
                if alive {
                    self.model.stopped = true;
                    assert!(wait_until(GENEROUS, || self.state() == Some('T')));
                }
            }
            Op::Continue => {
                self.child.signal(Signal::CONT).unwrap();
                self.model.stopped = false;
                if let Some(signal) = self.model.pending.take() {
                    self.model.struck(signal);
                }
                if self.model.ended.is_none() {
                    assert!(wait_until(GENEROUS, || self.state() != Some('T')));
                }
            }
            Op::Terminate => {
                self.child.terminate().unwrap();
                self.model.struck(Signal::TERM);
            }
            Op::Interrupt => {
                self.child.interrupt().unwrap();
                self.model.struck(Signal::INT);
            }
            Op::Kill => {
                self.child.kill().unwrap();
                self.model.struck(Signal::KILL);
            }
            Op::Tell(word) if self.model.works() => {
                self.tell.write_all(&[*word]).unwrap();
                self.hear(HOOK);
                let (code, mail) = match *word {
                    RETURN => (0, Mail::Value(VALUE)),
                    PANIC => (101, Mail::Panic),
                    _ => (CODE, Mail::None),
                };
                self.model.leaving = Some(code);
                self.model.mail = mail;
            }
            Op::LetGo if alive && !self.model.stopped => {
                if let Some(code) = self.model.leaving {
                    self.tell.write_all(&[0]).unwrap();
                    self.model.ended = Some(End::Code(code));
                }
            }
            Op::Ping | Op::Tell(_) | Op::LetGo => {} // it would not, or not yet
        }
        self.check()?;
        Ok(self)
    }

    /// The last operation, in whatever state the child is; then it ends, and is collected.
    fn end(self, last: Last) -> TestCaseResult {
        let Bench { child, tell, answers, mut model } = self;
        let pidfd = child.sentinel().try_clone_to_owned().unwrap();
        let release = |model: &mut Model| {
            pidfd_send_signal(&pidfd, rustix::process::Signal::CONT).ok();
            model.stopped = false;
            drop((tell, answers));
            if let Some(signal) = model.pending.take() {
                model.struck(signal);
            } else if model.ended.is_none() {
                if model.leaving.is_none() {
                    model.mail = Mail::Value(AT_END);
                }
                model.ended = Some(End::Code(model.leaving.unwrap_or(0)));
            }
        };
        match last {
            // These never wait for the child; nor does `value`, where there is one.
            Last::Detach => child.detach().unwrap(),
            Last::Drop => drop(child),
            Last::Value if matches!(model.mail, Mail::Value(_) | Mail::Panic) => {
                model.outcome(child.value())?
            }
            Last::Join | Last::Value | Last::Close => {
                release(&mut model);
                match last {
                    Last::Join => model.outcome(child.join())?,
                    Last::Value => model.outcome(child.value())?,
                    _ => {
                        child.wait().unwrap();
                        prop_assert!(child.close().is_ok());
                    }
                }
                return collected(&pidfd);
            }
        }
        release(&mut model);
        collected(&pidfd)
    }
}

/// Nobody has a handle any more, and no zombie is left once someone looks at the children.
fn collected(pidfd: &OwnedFd) -> TestCaseResult {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let gone = wait_until(GENEROUS, || {
        active_children();
        waitid(WaitId::PidFd(pidfd.as_fd()), look).is_err_and(|error| error == Errno::CHILD)
    });
    prop_assert!(gone, "a child or a zombie is left");
    Ok(())
}

fn any_sequence(method: fn() -> Context) {
    let _leaks = leaks();
    let context = method();
    let usual = ProptestConfig::default();
    // A case is a process: half as many, and as PROPTEST_CASES says.
    let config = ProptestConfig { failure_persistence: None, cases: usual.cases / 2, ..usual };
    let tested = TestRunner::new(config).run(&(vec(op(), 0..24), last()), |(ops, last)| {
        let bench = ops.iter().try_fold(Bench::new(&context), Bench::act)?;
        bench.end(last)
    });
    tested.unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn any_sequence_of_operations_by_exec() {
    any_sequence(Context::exec);
}

#[test]
fn any_sequence_of_operations_over_a_fork_server() {
    any_sequence(Context::fork_server);
}
