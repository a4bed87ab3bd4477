//! The thread back end, where it differs from processes. Where it does not, `conformance` shows it.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use ipc_core::{Builder, Child, Context, Descriptor, Error, Ran, Resource, Signal, Stdio, at_exit};
use ipc_testkit::leaks;

mod support;
use support::{Gate, first_process, number_after, wait_at};

#[test]
fn a_child_is_a_thread_of_this_process() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    let _leaks = leaks();
    let look = |number: u32| {
        SEEN.store(number, Ordering::SeqCst);
        let thread = std::thread::current();
        (std::process::id(), thread.name().map(str::to_owned), ipc_core::current().name())
    };
    let child = Context::threads().builder().name("spinner").spawn(look, (77,)).unwrap();
    let name = "spinner".to_string();
    assert_eq!(child.join().unwrap(), (std::process::id(), Some(name.clone()), name));
    assert_eq!(SEEN.load(Ordering::SeqCst), 77);
}

#[test]
fn exit_status_as_of_a_process() {
    let _leaks = leaks();
    let child = Context::threads().spawn(|| 4, ()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(child.join().unwrap(), 4);

    let line = line!() + 1;
    let child = Context::threads().spawn(|| -> u32 { panic!("in a thread: {}", 1 + 1) }, ()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(101));
    let error = child.join().unwrap_err();
    let panic = error.panic().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(panic.message, "in a thread: 2");
    let location = panic.location.as_ref().unwrap();
    assert_eq!((location.file.as_str(), location.line), (file!(), line));
}

#[test]
fn signals_are_unsupported() {
    let _leaks = leaks();
    let gate = Gate::new();
    let child = Context::threads().spawn(number_after, (gate.entrance(), 4)).unwrap();
    type Way = fn(&Child<u32>) -> ipc_core::Result<()>;
    let ways: [Way; 4] =
        [Child::terminate, Child::kill, Child::interrupt, |child| child.signal(Signal::USR1)];
    for way in ways {
        let error = way(&child).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("Context::threads"), "{error}");
    }
    assert!(child.is_alive());
    gate.open();
    child.wait().unwrap();
    ways.into_iter().for_each(|way| way(&child).unwrap());
    assert_eq!(child.join().unwrap(), 4);
}

#[test]
fn settings_of_a_process_are_unsupported() {
    static RAN: AtomicU32 = AtomicU32::new(0);
    let _leaks = leaks();
    type Setting = (&'static str, fn(Builder) -> Builder);
    let settings: [Setting; 18] = [
        ("environment", |b| b.env("A", "b")),
        ("environment", |b| b.env_remove("A")),
        ("environment", Builder::env_clear),
        ("working directory", |b| b.current_dir("/")),
        ("standard streams", |b| b.stdin(Stdio::null())),
        ("standard streams", |b| b.stdout(Stdio::piped())),
        ("standard streams", |b| b.stderr(Stdio::inherit())),
        ("limit", |b| b.rlimit(Resource::Core, Some(0), None)),
        ("limit", |b| b.memory_limit(1 << 40)),
        ("processors", |b| b.affinity([0])),
        ("user", |b| b.uid(1)),
        ("a group", |b| b.gid(1)),
        ("supplementary groups", |b| b.groups([1])),
        ("umask", |b| b.umask(0o77)),
        ("nice value", |b| b.nice(1)),
        ("descriptors by number", |b| b.descriptor(9, std::fs::File::open("/dev/null").unwrap())),
        ("detached", |b| b.detached(true)),
        ("key", |b| b.authkey(ipc_core::AuthKey::from_bytes("k"))),
    ];
    for (word, set) in settings {
        let builder = set(Context::threads().builder());
        let refused = builder
            .spawn(|_text: String| RAN.store(1, Ordering::SeqCst), ("argument".to_string(),))
            .unwrap_err();
        assert!(matches!(refused.error(), Error::Unsupported { .. }), "{word}: {refused}");
        assert!(refused.to_string().contains(word), "{word}: {refused}");
        assert_eq!(refused.error().ran(), Ran::DidNotRun);
        assert_eq!(refused.into_args(), ("argument".to_string(),));
    }
    assert_eq!(RAN.load(Ordering::SeqCst), 0);
}

#[test]
fn normal_exit_joins_threads_but_not_daemons() {
    static GATES: Mutex<Vec<Gate>> = Mutex::new(Vec::new());
    let played = || {
        let gates = [Gate::new(), Gate::new()];
        let say = |gate: Descriptor, word: String| {
            wait_at(gate);
            println!("\n@{word}");
        };
        for (gate, daemon) in gates.iter().zip([false, true]) {
            let word = if daemon { "daemon" } else { "ordinary" };
            let builder = Context::threads().builder().daemon(daemon);
            drop(builder.spawn(say, (gate.entrance(), word.to_string())).unwrap());
        }
        GATES.lock().unwrap().extend(gates);
        // Runs before the children are joined; what is joined runs before the hook below zero.
        drop(at_exit(0, || {
            println!("\n@main has returned");
            GATES.lock().unwrap()[0].open();
        }));
        drop(at_exit(-1, || println!("\n@joined")));
    };
    let Some(output) = first_process("normal_exit_joins_threads_but_not_daemons", played) else { return };
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said.lines().filter(|line| line.starts_with('@')).collect();
    assert_eq!(lines, ["@main has returned", "@ordinary", "@joined"], "{said}");
}

#[test]
fn the_programs_hook_hears_of_threads_that_stand_for_processes() {
    first_process("the_programs_hook_hears_of_threads_that_stand_for_processes", || {
        static HEARD: AtomicU32 = AtomicU32::new(0);
        std::panic::set_hook(Box::new(|_| {
            HEARD.fetch_add(1, Ordering::SeqCst);
        }));
        let line = line!() + 1;
        let child = Context::threads().spawn(|| -> u8 { panic!("so") }, ()).unwrap();
        let error = child.join().unwrap_err();
        assert_eq!(error.panic().unwrap().location.as_ref().unwrap().line, line);
        assert_eq!(HEARD.load(Ordering::SeqCst), 1);
        drop(std::panic::take_hook());
    });
}
