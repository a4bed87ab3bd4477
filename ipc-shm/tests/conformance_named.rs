//! CPython's own tests of named shared memory, lists and the resource tracker, under CPython's names.
//!
//! One body over exec and fork server. Each runs in a family of its own, for some kill the reaper. What these tests leave out stands in
//! `named/` and `list.rs`; `xtask/parity.md` says which row of Python's list each of them shows.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use ipc_core::{AuthKey, Builder, Child, Connection, Context, Packed, duplex};
use ipc_shm::{Error, Item, Result, ShareableList, SharedMemory, SharedMemoryScope};
use ipc_testkit::{GENEROUS, leaks, wait_until};
use rustix::process::{Pid, Signal};

/// A back end of the tests.
type Start = fn() -> Context;

/// Runs a function in a child, and gives its value.
macro_rules! in_child {
    ($start:expr, $function:expr, $args:expr) => {
        $start().spawn($function, $args).unwrap().join().unwrap()
    };
}

fn family() -> Builder {
    Context::exec().builder().authkey(AuthKey::random().unwrap())
}

fn path(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(name)
}

#[track_caller]
fn gone(name: &str) {
    assert!(wait_until(GENEROUS, || !path(name).exists()), "{name} is there still");
}

/// A name that no other test has.
fn fresh() -> String {
    format!("test01_{}", SharedMemory::new(1).unwrap().name())
}

/// The reaper of this process: its child that leads a session.
fn reaper() -> u32 {
    let me = std::process::id().to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let reaper = pids.find(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        fields.len() > 3 && fields[0] != "Z" && fields[1] == me && fields[3] == pid.to_string()
    });
    reaper.unwrap()
}

