//! Programs with families, for the tests of lifetimes: their children say their pids through the program's standard
//! output, and stay.

use ipc_core::{Context, Function, StartMethod};
use ipc_testkit::leaks;
use rustix::process::Signal as Raw;

use super::program::{Program, role, say};
use super::{METHODS, ended, ends, pidfd, signal};

/// A context by its name in a role: as everywhere, and fork.
pub(crate) fn context(method: &str) -> Context {
    match method {
        // SAFETY: what these children run takes locks of std's output alone, which nobody holds while the program spawns.
        "fork" => unsafe { Context::fork() },
        method => super::context(method),
    }
}

/// The programs of a test, one for each method and variant: `played` is what the program does.
pub(crate) fn each(
    test: &str,
    variants: &[&str],
    played: impl FnOnce(&Context, &str),
    look: impl Fn(&mut Program, &str),
) {
    if let Some(role) = role() {
        let (method, variant) = role.split_once(' ').unwrap();
        return played(&context(method), variant);
    }
    let _leaks = leaks();
    for method in METHODS.iter().chain(&["fork"]) {
        for variant in variants {
            println!("by {method}, {variant:?}");
            let mut program = Program::start(test, &format!("{method} {variant}"));
            look(&mut program, variant);
        }
    }
}

pub(crate) fn me() -> u32 {
    std::process::id()
}

/// Says who and where it is, and stays until it is killed.
pub(crate) fn stay(word: String) {
    say(format_args!("{word} {}", me()));
    loop {
        std::thread::park();
    }
}

pub(crate) fn handle(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: the handlers of this file store into an atomic or write to a descriptor.
    unsafe { libc::signal(signal, handler as *const () as usize) };
}

pub(crate) fn start_daemon(context: &Context, f: impl Function<(), Output = ()>) {
    drop(context.builder().daemon(true).spawn(f, ()).unwrap());
}

/// A child with children of its own, daemon or not, whose pids are said; all stay.
pub(crate) fn have_children(method: String) {
    let context = context(&method);
    for (daemon, stopped) in [(false, false), (true, false), (false, true)] {
        let builder = context.builder().daemon(daemon);
        let child = builder.spawn(stay, ("grandchild".to_owned(),)).unwrap();
        if stopped {
            child.signal(ipc_core::Signal::STOP).unwrap();
        }
        drop(child);
    }
    stay("child".into());
}

/// The way in which grandchildren come: a child of any method may use any.
pub(crate) fn method_of(context: &Context) -> String {
    match context.method() {
        StartMethod::ForkServer => "fork_server".into(),
        _ => "exec".into(),
    }
}

extern "C" fn on_usr1(_: i32) {
    say("alive");
}

/// Stays, and answers SIGUSR1.
pub(crate) fn stay_and_answer() {
    handle(libc::SIGUSR1, on_usr1);
    stay("detached".into());
}

/// A process that was detached is there, and acts; then it is ended.
pub(crate) fn is_alive_then_ends(program: &mut Program, pid: u32) {
    let watched = pidfd(pid);
    signal(pid, Raw::USR1);
    program.hears("alive");
    assert!(!ended(&watched));
    signal(pid, Raw::KILL);
    assert!(ends(&watched));
    program.all();
}
