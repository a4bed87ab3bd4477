//! Unit tests of `memory`: mappings that must stay, and what may be a slice.

use rustix::fs::{MemfdFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::super::robust_list::Thread;
use super::*;
use crate::lock::system::Node;

fn file(seals: SealFlags) -> OwnedFd {
    let file = memfd_create(c"ipc-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, 8192).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

fn map(access: Access, seals: SealFlags) -> Map {
    Map::new(file(seals), 8192, access).unwrap()
}

fn is_mapped(addresses: &Range<usize>) -> bool {
    let beginning = format!("{:x}-", addresses.start);
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().any(|line| line.starts_with(&beginning))
}

#[test]
fn a_held_lock_keeps_its_mapping() {
    let thread = Thread::current().unwrap();
    for held in [false, true] {
        let map = map(Access::Shared, SealFlags::empty());
        // SAFETY: zeroed shared memory at a page boundary, large enough; a node is atomics, which any bits are good for. The
        // reference is not used when the memory is gone.
        let node = unsafe { map.start().add(4096).cast::<Node>().as_ref() };
        thread.link(node);
        assert!(map.is_locked_within());
        if !held {
            thread.unlink(node);
            assert!(!map.is_locked_within());
        }
        let addresses = map.place.addresses();
        drop(map);
        assert_eq!(is_mapped(&addresses), held);
        if held {
            thread.unlink(node);
        }
    }
}

#[test]
fn only_what_nobody_can_write_is_constant() {
    for missing in [SealFlags::WRITE, SealFlags::SHRINK, SealFlags::GROW] {
        assert!(Constant::of(Box::new(map(Access::Private, CONSTANT - missing))).is_err());
    }
    assert!(Constant::of(Box::new(map(Access::Shared, SealFlags::empty()))).is_err());
    assert_eq!(Constant::of(Box::new(map(Access::Private, CONSTANT))).unwrap().len(), 8192);
    // Mapped beyond its end.
    let long = Map::new(file(CONSTANT), 8193, Access::Private).unwrap();
    assert!(Constant::of(Box::new(long)).is_err());
}

#[test]
fn what_is_mapped_for_reading_is_not_written() {
    let view = map(Access::View, SealFlags::empty());
    assert!(!view.write(0, &[1]));
    assert!(view.read(8191, &mut [0]));
    assert!(!view.read(8192, &mut [0]));
}

#[test]
fn addresses_are_kept_while_nothing_is_mapped_there() {
    let map = map(Access::Shared, SealFlags::empty());
    assert!(map.write(0, b"kept"));
    let addresses = map.place.addresses();
    let vacant = map.vacate().unwrap();
    assert!(is_mapped(&addresses));
    let map = vacant.map().unwrap();
    let mut bytes = [0; 4];
    assert!(map.read(0, &mut bytes));
    assert_eq!((&bytes, map.place.addresses()), (b"kept", addresses));
}
