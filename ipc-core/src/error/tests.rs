//! Unit tests of `error`.

use super::*;

fn p3() -> ChildId {
    ChildId { name: "p3".into(), pid: 4711 }
}

fn panicked() -> Error {
    let location = Some(Location { file: "src/main.rs".into(), line: 4, column: 5 });
    let panic = Panic { message: "no such name".into(), location, backtrace: "0: main".into(), thread: None };
    Error::Panicked { child: p3(), panic: Box::new(panic) }
}

/// One of each variant, with its text.
fn all() -> Vec<(Error, &'static str)> {
    let text = |text: &str| text.to_owned();
    vec![
        (
            Error::NoEntry,
            "could not start a child: this program has no entrance for one; turn on the feature `hook` of ipc-core, \
             or call `ipc_core::init()` as the first line of `main`",
        ),
        (
            Error::Image { why: text("the build ids differ") },
            "could not start a child: /proc/self/exe is not known to be the program that is running: the build ids \
             differ",
        ),
        (
            Error::os(
                "could not receive the result: recvmsg",
                io::Error::from_raw_os_error(libc::ECONNRESET),
            ),
            "could not receive the result: recvmsg: Connection reset by peer (os error 104)",
        ),
        (
            Error::encode("the arguments", unencodable()),
            "could not serialise the arguments: cannot encode a `T`: the length is unknown",
        ),
        (Error::decode("the result", "hit the end"), "could not deserialise the result: hit the end"),
        (
            Error::Setup {
                child: p3(),
                step: text("change to the directory \"/nowhere\""),
                source: io::Error::from_raw_os_error(libc::ENOENT),
            },
            "child \"p3\" (pid 4711) could not be set up and did not call its function: change to the directory \
             \"/nowhere\": No such file or directory (os error 2)",
        ),
        (panicked(), "child \"p3\" (pid 4711) panicked at src/main.rs:4:5: no such name"),
        (
            Error::Exited { child: p3(), code: 7 },
            "child \"p3\" (pid 4711) exited with code 7 before it returned a value",
        ),
        (
            Error::Killed { child: p3(), signal: Signal::SEGV, core_dumped: true },
            "child \"p3\" (pid 4711) was killed by SIGSEGV (core dumped)",
        ),
        (
            Error::StatusUnknown { child: p3() },
            "child \"p3\" (pid 4711) ended without a value, and its exit status is lost: SIGCHLD is ignored in this \
             process, or other code of it waited for the child",
        ),
        (
            Error::NotStarted { child: p3(), why: text("it was killed by SIGKILL before it spoke") },
            "child \"p3\" (pid 4711) did not start: it was killed by SIGKILL before it spoke",
        ),
        (Error::Taken { child: p3() }, "the value of child \"p3\" (pid 4711) was already taken"),
        (Error::StillRunning { child: p3() }, "child \"p3\" (pid 4711) is still running"),
        (
            Error::NotParent { child: p3(), operation: text("join") },
            "could not join child \"p3\" (pid 4711): this process did not start it, and only the one that did can",
        ),
        (
            Error::Unsupported { what: text("the fork server"), why: text("a sandbox hides clone") },
            "the fork server is not supported here: a sandbox hides clone",
        ),
        (
            Error::Invalid { what: text("the name \"a\\0b\""), why: text("it contains a zero byte") },
            "the name \"a\\0b\" is not acceptable: it contains a zero byte",
        ),
        (
            Error::Preload { why: text("it left 2 threads") },
            "the preload function of the fork server failed: it left 2 threads",
        ),
        (Error::protocol("a frame of 0 bytes"), "a message broke the protocol: a frame of 0 bytes"),
    ]
}

