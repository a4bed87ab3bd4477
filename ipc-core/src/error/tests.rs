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
            Error::NotRegistered { name: text("count"), version: Some(4), versions: vec![1, 3] },
            "the function `count`, version 4, is not registered in this program; versions 1, 3 are",
        ),
        (
            Error::NotRegistered { name: text("count"), version: Some(4), versions: vec![] },
            "the function `count` is not registered in this program",
        ),
        (
            Error::CallPanicked {
                function: text("`count`, version 1"),
                panic: Box::new(Panic {
                    message: text("no such name"),
                    location: None,
                    backtrace: String::new(),
                    thread: None,
                }),
            },
            "the function `count`, version 1, panicked: no such name",
        ),
        (
            Error::Exited { child: p3(), code: 7 },
            "child \"p3\" (pid 4711) exited with code 7 before it returned a value",
        ),
        (
            Error::Killed { child: p3(), signal: Signal::SEGV, core_dumped: true },
            "child \"p3\" (pid 4711) was killed by SIGSEGV (core dumped)",
        ),
        (
            Error::StackOverflow { child: p3() },
            "child \"p3\" (pid 4711) overflowed its stack, and was killed",
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
        (
            Error::protocol("a frame of 0 bytes").with_child(p3()),
            "a message broke the protocol: a frame of 0 bytes",
        ),
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
fn the_child_that_an_error_is_about() {
    let other = || ChildId { name: "p4".into(), pid: 4712 };
    let errors = [
        Error::os("could not read", io::Error::from_raw_os_error(libc::EIO)),
        Error::encode("the result", unencodable()),
        Error::decode("the result", "hit the end"),
        Error::protocol("a frame of 0 bytes"),
    ];
    for error in errors {
        assert_eq!(error.child(), None);
        assert_eq!(error.with_child(other()).child(), Some(&other()));
    }
    // What always names its child keeps it.
    assert_eq!(panicked().with_child(other()).child(), Some(&p3()));
    assert_eq!(Error::NoEntry.with_child(other()).child(), None);
}

#[test]
fn a_limit_is_named_with_its_value() {
    let text =
        |call, number| Error::os_in(call, "could not", io::Error::from_raw_os_error(number)).to_string();
    let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap();
    let files = text(Call::Other, libc::EMFILE);
    assert!(files.starts_with("could not: Too many open files (os error 24); "), "{files}");
    assert!(files.contains(&format!("RLIMIT_NOFILE of this process is {soft}")), "{files}");
    assert!(files.contains("three descriptors"), "{files}");
    assert!(text(Call::Other, libc::ENFILE).contains("/proc/sys/fs/file-max"));

    for call in [Call::Process, Call::ServersProcess, Call::Thread] {
        let tasks = text(call, libc::EAGAIN);
        assert!(
            tasks.contains("Resource temporarily unavailable (os error 11); RLIMIT_NPROC is "),
            "{tasks}"
        );
        assert!(tasks.contains("pids.max") && tasks.contains("threads"), "{tasks}");
    }
    // Elsewhere the number has nothing to do with processes.
    assert_eq!(text(Call::Other, libc::EAGAIN), "could not: Resource temporarily unavailable (os error 11)");
    assert!(text(Call::Process, libc::ENOMEM).contains("RLIMIT_AS is "));
    assert!(text(Call::Process, libc::E2BIG).contains("RLIMIT_STACK"));
    assert!(text(Call::Proc, libc::ENOENT).contains("is /proc mounted"));
    assert!(text(Call::Process, libc::EACCES).contains("mounted `noexec`, and a sandbox (Landlock"));
    assert!(text(Call::Proc, libc::EACCES).contains("a sandbox (Landlock) may hide /proc"));
    assert_eq!(text(Call::Other, libc::EACCES), "could not: Permission denied (os error 13)");
    assert!(text(Call::Reply, libc::EMFILE).contains(&format!("RLIMIT_NOFILE of the child is {soft}")));
}

#[test]
fn a_backtrace_is_printed_in_lines() {
    let Error::Panicked { panic, .. } = panicked() else { unreachable!() };
    let panic = Panic { backtrace: "   0: main\n   1: start\n".into(), ..*panic };
    assert_eq!(
        format!("{panic:?}"),
        "Panic { message: \"no such name\", location: Some(src/main.rs:4:5), thread: None, backtrace: \n   0: main\n   1: \
         start\n }"
    );
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

#[test]
fn errors_of_connections() {
    let errors = [
        (
            Error::Disconnected { how: "could not receive: it is gone".into() },
            "could not receive: it is gone",
        ),
        (Error::TimedOut { what: "send a value".into() }, "could not send a value in the time given"),
        (
            Error::TooLong { length: 9, limit: 8 },
            "could not receive a message of 9 bytes: at most 8 are allowed here",
        ),
        (
            Error::BufferTooShort { message: vec![1; 9].into(), room: 8 },
            "could not receive a message of 9 bytes into a buffer of 8; the error holds it",
        ),
        (
            Error::Unauthenticated { why: "a wrong key".into() },
            "the other side is not who it should be: a wrong key",
        ),
    ];
    for (at, (error, text)) in errors.into_iter().enumerate() {
        assert_eq!(error.to_string(), text);
        assert_eq!((error.is_disconnected(), error.is_timed_out()), (at == 0, at == 1));
        assert_eq!(error.ran(), Ran::MayHaveRun);
        let back: Error = postcard::from_bytes(&postcard::to_allocvec(&error).unwrap()).unwrap();
        assert_eq!(back.to_string(), text);
    }
}
