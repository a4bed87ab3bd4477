//! Bad weather: descriptors, processes and memory that run out. The error names the limit, nothing was run, nothing is left.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::File;

use ipc_core::{Child, Context, Error, Ran, Resource, Signal, SpawnError};
use ipc_testkit::{GENEROUS, Snapshot, leaks, wait_until};

mod programs;
use programs::{METHODS, context, each_method, joined, not_run, sandbox};

fn nothing() {}

fn echo(text: String) -> String {
    text
}

/// A child that lives until it is killed.
fn idle() {
    loop {
        std::thread::park();
    }
}

/// Runs `f` with the name of each method in an exec'd child with these limits, soft and hard.
fn with_limit(limits: &[(Resource, u64)], f: impl ipc_core::Function<(String,), Output = ()>) {
    let _leaks = leaks();
    for method in METHODS {
        println!("by {method}");
        let mut builder = Context::exec().builder().name(method);
        for &(resource, limit) in limits {
            builder = builder.rlimit(resource, Some(limit), Some(limit));
        }
        joined(builder.spawn(f, (method.to_owned(),)).unwrap());
    }
}

fn errno<A>(failed: &SpawnError<A>) -> Option<i32> {
    failed.error().io_error().and_then(std::io::Error::raw_os_error)
}

/// Takes all descriptors that this process may have.
fn all_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
fn exhausted_descriptors_name_the_limit() {
    with_limit(&[(Resource::Nofile, 64)], |method: String| {
        let context = context(&method);
        assert_eq!(joined(context.spawn(echo, ("before".into(),)).unwrap()), "before");
        let mut files = all_descriptors();
        let mut refusals = 0;
        // With none left, with one, and so on, until there are enough.
        let child = loop {
            let failed = match context.spawn(echo, ("kept".into(),)) {
                Ok(child) => break child,
                Err(failed) => failed,
            };
            refusals += 1;
            assert_eq!(errno(&failed), Some(libc::EMFILE), "{failed}");
            assert!(
                failed.to_string().contains("the soft limit RLIMIT_NOFILE of this process is 64"),
                "{failed}"
            );
            assert_eq!(failed.error().ran(), Ran::DidNotRun);
            assert_eq!(failed.into_args().0, "kept");
            assert!(files.pop().is_some(), "spawning needs more than all descriptors");
        };
        assert!(refusals > 0);
        assert_eq!(joined(child), "kept");
        drop(files);
        assert_eq!(joined(context.spawn(echo, ("after".into(),)).unwrap()), "after");
    });
}

#[test]
fn a_failed_spawn_leaves_nothing() {
    with_limit(&[(Resource::Nofile, 64)], |method: String| {
        let context = context(&method);
        joined(context.spawn(nothing, ()).unwrap());
        // The server and its spare, which comes a little after the join.
        let children = if method == "exec" { 0 } else { 2 };
        let settled = || wait_until(GENEROUS, || Snapshot::take().unwrap().children.len() == children);
        assert!(settled());
        let before = Snapshot::take().unwrap();
        for leave in 0..12 {
            let mut files = all_descriptors();
            files.truncate(files.len().saturating_sub(leave));
            if let Ok(child) = context.spawn(nothing, ()) {
                joined(child);
            }
            drop(files);
            joined(context.spawn(nothing, ()).unwrap());
        }
        assert!(settled());
        let now = Snapshot::take().unwrap();
        assert!(now.descriptors.len() <= before.descriptors.len(), "{before:?} {now:?}");
    });
}

/// A child is told of many descriptors although its own limit is lower than its parent's.
#[test]
fn descriptors_beyond_the_childs_limit_are_an_error_of_its_setup() {
    let _leaks = leaks();
    each_method(|context| {
        let end = File::open("/dev/null").unwrap();
        let builder = context.builder().rlimit(Resource::Nofile, Some(32), Some(32));
        let failed = builder.descriptor(40, end).spawn(nothing, ());
        // Descriptors are placed before the limits are set, as a shell does it.
        joined(failed.unwrap());
        let end = File::open("/dev/null").unwrap();
        let limit =
            context.spawn(|| rustix::process::getrlimit(rustix::process::Resource::Nofile).current, ());
        let limit = joined(limit.unwrap()).unwrap();
        let failed = context.builder().descriptor(limit as i32, end).spawn(nothing, ()).unwrap_err();
        assert!(matches!(failed.error(), Error::Setup { .. }), "{failed:?}");
        let at = format!("a descriptor at the number {limit} (RLIMIT_NOFILE is {limit})");
        assert!(failed.to_string().contains(&at), "{failed}");
    });
}

