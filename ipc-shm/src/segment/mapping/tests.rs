//! Unit tests of `mapping`: the table.

use std::os::fd::AsRawFd;

use super::super::file::{Pages, create};
use super::*;
use crate::segment::check::check;

fn file() -> OwnedFd {
    create(4096, Pages::Lazy).unwrap()
}

fn of(file: &OwnedFd, access: Access) -> Arc<Mapping> {
    let file = match access {
        // Views have a descriptor that is open for reading only.
        Access::View => std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap().into(),
        _ => file.try_clone().unwrap(),
    };
    let found = check(file.as_fd(), access).unwrap();
    Mapping::of(file, &found, access).unwrap()
}

fn is_known(key: (Key, Access)) -> bool {
    table().entries.contains_key(&key)
}

#[test]
fn a_file_is_mapped_once_for_each_access_and_forgotten_with_the_last() {
    let file = file();
    let first = of(&file, Access::Shared);
    let key = first.entry.0;
    assert!(Arc::ptr_eq(&first, &of(&file, Access::Shared)));
    let view = of(&file, Access::View);
    assert!(!Arc::ptr_eq(&first, &view));
    drop(first);
    assert!(!is_known(key));
    assert!(is_known(view.entry.0));
}

#[test]
fn an_entry_that_another_mapping_has_taken_over_stays() {
    let file = file();
    let Mapping { map, reserved, entry, .. } = Arc::try_unwrap(of(&file, Access::Shared)).unwrap();
    let key = entry.0;
    // Its last handle is gone, and another arrives before it is unmapped.
    let second = of(&file, Access::Shared);
    drop(map);
    drop(entry);
    assert!(is_known(key) && Arc::ptr_eq(&second, &of(&file, Access::Shared)) && !reserved);
}

#[test]
fn a_number_that_is_another_file_is_an_error() {
    let file = file();
    let first = of(&file, Access::Shared);
    let mut found = check(file.as_fd(), Access::Shared).unwrap();
    found.len -= 1;
    assert!(Mapping::of(file, &found, Access::Shared).is_err());
    drop(first);
}
