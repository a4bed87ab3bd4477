//! Segments inside values, to and fro; mapped once; forked copies; commands.

use super::*;

#[test]
fn inside_values_and_collections_both_ways() {
    let _leaks = leaks();
    let work = |all: BTreeMap<String, Vec<Segment>>, spare: Option<(Segment, u8)>| {
        for (name, segments) in &all {
            for (number, segment) in segments.iter().enumerate() {
                segment.write(number, name.as_bytes()).unwrap();
            }
        }
        let (spare, byte) = spare.unwrap();
        spare.write(0, &[byte]).unwrap();
        let mine = Segment::new(5).unwrap();
        mine.write(0, b"child").unwrap();
        (vec![mine], spare, all)
    };
    let new = |len| Segment::new(len).unwrap();
    let all = BTreeMap::from([("a".to_owned(), vec![new(1), new(2)]), ("bc".to_owned(), vec![new(9)])]);
    let spare = new(1);
    let here = (all.clone(), spare.clone());
    for context in [Context::exec(), Context::fork_server()] {
        let child = context.spawn(work, (all.clone(), Some((spare.clone(), 7)))).unwrap();
        let (theirs, same, back) = child.join().unwrap();
        assert_eq!(text_of(&theirs[0], 0, 5), "child");
        assert_eq!(same.as_ptr(), here.1.as_ptr());
        assert_eq!(back["a"][1].as_ptr(), here.0["a"][1].as_ptr());
        assert_eq!(text_of(&all["a"][1], 1, 1), "a");
        assert_eq!(text_of(&all["bc"][0], 0, 2), "bc");
        assert_eq!(text_of(&spare, 0, 1), "\u{7}");
        all["bc"][0].write(0, &[0; 2]).unwrap();
    }
}

#[test]
fn mapped_once_however_often_it_arrives() {
    let _leaks = leaks();
    let count = |segments: Vec<Segment>, messages: Receiver<Segment>| {
        let mut all = segments;
        all.extend(messages.iter().map(|message| message.unwrap()));
        let first = all[0].as_ptr();
        assert!(all.iter().all(|segment| segment.as_ptr() == first));
        (all.len(), mappings(&all[0]))
    };
    let segment = Segment::new(10_000).unwrap();
    let (send, receive) = pipe().unwrap();
    let child = exec().spawn(count, (vec![segment.clone(); 50], receive)).unwrap();
    for _ in 0..50 {
        send.send(segment.clone()).unwrap();
    }
    drop(send);
    assert_eq!(child.join().unwrap(), (100, 1));
    assert_eq!(mappings(&segment), 1);
    let fd = segment.as_fd().try_clone_to_owned().unwrap();
    let again = Segment::from_fd(segment.into_fd().unwrap()).unwrap();
    drop(again);
    assert_eq!(mappings(&fd), 0);
}

#[test]
fn views_and_frozen_data_are_mapped_once_too() {
    let _leaks = leaks();
    let segment = Segment::new(10_000).unwrap();
    segment.write(0, b"once").unwrap();
    let count = |views: Vec<View>, messages: Receiver<View>| {
        let mut all = views;
        all.extend(messages.iter().map(|message| message.unwrap()));
        (all.len(), mappings(&all[0]), descriptors_of(&all[0]))
    };
    let view = segment.view().unwrap();
    let (send, receive) = pipe().unwrap();
    let child = exec().spawn(count, (vec![view.clone(); 50], receive)).unwrap();
    for _ in 0..50 {
        send.send(view.clone()).unwrap();
    }
    drop((send, view));
    assert_eq!(child.join().unwrap(), (100, 1, 1));

    let count = |frozen: Vec<Frozen>, messages: Receiver<Frozen>| {
        let mut all = frozen;
        all.extend(messages.iter().map(|message| message.unwrap()));
        assert!(all.iter().all(|one| one.as_ptr() == all[0].as_ptr() && one.starts_with(b"once")));
        (all.len(), mappings(&all[0]), descriptors_of(&all[0]))
    };
    let frozen = segment.freeze().unwrap();
    let (send, receive) = pipe().unwrap();
    let child = exec().spawn(count, (vec![frozen.clone(); 50], receive)).unwrap();
    for _ in 0..50 {
        send.send(frozen.clone()).unwrap();
    }
    drop(send);
    assert_eq!(child.join().unwrap(), (100, 1, 1));
    let packed = Packed::new(&frozen).unwrap();
    assert_eq!(packed.open::<Frozen>().unwrap().as_ptr(), frozen.as_ptr());
    assert_eq!(mappings(&frozen), 1);
}

/// How many descriptors of this process are of the same file.
fn descriptors_of(file: &impl AsFd) -> usize {
    let key = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    let mine = key(rustix::fs::fstat(file).unwrap());
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    all.filter(|fd| rustix::fs::stat(fd.as_ref().unwrap().path()).is_ok_and(|stat| key(stat) == mine)).count()
}

