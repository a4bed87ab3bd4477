//! Bad weather: a child that dies before its handshake, while it takes its arguments, while it gives its result.
//!
//! Exec'd children die at the very first instructions by a constructor of this file that stands before the crate's own;
//! later ones inside the `Deserialize` and `Serialize` of a type of this file.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use ipc_core::{Child, Context, Error, Function, Message, Ran, Signal, StartMethod};
use ipc_testkit::{GENEROUS, leaks, wait_until};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod programs;
use programs::{each_method, ended, joined, pidfd, signal, state};
use rustix::process::Signal as Raw;

/// How a process meets its end, or not.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
enum Fate {
    Lives,
    Killed,
    Aborts,
    Leaves,
    Panics,
    Errs,
    Stops,
}

impl Fate {
    fn meet(self) -> Result<(), &'static str> {
        match self {
            Fate::Lives => {}
            Fate::Killed => signal(std::process::id(), Raw::KILL),
            Fate::Aborts => std::process::abort(),
            Fate::Leaves => std::process::exit(7),
            Fate::Panics => panic!("met in pid {}", std::process::id()),
            Fate::Errs => return Err("it does not want to"),
            Fate::Stops => signal(std::process::id(), Raw::STOP),
        }
        Ok(())
    }
}

/// A value whose journey ends in a process that is not the one it was made in.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Traveller<const AT_SERIALIZE: bool> {
    home: u32,
    fate: Fate,
}

impl<const AT_SERIALIZE: bool> Traveller<AT_SERIALIZE> {
    fn new(fate: Fate, home: u32) -> Self {
        Traveller { home, fate }
    }

    fn abroad(&self) -> bool {
        std::process::id() != self.home
    }
}

impl<const AT_SERIALIZE: bool> Serialize for Traveller<AT_SERIALIZE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if AT_SERIALIZE && self.abroad() {
            self.fate.meet().map_err(serde::ser::Error::custom)?;
        }
        (self.home, self.fate).serialize(serializer)
    }
}

impl<'de, const AT_SERIALIZE: bool> Deserialize<'de> for Traveller<AT_SERIALIZE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (home, fate) = Deserialize::deserialize(deserializer)?;
        let traveller = Traveller { home, fate };
        if !AT_SERIALIZE && traveller.abroad() {
            fate.meet().map_err(serde::de::Error::custom)?;
        }
        Ok(traveller)
    }
}

/// Dies when it is taken out of the arguments.
type Argument = Traveller<false>;
/// Dies when it is put into the result.
type Value = Traveller<true>;

fn me() -> u32 {
    std::process::id()
}

/// The errors of a function that a traveller of each fate is sent to, and what is common to all.
fn errors<F, A: Message>(context: &Context, f: F, args: impl Fn(Fate) -> A) -> [Error; 5]
where
    F: Function<A, Output: Message>,
{
    [Fate::Killed, Fate::Aborts, Fate::Leaves, Fate::Panics, Fate::Errs].map(|fate| {
        let builder = context.builder().name(format!("{fate:?}")).stderr(ipc_core::Stdio::null());
        let child = builder.spawn(f, args(fate)).unwrap_or_else(|failed| panic!("{failed}"));
        let Err(error) = child.join() else { panic!("a value from a child that {fate:?}") };
        let who = error.child().map(|child| child.name.clone());
        assert_eq!(who, Some(format!("{fate:?}")), "{error}");
        println!("{error}");
        error
    })
}

#[test]
fn a_child_that_dies_during_its_arguments() {
    let _leaks = leaks();
    each_method(|context| {
        let called = |_: Argument| -> () { panic!("the function was called") };
        let [killed, aborted, left, panicked, erred] =
            errors(context, called, |fate| (Argument::new(fate, me()),));
        assert_eq!(killed.signal(), Some(Signal::KILL));
        assert_eq!(aborted.signal(), Some(Signal::ABORT));
        assert_eq!(left.code(), Some(7));
        assert!(panicked.to_string().contains("met in pid"), "{panicked}");
        assert!(matches!(erred, Error::Decode { .. }), "{erred:?}");
        assert!(erred.to_string().contains("does not want to"), "{erred}");
        assert_eq!(erred.ran(), Ran::DidNotRun);
    });
}

