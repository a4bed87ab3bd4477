//! What errors say: the one value that was wrong, the limit that was met and whose, and that nothing was run.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::fs::File;

use ipc_core::{Builder, Child, ChildId, Context, Error, Message, Ran, Resource, Stdio};
use rustix::process::{Resource as Kind, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

mod programs;
use programs::{each_method, joined};
mod support;

/// A spawn that is refused: what with, after the arguments have come back.
#[track_caller]
fn refused(builder: Builder) -> Error {
    let ((text,), error) = builder.spawn(|text: String| text, ("kept".to_owned(),)).unwrap_err().into_parts();
    assert_eq!((text.as_str(), error.ran()), ("kept", Ran::DidNotRun), "{error}");
    error
}

#[test]
fn values_that_the_system_would_bend_are_refused() {
    let new = || Context::exec().builder();
    for (builder, what) in [
        (new().uid(u32::MAX), "the user 4294967295"),
        (new().gid(u32::MAX), "the group 4294967295"),
        (new().groups([0, u32::MAX]), "the group 4294967295"),
        (new().nice(100), "the nice value 100"),
        (new().nice(-21), "the nice value -21"),
        (new().umask(0o7_777_777), "the umask 0o7777777"),
        (new().umask(0o1000), "the umask 0o1000"),
        (new().name("a\0"), "the name \"a\\0\" is"),
        (new().rlimit(Resource::Core, Some(2), Some(1)), "setting RLIMIT_CORE to 2 (hard 1) is"),
        (new().rlimit(Resource::Core, None, Some(1)), "setting RLIMIT_CORE to unlimited (hard 1) is"),
        (new().affinity([]), "a choice of no processors is"),
        (new().stdin(Stdio::relay()), "relaying standard input is"),
        (new().stdin(Stdio::lines(|_| {})), "relaying standard input is"),
    ] {
        let error = refused(builder);
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(error.to_string().starts_with(what), "{error}");
    }
    let extreme = new().umask(0o777).nice(19).rlimit(Resource::Core, Some(0), Some(0));
    assert_eq!(joined(extreme.spawn(|| 3, ()).unwrap()), 3);
}

#[test]
fn a_thread_refuses_the_one_wish_by_its_name() {
    let new = || Context::threads().builder();
    for (builder, what) in [
        (new().nice(3), "a nice value of its own"),
        (new().umask(0), "a umask of its own"),
        (new().current_dir("/"), "a working directory of its own"),
        (new().affinity([0]), "a choice of processors of its own"),
        (new().env("A", "B"), "an environment of its own"),
    ] {
        let error = refused(builder);
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().starts_with(what), "{error}");
    }
}

#[test]
fn a_descriptor_beyond_the_limit_is_named_with_the_limit() {
    each_method(|context| {
        let null = File::open("/dev/null").unwrap();
        let error = refused(context.builder().descriptor(1_000_000_000, null));
        let limit = getrlimit(Kind::Nofile).current.unwrap();
        let text = format!("at the number 1000000000 (RLIMIT_NOFILE is {limit}): Bad file descriptor");
        assert!(error.to_string().contains(&text), "{error}");
    });
}

#[test]
fn processors_that_are_not_there_are_answered_with_those_that_are() {
    each_method(|context| {
        for processors in [vec![1023], vec![usize::MAX], vec![0, 5000]] {
            let error = refused(context.builder().affinity(processors));
            assert!(matches!(error, Error::Setup { .. }), "{error}");
            let text = error.to_string();
            let (_, list) = text.split_once(" (allowed here: ").unwrap_or_else(|| panic!("{text}"));
            let (list, rest) = list.split_once(')').unwrap();
            assert_eq!(rest, ": Invalid argument (os error 22)");
            // It is no list of all numbers that there could be, and each that is in it can be had.
            let first = list.split([',', '-']).next().unwrap().parse().unwrap();
            assert!(!list.contains("1023"), "{list}");
            joined(context.builder().affinity([first]).spawn(|| (), ()).unwrap());
        }
    });
}