#[test]
fn threads_that_receive_and_drop_the_same() {
    let _leaks = leaks();
    let segment = Segment::new(4096).unwrap();
    segment.write(0, b"there").unwrap();
    let file = segment.into_fd().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let segment = Segment::from_fd(file.try_clone().unwrap()).unwrap();
                    assert_eq!(text_of(&segment, 0, 5), "there");
                    let packed = Packed::new(&segment).unwrap();
                    drop(segment);
                    assert_eq!(text_of(&packed.open::<Segment>().unwrap(), 0, 5), "there");
                }
            });
        }
    });
    assert_eq!(mappings(&file), 0);
}

#[test]
fn a_forked_copy_finds_what_is_mapped_and_so_does_its_copy() {
    let _leaks = leaks();
    let program = || {
        let segment = Segment::new(100).unwrap();
        let here = segment.clone();
        let child = forked(move || {
            let again = Packed::new(&segment).unwrap().open::<Segment>().unwrap();
            let address = again.as_ptr() == segment.as_ptr();
            let inner = forked(move || {
                let third = Packed::new(&segment).unwrap().open::<Segment>().unwrap();
                third.write(0, b"twice").unwrap();
                third.as_ptr() == segment.as_ptr() && mappings(&third) == 1
            });
            inner.join().unwrap() && address && mappings(&again) == 1
        });
        child.join().unwrap() && text_of(&here, 0, 5) == "twice"
    };
    assert!(joined(exec(), program, ()));
}

#[test]
fn a_copy_of_a_process_whose_threads_map_all_the_time() {
    let _leaks = leaks();
    let program = || {
        let segment = Segment::new(100).unwrap();
        segment.write(0, b"there").unwrap();
        let file = segment.into_fd().unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let map = |file: &OwnedFd| text_of(&Segment::from_fd(file.try_clone().unwrap()).unwrap(), 0, 5);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        assert_eq!(map(&file), "there");
                    }
                });
            }
            // However it stands with the table's lock, the copy must not wait for it.
            let all: Vec<_> = (0..100)
                .map(|_| {
                    let mine = file.try_clone().unwrap();
                    let child = forked(move || map(&mine));
                    let done = child.join_timeout(GENEROUS).unwrap();
                    child.kill().unwrap_or_default();
                    done.is_some_and(|text| text == "there")
                })
                .collect();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            all.iter().all(|done| *done)
        })
    };
    assert!(joined(exec(), program, ()));
}

#[test]
fn a_forked_copy_that_drops_unmaps_its_own() {
    let _leaks = leaks();
    let program = || {
        let segment = Segment::new(100).unwrap();
        let (file, here) = (segment.as_fd().try_clone_to_owned().unwrap(), segment.clone());
        let gone = forked(move || {
            // The parent's other handle was copied as well, and nobody drops it here.
            drop(segment);
            mappings(&file)
        });
        (gone.join().unwrap(), mappings(&here))
    };
    assert_eq!(joined(exec(), program, ()), (1, 1));
}

const TOLD: &str = "IPC_SHM_TEST_COMMAND";

#[test]
fn through_a_command() {
    let test = "travel::through_a_command";
    if std::env::var_os(TOLD).is_some() {
        let segment = Segment::from_fd(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
        segment.write(segment.len() - 6, b"answer").unwrap();
        return;
    }
    let _leaks = leaks();
    let segment = Segment::new(5000).unwrap();
    let program = std::env::current_exe().unwrap();
    let status = Command::new(program)
        .args([test, "--exact", "--nocapture"])
        .env(TOLD, "1")
        .stdin(segment.clone().into_fd().unwrap())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(text_of(&segment, 4994, 6), "answer");
    let output = Command::new("sh")
        .args(["-c", "tail -c 6 /proc/self/fd/0"])
        .stdin(segment.into_fd().unwrap())
        .output();
    assert_eq!(output.unwrap().stdout, b"answer");
}

#[test]
fn no_descriptor_is_inherited_unasked() {
    let _leaks = leaks();
    // As one that has come through an exec.
    let inherited = |fd: OwnedFd| {
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).unwrap();
        fd
    };
    let frozen = Segment::new(1).unwrap().freeze().unwrap();
    let all = (
        Segment::from_fd(inherited(Segment::new(1).unwrap().into_fd().unwrap())).unwrap(),
        Frozen::from_fd(inherited(frozen.as_fd().try_clone_to_owned().unwrap())).unwrap(),
        Segment::new(1).unwrap().view().unwrap(),
    );
    let output = Command::new("ls").args(["-l", "/proc/self/fd/"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("memfd"), "{output:?}");
    drop((all, frozen));
}
