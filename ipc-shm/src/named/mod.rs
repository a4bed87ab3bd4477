//! Named shared memory: segments that other processes find by a name.
//!
//! Between processes of one program a handle travels inside a value, and needs no name. A name is for those who have no connection: a program
//! started by hand, a second one that was built apart, a tool that looks into a service. Python's `multiprocessing.shared_memory`, without its
//! traps:
//!
//! | Python | here |
//! |---|---|
//! | whoever attaches registers the name with its own tracker, and its exit destroys the memory for all | only the owner unlinks, and dies with the name |
//! | a killed tracker, or `track=False`, leaves the memory until the machine is started again | memory is never left: the kernel counts who has it. What may stay is a name of 96 bytes |
//! | `/dev/shm` is full (64 MB in most containers): SIGBUS when a page is touched | the memory is no file of /dev/shm, and [reserved](Segment::new): an error |
//! | another process cuts the file off: SIGBUS | it is sealed |
//! | a handle that arrives after `unlink` is FileNotFoundError | a handle travels as the memory itself |
//!
//! # How it is kept
//!
//! The memory is a [`Segment`], a sealed memory file without a name. What stands in `/dev/shm` under the name is a record of 96 bytes: who
//! the owner is (pid, start time, namespaces, boot id), under which number it has the file, and which file that is. To attach is to read
//! the record, to see that the owner lives, and to open its `/proc/PID/fd/N`; if that is not the file, the name names nothing.
//!
//! # Death
//!
//! | who dies (`kill -9` included) | who notices | what happens |
//! |---|---|---|
//! | the owner | its reaper, at once; anybody who looks | the name names nothing from that moment, and is removed; who has attached keeps the memory |
//! | one who has attached | nobody need | the others have it |
//! | the last one who has the memory | the kernel | it is freed |
//! | the reaper | the family's next name | another one is started, and watches over the names there are |
//! | owner and reaper, at the same time | who creates the name anew, or this user's next reaper | the record is replaced, or removed |
//!
//! The reaper is one small process for each tree of processes, started with the first name: this program, executed again. It ends with the
//! last process that had a name. It holds no memory and no stream of anybody, and does not hear SIGINT or SIGTERM.
//!
//! # Who may have it
//!
//! Processes of the same user, in the same pid namespace: they may look into `/proc/PID/fd` (ptrace(2), "Ptrace access mode checking"). The record's
//! permissions are 0600, whatever the umask. For another user, or another container, a
//! [`Listener`](ipc_core::Listener) is the place to meet, and the segment goes in a message. An owner that has changed its user since it was
//! executed, or is not dumpable for another reason, is not found by name either. C's `shm_open` and Python find no memory under the name:
//! what they would open is the record.
//!
//! Whoever is the same user can put a record there by hand, as he could do anything else to this user's processes; what it may lead to is
//! looked at as any descriptor that has come (sealed, of that length), and nothing that is no memory file is ever opened for use.
//!
//! # Limits
//!
//! A process that ends its first thread with pthread_exit and lives on looks dead to others. The reaper counts as a child when names are
//! given out (`Process-2` is the next). Where no process can be started, in a sandbox or a shared library that is loaded by
//! another program, nothing can be named ([`Error::Reaper`](crate::Error::Reaper)).

pub(crate) mod bytes;
pub(crate) mod entry;
pub(crate) mod memory;
pub(crate) mod name;
mod reaper;
pub(crate) mod record;
pub(crate) mod scope;

#[cfg(doc)]
use crate::Segment;