fn limit_of(pid: u32, soft: u64) {
    let pid = rustix::process::Pid::from_raw(pid as i32);
    let limit = rustix::process::Rlimit { current: Some(soft), maximum: Some(soft) };
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit).unwrap();
}

#[test]
fn a_fork_server_without_descriptors_is_an_error_or_replaced() {
    let _leaks = leaks();
    // From no room for anything to just enough: what the server has open are its streams, two of its own, and its socket.
    for soft in 0..14 {
        let context = Context::fork_server();
        joined(context.spawn(nothing, ()).unwrap());
        limit_of(context.server_pid().unwrap(), soft);
        let mut refused = 0;
        // The spare that was made before counts as one.
        for _ in 0..4 {
            match context.spawn(echo, ("kept".into(),)) {
                Ok(child) => assert_eq!(joined(child), "kept"),
                Err(failed) => {
                    refused += 1;
                    assert!(failed.to_string().contains("RLIMIT_NOFILE"), "{failed}");
                    assert_eq!(failed.error().ran(), Ran::DidNotRun);
                    assert_eq!(failed.into_args().0, "kept");
                }
            }
        }
        println!("soft limit {soft}: {refused} of 4 refused");
    }
}

#[test]
fn the_process_limit_is_named() {
    if !sandbox::is_root() {
        return not_run("RLIMIT_NPROC counts the processes of a user, and only root can become a fresh one");
    }
    let _leaks = leaks();
    for method in METHODS {
        let crowd = |method: String| {
            let context = context(&method);
            let mut children: Vec<Child<()>> = Vec::new();
            let failed = loop {
                match context.spawn(idle, ()) {
                    Ok(child) => children.push(child),
                    Err(failed) => break failed,
                }
                assert!(children.len() < 20, "no limit is met");
            };
            assert_eq!(errno(&failed), Some(libc::EAGAIN), "{failed}");
            assert!(failed.to_string().contains("RLIMIT_NPROC is 8"), "{failed}");
            assert_eq!(failed.error().ran(), Ran::DidNotRun);
            assert!(children.len() >= 3);
            for child in &children {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            drop(children);
            joined(context.spawn(nothing, ()).unwrap());
        };
        // Numbers that nobody else is likely to be.
        let user = 1_900_000_000 + std::process::id() % 1_000_000;
        let limited = Context::exec().builder().uid(user).gid(user).rlimit(Resource::Nproc, Some(8), Some(8));
        joined(limited.spawn(crowd, (method.to_owned(),)).unwrap());
    }
}

#[test]
fn a_child_beyond_its_memory_limit_is_killed_alone() {
    let _leaks = leaks();
    each_method(|context| {
        let greedy = context.builder().memory_limit(192 << 20).stderr(ipc_core::Stdio::null());
        let error =
            greedy.spawn(|size: usize| vec![1_u8; size].len(), (1 << 30,)).unwrap().join().unwrap_err();
        assert_eq!(error.signal(), Some(Signal::ABORT), "{error}");
        let modest = context.builder().memory_limit(192 << 20);
        assert_eq!(joined(modest.spawn(|size: usize| vec![1_u8; size].len(), (1 << 20,)).unwrap()), 1 << 20);
    });
}

/// Room for nothing at all: also then the parent learns what happened, and does not wait for ever.
#[test]
fn a_memory_limit_below_the_program_itself_is_an_error() {
    let _leaks = leaks();
    each_method(|context| {
        let builder = context.builder().memory_limit(1 << 20).stderr(ipc_core::Stdio::null());
        let error = match builder.spawn(|| vec![1_u8; 64 << 20].len(), ()) {
            Ok(child) => child.join().unwrap_err(),
            Err(failed) => Error::from(failed),
        };
        assert!(error.signal().is_some() || error.ran() == Ran::DidNotRun, "{error:?}");
    });
}

/// Arguments and values that find no room in a child are its abort, as whatever else finds none in a Rust program; never a hang.
#[test]
fn arguments_and_results_beyond_the_memory_limit() {
    let _leaks = leaks();
    each_method(|context| {
        let small = || context.builder().memory_limit(192 << 20).stderr(ipc_core::Stdio::null());
        let big = ipc_core::Bytes::from(vec![7_u8; 128 << 20]);
        let arguments = small().spawn(|bytes: ipc_core::Bytes| bytes.len(), (big,)).unwrap().join();
        let result = small().spawn(|| ipc_core::Bytes::from(vec![7_u8; 128 << 20]), ()).unwrap().join();
        for error in [arguments.unwrap_err(), result.unwrap_err()] {
            assert!(matches!(error, Error::Killed { signal: Signal::ABORT, .. }), "{error:?}");
            // A process that is killed has told nobody how far it had come.
            assert_eq!(error.ran(), Ran::MayHaveRun);
        }
    });
}

#[test]
fn a_message_beyond_the_file_size_limit_says_so() {
    with_limit(&[], |method: String| {
        let context = context(&method);
        joined(context.spawn(nothing, ()).unwrap());
        // What a spawn needs is little; a value that must be copied into a message file needs more.
        let bytes = ipc_core::Bytes::from(vec![1_u8; 64 << 20]);
        let limit = rustix::process::Rlimit { current: Some(32 << 20), maximum: None };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        let failed = context.spawn(|bytes: ipc_core::Bytes| bytes.len(), (bytes,)).unwrap_err();
        assert_eq!(errno(&failed), Some(libc::EFBIG), "{failed}");
        assert!(failed.to_string().contains("RLIMIT_FSIZE"), "{failed}");
        assert_eq!(failed.into_args().0.len(), 64 << 20);
        joined(context.spawn(nothing, ()).unwrap());
    });
}

/// How much address space this process has, in bytes.
fn address_space() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split_whitespace().next().unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

fn limit_address_space(most: Option<u64>) {
    let limit = rustix::process::Rlimit { current: most, maximum: None };
    rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
}

/// The limit is met for certain: the whole address space is in use. What is left is some room in the heap, for what
/// this crate allocates there is a few kilobytes; without it this process would abort, as any Rust program.
#[test]
fn a_parent_without_address_space_spawns_or_says_so() {
    with_limit(&[], |method: String| {
        let context = context(&method);
        joined(context.spawn(nothing, ()).unwrap());
        let mut room: Vec<Box<[u8; 1024]>> = (0..4096).map(|_| Box::new([1; 1024])).collect();
        // The last one keeps the heap from shrinking.
        let _last = room.pop();
        drop(room);
        // Started before, so that it has no such limit itself.
        let giver = context.spawn(|| ipc_core::Bytes::from(vec![7_u8; 64 << 20]), ()).unwrap();
        assert!(giver.wait().unwrap().success());

        limit_address_space(Some(address_space()));
        for _ in 0..16 {
            match context.spawn(echo, ("kept".into(),)) {
                Ok(child) => assert_eq!(joined(child), "kept"),
                Err(failed) => {
                    assert_eq!(errno(&failed), Some(libc::ENOMEM), "{failed}");
                    assert!(failed.to_string().contains("RLIMIT_AS is"), "{failed}");
                    assert_eq!(failed.error().ran(), Ran::DidNotRun);
                    assert_eq!(failed.into_args().0, "kept");
                }
            }
        }
        // A value that is larger than what is left cannot be received.
        let error = giver.join().unwrap_err();
        assert_eq!(error.io_error().and_then(std::io::Error::raw_os_error), Some(libc::ENOMEM), "{error:?}");
        assert!(error.to_string().contains("RLIMIT_AS is"), "{error}");
        assert_ne!(error.ran(), Ran::DidNotRun);
        limit_address_space(None);
        joined(context.spawn(nothing, ()).unwrap());
    });
}
