//! Unit tests of `error`.

use ipc_core::Packed;

use super::*;

/// One of each variant, with its text.
fn all() -> Vec<(Error, &'static str)> {
    let text = |text: &str| text.to_owned();
    vec![
        (
            Error::os("could not make a segment: memfd_create", io::Error::from_raw_os_error(libc::EPERM)),
            "could not make a segment: memfd_create: Operation not permitted (os error 1)",
        ),
        (
            Error::NoMemory { needed: 9, available: 4, limit: text("/sys/fs/cgroup/a/memory.max") },
            "could not have 9 bytes of shared memory: /sys/fs/cgroup/a/memory.max leaves 4",
        ),
        (
            Error::invalid("a segment of 0 bytes", "it needs one at least"),
            "a segment of 0 bytes is not acceptable: it needs one at least",
        ),
        (
            Error::InUse { what: text("freeze a segment"), why: text("a lock is held") },
            "could not freeze a segment: a lock is held",
        ),
        (
            Error::not_a_segment("it is no memory file"),
            "a descriptor cannot be used as shared memory: it is no memory file",
        ),
        (Error::TooLong { needed: 9, available: 8 }, "9 bytes are too long for a place of 8"),
        (
            Error::Corrupt { what: text("item 3 of a list"), why: text("its kind is 9") },
            "item 3 of a list has been written over: its kind is 9",
        ),
        (Error::AlreadyExists { name: text("a") }, "somebody has the name \"a\""),
        (Error::NotFound { name: text("a\nb") }, "nobody has the name \"a\\nb\""),
        (Error::NotOwner { name: text("a") }, "only its owner may remove the name \"a\""),
        (
            Error::Reaper { why: text("no") },
            "could not have the process that removes the names of the dead: no",
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
fn an_error_is_a_message() {
    for (error, text) in all() {
        let number = error.io_error().and_then(io::Error::raw_os_error);
        let packed = Packed::new(&error).unwrap();
        let arrived = packed.open::<Error>().unwrap();
        assert_eq!(arrived.to_string(), text);
        assert_eq!(arrived.io_error().and_then(io::Error::raw_os_error), number);
        assert_eq!(std::mem::discriminant(&arrived), std::mem::discriminant(&error));
    }
}

#[test]
fn an_error_of_the_system_without_a_number_keeps_its_text() {
    let packed = Packed::new(&Error::os("could not do it", io::Error::other("for a reason"))).unwrap();
    assert_eq!(packed.open::<Error>().unwrap().to_string(), "could not do it: for a reason");
}

#[test]
fn an_error_crosses_threads_and_has_its_source() {
    fn crosses<T: std::error::Error + Send + Sync + 'static>() {}
    crosses::<Error>();
    let error = Error::os("could not do it", io::Error::from_raw_os_error(libc::EPERM));
    assert!(std::error::Error::source(&error).is_some());
    assert!(std::error::Error::source(&Error::not_a_segment("it is a pipe")).is_none());
}