#[test]
fn a_thread_that_cannot_be_had_did_not_run() {
    fn errno(error: &Error) -> Option<i32> {
        error.io_error().and_then(std::io::Error::raw_os_error)
    }
    let without_descriptors = || {
        let _all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        let error = refused(Context::threads().builder());
        assert_eq!(errno(&error), Some(libc::EMFILE), "{error}");
        assert!(error.to_string().contains("RLIMIT_NOFILE of this process is 64"), "{error}");
    };
    let builder = Context::exec().builder().rlimit(Resource::Nofile, Some(64), Some(64));
    joined(builder.spawn(without_descriptors, ()).unwrap());

    let without_memory = || {
        let pages: u64 =
            std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
        let limit = Some(pages * rustix::param::page_size() as u64 + (1 << 20));
        setrlimit(Kind::As, Rlimit { current: limit, maximum: None }).unwrap();
        let error = refused(Context::threads().builder());
        setrlimit(Kind::As, Rlimit { current: None, maximum: None }).unwrap();
        assert_eq!(errno(&error), Some(libc::EAGAIN), "{error}");
        assert!(error.to_string().contains("; RLIMIT_NPROC is "), "{error}");
        assert!(error.to_string().contains("; RLIMIT_AS is "), "{error}");
    };
    joined(Context::exec().spawn(without_memory, ()).unwrap());
}

#[test]
fn a_limit_met_while_the_value_is_sent_is_the_childs() {
    /// What the join of a child with this limit says, whose value is a mebibyte.
    fn ends(
        context: &Context,
        limit: (Resource, u64),
        f: impl ipc_core::Function<(), Output = Vec<u8>>,
    ) -> Error {
        let builder = context.builder().rlimit(limit.0, Some(limit.1), Some(limit.1));
        let error = builder.spawn(f, ()).unwrap().join().unwrap_err();
        assert_eq!(error.ran(), Ran::Ran, "{error}");
        assert!(matches!(error, Error::Os { .. }), "{error:?}");
        error
    }
    each_method(|context| {
        let descriptors = || {
            let all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
            std::mem::forget(all);
            vec![0; 1 << 20]
        };
        let error = ends(context, (Resource::Nofile, 32), descriptors);
        assert_eq!(error.io_error().unwrap().raw_os_error(), Some(libc::EMFILE));
        assert!(error.to_string().contains("; the soft limit RLIMIT_NOFILE of the child is 32"), "{error}");
        let error = ends(context, (Resource::Fsize, 1 << 16), || vec![0; 1 << 20]);
        assert_eq!(error.io_error().unwrap().raw_os_error(), Some(libc::EFBIG));
        assert!(error.to_string().contains("RLIMIT_FSIZE of the child is 65536"), "{error}");
    });
}

#[test]
fn a_failed_preload_says_what_happened_once() {
    let says = |context: Context| refused(context.builder()).to_string();
    let begin = "the preload function of the fork server failed: ";
    let left = says(Context::fork_server().preload(|| std::process::exit(3)));
    let rest = left.strip_prefix(begin).unwrap_or_else(|| panic!("{left}"));
    assert!(rest.starts_with("child \"fork server\" (pid "), "{left}");
    assert!(rest.ends_with(") exited with code 3 before it returned a value"), "{left}");
    let thread = || {
        drop(std::thread::spawn(|| {
            loop {
                std::thread::park()
            }
        }))
    };
    let left = says(Context::fork_server().preload(thread));
    assert_eq!(left, format!("{begin}it left a thread behind, and a process with threads cannot be copied"));
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Text(String),
}

#[derive(Clone, Serialize, Deserialize)]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    note: Option<String>,
    number: u32,
}

/// What becomes of a value that is an argument, and of one that is a result.
fn travels<T: Message + Clone>(value: T) -> Result<T, Error> {
    Context::default().spawn(|value: T| value, (value,))?.join()
}

#[test]
fn what_the_format_cannot_carry_is_said_in_words() {
    for value in [Untagged::Number(3), Untagged::Text("three".into())] {
        let error = travels(value).err().unwrap();
        assert!(matches!(error, Error::Decode { ran: Ran::DidNotRun, .. }), "{error}");
        assert!(
            error.to_string().contains("asks the format what comes next (`#[serde(untagged)]`"),
            "{error}"
        );
    }
    let error = travels(Sparse { note: None, number: 3 }).err().unwrap();
    assert!(matches!(error, Error::Encode { ran: Ran::DidNotRun, .. }), "{error}");
    assert!(error.to_string().contains("the field `note` was left out (`skip_serializing_if`)"), "{error}");
    let sparse = travels(Sparse { note: Some("there".into()), number: 3 }).unwrap();
    assert_eq!((sparse.note.as_deref(), sparse.number), (Some("there"), 3));
}

