//! Freezing: what cannot be written any more, and who keeps a segment from it.

use super::*;

/// Has a segment until it is told to go.
fn keep(segment: Segment, ready: Sender<()>, go: Receiver<()>) {
    ready.send(()).unwrap();
    let _ = go.recv();
    drop(segment);
}

#[test]
fn frozen_data_cannot_be_written() {
    let _leaks = leaks();
    let segment = Segment::new(10_000).unwrap();
    segment.write(9_000, b"built").unwrap();
    let fd = segment.as_fd().try_clone_to_owned().unwrap();
    let frozen = segment.freeze().unwrap();
    assert_eq!((frozen.len(), &frozen[9_000..9_005]), (10_000, &b"built"[..]));
    // By nobody, whatever descriptor he has: the old one, one of the data, one opened again.
    let again = fs::File::options().read(true).write(true).open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    for fd in [fd, frozen.as_fd().try_clone_to_owned().unwrap(), again.unwrap().into()] {
        assert_eq!(map_for_writing(&fd), Err(Errno::PERM));
        assert_eq!(rustix::io::pwrite(&fd, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&fd, 1), Err(Errno::PERM));
        let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        assert_eq!(rustix::fs::fallocate(&fd, hole, 0, 4096), Err(Errno::PERM));
    }
    let read = |data: Frozen, copies: Vec<Frozen>| {
        let written = (map_for_writing(&data), rustix::io::pwrite(&data, b"x", 0));
        assert_eq!(written, (Err(Errno::PERM), Err(Errno::PERM)));
        assert!(copies.iter().all(|copy| copy[..] == data[..]));
        (String::from_utf8_lossy(&data[9_000..9_005]).into_owned(), data)
    };
    let (text, back) = joined(exec(), read, (frozen.clone(), vec![frozen.clone(); 3]));
    assert_eq!((text.as_str(), &*back), ("built", &*frozen));
}

#[test]
fn a_segment_that_others_have_is_not_frozen_and_comes_back() {
    let _leaks = leaks();
    let segment = Segment::new(100).unwrap();
    segment.write(0, b"kept").unwrap();
    let address = segment.as_ptr();
    let ((ready, is_ready), (go, may_go)) = (pipe().unwrap(), pipe().unwrap());
    let child = exec().spawn(keep, (segment.clone(), ready, may_go)).unwrap();
    is_ready.recv().unwrap();

    let (segment, error) = segment.freeze().unwrap_err().into_parts();
    assert!(matches!(&error, Error::InUse { .. }), "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    let segment = segment.unwrap();
    assert_eq!((segment.as_ptr(), mappings(&segment)), (address, 1));
    assert_eq!(text_of(&segment, 0, 4), "kept");
    segment.write(0, b"live").unwrap();
    assert_eq!(Packed::new(&segment).unwrap().open::<Segment>().unwrap().as_ptr(), address);

    go.send(()).unwrap();
    child.join().unwrap();
    assert_eq!(&segment.freeze().unwrap()[..4], b"live");
}

#[test]
fn other_handles_of_this_process_are_told() {
    let _leaks = leaks();
    let segment = Segment::new(100).unwrap();
    let others = [segment.clone(), segment.clone()];
    let (segment, error) = segment.freeze().unwrap_err().into_parts();
    assert_eq!(error.to_string(), "could not freeze a segment: this process has 2 more handles on it");
    drop(others);
    assert_eq!(segment.unwrap().freeze().unwrap().len(), 100);
}

#[test]
fn a_forked_copy_keeps_it_from_being_frozen() {
    let _leaks = leaks();
    let program = || {
        let segment = Segment::new(100).unwrap();
        let ((ready, is_ready), (go, may_go)) = (pipe::<()>().unwrap(), pipe::<()>().unwrap());
        let child = forked(move || {
            ready.send(()).unwrap();
            let _ = may_go.recv();
        });
        is_ready.recv().unwrap();
        let (segment, error) = segment.freeze().unwrap_err().into_parts();
        go.send(()).unwrap();
        child.join().unwrap();
        (error, segment.unwrap().freeze().is_ok())
    };
    let (error, then) = joined(exec(), program, ());
    assert!(error.to_string().contains("a forked copy of this one") && then, "{error}");
}

#[test]
fn a_dead_writer_does_not_keep_it_from_being_frozen() {
    let _leaks = leaks();
    let segment = Segment::new(100).unwrap();
    let ((ready, is_ready), (_go, may_go)) = (pipe().unwrap(), pipe().unwrap());
    let child = exec().spawn(keep, (segment.clone(), ready, may_go)).unwrap();
    is_ready.recv().unwrap();
    child.kill().unwrap();
    child.join().unwrap_err();
    assert_eq!(segment.freeze().unwrap().len(), 100);
}

#[test]
fn a_lazy_segment_is_frozen_with_its_holes() {
    let _leaks = leaks();
    let segment = Segment::lazy(1 << 40).unwrap();
    segment.write(1 << 39, b"here").unwrap();
    let frozen = segment.freeze().unwrap();
    let look = |data: Frozen| (data[(1 << 39)..][..4].to_vec(), data[1 << 20]);
    assert_eq!(joined(exec(), look, (frozen,)), (b"here".to_vec(), 0));
}
