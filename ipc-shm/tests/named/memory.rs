//! Names: made once, found by others, taken away by their owner alone.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use ipc_core::Packed;
use ipc_shm::{Array, Lock, ShareableList, Value};

use super::*;

#[test]
fn another_process_finds_the_memory_by_its_name() {
    let _leaks = leaks();
    let name = fresh("found");
    let memory = SharedMemory::create(&name, 10_000).unwrap();
    let there = |name: String| {
        let memory = SharedMemory::attach(name)?;
        memory.write(9_995, b"there")?;
        Ok((memory.len(), memory.is_owner()))
    };
    assert_eq!(
        joined::<_, _>(exec(), there, (name.clone(),)).unwrap_or_else(|error: Error| panic!("{error}")),
        (10_000, false)
    );
    let mut bytes = [0; 5];
    memory.read(9_995, &mut bytes).unwrap();
    assert_eq!(&bytes, b"there");
    assert!(memory.is_owner() && stands(&name), "an attached process does not take the name with it");
    assert_eq!(memory.as_ptr(), SharedMemory::attach(&name).unwrap().as_ptr(), "mapped once");
}

#[test]
fn a_name_is_one_owners() {
    let _leaks = leaks();
    let name = fresh("exists");
    let memory = SharedMemory::create(&name, 1).unwrap();
    let exists = |name: String| match SharedMemory::create(name, 1) {
        Err(Error::AlreadyExists { name }) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(exists(name.clone()), name);
    assert_eq!(joined(exec(), exists, (name.clone(),)), name);
    memory.unlink().unwrap();
    assert!(SharedMemory::create(&name, 1).is_ok(), "and then it is free");
}

#[test]
fn lengths_and_names_that_cannot_be() {
    let _leaks = leaks();
    for (name, len) in
        [("good", 0), ("", 1), ("a/b", 1), ("/a", 1), ("a\0b", 1), ("..", 1), (&"x".repeat(256), 1)]
    {
        let error = SharedMemory::create(name, len).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        if len > 0 {
            assert!(matches!(SharedMemory::attach(name), Err(Error::Invalid { .. })));
        }
    }
    assert!(matches!(SharedMemory::new(0), Err(Error::Invalid { .. })));
    assert!(matches!(SharedMemory::new(1 << 60), Err(Error::NoMemory { .. })));
    let longest = "x".repeat(255);
    assert_eq!(SharedMemory::create(&longest, 1).unwrap().name(), longest);
}

#[test]
fn nobody_is_found_who_is_not_there() {
    let _leaks = leaks();
    let name = fresh("missing");
    let missing = || matches!(SharedMemory::attach(&name), Err(Error::NotFound { name: of }) if of == name);
    assert!(missing());
    let memory = SharedMemory::create(&name, 1).unwrap();
    assert!(!missing());
    memory.unlink().unwrap();
    assert!(missing());
    memory.write(0, &[1]).unwrap();
}

#[test]
fn only_the_owner_unlinks_and_once() {
    let _leaks = leaks();
    let memory = SharedMemory::new(5).unwrap();
    let other = SharedMemory::attach(memory.name()).unwrap();
    let clone = memory.clone();
    assert!(matches!(other.unlink(), Err(Error::NotOwner { .. })));
    let unlink = |name: String| SharedMemory::attach(name)?.unlink();
    assert!(matches!(joined(exec(), unlink, (memory.name().to_owned(),)), Err(Error::NotOwner { .. })));
    clone.unlink().unwrap();
    for handle in [&memory, &clone] {
        assert!(matches!(handle.unlink(), Err(Error::NotFound { .. })));
    }
    // Nor does it take away what somebody else has made there since.
    let next = SharedMemory::create(memory.name(), 5).unwrap();
    drop((memory, clone));
    assert!(stands(next.name()));
}

/// Two names for the same memory were the same record: who was refused took the other's away.
#[test]
fn a_refused_second_name_leaves_the_first() {
    let _leaks = leaks();
    let name = fresh("second");
    let segment = Segment::new(5).unwrap();
    let first = SharedMemory::of(&name, segment.clone()).unwrap();
    assert!(matches!(SharedMemory::of(&name, segment), Err(Error::AlreadyExists { .. })));
    assert!(SharedMemory::attach(&name).is_ok());
    first.unlink().unwrap();
}

#[test]
fn an_old_handle_does_not_take_a_new_name_away() {
    let _leaks = leaks();
    let name = fresh("old");
    let segment = Segment::new(5).unwrap();
    let first = SharedMemory::of(&name, segment.clone()).unwrap();
    fs::remove_file(path(&name)).unwrap();
    let second = SharedMemory::of(&name, segment).unwrap();
    drop(first);
    assert!(SharedMemory::attach(&name).is_ok());
    second.unlink().unwrap();
}

#[test]
fn somebody_has_removed_the_file() {
    let _leaks = leaks();
    let memory = SharedMemory::new(5).unwrap();
    fs::remove_file(path(memory.name())).unwrap();
    assert!(matches!(memory.unlink(), Err(Error::NotFound { .. })));
}

#[test]
fn the_last_handle_takes_the_name_along() {
    let _leaks = leaks();
    let memory = SharedMemory::new(5).unwrap();
    let (name, clone) = (memory.name().to_owned(), memory.clone());
    let attached = SharedMemory::attach(&name).unwrap();
    clone.write(0, b"stays").unwrap();
    drop(memory);
    assert!(stands(&name));
    drop(clone);
    assert!(!stands(&name));
    assert_eq!(text(&attached), "stays");
}

#[test]
fn what_others_have_put_there_stays() {
    let _leaks = leaks();
    let name = fresh("foreign");
    for content in ["", "a block of Python's"] {
        fs::write(path(&name), content).unwrap();
        assert!(matches!(SharedMemory::create(&name, 1), Err(Error::AlreadyExists { .. })));
        let error = SharedMemory::attach(&name).unwrap_err();
        assert!(matches!(error, Error::NotASegment { .. }), "{error}");
        assert_eq!(fs::read_to_string(path(&name)).unwrap(), content);
    }
    fs::remove_file(path(&name)).unwrap();
}

#[test]
fn the_owner_alone_may_have_it_whatever_the_umask() {
    let _leaks = leaks();
    let mode = |name: String| {
        let memory = SharedMemory::create(name, 1).unwrap();
        fs::metadata(path(memory.name())).unwrap().permissions().mode() & 0o7777
    };
    for umask in [0, 0o777] {
        assert_eq!(joined(exec().umask(umask), mode, (fresh("mode"),)), 0o600);
    }
}

#[test]
fn another_user_has_no_access() {
    let _leaks = leaks();
    if !rustix::process::geteuid().is_root() {
        return ipc_testkit::not_here("only root can become another user");
    }
    let memory = SharedMemory::new(5).unwrap();
    let try_it = |name: String| {
        let attached = match SharedMemory::attach(&name) {
            Err(Error::Os { source, .. }) => source.kind() == std::io::ErrorKind::PermissionDenied,
            other => panic!("{other:?}"),
        };
        attached && matches!(SharedMemory::create(&name, 1), Err(Error::AlreadyExists { .. }))
    };
    assert!(joined(exec().uid(65534).gid(65534), try_it, (memory.name().to_owned(),)));
    assert_eq!(SharedMemory::attach(memory.name()).unwrap().len(), 5);
}

#[test]
fn a_handle_that_was_sent_is_the_memory_also_without_its_name() {
    let _leaks = leaks();
    let memory = SharedMemory::new(5).unwrap();
    let packed = Packed::new(&memory).unwrap();
    memory.unlink().unwrap();
    let there = |memory: SharedMemory| {
        memory.write(0, b"after").unwrap();
        (memory.name().to_owned(), memory.is_owner(), matches!(memory.unlink(), Err(Error::NotOwner { .. })))
    };
    let arrived: SharedMemory = packed.open().unwrap();
    assert_eq!(joined(exec(), there, (arrived,)), (memory.name().to_owned(), false, true));
    assert_eq!(text(&memory), "after");
    // Its name is looked at as any other.
    let forged = Packed::new(&("../x", memory.segment())).unwrap();
    assert!(forged.open::<SharedMemory>().is_err());
}

#[test]
fn what_is_in_a_segment_can_have_a_name() {
    let _leaks = leaks();
    let (value, array) = (Value::new(7_u64).unwrap(), Array::from_iter(0..5_u8).unwrap());
    let names = [fresh("value"), fresh("array"), fresh("lazy")];
    let _value = SharedMemory::of(&names[0], value.segment().clone()).unwrap();
    let _array = SharedMemory::of(&names[1], array.segment().clone()).unwrap();
    let _lazy = SharedMemory::of(&names[2], Segment::lazy(1 << 40).unwrap()).unwrap();
    let there = |names: [String; 3]| -> Result<(u64, Vec<u8>, usize)> {
        let value = Value::<u64>::try_from(SharedMemory::attach(&names[0])?.into_segment())?;
        let array = Array::<u8>::try_from(SharedMemory::attach(&names[1])?.into_segment())?;
        assert!(Array::<u64>::try_from(SharedMemory::attach(&names[1])?.into_segment()).is_err());
        assert!(matches!(ShareableList::attach(&names[1]), Err(Error::NotASegment { .. })));
        Ok((value.replace(8)?, array.to_vec()?, SharedMemory::attach(&names[2])?.len()))
    };
    assert_eq!(joined(exec(), there, (names,)).unwrap(), (7, vec![0, 1, 2, 3, 4], 1 << 40));
    assert_eq!(value.get().unwrap(), 8);
    drop(Lock::new().unwrap());
}

/// The reaper is killed first, so that nobody removes the name: it is taken over.
#[test]
fn a_dead_owners_name_is_taken_over() {
    let _leaks = leaks();
    in_a_family(|| {
        let name = fresh("stale");
        let stale = joined(exec().authkey(AuthKey::random().unwrap()), leave_a_name, (name.clone(),));
        assert_eq!(stale, name);
        // It stands there still, unless another test's reaper has just begun and found it.
        assert!(matches!(SharedMemory::attach(&name), Err(Error::NotFound { .. })));
        let memory = SharedMemory::create(&name, 5).unwrap();
        memory.write(0, b"fresh").unwrap();
        assert_eq!(text(&SharedMemory::attach(&name).unwrap()), "fresh");
    });
}

/// Of a family of its own: the reaper is killed, and then the owner, which is a process of it.
pub(crate) fn leave_a_name(name: String) -> String {
    let _first = SharedMemory::new(1).unwrap();
    let owner = Owner::start(exec(), &name);
    signal(reaper(), rustix::process::Signal::KILL);
    owner.kill()
}

#[test]
fn of_many_that_want_a_name_one_gets_it() {
    let _leaks = leaks();
    let name = fresh("race");
    joined(exec().authkey(AuthKey::random().unwrap()), leave_a_name, (name.clone(),));
    let race = |name: String| -> usize {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| SharedMemory::create(&name, 1))).collect();
            // All handles are there until the last has tried.
            let tried: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            let refused = |tried: &&Result<SharedMemory>| matches!(tried, Err(Error::AlreadyExists { .. }));
            let won = tried.iter().filter(|tried| tried.is_ok()).count();
            assert_eq!(won + tried.iter().filter(refused).count(), 4, "{tried:?}");
            won
        })
    };
    assert_eq!(race(name), 1);
}

