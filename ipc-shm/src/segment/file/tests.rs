//! Unit tests of `file`.

use std::cell::RefCell;

use super::*;

#[test]
fn each_chunk_is_looked_at_with_what_is_still_needed() {
    let file = memory_file(Pages::Reserved).unwrap();
    let size = 2 * CHUNK + 4096;
    rustix::fs::ftruncate(&file, size).unwrap();
    let looks = RefCell::new(Vec::new());
    let look = |needed| {
        looks.borrow_mut().push(needed);
        Ok(())
    };
    let done = reserve(size, look, chunks_of(file.as_fd(), 0));
    assert!(done.is_ok());
    assert_eq!(*looks.borrow(), [CHUNK + 4096, 4096]);
    assert_eq!(rustix::fs::fstat(&file).unwrap().st_blocks as u64 * 512, size);
}

#[test]
fn a_refusal_between_two_chunks_ends_it_there() {
    let file = memory_file(Pages::Reserved).unwrap();
    rustix::fs::ftruncate(&file, 3 * CHUNK).unwrap();
    let no = |needed| Err(Error::NoMemory { needed, available: 1, limit: "a test".to_owned() });
    let Err(Refused::Not(error)) = reserve(3 * CHUNK, no, chunks_of(file.as_fd(), 0)) else {
        panic!("it went on")
    };
    assert!(matches!(error, Error::NoMemory { needed, .. } if needed == 2 * CHUNK), "{error}");
    assert_eq!(rustix::fs::fstat(&file).unwrap().st_blocks as u64 * 512, CHUNK);
}

#[test]
fn a_segment_is_sealed_against_changes_of_its_size_and_nothing_else() {
    for pages in [Pages::Reserved, Pages::Lazy] {
        let file = create(5000, pages).unwrap();
        let seals = rustix::fs::fcntl_get_seals(&file).unwrap();
        assert_eq!(seals - SealFlags::from_bits_retain(0x20), SIZE, "{pages:?}"); // but for F_SEAL_EXEC
        assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&file, 9000), Err(Errno::PERM));
        assert!(rustix::io::fcntl_getfd(&file).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        let blocks = rustix::fs::fstat(&file).unwrap().st_blocks;
        assert_eq!(blocks > 0, matches!(pages, Pages::Reserved), "{pages:?}");
    }
}

#[test]
fn what_the_kernel_refuses_is_named() {
    let error = by_kernel(u64::MAX, Errno::NOSPC);
    assert!(error.to_string().contains("CommitLimit"), "{error}");
    let error = by_kernel(1, Errno::NOSPC);
    assert!(matches!(error, Error::Os { .. }), "{error}");
}

#[test]
fn a_timer_that_is_faster_than_a_chunk_does_not_win() {
    let (mut done, mut tries) = (0, 0);
    let size = 2 * CHUNK + 1;
    let interrupted = |at, len| {
        tries += 1;
        assert!(at == done && tries < 10_000);
        if len > 2 * LEAST {
            return Err(Errno::INTR);
        }
        done += len;
        Ok(())
    };
    assert!(reserve(size, |_| Ok(()), interrupted).is_ok());
    assert_eq!(done, size);
}

#[test]
fn a_full_machine_is_told_with_what_was_still_to_go() {
    let full = |at, _| if at == 0 { Ok(()) } else { Err(Errno::NOSPC) };
    let refused = reserve(2 * CHUNK, |_| Ok(()), full);
    assert!(matches!(refused, Err(Refused::Full(needed, Errno::NOSPC)) if needed == CHUNK));
}