#[test]
fn every_variant_says_what_happened() {
    for (error, text) in all() {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn every_variant_travels() {
    for (error, text) in all() {
        let bytes = postcard::to_stdvec(&error).unwrap();
        let back: Error = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back.to_string(), text);
        assert_eq!((back.ran(), back.child(), back.panic()), (error.ran(), error.child(), error.panic()));
        let number = |error: &Error| error.io_error().map(|source| source.raw_os_error());
        assert_eq!(number(&back), number(&error));
    }
}

#[test]
fn a_system_error_without_a_number_travels_as_text() {
    let error = Error::os("could not read", io::Error::other("the line is dead"));
    let back: Error = postcard::from_bytes(&postcard::to_stdvec(&error).unwrap()).unwrap();
    assert_eq!(back.to_string(), "could not read: the line is dead");
}

#[test]
fn errors_go_anywhere_and_are_small() {
    fn anywhere<T: Send + Sync + std::error::Error + 'static>() {}
    anywhere::<Error>();
    assert!(size_of::<Error>() <= 96, "{}", size_of::<Error>());
}

#[test]
fn a_status_becomes_its_error() {
    let exited = Error::from_status(p3(), ExitStatus::exited(0));
    assert_eq!((exited.code(), exited.signal()), (Some(0), None));
    let killed = Error::from_status(p3(), ExitStatus::killed(Signal::ABORT, true));
    assert_eq!((killed.code(), killed.signal()), (None, Some(Signal::ABORT)));
    assert!(matches!(killed, Error::Killed { core_dumped: true, .. }));
    assert!(matches!(Error::from_status(p3(), ExitStatus::unknown()), Error::StatusUnknown { .. }));
}

fn unencodable() -> crate::message::Error {
    crate::message::Error::Encode { type_name: "T", reason: "the length is unknown".into() }
}

#[test]
fn whether_it_ran() {
    assert_eq!(panicked().ran(), Ran::Ran);
    assert_eq!(Error::NoEntry.ran(), Ran::DidNotRun);
    assert_eq!(Error::StatusUnknown { child: p3() }.ran(), Ran::MayHaveRun);
    let error = Error::encode("the arguments", unencodable());
    assert_eq!(error.ran(), Ran::MayHaveRun);
    assert_eq!(error.with_ran(Ran::DidNotRun).ran(), Ran::DidNotRun);
    // What says it by itself cannot be talked out of it.
    assert_eq!(panicked().with_ran(Ran::DidNotRun).ran(), Ran::Ran);
}

#[test]
fn a_limit_is_named_with_its_value() {
    let text =
        |operation: &str, number| Error::os(operation, io::Error::from_raw_os_error(number)).to_string();
    let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap();
    let files = text("could not start a child: socketpair", libc::EMFILE);
    assert!(
        files.starts_with("could not start a child: socketpair: Too many open files (os error 24); "),
        "{files}"
    );
    assert!(files.contains(&format!("RLIMIT_NOFILE of this process is {soft}")), "{files}");
    assert!(files.contains("three descriptors"), "{files}");
    assert!(text("open", libc::ENFILE).contains("/proc/sys/fs/file-max"));

    let tasks = text("could not start a child: clone", libc::EAGAIN);
    assert!(tasks.contains("Resource temporarily unavailable (os error 11); RLIMIT_NPROC is "), "{tasks}");
    assert!(tasks.contains("pids.max") && tasks.contains("threads"), "{tasks}");
    // Elsewhere the number has nothing to do with processes.
    assert_eq!(text("recv", libc::EAGAIN), "recv: Resource temporarily unavailable (os error 11)");
    assert!(text("clone", libc::ENOMEM).contains("RLIMIT_AS is "));
    assert!(text("exec", libc::E2BIG).contains("RLIMIT_STACK"));
}

#[test]
fn the_message_of_a_panic() {
    let message = |f: fn()| Panic::message_of(&*std::panic::catch_unwind(f).unwrap_err());
    assert_eq!(message(|| std::panic::panic_any("text")), "text");
    assert_eq!(message(|| std::panic::panic_any(String::from("string"))), "string");
    assert_eq!(message(|| std::panic::panic_any(7)), "Box<dyn Any>");
}

#[test]
fn a_panic_names_its_thread_where_it_matters() {
    let panic =
        Panic { message: "m".into(), location: None, backtrace: String::new(), thread: Some("w".into()) };
    assert_eq!(panic.to_string(), "panicked in the thread \"w\": m");
}