#[test]
fn who_executes_another_program_has_given_its_names_up() {
    let _leaks = leaks();
    in_a_family(|| {
        let _reaper = SharedMemory::new(1).unwrap();
        let (line, theirs) = duplex::<(), ()>().unwrap();
        let name = fresh("exec");
        let child = exec().spawn(
            |name: String, theirs: Connection<(), ()>| -> () {
                let _memory = SharedMemory::create(name, 1).unwrap();
                theirs.send(()).unwrap();
                let _ = theirs.recv();
                panic!("{}", Command::new("sleep").arg("1000").exec());
            },
            (name.clone(), theirs),
        );
        let child = child.unwrap();
        line.recv().unwrap();
        assert!(stands(&name));
        drop(line);
        gone(&name);
        assert!(child.is_alive());
        child.kill().unwrap();
        child.join().unwrap_err();
    });
}

#[test]
fn a_forked_copy_is_no_owner() {
    let _leaks = leaks();
    in_a_family(|| {
        let memory = SharedMemory::new(5).unwrap();
        let copy = memory.clone();
        let inside = move || {
            assert!(!copy.is_owner());
            assert!(matches!(copy.unlink(), Err(Error::NotOwner { .. })));
            copy.write(0, b"child").unwrap();
            drop(copy);
            // It has names of its own, and tells the same reaper.
            let own = SharedMemory::new(1).unwrap();
            (own.is_owner(), reapers().len())
        };
        // SAFETY: this process has one thread.
        let child = unsafe { Builder::new().fork(inside) }.unwrap();
        assert_eq!(child.join().unwrap(), (true, 0));
        assert!(stands(memory.name()));
        assert_eq!(text(&memory), "child");
    });
}

