//! The reaper: whose names it removes, whose it leaves, and what it does not hear.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal};

use super::*;

#[test]
fn a_killed_owners_name_goes_and_the_memory_stays() {
    let _leaks = leaks();
    for context in [Context::exec(), Context::fork_server()] {
        let owner = Owner::start(context.builder(), &fresh("killed"));
        let attached = SharedMemory::attach(&owner.name).unwrap();
        let name = owner.kill();
        // From the moment of its death, whoever removes it.
        assert!(matches!(SharedMemory::attach(&name), Err(Error::NotFound { .. })));
        gone(&name);
        assert_eq!(text(&attached), "owned");
    }
}

#[test]
fn the_names_of_the_living_stay() {
    let _leaks = leaks();
    let ours = SharedMemory::new(5).unwrap();
    let (one, other) = (Owner::start(exec(), &fresh("one")), Owner::start(exec(), &fresh("other")));
    gone(&one.kill());
    assert!(stands(ours.name()) && stands(&other.name));
    assert_eq!(text(&SharedMemory::attach(&other.name).unwrap()), "owned");
    let name = other.end();
    assert!(!stands(&name), "a normal end takes it away itself");
}

/// An owner that ends without dropping anything.
#[test]
fn a_name_goes_with_exit_as_well() {
    let _leaks = leaks();
    let name = fresh("exit");
    let exits = |name: String| -> () {
        std::mem::forget(SharedMemory::create(name, 1).unwrap());
        std::process::exit(0);
    };
    exec().spawn(exits, (name.clone(),)).unwrap().join().unwrap_err();
    gone(&name);
}

/// A child's function: makes each name that it hears, and answers how many reapers it has started.
fn make_names(theirs: Connection<usize, String>) {
    let mut all = Vec::new();
    while let Ok(name) = theirs.recv() {
        all.push(SharedMemory::create(name, 1).unwrap());
        theirs.send(reapers().len()).unwrap();
    }
}

struct Maker {
    child: Child<()>,
    line: Connection<String, usize>,
}

impl Maker {
    fn start(builder: Builder) -> Maker {
        let (line, theirs) = duplex().unwrap();
        Maker { child: builder.spawn(make_names, (theirs,)).unwrap(), line }
    }

    /// Has it make a name; gives how many reapers it has.
    fn make(&self, name: &str) -> usize {
        self.line.send(name.to_owned()).unwrap();
        self.line.recv_timeout(GENEROUS).unwrap().unwrap()
    }

    fn kill(self) {
        self.child.kill().unwrap();
        self.child.join().unwrap_err();
    }
}

#[test]
fn one_process_serves_a_family() {
    let _leaks = leaks();
    in_a_family(|| {
        // Started before there was any name, and by both methods.
        let makers = [Maker::start(exec()), Maker::start(Context::fork_server().builder())];
        let names = [fresh("one"), fresh("other")];
        let pid = reaper();
        for (maker, name) in makers.iter().zip(&names) {
            assert_eq!(maker.make(name), 0);
        }
        makers.into_iter().for_each(Maker::kill);
        names.iter().for_each(|name| gone(name));
        assert_eq!(reapers(), [pid]);
    });
}

#[test]
fn it_does_not_hear_what_is_meant_for_others() {
    let _leaks = leaks();
    in_a_family(|| {
        let memory = SharedMemory::new(1).unwrap();
        let owner = Owner::start(exec(), &fresh("deaf"));
        let pid = reaper();
        for number in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
            signal(pid, number);
        }
        gone(&owner.kill());
        assert_eq!(reapers(), [pid]);
        assert!(stands(memory.name()));
    });
}

