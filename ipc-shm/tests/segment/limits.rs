//! Lengths that no segment has, and memory that is short: an error each, that names need and limit.

use super::*;

#[test]
fn lengths_that_no_segment_has() {
    let _leaks = leaks();
    for make in [Segment::new, Segment::lazy, |len| Segment::huge(len, HugePage::Mib2)] {
        let error = make(0).unwrap_err();
        assert_eq!(error.to_string(), "a segment of 0 bytes is not acceptable: it needs one at least");
        for len in [usize::MAX, isize::MAX as usize + 1] {
            let error = make(len).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
            assert!(error.to_string().contains(&isize::MAX.to_string()), "{error}");
        }
    }
}

#[test]
fn more_than_the_machine_has_names_need_and_limit() {
    let _leaks = leaks();
    let Error::NoMemory { needed, available, limit } = Segment::new(1 << 45).unwrap_err() else { panic!() };
    assert_eq!(needed, 1 << 45);
    assert!(available > 0 && available < needed, "{available}");
    assert!(limit.contains("MemAvailable in /proc/meminfo") || limit.contains("memory."), "{limit}");
    // Lazily it may be had, but not more than addresses.
    assert_eq!(Segment::lazy(1 << 42).unwrap().len(), 1 << 42);
    let error = Segment::lazy(isize::MAX as usize).unwrap_err();
    assert!(matches!(&error, Error::NoMemory { limit, .. } if limit.contains("address space")), "{error}");
}

