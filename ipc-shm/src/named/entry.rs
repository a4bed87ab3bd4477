//! A name as a file: made whole, found or not, taken away by one who knows whose it is.
//!
//! A file is written before it has a name (`O_TMPFILE`, then linkat(2), which refuses a name that is there). So no name ever stands for half a
//! record, and two processes never both have one.
//!
//! To take a name away is two steps, to look whose it is and to unlink it, and between them it may have become another's. So who takes one
//! away first locks the file that it found (flock(2)), and looks whether the name is that file's still: nobody else takes it away then, and
//! nobody can replace it, for a new one is only linked where none is. The kernel frees the lock with its process.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::name::{DIRECTORY, Name};
use super::record::{LENGTH, Owner, Record};
use crate::crash::reached as step;
use crate::{Error, Result};

/// How long others may take to take a name away, which is two system calls' work.
const PATIENCE: Duration = Duration::from_secs(2);

/// The owner alone: who may read a name may have the memory.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What stands under a name.
pub(crate) enum Found {
    Nothing,
    /// Something that this crate has not made, or another user; with what it is.
    Foreign(String),
    Ours(OwnedFd, Record),
}

fn failed(what: &str, name: &Name, call: &str) -> impl FnOnce(Errno) -> Error {
    let operation = format!("could not {what} the name {name:?}: {call}", name = name.as_str());
    move |error| Error::os(operation, error)
}

/// Puts a record under a name; `false`: the name is taken.
///
/// # Errors
/// [`Error::Os`]: there is no /dev/shm, or no room in it, or no /proc.
pub(crate) fn publish(name: &Name, record: &Record) -> Result<bool> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(DIRECTORY, flags, MODE).map_err(failed("make", name, "open(O_TMPFILE)"))?;
    // Whatever the umask has taken away.
    rustix::fs::fchmod(&file, MODE).map_err(failed("make", name, "fchmod"))?;
    let mut left = record.as_bytes();
    while !left.is_empty() {
        match rustix::io::write(&file, left) {
            Ok(0) => return Err(failed("make", name, "write")(Errno::NOSPC)),
            Ok(written) => left = &left[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed("make", name, "write")(error)),
        }
    }
    step("name: record written");
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, nameless, CWD, name.path(), AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => {
            step("name: published");
            Ok(true)
        }
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(failed("make", name, "linkat")(error)),
    }
}

/// What stands under a name.
///
/// # Errors
/// [`Error::Os`]: it must not be read, or what else the kernel says.
pub(crate) fn look(name: &Name) -> Result<Found> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::open(name.path(), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(Errno::LOOP | Errno::NXIO) => return Ok(Found::Foreign("it is no file".to_owned())),
        Err(error) => return Err(failed("find", name, "open")(error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(failed("find", name, "fstat"))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() || stat.st_size != LENGTH as i64 {
        return Ok(Found::Foreign("it is not as this crate makes one".to_owned()));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(Found::Foreign(format!("it is of user {}", stat.st_uid)));
    }
    let mut bytes = [0; LENGTH];
    let read = loop {
        match rustix::io::pread(&file, &mut bytes, 0) {
            Err(Errno::INTR) => {}
            other => break other.map_err(failed("find", name, "read"))?,
        }
    };
    Ok(match Record::parse(&bytes) {
        Ok(record) if read == LENGTH => Found::Ours(file, record),
        Ok(_) => Found::Foreign("it was cut off".to_owned()),
        Err(why) => Found::Foreign(why),
    })
}

/// Takes a name away if its record is one that `which` says; `false`: it is not there, or another's.
///
/// # Errors
/// [`Error::Os`]: what the kernel says; [`Error::InUse`]: another process holds the file's lock, for longer than it takes to unlink one.
pub(crate) fn remove(name: &Name, which: impl Fn(&Record) -> Result<bool>) -> Result<bool> {
    remove_within(name, PATIENCE, which)
}

/// As [`remove`], without waiting for who has locked the file.
///
/// # Errors
/// As [`remove`].
pub(crate) fn try_remove(name: &Name, which: impl Fn(&Record) -> Result<bool>) -> Result<bool> {
    remove_within(name, Duration::ZERO, which)
}

fn remove_within(name: &Name, patience: Duration, which: impl Fn(&Record) -> Result<bool>) -> Result<bool> {
    let Found::Ours(file, record) = look(name)? else { return Ok(false) };
    if !which(&record)? {
        return Ok(false);
    }
    step("remover: found");
    let end = Instant::now() + patience;
    while let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        match error {
            Errno::INTR => {}
            Errno::WOULDBLOCK if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            Errno::WOULDBLOCK => {
                let what = format!("remove the name {:?}", name.as_str());
                return Err(Error::InUse { what, why: "another process has locked its file".to_owned() });
            }
            error => return Err(failed("remove", name, "flock")(error)),
        }
    }
    step("remover: locked");
    let own = rustix::fs::fstat(&file).map_err(failed("remove", name, "fstat"))?;
    let named = match rustix::fs::statat(CWD, name.path(), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(false),
        other => other.map_err(failed("remove", name, "stat"))?,
    };
    let number = |stat: &Stat| (stat.st_dev, stat.st_ino);
    if number(&own) != number(&named) {
        return Ok(false);
    }
    step("remover: sure");
    match rustix::fs::unlink(name.path()) {
        Ok(()) => {
            step("remover: unlinked");
            Ok(true)
        }
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(failed("remove", name, "unlink")(error)),
    }
}

/// Takes the name of somebody who is gone away; `false`: it is not there, or its owner lives.
///
/// # Errors
/// As [`remove`].
pub(crate) fn remove_stale(name: &Name) -> Result<bool> {
    remove(name, is_stale)
}

fn is_stale(record: &Record) -> Result<bool> {
    Ok(record.owner()? == Owner::Gone)
}

/// Takes away all names of this user whose owners are gone: those that nobody was left to remove; gives the others, and those that somebody
/// has locked. What cannot be done is left.
pub(crate) fn sweep() -> Vec<(Name, Record)> {
    let mut left = Vec::new();
    let Ok(all) = std::fs::read_dir(DIRECTORY) else { return left };
    for one in all.flatten() {
        // What is longer or shorter is not even opened.
        let ours = one.metadata().is_ok_and(|about| about.is_file() && about.len() == LENGTH as u64);
        if ours
            && let Ok(name) = one.file_name().into_string()
            && let Ok(name) = Name::new(name)
            && !try_remove(&name, is_stale).unwrap_or(false)
            && let Ok(Found::Ours(_, record)) = look(&name)
        {
            left.push((name, record));
        }
    }
    left
}

#[cfg(test)]
mod tests;