/// The owner seemed to have started at another time, and its name was taken over.
#[test]
fn an_owner_in_another_time_namespace_lives() {
    const NAME: &str = "IPC_TEST_NAME_OF_ANOTHER_TIME";
    if let Ok(name) = std::env::var(NAME) {
        assert!(matches!(SharedMemory::create(&name, 1), Err(Error::AlreadyExists { .. })));
        assert_eq!(text(&SharedMemory::attach(&name).unwrap()), "there");
        return;
    }
    let _leaks = leaks();
    let unshare = |program: &std::ffi::OsStr| {
        let mut command = Command::new("unshare");
        command.args(["--time", "--boottime", "100000"]).arg(program);
        command
    };
    if !unshare("true".as_ref()).output().is_ok_and(|output| output.status.success()) {
        return ipc_testkit::not_here("no time namespace can be made");
    }
    let memory = SharedMemory::new(5).unwrap();
    memory.write(0, b"there").unwrap();
    let mut there = unshare(std::env::current_exe().unwrap().as_os_str());
    there.args(["--exact", "memory::an_owner_in_another_time_namespace_lives"]);
    let there = there.env(NAME, memory.name()).output().unwrap();
    assert!(there.status.success(), "{}", String::from_utf8_lossy(&there.stdout));
    assert!(stands(memory.name()));
}