#[test]
fn limits_of_the_process_are_errors_and_no_signals() {
    let _leaks = leaks();
    let make = |lazy: bool, len: usize| -> Result<usize> {
        let segment = if lazy { Segment::lazy(len)? } else { Segment::new(len)? };
        segment.write(len - 1, &[1])?;
        Ok(segment.len())
    };
    for lazy in [false, true] {
        let fsize = || exec().rlimit(Resource::Fsize, Some(1 << 20), Some(1 << 20));
        let error = joined(fsize(), make, (lazy, (1 << 20) + 1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not have 1048577 bytes of shared memory: RLIMIT_FSIZE of this process leaves 1048576"
        );
        assert_eq!(joined(fsize(), make, (lazy, 1 << 20)).unwrap(), 1 << 20);

        let error = joined(exec().memory_limit(1 << 30), make, (lazy, 1 << 30)).unwrap_err();
        let Error::NoMemory { needed, available, limit } = error else { panic!("{error}") };
        assert_eq!((needed, limit.as_str()), (1 << 30, "RLIMIT_AS of this process"));
        assert!(available > 0 && available < needed, "{available}");
        assert_eq!(joined(exec().memory_limit(1 << 30), make, (lazy, 1 << 20)).unwrap(), 1 << 20);
    }
}

#[test]
fn one_that_arrives_where_there_are_no_addresses_is_an_error() {
    let _leaks = leaks();
    let segment = Segment::lazy(1 << 30).unwrap();
    let child = exec().memory_limit(1 << 29).spawn(|segment: Segment| segment.len(), (segment,)).unwrap();
    let error = child.join().unwrap_err().to_string();
    assert!(error.contains("1073741824 bytes of shared memory: RLIMIT_AS"), "{error}");
}

/// A memory control group of version 1 or 2, removed with its value.
struct Group(PathBuf);

impl Group {
    fn new(bytes: u64) -> Option<Group> {
        let name = format!("ipc-shm-test-{}", std::process::id());
        let kinds = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        kinds.iter().find_map(|(root, limit)| {
            let group = Group(Path::new(root).join(&name));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join(limit), bytes.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        assert!(wait_until(GENEROUS, || fs::remove_dir(&self.0).is_ok()));
    }
}

#[test]
fn a_small_control_group_is_an_error_and_no_kill() {
    let _leaks = leaks();
    let Some(group) = Group::new(64 << 20) else {
        return not_here(
            "a control group of one's own takes root, and the memory controller at /sys/fs/cgroup",
        );
    };
    let make = |group: PathBuf, len: usize| -> Result<usize> {
        fs::write(group.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        Segment::new(len).map(|segment| segment.len())
    };
    let error = joined(exec(), make, (group.0.clone(), 256 << 20)).unwrap_err();
    let Error::NoMemory { needed, available, limit } = error else { panic!("{error}") };
    assert_eq!(needed, 256 << 20);
    assert!(available > 0 && available < 64 << 20, "{available}");
    assert!(Path::new(&limit).starts_with(&group.0), "{limit}");
    assert_eq!(joined(exec(), make, (group.0.clone(), 32 << 20)).unwrap(), 32 << 20);
}

#[test]
fn huge_pages_or_an_error_that_says_why_not() {
    let _leaks = leaks();
    for (page, len) in [(HugePage::Mib2, 2 << 20), (HugePage::Gib1, 1 << 30), (HugePage::Mib32, 32 << 20)] {
        match Segment::huge(1, page) {
            Ok(segment) => {
                assert_eq!(segment.len(), len);
                segment.write(len - 4, b"huge").unwrap();
                let told =
                    joined(exec(), move |segment: Segment, at| text_of(&segment, at, 4), (segment, len - 4));
                assert_eq!(told, "huge");
            }
            Err(Error::NoMemory { needed, available, limit }) => {
                assert!(needed == len as u64 && available < needed, "{needed} {available}");
                assert!(limit.ends_with("/free_hugepages"), "{limit}");
            }
            Err(error @ Error::Invalid { .. }) => {
                assert!(error.to_string().contains("/sys/kernel/mm/hugepages"), "{error}");
            }
            Err(other) => panic!("{page}: {other}"),
        }
    }
    match Pool::of(2) {
        Some(_pool) => huge_pages_of_a_pool_of_two(),
        None => not_here("root may set huge pages aside, where the kernel and its memory allow it"),
    }
}

/// So many free huge pages of 2 MiB as long as this is there.
struct Pool(u64);

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

impl Pool {
    fn count(name: &str) -> Option<u64> {
        fs::read_to_string(Path::new(POOL).join(name)).ok()?.trim().parse().ok()
    }

    fn of(free: u64) -> Option<Pool> {
        let pool = Pool(Pool::count("nr_hugepages")?);
        let wanted = pool.0 - Pool::count("free_hugepages")? + free;
        fs::write(Path::new(POOL).join("nr_hugepages"), wanted.to_string()).ok()?;
        (Pool::count("free_hugepages")? == free).then_some(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = fs::write(Path::new(POOL).join("nr_hugepages"), self.0.to_string());
    }
}

fn huge_pages_of_a_pool_of_two() {
    let free = || Pool::count("free_hugepages").unwrap() - Pool::count("resv_hugepages").unwrap();
    let segment = Segment::huge(4 << 20, HugePage::Mib2).unwrap();
    assert_eq!((segment.len(), free()), (4 << 20, 0));
    let error = Segment::huge(1, HugePage::Mib2).unwrap_err();
    assert!(matches!(error, Error::NoMemory { available: 0, .. }), "{error}");
    segment.write(3 << 20, b"huge").unwrap();
    let view = segment.view().unwrap();
    let seen = |view: View| {
        let mut text = [0; 4];
        view.read(3 << 20, &mut text).map(|()| text)
    };
    assert_eq!(joined(exec(), seen, (view,)).unwrap(), *b"huge");
    // Read by many, and no page more: not by who freezes it, and not by who receives it.
    let frozen = segment.freeze().unwrap();
    let seen = |frozen: Frozen| frozen[3 << 20..(3 << 20) + 4].to_vec();
    let children = [(); 3].map(|()| exec().spawn(seen, (frozen.clone(),)).unwrap());
    for child in children {
        assert_eq!(child.join().unwrap(), b"huge");
    }
    assert_eq!(seen(Frozen::from_fd(frozen.into_fd().unwrap()).unwrap()), b"huge");
    assert_eq!(free(), 2);
    // Objects, and a descriptor for who is told no more.
    let segment = Segment::huge(1, HugePage::Mib2).unwrap();
    let again = Segment::from_fd(segment.clone().into_fd().unwrap()).unwrap();
    assert_eq!(again.len(), 2 << 20);
    let arena = Arena::in_segment(segment).unwrap();
    let value = Value::new_with(1_u64, &arena).unwrap();
    joined(exec(), |value: Value<u64>| value.set(2).unwrap(), (value.clone(),));
    assert_eq!(value.get().unwrap(), 2);
}

#[test]
fn a_kernel_without_noexec_seal() {
    let _leaks = leaks();
    let body = || -> Result<(bool, Vec<u8>)> {
        let segment = Segment::new(3)?;
        let executable = rustix::fs::fstat(&segment).unwrap().st_mode & 0o111 != 0;
        segment.write(0, b"old")?;
        Ok((executable, segment.freeze()?.to_vec()))
    };
    // Can be sealed all the same. (A kernel may be told to refuse such files.)
    match joined(exec().env("IPC_SHM_WITHOUT", "noexec_seal"), body, ()) {
        Ok(done) => assert_eq!(done, (true, b"old".to_vec())),
        Err(error) => assert_eq!(error.io_error().unwrap().raw_os_error(), Some(libc::EACCES), "{error}"),
    }
}

#[test]
fn without_descriptors_the_limit_is_named() {
    let _leaks = leaks();
    let body = || -> Vec<Error> {
        let segment = Segment::new(1).unwrap();
        let all = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect::<Vec<_>>();
        let errors = vec![
            Segment::new(1).unwrap_err(),
            segment.view().unwrap_err(),
            segment.freeze().unwrap_err().into(),
        ];
        drop(all);
        errors
    };
    for error in joined(exec().rlimit(Resource::Nofile, Some(64), Some(64)), body, ()) {
        assert!(error.to_string().contains("RLIMIT_NOFILE of this process is 64"), "{error}");
        assert_eq!(error.io_error().unwrap().raw_os_error(), Some(libc::EMFILE));
    }
}
