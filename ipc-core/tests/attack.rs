//! What an attacker's review of this crate found, each under the name of what broke.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Seek, Write};

use ipc_core::{Builder, Context, Descriptor, Error, Signal};

fn file(text: &str) -> std::fs::File {
    let memory = rustix::fs::memfd_create("attack", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = std::fs::File::from(memory);
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

/// A descriptor at a chosen number took the place of one that had arrived inside the arguments.
#[test]
fn a_descriptor_by_number_leaves_the_arguments_alone() {
    for context in [Context::exec(), Context::fork_server()] {
        for number in 3..20 {
            let builder = context.builder().descriptor(number, file("PLACED"));
            let read = |argument: Descriptor| {
                let mut text = String::new();
                let mut file: std::fs::File = argument.into_inner();
                file.read_to_string(&mut text).map(|_| text).unwrap_or_default()
            };
            let child = builder.spawn(read, (file("ARGUMENT").into(),)).unwrap();
            assert_eq!(child.join().unwrap(), "ARGUMENT", "{number}");
        }
    }
}

/// The handler that names stack overflows took a signal that somebody had sent for a fault.
#[test]
fn a_segv_that_was_sent_ends_an_executed_child() {
    let raise = || {
        // SAFETY: raising a signal in this process.
        unsafe { libc::raise(libc::SIGSEGV) };
    };
    let error = Context::exec().spawn(raise, ()).unwrap().join().unwrap_err();
    assert_eq!(error.signal(), Some(Signal::SEGV), "{error}");
}

/// The panic hook panicked over a stderr that cannot be written, which aborts.
#[test]
fn a_panic_is_reported_where_stderr_is_full() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let child =
        Builder::new().stderr(full).spawn(|say: String| assert!(say.is_empty(), "{say}"), ("said".into(),));
    let error = child.unwrap().join().unwrap_err();
    assert_eq!(error.panic().unwrap().message, "said");
}

/// A name with a zero byte panicked where a thread was to be named.
#[test]
fn a_name_with_a_zero_byte_is_refused() {
    for context in [Context::threads(), Context::fork_server()] {
        let refused = context.builder().name("a\0b").spawn(|| (), ()).unwrap_err();
        assert!(matches!(refused.error(), Error::Invalid { .. }), "{refused}");
    }
}

/// A value that nobody joined for was dropped under the registry's lock, and its `Drop` took the lock again.
#[test]
fn a_drop_that_looks_at_the_family_does_not_deadlock() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Looks;
    impl Drop for Looks {
        fn drop(&mut self) {
            ipc_core::active_children();
        }
    }
    let child = Context::threads().spawn(|| Looks, ()).unwrap();
    child.wait().unwrap();
    drop(child);
    ipc_core::active_children();
}
