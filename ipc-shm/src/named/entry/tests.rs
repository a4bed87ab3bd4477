//! Unit tests of `entry`: names made, found, and taken away by the right ones.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::Segment;

/// A name, free at the end.
struct Temporary(Name);

impl Temporary {
    fn new() -> Temporary {
        Temporary(Name::random().unwrap())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0.path());
    }
}

#[test]
fn a_name_is_made_once_and_removed_once() {
    let (name, segment) = (Temporary::new(), Segment::new(1).unwrap());
    let record = Record::of(&segment, [7; 16]).unwrap();
    assert!(matches!(look(&name.0).unwrap(), Found::Nothing));
    assert!(publish(&name.0, &record).unwrap());
    assert!(!publish(&name.0, &record).unwrap());
    let about = fs::metadata(name.0.path()).unwrap();
    assert_eq!((about.permissions().mode() & 0o7777, about.len()), (0o600, LENGTH as u64));
    assert!(matches!(look(&name.0).unwrap(), Found::Ours(_, found) if found == record));
    assert!(!remove(&name.0, |_| Ok(false)).unwrap());
    assert!(!remove_stale(&name.0).unwrap(), "its owner lives");
    assert!(remove(&name.0, |found| Ok(*found == record)).unwrap());
    assert!(!remove(&name.0, |_| Ok(true)).unwrap());
}

#[test]
fn what_others_have_made_is_foreign_and_stays() {
    let name = Temporary::new();
    let path = name.0.path();
    let foreign = || {
        assert!(matches!(look(&name.0).unwrap(), Found::Foreign(_)));
        assert!(!remove(&name.0, |_| Ok(true)).unwrap());
        assert!(fs::symlink_metadata(&path).is_ok());
    };
    for content in [&b""[..], &[0; LENGTH], &[0; LENGTH - 1], b"a block of Python's"] {
        fs::write(&path, content).unwrap();
        foreign();
    }
    fs::remove_file(&path).unwrap();
    symlink("/dev/null", &path).unwrap();
    foreign();
    fs::remove_file(&path).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    foreign();
    drop(socket);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    foreign();
    fs::remove_dir(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    foreign();
}

/// The look and the unlinking are two steps: between them another owner may have come.
#[test]
fn a_name_that_became_anothers_meanwhile_stays() {
    let (name, segment) = (Temporary::new(), Segment::new(1).unwrap());
    let record = Record::of(&segment, [7; 16]).unwrap();
    assert!(publish(&name.0, &record).unwrap());
    let removed = remove(&name.0, |_| {
        fs::remove_file(name.0.path()).unwrap();
        publish(&name.0, &record)
    });
    assert!(!removed.unwrap());
    assert!(matches!(look(&name.0).unwrap(), Found::Ours(..)));
}

#[test]
fn a_file_that_somebody_keeps_locked_is_in_use() {
    let (name, segment) = (Temporary::new(), Segment::new(1).unwrap());
    publish(&name.0, &Record::of(&segment, [7; 16]).unwrap()).unwrap();
    let Found::Ours(file, _) = look(&name.0).unwrap() else { panic!("it is there") };
    rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
    let error = remove(&name.0, |_| Ok(true)).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    drop(file);
    assert!(remove(&name.0, |_| Ok(true)).unwrap());
}

#[test]
fn names_of_the_gone_are_swept_and_others_are_not() {
    let (living, dead, foreign) = (Temporary::new(), Temporary::new(), Temporary::new());
    let segment = Segment::new(1).unwrap();
    publish(&living.0, &Record::of(&segment, [7; 16]).unwrap()).unwrap();
    let gone = Segment::new(1).unwrap();
    publish(&dead.0, &Record::of(&gone, [7; 16]).unwrap()).unwrap();
    drop(gone);
    fs::write(foreign.0.path(), [0; LENGTH]).unwrap();
    let found = sweep();
    assert!(found.iter().any(|(name, _)| *name == living.0));
    assert!(!found.iter().any(|(name, _)| *name == dead.0 || *name == foreign.0));
    assert!(matches!(look(&living.0).unwrap(), Found::Ours(..)));
    assert!(matches!(look(&dead.0).unwrap(), Found::Nothing));
    assert!(matches!(look(&foreign.0).unwrap(), Found::Foreign(_)));
}