#[test]
fn a_child_that_dies_during_its_result() {
    let _leaks = leaks();
    each_method(|context| {
        let f = |home: u32, fate: Fate| Value::new(fate, home);
        let [killed, aborted, left, panicked, erred] = errors(context, f, |fate| (me(), fate));
        assert_eq!(killed.signal(), Some(Signal::KILL));
        assert_eq!(aborted.signal(), Some(Signal::ABORT));
        assert_eq!(left.code(), Some(7));
        assert!(panicked.panic().unwrap().message.contains("met in pid"), "{panicked}");
        assert_eq!(panicked.ran(), Ran::Ran);
        assert!(matches!(erred, Error::Encode { .. }), "{erred:?}");
        assert_eq!(erred.ran(), Ran::Ran);
    });
}

/// A child is stopped at a place, seen there, and killed.
fn stopped_and_killed<T: Message + std::fmt::Debug>(child: Child<T>) {
    assert!(wait_until(GENEROUS, || state(child.pid()) == Some('T')), "{:?}", state(child.pid()));
    assert!(child.is_alive());
    assert!(child.try_join().unwrap().is_none());
    assert!(child.join_timeout(std::time::Duration::from_millis(1)).unwrap().is_none());
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL));
    let error = child.join().unwrap_err();
    assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
}

#[test]
fn a_child_that_is_killed_in_the_middle_of_its_arguments_or_result() {
    let _leaks = leaks();
    each_method(|context| {
        stopped_and_killed(context.spawn(|_: Argument| (), (Argument::new(Fate::Stops, me()),)).unwrap());
        let f = |home: u32| Value::new(Fate::Stops, home);
        stopped_and_killed(context.spawn(f, (me(),)).unwrap());
    });
}

#[test]
fn a_result_that_its_parent_cannot_take() {
    let _leaks = leaks();
    each_method(|context| {
        // At home it is no longer: the parent is the stranger.
        let child = context.spawn(|| Argument::new(Fate::Errs, me()), ()).unwrap();
        let error = child.join().unwrap_err();
        assert!(matches!(error, Error::Decode { .. }), "{error:?}");
        assert_eq!(error.ran(), Ran::Ran);
        let child = context.spawn(|| Argument::new(Fate::Lives, me()), ()).unwrap();
        assert_eq!(joined(child).fate, Fate::Lives);
    });
}

/// What kills an exec'd child before the crate's constructor: its parent set this in the environment.
const EARLY: &std::ffi::CStr = c"IPC_TEST_EARLY_DEATH";

extern "C" fn early() {
    // SAFETY: getenv, kill, getpid and _exit are sound in a constructor; the variable is only read.
    unsafe {
        let value = libc::getenv(EARLY.as_ptr());
        if value.is_null() {
            return;
        }
        match *value as u8 {
            b'K' => libc::kill(libc::getpid(), libc::SIGKILL),
            b'S' => libc::kill(libc::getpid(), libc::SIGSTOP),
            _ => libc::_exit(9),
        };
    }
}

// A priority puts it before constructors that have none, as the crate's.
#[used]
// SAFETY: `.init_array` holds pointers to functions; this one ignores its arguments and uses the C library alone.
#[unsafe(link_section = ".init_array.00200")]
static EARLY_CONSTRUCTOR: extern "C" fn() = early;

fn dying_early(how: &str) -> ipc_core::Builder {
    Context::exec().builder().env(EARLY.to_str().unwrap(), how)
}

#[test]
fn a_child_that_dies_before_its_handshake() {
    let _leaks = leaks();
    let big = ipc_core::Bytes::from(vec![1_u8; 1 << 20]);
    for (how, signal, code) in [("KILL", Some(Signal::KILL), None), ("EXIT", None, Some(9))] {
        let child = dying_early(how).spawn(|bytes: ipc_core::Bytes| bytes.len(), (big.clone(),));
        // It may be dead before its arguments are sent, or after.
        let error = match child {
            Ok(child) => child.join().unwrap_err(),
            Err(failed) => {
                assert_eq!(failed.error().ran(), Ran::DidNotRun);
                Error::from(failed)
            }
        };
        println!("{error}");
        match &error {
            Error::NotStarted { why, .. } => {
                assert!(why.contains(if how == "KILL" { "SIGKILL" } else { "status: 9" }), "{why}");
            }
            error => assert_eq!((error.signal(), error.code()), (signal, code), "{error}"),
        }
        // A wish that is awaited: the spawn itself comes back.
        match dying_early(how).nice(1).spawn(|| (), ()) {
            Ok(child) => assert_eq!(child.join().unwrap_err().signal(), signal),
            Err(failed) => println!("{failed}"),
        }
    }
}

