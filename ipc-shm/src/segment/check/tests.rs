//! Unit tests of `check`: each property that is asked for, missing.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, fcntl_add_seals, ftruncate, memfd_create, open};

use super::*;

fn memfd(len: u64, seals: SealFlags) -> OwnedFd {
    let file = memfd_create(c"ipc-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, len).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

fn again(file: &OwnedFd, flags: OFlags) -> OwnedFd {
    use std::os::fd::AsRawFd;
    open(format!("/proc/self/fd/{}", file.as_raw_fd()), flags, Mode::empty()).unwrap()
}

#[track_caller]
fn refused(file: &OwnedFd, access: Access, why: &str) {
    let error = check(file.as_fd(), access).unwrap_err();
    assert!(matches!(error, Error::NotASegment { .. }), "{error}");
    assert!(error.to_string().ends_with(why), "{error}");
}

const ALL: [Access; 3] = [Access::Shared, Access::View, Access::Private];

#[test]
fn foreign_descriptors() {
    let (reader, writer) = std::io::pipe().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    for fd in [reader.into(), writer.into(), null.into(), file.into()] {
        ALL.iter().for_each(|access| refused(&fd, *access, "it is no memory file"));
    }
    let path = again(&memfd(1, SIZE), OFlags::PATH);
    refused(&path, Access::Shared, "it was opened as a path only");
    let cannot = memfd_create(c"ipc-test", MemfdFlags::CLOEXEC).unwrap();
    refused(&cannot, Access::Shared, "it is not sealed against shrinking and growing");
}

#[test]
fn seals() {
    for missing in [SealFlags::SHRINK, SealFlags::GROW] {
        let file = memfd(1, CONSTANT - missing);
        let why = "it is not sealed against shrinking and growing";
        ALL.iter().for_each(|access| refused(&file, *access, why));
    }
    for no_writing in [SealFlags::WRITE, SealFlags::FUTURE_WRITE] {
        let file = memfd(1, SIZE | no_writing);
        refused(&file, Access::Shared, "it is sealed against writing: frozen data, and no live segment");
        assert!(check(file.as_fd(), Access::View).is_ok());
    }
    // Sealed against new writers only: who writes already goes on.
    let why = "it is not sealed against writing: a live segment, and no frozen data";
    refused(&memfd(1, SIZE | SealFlags::FUTURE_WRITE), Access::Private, why);
    refused(&memfd(1, SIZE), Access::Private, why);
    assert!(check(memfd(1, CONSTANT).as_fd(), Access::Private).is_ok());
}

#[test]
fn sizes_and_holes() {
    refused(&memfd(0, SIZE), Access::Shared, "it is empty");
    let file = memfd(10_000, SIZE);
    assert!(check_said(file.as_fd(), Access::Shared, 10_000, false).is_ok());
    for len in [9_999, 10_001, 0, u64::MAX] {
        let error = check_said(file.as_fd(), Access::Shared, len, false).unwrap_err();
        let why = format!("it has 10000 bytes, and its message says {len}");
        assert!(error.to_string().ends_with(&why), "{error}");
    }
    let error = check_said(file.as_fd(), Access::Shared, 10_000, true).unwrap_err();
    assert!(error.to_string().contains("it has holes"), "{error}");
}

#[test]
fn the_way_it_was_opened() {
    let file = memfd(1, SIZE);
    refused(&again(&file, OFlags::RDONLY), Access::Shared, "it is not open for reading and writing");
    refused(&again(&file, OFlags::WRONLY), Access::Shared, "it is not open for reading and writing");
    refused(&again(&file, OFlags::WRONLY), Access::View, "it is not open for reading");
    refused(&file, Access::View, "it is open for writing as well, and no view");
    assert!(check(again(&file, OFlags::RDONLY).as_fd(), Access::View).is_ok());
    assert!(check(again(&file, OFlags::RDWR).as_fd(), Access::Shared).is_ok());
}