#[test]
fn another_one_is_started_and_told_of_the_names_there_are() {
    let _leaks = leaks();
    in_a_family(|| {
        let names = [fresh("before"), fresh("after")];
        let maker = Maker::start(exec());
        assert_eq!(maker.make(&names[0]), 0);
        let first = reaper();
        signal(first, Signal::KILL);
        assert!(wait_until(GENEROUS, || ipc_testkit::process_gone(first) || reapers().is_empty()));
        // Its next name finds it gone.
        maker.make(&names[1]);
        maker.kill();
        names.iter().for_each(|name| gone(name));
    });
}

/// An owner that makes no name after the reaper's death is looked after by the next one all the same.
#[test]
fn the_next_one_watches_over_owners_that_do_not_come() {
    let _leaks = leaks();
    in_a_family(|| {
        let _own = SharedMemory::new(1).unwrap();
        let owner = Owner::start(exec(), &fresh("silent"));
        let first = reaper();
        signal(first, Signal::KILL);
        assert!(wait_until(GENEROUS, || ipc_testkit::process_gone(first) || reapers().is_empty()));
        let _more = SharedMemory::new(1).unwrap();
        assert!(stands(&owner.name));
        gone(&owner.kill());
    });
}

/// Killed with the owner, it leaves the name; the next one finds it.
#[test]
fn the_next_one_removes_what_nobody_was_left_to_remove() {
    let _leaks = leaks();
    let name = fresh("left");
    joined(exec().authkey(AuthKey::random().unwrap()), super::memory::leave_a_name, (name.clone(),));
    in_a_family(|| drop(SharedMemory::new(1).unwrap()));
    gone(&name);
}

#[test]
fn it_ends_with_its_last_owner() {
    let _leaks = leaks();
    let pid = joined(
        exec().authkey(AuthKey::random().unwrap()),
        || {
            let _memory = SharedMemory::new(1).unwrap();
            reaper()
        },
        (),
    );
    assert!(wait_until(GENEROUS, || ipc_testkit::process_gone(pid)));
}

#[test]
fn it_keeps_nothing_of_who_started_it() {
    let _leaks = leaks();
    in_a_family(|| {
        std::env::set_current_dir("/tmp").unwrap();
        let mask = || {
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            status.lines().find(|line| line.starts_with("SigBlk")).map(str::to_owned)
        };
        let before = mask();
        let _memory = SharedMemory::new(1).unwrap();
        assert_eq!(mask(), before, "the caller's signal mask");
        let pid = reaper();
        let link = |what: &str| fs::read_link(format!("/proc/{pid}/{what}")).unwrap();
        assert_eq!(link("cwd"), PathBuf::from("/"));
        for stream in 0..3 {
            assert_eq!(link(&format!("fd/{stream}")), PathBuf::from("/dev/null"));
        }
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        assert!(open < 16, "{open} descriptors");
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        assert!(!maps.contains("/memfd:ipc-segment"), "it has nobody's memory");
    });
}

/// A thread that waited for the reaper's answer held up all others that took a name away.
#[test]
fn a_name_goes_while_another_thread_waits_for_the_reaper() {
    let _leaks = leaks();
    in_a_family(|| {
        let (unlinked, dropped) = (SharedMemory::new(1).unwrap(), SharedMemory::new(1).unwrap());
        let pid = reaper();
        signal(pid, Signal::STOP);
        let (tell, told) = std::sync::mpsc::channel();
        let creator = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid()).unwrap();
            SharedMemory::new(1).map(drop)
        });
        let stat = format!("/proc/self/task/{}/stat", told.recv().unwrap().as_raw_nonzero());
        let sleeps = || fs::read_to_string(&stat).unwrap().contains(") S ");
        assert!(wait_until(GENEROUS, || (0..50).all(|_| {
            std::thread::sleep(Duration::from_millis(1));
            sleeps()
        })));
        let start = Instant::now();
        unlinked.unlink().unwrap();
        drop(dropped);
        let took = start.elapsed();
        signal(pid, Signal::CONT);
        creator.join().unwrap().unwrap();
        // The one that waits does so for 20 seconds.
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
}

