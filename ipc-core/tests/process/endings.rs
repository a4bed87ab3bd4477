//! Ends other than a value.

use ipc_core::{Descriptor, Error, Ran, Resource, Signal, Stdio, at_exit};

use crate::support::{Gate, Method, await_end, open, stay};

pub(crate) fn exit_zero_in_a_function_is_an_error_at_join(m: Method) {
    let child = m.context().spawn(|| -> u8 { std::process::exit(0) }, ()).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success());
    let error = child.join().unwrap_err();
    assert!(matches!(error, Error::Exited { code: 0, .. }), "{error}");
    assert!(error.to_string().ends_with("exited with code 0 before it returned a value"), "{error}");
}

/// What is known of a panic in a child whose words go nowhere.
fn panic_of(m: Method, f: impl ipc_core::Function<(), Output = ()>, backtrace: &str) -> ipc_core::Panic {
    let builder = m.context().builder().stderr(Stdio::null()).env("RUST_LIB_BACKTRACE", backtrace);
    let child = builder.spawn(f, ()).unwrap();
    let error = child.join().unwrap_err();
    assert_eq!(error.ran(), Ran::Ran);
    error.panic().unwrap_or_else(|| panic!("{error}")).clone()
}

pub(crate) fn a_panic_is_an_error_with_message_location_and_backtrace(m: Method) {
    let line = line!() + 1;
    let formatted = panic_of(m, || panic!("{} of {}", 1, std::hint::black_box(2)), "1");
    assert_eq!(formatted.message, "1 of 2");
    let location = formatted.location.unwrap();
    assert_eq!((location.file.as_str(), location.line), (file!(), line));
    assert!(formatted.backtrace.contains("panic_is_an_error"), "{}", formatted.backtrace);
    // Nothing of the way to the function, nor of the panic's own.
    assert!(formatted.backtrace.starts_with("   0: "), "{}", formatted.backtrace);
    assert!(formatted.backtrace.matches(": ").count() < 12, "{}", formatted.backtrace);
    let in_words = panic_of(m, || panic!("in words"), "0");
    assert_eq!((in_words.message.as_str(), in_words.backtrace.as_str()), ("in words", ""));
    assert_eq!(panic_of(m, || std::panic::panic_any(7_u8), "0").message, "Box<dyn Any>");
}

pub(crate) fn a_panic_exits_101(m: Method) {
    let child = m.context().builder().stderr(Stdio::null()).spawn(|| -> u8 { panic!("so") }, ()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(101));
    assert!(matches!(child.join(), Err(Error::Panicked { .. })));
}

pub(crate) fn death_by_signal_is_killed_with_the_signal(m: Method) {
    let context = m.context();
    let real_time = Signal::from_raw(libc::SIGRTMIN() + 3).unwrap();
    for signal in [Signal::SEGV, Signal::ABORT, Signal::USR1, Signal::KILL, real_time] {
        let raise = |signal: Signal| {
            // SAFETY: both take numbers; std's own handlers are for stack overflows.
            unsafe { (libc::signal(signal.as_raw(), libc::SIG_DFL), libc::raise(signal.as_raw())) };
        };
        let child =
            context.builder().rlimit(Resource::Core, Some(0), Some(0)).spawn(raise, (signal,)).unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.signal(), status.code()), (Some(signal), None));
        let error = child.join().unwrap_err();
        assert_eq!(error.signal(), Some(signal), "{error}");
    }
}

pub(crate) fn signals_after_the_exit_are_ok(m: Method) {
    let child = m.context().spawn(|| 3, ()).unwrap();
    await_end(child.pid());
    let all = || {
        child.terminate().unwrap();
        child.kill().unwrap();
        child.interrupt().unwrap();
        child.signal(Signal::USR1).unwrap();
    };
    all();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    all();
    assert_eq!(child.wait().unwrap(), status);
    assert_eq!(child.join().unwrap(), 3);
}

pub(crate) fn a_terminated_child_runs_no_exit_hooks(m: Method) {
    let ready = Gate::new();
    let stays = |ready: Descriptor, end: bool| {
        let _hook = at_exit(0, || println!("hook"));
        print!("buffered ");
        if end {
            open(ready);
        } else {
            stay(ready);
        }
    };
    for (end, expected) in [(true, "buffered hook\n"), (false, "")] {
        let child = m.context().builder().stdout(Stdio::piped()).spawn(stays, (ready.key(), end)).unwrap();
        ready.wait();
        if !end {
            child.terminate().unwrap();
        }
        let said = std::io::read_to_string(child.take_stdout().unwrap()).unwrap();
        assert_eq!(said, expected);
        assert_eq!(child.join().is_ok(), end);
    }
}
