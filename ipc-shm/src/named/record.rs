//! What stands under a name: whose memory it is, and where that process has it.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `ipcname` and a NUL |
//! | 8..12 | the version of this layout |
//! | 12..16 | the number of the memory's descriptor in its owner |
//! | 16..20 | the owner's pid |
//! | 20..24 | its number among its owner's names: two for the same memory differ |
//! | 24..32 | when the owner started, in ticks since the machine did (field 22 of proc_pid_stat(5)), by the clock of its time namespace |
//! | 32..36 | the owner's pid namespace, by its inode, which has 32 bits |
//! | 36..40 | its time namespace, by its inode; 0 where the kernel has none |
//! | 40..56 | the machine's boot id |
//! | 56..72 | device and inode of the memory file |
//! | 72..80 | the memory's length |
//! | 80..96 | the owner's family, by what its reaper's address is made of |
//!
//! # Who is gone
//!
//! | found | the owner |
//! |---|---|
//! | another boot id | is gone |
//! | another pid namespace | cannot be judged from here: it counts as living |
//! | no process of that number, or a dead one nobody has waited for | is gone |
//! | a process that started at another time, in this time namespace | is gone, and this is another one |
//! | its descriptor of that number is there, and is this file | lives |
//! | it is not, or is another file | has given it up: by exec, for a name goes before its memory does |
//! | it must not be looked at | counts as living |
//!
//! When a process started, the kernel tells by the clock of whoever reads it (time_namespaces(7)): in another time namespace than the owner's
//! that says nothing, and the descriptor alone is looked at.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use bytemuck::{Pod, Zeroable};
use ipc_core::primitive::process::{Life, Look, exists, is_nothing};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::{Error, Result, Segment};

const MAGIC: u64 = u64::from_le_bytes(*b"ipcname\0");
const VERSION: u32 = 1;

/// How many records this process has made.
static SERIAL: AtomicU32 = AtomicU32::new(0);

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable, Serialize, Deserialize)]
#[repr(C)]
pub(crate) struct Record {
    magic: u64,
    version: u32,
    descriptor: u32,
    pid: u32,
    serial: u32,
    started: u64,
    namespace: u32,
    time: u32,
    boot: [u8; 16],
    device: u64,
    inode: u64,
    len: u64,
    family: [u8; 16],
}

/// How long a record is.
pub(crate) const LENGTH: usize = size_of::<Record>();

/// What becomes of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Lives,
    Gone,
    /// In a pid namespace where this process does not see it.
    Elsewhere,
}

impl Record {
    /// Of memory that this process has, which is of such a family.
    ///
    /// # Errors
    /// [`Error::Os`]: there is no /proc, or it cannot be read.
    pub(crate) fn of(segment: &Segment, family: [u8; 16]) -> Result<Record> {
        let pid = std::process::id();
        let failed = |error| Error::os("could not tell when this process started: /proc/self/stat", error);
        let started = Life::this().map_err(failed)?.started;
        let stat = rustix::fs::fstat(segment)
            .map_err(|error| Error::os("could not look at a segment: fstat", error))?;
        Ok(Record {
            magic: MAGIC,
            version: VERSION,
            descriptor: segment.as_fd().as_raw_fd() as u32,
            pid,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            started,
            namespace: namespace()?,
            time: time_namespace()?,
            boot: boot()?,
            device: stat.st_dev,
            inode: stat.st_ino,
            len: segment.len() as u64,
            family,
        })
    }

    /// What a file holds; `Err` says why that is no record.
    pub(crate) fn parse(bytes: &[u8; LENGTH]) -> Result<Record, String> {
        let record: Record = bytemuck::pod_read_unaligned(bytes);
        if record.magic != MAGIC {
            return Err("it does not begin as one of this crate does".to_owned());
        }
        if record.version != VERSION {
            return Err(format!("its layout is version {}, and this program's is {VERSION}", record.version));
        }
        Ok(record)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }

    /// # Errors
    /// [`Error::Os`]: there is no /proc, or it cannot be read.
    pub(crate) fn owner(&self) -> Result<Owner> {
        // What is read first shows that there is a /proc, so that what is not found there is not there.
        if self.boot != boot()? {
            return Ok(Owner::Gone);
        }
        if self.namespace != namespace()? {
            return Ok(Owner::Elsewhere);
        }
        match Look::at(self.pid) {
            Ok(look) if look.is_dead() => return Ok(Owner::Gone),
            Ok(look) if look.started != self.started && self.time == time_namespace()? => {
                return Ok(Owner::Gone);
            }
            Ok(_) => {}
            // A /proc that hides processes (hidepid) says the same of those that live.
            Err(error) if is_nothing(&error) => {
                return Ok(if exists(self.pid) { Owner::Lives } else { Owner::Gone });
            }
            Err(_) => return Ok(Owner::Lives),
        }
        match rustix::fs::stat(self.place()) {
            Ok(stat) if self.is(&stat) => Ok(Owner::Lives),
            Ok(_) | Err(Errno::NOENT | Errno::SRCH) => Ok(Owner::Gone),
            Err(Errno::NOMEM) => {
                Err(Error::os(format!("could not look at {}: stat", self.place()), Errno::NOMEM))
            }
            Err(_) => Ok(Owner::Lives),
        }
    }

    /// The memory, from where its owner has it; `None`: it has it no more.
    ///
    /// # Errors
    /// [`Error::NotASegment`]: it is not what the record says; [`Error::Os`]: it cannot be opened; what [`Segment::from_fd`] says.
    pub(crate) fn open(&self) -> Result<Option<Segment>> {
        let failed = |error| Error::os(format!("could not open {}", self.place()), error);
        // First as a path: to open what is no file of memory may do something.
        let path = match rustix::fs::open(self.place(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
            other => other.map_err(failed)?,
        };
        if !self.is(&rustix::fs::fstat(&path).map_err(failed)?) {
            return Ok(None);
        }
        let again = format!("/proc/self/fd/{}", path.as_raw_fd());
        // One with a lease is waited for otherwise, for as long as the system says (fcntl(2), "Leases").
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file: OwnedFd = rustix::fs::open(again, flags, Mode::empty()).map_err(failed)?;
        let segment = Segment::from_fd(file)?;
        if segment.len() as u64 != self.len {
            let why = format!("it has {} bytes, and its name says {}", segment.len(), self.len);
            return Err(Error::not_a_segment(why));
        }
        Ok(Some(segment))
    }

    /// The owner, to wait for its death, if it lives and is of this family.
    pub(crate) fn watch(&self, family: [u8; 16]) -> Option<OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let process = (self.family == family).then(|| pidfd_open(pid, PidfdFlags::empty()))?.ok()?;
        // Looked at when it cannot become another any more.
        (self.owner().ok()? == Owner::Lives).then_some(process)
    }

    fn place(&self) -> String {
        format!("/proc/{}/fd/{}", self.pid, self.descriptor)
    }

    fn is(&self, stat: &Stat) -> bool {
        let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        regular && (stat.st_dev, stat.st_ino) == (self.device, self.inode)
    }
}

/// The pid namespace of this process, by its inode.
fn namespace() -> Result<u32> {
    let stat = rustix::fs::stat("/proc/self/ns/pid");
    stat.map(|stat| stat.st_ino as u32)
        .map_err(|error| Error::os("could not tell the pid namespace: stat", error))
}

/// The time namespace of this process, by its inode; 0 before Linux 5.6.
fn time_namespace() -> Result<u32> {
    match rustix::fs::stat("/proc/self/ns/time") {
        Ok(stat) => Ok(stat.st_ino as u32),
        Err(Errno::NOENT) => Ok(0),
        Err(error) => Err(Error::os("could not tell the time namespace: stat", error)),
    }
}

fn boot() -> Result<[u8; 16]> {
    const FILE: &str = "/proc/sys/kernel/random/boot_id";
    let text =
        fs::read_to_string(FILE).map_err(|error| Error::os(format!("could not read {FILE}"), error))?;
    let digits: String = text.trim().chars().filter(|letter| *letter != '-').collect();
    let number = u128::from_str_radix(&digits, 16);
    number
        .map(u128::to_be_bytes)
        .map_err(|error| Error::os(format!("could not read {FILE}"), std::io::Error::other(error)))
}

#[cfg(test)]
mod tests;