/// The time that a process has used, in ticks of which there are a hundred a second.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// It could let nobody in, and asked again at once for as long as somebody stood there.
#[test]
fn without_descriptors_it_waits() {
    let _leaks = leaks();
    in_a_family(|| {
        // It has looked for what is left over before it answers a second time.
        let _first = (SharedMemory::new(1).unwrap(), SharedMemory::new(1).unwrap());
        let pid = reaper();
        // Up to the first that it does not have.
        let has = |number: &u64| fs::symlink_metadata(format!("/proc/{pid}/fd/{number}")).is_ok();
        let open = (0..).find(|number| !has(number)).unwrap();
        let limit = |current| {
            let process = rustix::process::Pid::from_raw(pid.cast_signed());
            let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
            rustix::process::prlimit(process, Resource::Nofile, Rlimit { current, maximum }).unwrap();
        };
        limit(Some(open));
        let maker = Maker::start(exec());
        let before = ticks(pid);
        maker.line.send(fresh("late")).unwrap();
        // It stands before the reaper meanwhile.
        std::thread::sleep(Duration::from_secs(1));
        let used = ticks(pid) - before;
        limit(Some(open + 100));
        assert!(maker.line.recv_timeout(GENEROUS).unwrap().is_some());
        assert!(used < 10, "{used} ticks of 100");
    });
}

/// It waited two seconds for the lock, answered nobody meanwhile, and forgot the name then.
#[test]
fn a_name_whose_file_is_locked_is_removed_later() {
    let _leaks = leaks();
    in_a_family(|| {
        let keep = SharedMemory::new(1).unwrap();
        let owners: Vec<_> = (0..10).map(|_| Owner::start(exec(), &fresh("locked"))).collect();
        let locked: Vec<_> = owners.iter().map(|owner| fs::File::open(path(&owner.name)).unwrap()).collect();
        locked.iter().for_each(|file| file.lock().unwrap());
        let names: Vec<_> = owners.into_iter().map(Owner::kill).collect();
        let start = Instant::now();
        drop(SharedMemory::new(1).unwrap());
        // Ten times two seconds.
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        // Longer than it ever waited for one. The others were not to be held up.
        std::thread::sleep(Duration::from_secs(3));
        assert!(names.iter().all(|name| stands(name)));
        drop(locked);
        names.iter().for_each(|name| gone(name));
        assert!(stands(keep.name()));
    });
}

/// The address that a reaper of this machine listens at.
fn address(pid: u32) -> Option<String> {
    let sockets: Vec<PathBuf> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .collect();
    let all = fs::read_to_string("/proc/net/unix").unwrap();
    all.lines().find_map(|line| {
        let name = line.split_once(" @ipc-shm-reaper-")?.1;
        let inode = line.split_whitespace().nth(6)?;
        sockets.contains(&format!("socket:[{inode}]").into()).then(|| format!("ipc-shm-reaper-{name}"))
    })
}

/// Anybody can bind the address of a reaper that is dead; no name could be made then.
#[test]
fn a_stranger_at_its_address_is_passed_by() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    let _leaks = leaks();
    in_a_family(|| squatted(true));
    in_a_family(|| squatted(false));

    fn squatted(listens: bool) {
        let first = SharedMemory::new(1).unwrap();
        let pid = reaper();
        let address = address(pid).unwrap();
        signal(pid, Signal::KILL);
        assert!(wait_until(GENEROUS, || reapers().is_empty()));
        let stranger = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        let name = SocketAddrUnix::new_abstract_name(address.as_bytes()).unwrap();
        assert!(wait_until(GENEROUS, || rustix::net::bind(&stranger, &name).is_ok()));
        if listens {
            rustix::net::listen(&stranger, 10).unwrap();
        }
        let start = Instant::now();
        let second = SharedMemory::new(1).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        let owner = Owner::start(exec(), &fresh("beside"));
        gone(&owner.kill());
        assert!(stands(first.name()) && stands(second.name()));
    }
}