#[test]
fn a_child_that_is_killed_before_its_handshake() {
    let _leaks = leaks();
    stopped_and_killed(dying_early("STOP").spawn(|| (), ()).unwrap());
    // One with a wish that the spawn waits for. In a process of its own, whose one stopped child it is.
    let wait_for_it = || {
        let waiting = std::thread::spawn(|| dying_early("STOP").nice(1).spawn(|| (), ()));
        let stopped = || {
            let children = ipc_testkit::Snapshot::take().unwrap().children;
            children.into_keys().find(|&pid| state(pid) == Some('T'))
        };
        let mut victim = None;
        assert!(wait_until(GENEROUS, || {
            victim = stopped();
            victim.is_some()
        }));
        assert!(!waiting.is_finished());
        signal(victim.unwrap(), Raw::KILL);
        match waiting.join().unwrap() {
            Ok(child) => assert_eq!(child.join().unwrap_err().signal(), Some(Signal::KILL)),
            Err(failed) => assert_eq!(failed.error().ran(), Ran::DidNotRun, "{failed}"),
        }
    };
    joined(Context::exec().spawn(wait_for_it, ()).unwrap());
}

/// The children of this process that are neither the server nor handed out: its spares.
fn spares(context: &Context) -> Vec<u32> {
    let known: Vec<u32> =
        ipc_core::active_children().iter().map(|child| child.pid()).chain(context.server_pid()).collect();
    let children = ipc_testkit::Snapshot::take().unwrap().children;
    children.keys().copied().filter(|pid| !known.contains(pid)).collect()
}

/// In a program of its own, for its children are all there are.
fn with_spare(f: impl Function<(), Output = ()>) {
    let _leaks = leaks();
    joined(Context::exec().spawn(f, ()).unwrap());
}

/// The spare that comes after a join.
fn spare(context: &Context) -> u32 {
    joined(context.spawn(me, ()).unwrap());
    assert!(wait_until(GENEROUS, || spares(context).len() == 1), "{:?}", spares(context));
    spares(context)[0]
}

#[test]
fn a_spare_that_dies_is_passed_over() {
    with_spare(|| {
        let context = Context::fork_server();
        for _ in 0..20 {
            let pid = spare(&context);
            let gone = pidfd(pid);
            signal(pid, Raw::KILL);
            assert!(wait_until(GENEROUS, || ended(&gone)));
            let child = context.spawn(me, ()).unwrap();
            assert_ne!(child.pid(), pid);
            assert_eq!(child.pid(), joined(child));
            assert!(state(pid).is_none(), "a zombie is left");
        }
        assert_eq!(context.method(), StartMethod::ForkServer);
    });
}

#[test]
fn a_spare_that_dies_as_it_is_taken() {
    with_spare(|| {
        let context = Context::fork_server();
        let (mut died, mut passed, mut refused) = (0, 0, 0);
        for _ in 0..100 {
            let pid = spare(&context);
            // It may be gone by then.
            let victim = rustix::process::Pid::from_raw(pid as i32).unwrap();
            let killer = std::thread::spawn(move || rustix::process::kill_process(victim, Raw::KILL).ok());
            match context.spawn(me, ()) {
                Ok(child) if child.pid() == pid => match child.join() {
                    Ok(_) => passed += 1,
                    Err(error) => {
                        assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
                        died += 1;
                    }
                },
                Ok(child) => {
                    joined(child);
                    passed += 1;
                }
                Err(failed) => {
                    assert_eq!(failed.error().ran(), Ran::DidNotRun, "{failed}");
                    refused += 1;
                }
            }
            killer.join().unwrap();
        }
        println!("died {died}, came through {passed}, refused {refused}");
    });
}

#[test]
fn a_spare_that_is_stopped_is_a_stopped_child() {
    with_spare(|| {
        let context = Context::fork_server();
        let pid = spare(&context);
        signal(pid, Raw::STOP);
        assert!(wait_until(GENEROUS, || state(pid) == Some('T')));
        let child = context.spawn(me, ()).unwrap();
        assert_eq!(child.pid(), pid);
        stopped_and_killed(child);
        joined(context.spawn(me, ()).unwrap());
    });
}

#[test]
fn a_server_that_dies_is_replaced() {
    with_spare(|| {
        let context = Context::fork_server();
        let mut servers = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let running = context.spawn(std::thread::park, ()).unwrap();
            let server = context.server_pid().unwrap();
            assert!(servers.insert(server));
            signal(server, Raw::KILL);
            assert_eq!(joined(context.spawn(|n: u32| n + 1, (1,)).unwrap()), 2);
            assert_eq!(joined(context.spawn(|n: u32| n + 1, (2,)).unwrap()), 3);
            assert!(running.is_alive());
            running.kill().unwrap();
            assert_eq!(running.join().unwrap_err().signal(), Some(Signal::KILL));
        }
    });
}
