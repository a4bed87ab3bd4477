//! What the fault sweep has found, once more without strace: failures at an exact point, and what must be there after them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use ipc_core::{Builder, Context, Descriptor, Error, Ran, Stdio};
use ipc_testkit::{GENEROUS, Snapshot, leaks, wait_until};

/// Lets only `more` further descriptors be opened in this process, while `f` runs.
fn with_free_descriptors<T>(more: usize, f: impl FnOnce() -> T) -> T {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let mut held: Vec<File> = (0..=more).map(|_| File::open("/dev/null").unwrap()).collect();
    let limit = held.pop().unwrap().as_raw_fd() as u64;
    drop(held);
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), ..before }).unwrap();
    let result = f();
    setrlimit(Resource::Nofile, before).unwrap();
    result
}

/// A pipe with something to read in it.
fn holding(text: &str) -> OwnedFd {
    let (read, mut write) = std::io::pipe().unwrap();
    write.write_all(text.as_bytes()).unwrap();
    read.into()
}

fn text(descriptor: OwnedFd) -> String {
    let mut text = String::new();
    File::from(descriptor).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn descriptors_in_arguments_survive_those_at_chosen_numbers() {
    fn both(number: i32, argument: Descriptor) -> (String, String) {
        let chosen = File::open(format!("/proc/self/fd/{number}")).unwrap();
        (text(chosen.into()), text(argument.into()))
    }
    let _leaks = leaks();
    for context in [Context::exec(), Context::fork_server()] {
        // Whichever number the argument is received under.
        for number in 3..20 {
            let builder = context.builder().descriptor(number, holding("chosen"));
            let child = builder.spawn(both, (number, holding("argument").into())).unwrap();
            assert_eq!(child.join().unwrap(), ("chosen".into(), "argument".into()), "{number}");
        }
    }
}

#[test]
fn a_fork_without_a_descriptor_for_its_child_leaves_none() {
    /// In a process of its own: the limit is for all of it.
    fn fork_with(free: usize) -> (String, bool) {
        let before = Snapshot::take().unwrap();
        // SAFETY: the child only returns a number.
        let failed = with_free_descriptors(free, || unsafe { Builder::new().fork(|| 1) }).unwrap_err();
        assert_eq!(failed.ran(), Ran::DidNotRun);
        let gone =
            || Snapshot::take().is_some_and(|now| now.more_than(&before, Default::default()).is_empty());
        (failed.to_string(), wait_until(GENEROUS, gone))
    }
    let _leaks = leaks();
    // A socket pair and a pipe: four. The fifth would be the child's.
    for free in 0..5 {
        let (error, gone) = Context::exec().spawn(fork_with, (free,)).unwrap().join().unwrap();
        assert!(error.contains("RLIMIT_NOFILE"), "{free}: {error}");
        assert_eq!(error.contains("pidfd_open"), free == 4, "{free}: {error}");
        assert!(gone, "{free}: something is left");
    }
}

#[test]
fn the_program_is_looked_at_again_after_a_failure_to_look() {
    fn twice() -> Result<u32, Error> {
        let failed = with_free_descriptors(0, || Context::exec().spawn(|| 1, ())).unwrap_err();
        assert!(matches!(failed.error(), Error::Image { .. }), "{failed}");
        Context::exec().spawn(|| 2, ())?.join()
    }
    let _leaks = leaks();
    assert_eq!(Context::exec().spawn(twice, ()).unwrap().join().unwrap().unwrap(), 2);
}

#[test]
fn a_child_whose_output_cannot_be_relayed_is_not_run() {
    /// In a process of its own: it has no relay yet.
    fn relay() -> (String, Ran, String) {
        let (seen, witness) = std::io::pipe().unwrap();
        let witness = Arc::new(witness);
        let theirs = Arc::clone(&witness);
        let builder = Builder::new().stdout(Stdio::lines(|_| {}));
        // A socket pair, a pipe and the child make five; two of them go, and the pipe of its output comes. The sixth would be the
        // relay's.
        let f = move || (&*theirs).write_all(b"ran").unwrap();
        // SAFETY: the child writes into a pipe.
        let failed = with_free_descriptors(5, || unsafe { builder.fork(f) }).unwrap_err();
        drop(witness);
        (failed.to_string(), failed.ran(), std::io::read_to_string(seen).unwrap())
    }
    let _leaks = leaks();
    let (error, ran, seen) = Context::exec().spawn(relay, ()).unwrap().join().unwrap();
    assert!(error.contains("relay"), "{error}");
    assert_eq!((ran, seen.as_str()), (Ran::DidNotRun, ""));
}
