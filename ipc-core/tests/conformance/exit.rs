//! Leaving: exit codes, and what runs at the end.

use std::fs;
use std::io::Write;

use ipc_core::{Descriptor, Error, at_exit};

use crate::support::{Method, program};

pub(crate) fn sys_exit(m: Method) {
    let context = m.context();
    for code in [0, 1, 8, 255] {
        let child = context.spawn(|code: i32| -> u32 { std::process::exit(code) }, (code,)).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let error = child.join().unwrap_err();
        assert!(matches!(error, Error::Exited { .. }), "{error}");
        assert_eq!(error.code(), Some(code));
    }
    let child = context.spawn(|| 5, ()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(child.join().unwrap(), 5);
}

/// Has `word` written at exit.
fn note(pipe: &Descriptor, priority: i32, word: &'static str) -> ipc_core::ExitHook {
    let mut pipe = fs::File::from(std::os::fd::AsFd::as_fd(pipe).try_clone_to_owned().unwrap());
    at_exit(priority, move || pipe.write_all(word.as_bytes()).unwrap())
}

pub(crate) fn atexit(m: Method) {
    let with_hooks = |pipe: Descriptor, code: Option<i32>| {
        let _hooks = [note(&pipe, 0, "second "), note(&pipe, -1, "third "), note(&pipe, 1, "first ")];
        let mut file: fs::File = pipe.into_inner();
        file.write_all(b"function ").unwrap();
        if let Some(code) = code {
            std::process::exit(code);
        }
    };
    for code in [None, Some(3)] {
        let (reader, writer) = std::io::pipe().unwrap();
        let child = m.context().spawn(with_hooks, (Descriptor::from(writer), code)).unwrap();
        assert_eq!(child.wait().unwrap().code(), code.or(Some(0)));
        drop(child);
        assert_eq!(std::io::read_to_string(reader).unwrap(), "function first second third ");
    }
}

pub(crate) fn finalize() {
    let _leaks = ipc_testkit::leaks();
    let (reader, writer) = std::io::pipe().unwrap();
    program(
        |pipe: Descriptor| {
            let hook = |priority, word| note(&pipe, priority, word);
            let _lowest = hook(-100, "e");
            let called = hook(1, "called ");
            let _high = hook(10, "a ");
            let cancelled = hook(10, "cancelled ");
            let _equal_and_first = hook(1, "b1 ");
            let _equal_and_later = hook(1, "b2 ");
            let _zero = hook(0, "c ");
            let _below = hook(-10, "d ");
            assert!(cancelled.cancel());
            assert!(!cancelled.cancel());
            assert!(called.call());
            assert!(!called.call());
        },
        (Descriptor::from(writer),),
    );
    assert_eq!(std::io::read_to_string(reader).unwrap(), "called a b2 b1 c d e");
}
