//! Unit tests of `record`: who is gone, and what is opened.

use super::*;

fn record(segment: &Segment) -> Record {
    Record::of(segment, [7; 16]).unwrap()
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let segment = Segment::new(5).unwrap();
    let one = record(&segment);
    let bytes: [u8; LENGTH] = one.as_bytes().try_into().unwrap();
    assert_eq!((LENGTH, Record::parse(&bytes)), (96, Ok(one)));
    let mut other = bytes;
    other[0] ^= 1;
    assert!(Record::parse(&other).unwrap_err().contains("does not begin"));
    other = bytes;
    other[8] = 9;
    assert!(Record::parse(&other).unwrap_err().contains("version 9"));
}

#[test]
fn who_has_its_memory_lives_and_others_are_gone() {
    let segment = Segment::new(5).unwrap();
    let one = record(&segment);
    let owner = |change: fn(&mut Record)| {
        let mut other = one;
        change(&mut other);
        other.owner().unwrap()
    };
    assert_eq!(one.owner().unwrap(), Owner::Lives);
    assert_eq!(owner(|other| other.boot[3] ^= 1), Owner::Gone);
    assert_eq!(owner(|other| other.namespace ^= 1), Owner::Elsewhere);
    assert_eq!(owner(|other| other.pid = u32::MAX), Owner::Gone);
    assert_eq!(owner(|other| other.pid = 0), Owner::Gone);
    assert_eq!(owner(|other| other.started ^= 1), Owner::Gone);
    assert_eq!(owner(|other| other.descriptor = u32::MAX), Owner::Gone);
    assert_eq!(owner(|other| other.inode ^= 1), Owner::Gone);
    drop(segment);
    assert_eq!(one.owner().unwrap(), Owner::Gone);
}

/// In another time namespace all processes seem to have started at another time.
#[test]
fn when_an_owner_started_says_nothing_in_another_time_namespace() {
    let segment = Segment::new(5).unwrap();
    let mut one = record(&segment);
    (one.started, one.time) = (one.started + 10_000_000, one.time ^ 1);
    assert_eq!(one.owner().unwrap(), Owner::Lives);
    assert!(one.watch([7; 16]).is_some());
    drop(segment);
    assert_eq!(one.owner().unwrap(), Owner::Gone);
}

#[test]
fn a_dead_child_that_nobody_has_waited_for_is_gone() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let segment = Segment::new(5).unwrap();
    let mut one = record(&segment);
    one.pid = child.id();
    assert!(ipc_testkit::wait_until(ipc_testkit::GENEROUS, || Look::at(child.id()).unwrap().is_dead()));
    one.started = Look::at(child.id()).unwrap().started;
    assert_eq!(one.owner().unwrap(), Owner::Gone);
    child.wait().unwrap();
    assert_eq!(one.owner().unwrap(), Owner::Gone);
}

#[test]
fn what_is_opened_is_what_the_record_says() {
    let segment = Segment::new(5).unwrap();
    let one = record(&segment);
    assert_eq!(one.open().unwrap().unwrap().as_ptr(), segment.as_ptr());
    let opened = |change: fn(&mut Record)| {
        let mut other = one;
        change(&mut other);
        other.open()
    };
    assert!(opened(|other| other.pid = u32::MAX).unwrap().is_none());
    assert!(opened(|other| other.descriptor = u32::MAX).unwrap().is_none());
    assert!(opened(|other| other.inode ^= 1).unwrap().is_none());
    let error = opened(|other| other.len = 6).unwrap_err().to_string();
    assert!(error.contains("it has 5 bytes, and its name says 6"), "{error}");
}

/// A record that somebody has forged, of descriptors that are no memory: nothing is opened that could do something.
#[test]
fn a_forged_record_opens_no_device_and_no_pipe() {
    let segment = Segment::new(5).unwrap();
    let forged = |fd: &dyn AsFd| {
        let stat = rustix::fs::fstat(fd).unwrap();
        let mut one = record(&segment);
        (one.descriptor, one.device, one.inode) = (fd.as_fd().as_raw_fd() as u32, stat.st_dev, stat.st_ino);
        one.open()
    };
    assert!(forged(&std::io::pipe().unwrap().0).unwrap().is_none());
    assert!(forged(&fs::File::open("/dev/null").unwrap()).unwrap().is_none());
    let file = fs::File::open("/proc/self/exe").unwrap();
    // The program is not open for writing as long as it runs; any other file is no segment.
    assert!(forged(&file).is_err());
}

/// Its opener waited for the end of the lease: 45 seconds, if nothing else is said.
#[test]
fn a_forged_record_of_a_leased_file_is_not_waited_for() {
    // Not in libc: fcntl(2).
    const F_SETSIG: i32 = 10;
    let segment = Segment::new(5).unwrap();
    let mut one = record(&segment);
    let path = std::env::temp_dir().join(format!("ipc-shm-leased-{}", std::process::id()));
    fs::write(&path, [0; 5]).unwrap();
    let file = fs::File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    // SAFETY: these touch no memory. Who has the lease is told by a signal that does nothing, and not by SIGIO.
    let leased = unsafe {
        libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) == 0
            && libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) == 0
    };
    if !leased {
        return ipc_testkit::not_here("no leases there");
    }
    let stat = rustix::fs::fstat(&file).unwrap();
    (one.descriptor, one.device, one.inode) = (file.as_raw_fd() as u32, stat.st_dev, stat.st_ino);
    let start = std::time::Instant::now();
    let error = one.open().unwrap_err();
    assert!(
        matches!(&error, Error::Os { source, .. } if source.kind() == std::io::ErrorKind::WouldBlock),
        "{error}"
    );
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn an_owner_of_the_family_is_watched_as_long_as_it_lives() {
    let segment = Segment::new(5).unwrap();
    let one = record(&segment);
    assert!(one.watch([7; 16]).is_some());
    assert!(one.watch([8; 16]).is_none());
    drop(segment);
    assert!(one.watch([7; 16]).is_none());
}
