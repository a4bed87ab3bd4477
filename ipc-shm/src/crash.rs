//! Crash points of the locks, of the gate, of arenas, of lists and of names: where `tests/crash.rs` has processes killed. Nothing without the
//! feature `crash-points`.
//!
//! The places themselves stand in the algorithms (`System::crash_point`), where the models have threads die as well; how a
//! process is told to die is ipc-core's matter (`sys/crash.rs` there).

#[cfg(feature = "crash-points")]
use crate::sys::robust_list::Thread;

/// All points; the part before the colon says who dies there.
#[cfg(feature = "crash-points")]
pub const POINTS: [&str; 72] = [
    "locker: announced",
    "locker: taken",
    "locker: linked",
    "locker: judges",
    "owner: has the data",
    "owner: calls it lost",
    "owner: hands it on",
    "sleeper: about to sleep",
    "sleeper: woken",
    "unlocker: lets the data go",
    "unlocker: unlinked",
    "unlocker: freed",
    "unlocker: woke nobody",
    "unlocker: took the bit",
    "unlocker: put the bit back",
    "recursive: taken",
    "recursive: taken once more",
    "recursive: given back once",
    "recursive: given back",
    "gate: marked",
    "gate: about to sleep",
    "gate: woken",
    "gate: found",
    "gate: about to change",
    "gate: changed",
    "gate: mark taken",
    "gate: woke",
    "arena: about to take data",
    "arena: granules marked",
    "arena: page is empty",
    "arena: page holds entries",
    "arena: data taken",
    "arena: entry names its data",
    "arena: entry is used",
    "arena: entry lives",
    "arena: about to free",
    "arena: entry is dead",
    "arena: data freed",
    "arena: entry freed",
    "arena: unmade",
    "list: about to change",
    "list: item is none",
    "list: bytes are there",
    "list: value is there",
    "list: item is whole",
    "name: about to tell",
    "name: address bound",
    "name: reaper started",
    "name: told",
    "name: record written",
    "name: published",
    "name: confirmed",
    "name: found taken",
    "name: free again",
    "name: forgotten",
    "remover: found",
    "remover: locked",
    "remover: sure",
    "remover: unlinked",
    "reaper: born",
    "reaper: apart",
    "reaper: looked around",
    "reaper: accepted",
    "reaper: owner heard",
    "reaper: owner answered",
    "reaper: name heard",
    "reaper: name answered",
    "reaper: name given back",
    "reaper: owner has hung up",
    "reaper: owner is dead",
    "reaper: owner is buried",
    "reaper: about to end",
];

/// Kills this process, if it is to die here.
///
/// Where the baton is switched off, the kernel is made not to see that anything was announced: as one before 6.2, which passes on nothing.
#[cfg(feature = "crash-points")]
pub(crate) fn reached(name: &'static str) {
    ipc_core::primitive::crash::reached_by_name(name, || {
        if let (true, Ok(thread)) = (crate::switch::is_off("baton"), Thread::current()) {
            thread.pass_nothing_on();
        }
    });
}

#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub(crate) fn reached(_name: &'static str) {}