fn signal(pid: u32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// A child that has two names, and what they are.
fn owner(start: Start) -> (Child<()>, Vec<String>) {
    let (line, theirs) = duplex::<(), Vec<String>>().unwrap();
    let own = |theirs: Connection<Vec<String>, ()>| {
        let all = [SharedMemory::new(10).unwrap(), SharedMemory::new(10).unwrap()];
        theirs.send(all.iter().map(|memory| memory.name().to_owned()).collect()).unwrap();
        std::thread::park();
        drop(all);
    };
    let child = start().spawn(own, (theirs,)).unwrap();
    let names = line.recv_timeout(GENEROUS).unwrap().unwrap();
    assert!(names.iter().all(|name| path(name).exists()));
    (child, names)
}

mod bodies {
    pub(crate) mod test_shared_memory {
        use crate::*;

        pub(crate) fn shared_memory_name_with_embedded_null(_: Start) {
            assert!(matches!(SharedMemory::create("a\0b", 1), Err(Error::Invalid { .. })));
            assert!(matches!(SharedMemory::attach("a\0b"), Err(Error::Invalid { .. })));
        }

        pub(crate) fn shared_memory_basics(start: Start) {
            let name = fresh();
            let sms = SharedMemory::create(&name, 512).unwrap();
            assert_eq!((sms.name(), sms.len()), (&*name, 512));
            sms.write(0, &[42]).unwrap();
            let also = SharedMemory::attach(&name).unwrap();
            let mut byte = [0];
            also.read(0, &mut byte).unwrap();
            assert_eq!((byte, also.len()), ([42], 512), "whose length is not asked for");
            also.write(511, &[1]).unwrap();
            assert!(also.write(512, &[1]).is_err());
            // In another process, and back.
            let there = |name: String| SharedMemory::attach(name)?.write(1, &[22]);
            in_child!(start, there, (name.clone(),)).unwrap();
            sms.read(1, &mut byte).unwrap();
            assert_eq!(byte, [22]);
            // A name that is there is taken by nobody; a random one is another.
            assert!(matches!(SharedMemory::create(&name, 512), Err(Error::AlreadyExists { .. })));
            assert_ne!(SharedMemory::new(1).unwrap().name(), SharedMemory::new(1).unwrap().name());
            sms.unlink().unwrap();
            assert!(matches!(sms.unlink(), Err(Error::NotFound { .. })));
            assert!(matches!(SharedMemory::attach(&name), Err(Error::NotFound { .. })));
            // Unlinked is not closed.
            also.read(1, &mut byte).unwrap();
        }

        pub(crate) fn shared_memory_recreate(_: Start) {
            let name = fresh();
            for round in 0..3 {
                let sms = SharedMemory::create(&name, 100).unwrap();
                let mut bytes = [1; 100];
                sms.read(0, &mut bytes).unwrap();
                assert_eq!(bytes, [0; 100], "round {round}");
                sms.write(0, &[7; 100]).unwrap();
                sms.unlink().unwrap();
            }
        }

        pub(crate) fn invalid_shared_memory_creation(_: Start) {
            assert!(matches!(SharedMemory::create("test", 0), Err(Error::Invalid { .. })));
            assert!(matches!(SharedMemory::create("", 1), Err(Error::Invalid { .. })));
            assert!(matches!(SharedMemory::attach(""), Err(Error::Invalid { .. })));
        }

        pub(crate) fn shared_memory_pickle_unpickle(_: Start) {
            let sms = SharedMemory::new(512).unwrap();
            let packed = Packed::new(&sms).unwrap();
            sms.write(0, b"after").unwrap();
            let again: SharedMemory = packed.open().unwrap();
            let mut bytes = [0; 5];
            again.read(0, &mut bytes).unwrap();
            assert_eq!((&bytes, again.name()), (b"after", sms.name()));
            assert!(!again.is_owner());
        }

        /// There it is FileNotFoundError; here the memory has travelled.
        pub(crate) fn shared_memory_pickle_unpickle_dead_object(_: Start) {
            let sms = SharedMemory::new(512).unwrap();
            sms.write(0, b"alive").unwrap();
            let packed = Packed::new(&sms).unwrap();
            drop(sms);
            let again: SharedMemory = packed.open().unwrap();
            let mut bytes = [0; 5];
            again.read(0, &mut bytes).unwrap();
            assert_eq!(&bytes, b"alive");
        }

        pub(crate) fn shared_memory_across_processes(start: Start) {
            let sms = SharedMemory::new(512).unwrap();
            let by_value = |sms: SharedMemory| sms.write(0, b"value");
            let by_name = |name: String| SharedMemory::attach(name)?.write(5, b"name");
            in_child!(start, by_value, (sms.clone(),)).unwrap();
            in_child!(start, by_name, (sms.name().to_owned(),)).unwrap();
            let mut bytes = [0; 9];
            sms.read(0, &mut bytes).unwrap();
            assert_eq!(&bytes, b"valuename");
        }

        /// What serves the scope here is the reaper.
        pub(crate) fn shared_memory_server_ignores_sigint(_: Start) {
            let scope = SharedMemoryScope::new();
            scope.shared_memory(128).unwrap();
            let pid = reaper();
            signal(pid, Signal::INT);
            let list = scope.shareable_list((0..10).map(Item::from)).unwrap();
            assert_eq!((reaper(), list.len()), (pid, 10));
        }

        pub(crate) fn shared_memory_manager_reuses_resource_tracker(start: Start) {
            let scope = SharedMemoryScope::new();
            scope.shared_memory(128).unwrap();
            let pid = reaper();
            let there = || {
                let scope = SharedMemoryScope::new();
                scope.shared_memory(1024).unwrap();
                scope.names().remove(0)
            };
            let name = in_child!(start, there, ());
            assert!(!path(&name).exists());
            assert_eq!(reaper(), pid);
        }

        pub(crate) fn shared_memory_manager_basics(_: Start) {
            let scope = SharedMemoryScope::new();
            let one = scope.shared_memory(32).unwrap();
            let list = scope.shareable_list((0..5).map(Item::from)).unwrap();
            assert_eq!(list.len(), 5);
            let held = one.name().to_owned();
            assert_eq!(scope.names(), [held.as_str(), list.shared_memory().unwrap().name()]);
            scope.close().unwrap();
            assert!(matches!(SharedMemory::attach(held), Err(Error::NotFound { .. })));
            let name = {
                let scope = SharedMemoryScope::new();
                let memory = scope.shared_memory(32).unwrap();
                assert!(path(memory.name()).exists());
                memory.name().to_owned()
            };
            assert!(!path(&name).exists());
        }

        pub(crate) fn shared_memory_shareable_list_basics(start: Start) {
            let items: Vec<Item> = vec![
                "howdy".into(),
                b"HoWdY".into(),
                (-273.154).into(),
                100.into(),
                ().into(),
                true.into(),
                42.into(),
            ];
            let list = ShareableList::new(items.clone()).unwrap();
            assert_eq!(list.format().unwrap(), "8s8sdqxxxxxx?xxxxxxxx?q");
            assert_eq!(list.len(), 7);
            assert!(list.iter().map(|item| item.unwrap()).eq(items.clone()));
            assert!(matches!(list.get(7), Err(Error::OutOfBounds { .. })));
            assert!(matches!(list.set(7, 1), Err(Error::OutOfBounds { .. })));
            // Types change, places do not.
            list.set(3, 42).unwrap();
            assert_eq!(list.get(3).unwrap(), 42.into());
            list.set(4, "some").unwrap();
            list.set(4, "space!!!").unwrap();
            assert_eq!(list.format().unwrap(), "8s8sdq8sxxxxxxx?q");
            assert!(matches!(list.set(4, "space!!!!"), Err(Error::TooLong { needed: 9, available: 8 })));
            list.set(0, "ütf-8ö").unwrap();
            assert!(matches!(list.set(0, "üüüüü"), Err(Error::TooLong { needed: 10, available: 8 })));
            assert_eq!(list.get(0).unwrap(), "ütf-8ö".into());
            assert_eq!((list.count(&42.into()).unwrap(), list.count(&"adios".into()).unwrap()), (2, 0));
            assert_eq!((list.index(&42.into()).unwrap(), list.index(&"no".into()).unwrap()), (Some(3), None));
            // A copy is another list.
            let copy = ShareableList::new(list.to_vec().unwrap()).unwrap();
            copy.set(5, false).unwrap();
            assert_eq!(list.get(5).unwrap(), true.into());
            // By its name, here and elsewhere.
            let name = fresh();
            let named = ShareableList::create(&name, (0..10).map(Item::from)).unwrap();
            let there = |name: String| ShareableList::attach(name)?.set(9, "last");
            in_child!(start, there, (name.clone(),)).unwrap();
            assert_eq!(ShareableList::attach(&name).unwrap().get(9).unwrap(), "last".into());
            named.shared_memory().unwrap().unlink().unwrap();
            assert!(matches!(ShareableList::attach(&name), Err(Error::NotFound { .. })));
            let empty = ShareableList::new([]).unwrap();
            assert_eq!(
                (empty.len(), empty.format().unwrap(), empty.to_vec().unwrap()),
                (0, String::new(), vec![])
            );
            assert_eq!(empty.index(&().into()).unwrap(), None);
        }

        pub(crate) fn shared_memory_shareable_list_pickling(start: Start) {
            let list = ShareableList::new((0..10).map(Item::from)).unwrap();
            let packed = Packed::new(&list).unwrap();
            list.set(0, -1).unwrap();
            let again: ShareableList = packed.open().unwrap();
            assert_eq!(again.get(0).unwrap(), (-1).into());
            again.set(1, -2).unwrap();
            in_child!(start, |list: ShareableList| list.set(2, -3), (again,)).unwrap();
            assert_eq!(list.to_vec().unwrap()[..3], [(-1).into(), (-2).into(), (-3).into()]);
            // The handle, not the data.
            let long = ShareableList::new([vec![0_u8; 100_000].into()]).unwrap();
            assert!(format!("{:?}", Packed::new(&long).unwrap()).len() < 1000);
        }

        pub(crate) fn shared_memory_shareable_list_pickling_dead_object(_: Start) {
            let list = ShareableList::create(fresh(), [7.into()]).unwrap();
            let packed = Packed::new(&list).unwrap();
            drop(list);
            let again: ShareableList = packed.open().unwrap();
            assert_eq!(again.get(0).unwrap(), 7.into());
        }

        pub(crate) fn shared_memory_cleaned_after_process_termination(start: Start) {
            let (child, names) = owner(start);
            child.terminate().unwrap();
            child.join().unwrap_err();
            names.iter().for_each(|name| gone(name));
        }

        /// Whoever attaches, of the family or not, takes nothing along.
        pub(crate) fn shared_memory_untracking(_: Start) {
            let sms = SharedMemory::new(10).unwrap();
            let there = |name: String| SharedMemory::attach(name).map(|memory| memory.len());
            let stranger = family().spawn(there, (sms.name().to_owned(),)).unwrap();
            assert_eq!(stranger.join().unwrap().unwrap(), 10);
            assert_eq!(SharedMemory::attach(sms.name()).unwrap().len(), 10);
        }

        pub(crate) fn shared_memory_tracking(start: Start) {
            let (child, names) = owner(start);
            let attached = SharedMemory::attach(&names[0]).unwrap();
            child.kill().unwrap();
            child.join().unwrap_err();
            names.iter().for_each(|name| gone(name));
            attached.write(0, b"still").unwrap();
        }
    }

    pub(crate) mod test_resource_tracker {
        use crate::*;

        pub(crate) fn resource_tracker(start: Start) {
            let (child, names) = owner(start);
            assert_eq!(names.len(), 2);
            child.terminate().unwrap();
            child.join().unwrap_err();
            names.iter().for_each(|name| gone(name));
        }

        fn survives(start: Start, number: Signal) {
            let _own = SharedMemory::new(1).unwrap();
            let pid = reaper();
            signal(pid, number);
            let (child, names) = owner(start);
            child.kill().unwrap();
            child.join().unwrap_err();
            names.iter().for_each(|name| gone(name));
            assert_eq!(reaper(), pid);
        }

        pub(crate) fn resource_tracker_sigint(start: Start) {
            survives(start, Signal::INT);
        }

        pub(crate) fn resource_tracker_sigterm(start: Start) {
            survives(start, Signal::TERM);
        }

        pub(crate) fn resource_tracker_sigkill(start: Start) {
            let own = SharedMemory::new(1).unwrap();
            let pid = reaper();
            signal(pid, Signal::KILL);
            assert!(wait_until(GENEROUS, || fs::read_link(format!("/proc/{pid}/exe")).is_err()));
            let more = SharedMemory::new(1).unwrap();
            assert_ne!(reaper(), pid);
            assert!(path(own.name()).exists() && path(more.name()).exists());
            let (child, names) = owner(start);
            child.kill().unwrap();
            child.join().unwrap_err();
            names.iter().for_each(|name| gone(name));
        }

        pub(crate) fn resource_tracker_reused(start: Start) {
            let _own = SharedMemory::new(1).unwrap();
            let pid = reaper();
            let (one, names) = owner(start);
            let (other, _) = owner(start);
            for child in [one, other] {
                child.kill().unwrap();
                child.join().unwrap_err();
            }
            gone(&names[0]);
            assert_eq!(reaper(), pid);
        }

        pub(crate) fn too_long_name_resource(_: Start) {
            assert!(matches!(SharedMemory::create("x".repeat(256), 1), Err(Error::Invalid { .. })));
            let longest = "x".repeat(235) + SharedMemory::new(1).unwrap().name();
            assert_eq!(SharedMemory::create(longest, 1).unwrap().name().len(), 255);
        }

        pub(crate) fn resource_tracker_blocked_signals(_: Start) {
            let blocked = || {
                let status = fs::read_to_string("/proc/thread-self/status").unwrap();
                status.lines().find(|line| line.starts_with("SigBlk")).map(str::to_owned)
            };
            let before = blocked();
            let _own = SharedMemory::new(1).unwrap();
            assert_eq!(blocked(), before);
        }
    }

    pub(crate) mod test_shared_memory_names {
        use crate::*;

        pub(crate) fn colons_and_newlines(start: Start) {
            for odd in ["a:b:c", "a\nb", ":", "a b\t\"'\\", "żółć"] {
                let name = format!("{odd}{}", fresh());
                let sms = SharedMemory::create(&name, 3).unwrap();
                let there = |name: String| SharedMemory::attach(name).map(|memory| memory.len());
                let found: Result<usize> = in_child!(start, there, (name.clone(),));
                assert_eq!(found.unwrap(), 3);
                sms.unlink().unwrap();
                assert!(!path(&name).exists());
            }
        }
    }

    pub(crate) mod test_named_resource {
        use crate::*;

        /// A program that keeps what it names in a static, and ends without dropping it.
        pub(crate) fn global_named_resource_spawn(start: Start) {
            static KEPT: std::sync::OnceLock<SharedMemory> = std::sync::OnceLock::new();
            let keep = || KEPT.get_or_init(|| SharedMemory::new(10).unwrap()).name().to_owned();
            let name = in_child!(start, keep, ());
            gone(&name);
        }
    }
}

macro_rules! back_end {
    ($back_end:ident = $start:expr; $($class:ident { $($test:ident)* })*) => {
        mod $back_end {
            $(mod $class {
                $(#[test]
                fn $test() {
                    let _leaks = crate::leaks();
                    let body = || crate::bodies::$class::$test($start);
                    let family = crate::family().spawn(body, ()).unwrap();
                    family.join().unwrap_or_else(|error| panic!("{error}"));
                })*
            })*
        }
    };
}

macro_rules! back_ends {
    ($($class:ident { $($test:ident)* })*) => {
        back_end! { exec = ipc_core::Context::exec; $($class { $($test)* })* }
        back_end! { fork_server = ipc_core::Context::fork_server; $($class { $($test)* })* }
    };
}

back_ends! {
    test_shared_memory {
        shared_memory_name_with_embedded_null shared_memory_basics shared_memory_recreate invalid_shared_memory_creation
        shared_memory_pickle_unpickle shared_memory_pickle_unpickle_dead_object shared_memory_across_processes
        shared_memory_server_ignores_sigint shared_memory_manager_reuses_resource_tracker shared_memory_manager_basics
        shared_memory_shareable_list_basics shared_memory_shareable_list_pickling
        shared_memory_shareable_list_pickling_dead_object shared_memory_cleaned_after_process_termination
        shared_memory_untracking shared_memory_tracking
    }
    test_resource_tracker {
        resource_tracker resource_tracker_sigint resource_tracker_sigterm resource_tracker_sigkill resource_tracker_reused
        too_long_name_resource resource_tracker_blocked_signals
    }
    test_shared_memory_names { colons_and_newlines }
    test_named_resource { global_named_resource_spawn }
}