/// The error of a child that ends without a value; it speaks of this child, in its text and as a value.
#[track_caller]
fn of_its_child<T: Message>(child: Child<T>) -> Error {
    let id = ChildId { name: child.name(), pid: child.pid() };
    let error = child.join().err().unwrap();
    assert_eq!(error.child(), Some(&id), "{error}");
    assert!(error.to_string().contains(&id.to_string()), "{error}");
    error
}

#[test]
fn an_error_of_a_child_knows_the_child() {
    each_method(|context| {
        let new = || context.builder().name("culprit");
        let error = of_its_child(new().spawn(|_: Untagged| (), (Untagged::Number(3),)).unwrap());
        assert!(matches!(error, Error::Decode { ran: Ran::DidNotRun, .. }), "{error}");
        let error = of_its_child(new().spawn(|| Untagged::Number(3), ()).unwrap());
        assert!(matches!(error, Error::Decode { ran: Ran::Ran, .. }), "{error}");
        let error = of_its_child(new().spawn(|| Sparse { note: None, number: 3 }, ()).unwrap());
        assert!(matches!(error, Error::Encode { ran: Ran::Ran, .. }), "{error}");
        let short = new().rlimit(Resource::Fsize, Some(1 << 16), Some(1 << 16));
        let error = of_its_child(short.spawn(|| vec![0_u8; 1 << 20], ()).unwrap());
        assert!(matches!(error, Error::Os { ran: Ran::Ran, .. }), "{error}");
    });
    // What went wrong here is about no child.
    let error = refused(Context::exec().builder().name("a\0"));
    assert_eq!(error.child(), None, "{error}");
}

#[test]
fn a_child_is_called_as_its_parent_in_ps() {
    let name = || std::fs::read_to_string("/proc/self/comm").unwrap();
    let mine = name();
    each_method(|context| assert_eq!(joined(context.spawn(name, ()).unwrap()), mine));
}

#[test]
fn a_hook_of_the_preloads_keeps_no_location_from_the_error() {
    let preload = || std::panic::set_hook(Box::new(|_| eprintln!("the preload's")));
    let context = Context::fork_server().preload(preload);
    let line = line!() + 1;
    let child = context.builder().stderr(Stdio::piped()).spawn(|| -> u8 { panic!("so") }, ()).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.take_stderr().unwrap(), &mut said).unwrap();
    let error = child.join().unwrap_err();
    assert_eq!(error.panic().unwrap().location.as_ref().unwrap().line, line);
    assert_eq!(said, "the preload's\n");
}

#[test]
fn a_value_comes_before_the_death() {
    each_method(|context| {
        let gate = support::Gate::new();
        let lives_on = |entrance: ipc_core::Descriptor| {
            let entrance = std::sync::Mutex::new(Some(entrance));
            let wait = move || {
                if let Some(entrance) = entrance.lock().unwrap().take() {
                    support::wait_at(entrance);
                }
            };
            let _ = ipc_core::at_exit(0, wait);
            7
        };
        let child = context.spawn(lives_on, (gate.entrance(),)).unwrap();
        assert_eq!(child.value_timeout(ipc_testkit::GENEROUS).unwrap(), Some(7));
        assert!(child.is_alive());
        assert!(matches!(child.try_value(), Err(Error::Taken { .. })));
        let active =
            ipc_core::active_children().into_iter().find(|active| active.pid() == child.pid()).unwrap();
        assert!(!programs::ended(&active.sentinel().try_clone_to_owned().unwrap()));
        gate.open();
        assert!(active.wait().unwrap().success());
        assert!(programs::ended(&active.sentinel().try_clone_to_owned().unwrap()));
        active.interrupt().unwrap();
    });
    let gate = support::Gate::new();
    let waits = Context::exec().spawn(support::number_after, (gate.entrance(), 3)).unwrap();
    assert!(matches!(waits.try_value(), Ok(None)));
    gate.open();
    assert_eq!(waits.value().unwrap(), 3);
}

#[test]
fn the_parents_end_can_be_polled_for() {
    each_method(|context| {
        let alive = || !programs::ended(&ipc_core::parent().unwrap().sentinel().unwrap());
        assert!(joined(context.spawn(alive, ()).unwrap()));
    });
}
