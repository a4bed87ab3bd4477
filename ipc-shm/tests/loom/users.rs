//! Copies of a segment's bytes, and an object that comes to stand there: no copy is under way beside it.

use std::sync::Arc;

use ipc_core::primitive::mutant;
use ipc_core::primitive::thread;
use ipc_shm::modelled::users::Users;
use loom::cell::UnsafeCell;
use loom::model;

/// The memory: loom finds a read beside a write.
struct Memory {
    users: Users,
    bytes: UnsafeCell<u32>,
}

/// One copies, twice; two objects come, each of which is written by who made it, the second after the first.
fn beside_a_copy() {
    let memory = Arc::new(Memory { users: Users::new(), bytes: UnsafeCell::new(0) });
    let theirs = memory.clone();
    let copies = thread::spawn(move || {
        // SAFETY: what is to be shown: loom finds whoever writes at the same time.
        let copy = || theirs.users.copying(|| theirs.bytes.with(|bytes| unsafe { *bytes }));
        let (first, second) = (copy(), copy());
        assert!(first.is_some() || second.is_none(), "objects do not go away");
        // What stands there is not seen by copies.
        assert!(first.is_none_or(|seen| seen == 0) && second.is_none_or(|seen| seen == 0));
    });
    assert_eq!(memory.users.claim(), Some(false));
    // SAFETY: as above.
    memory.bytes.with_mut(|bytes| unsafe { *bytes = 1 });
    assert_eq!(memory.users.claim(), Some(true));
    copies.join().unwrap();
    assert_eq!(memory.users.copying(|| ()), None);
}

#[test]
fn an_object_waits_for_copies() {
    model(beside_a_copy);
}

#[test]
#[should_panic]
fn mutant_an_object_does_not_wait() {
    mutant::with("an object does not wait", || model(beside_a_copy));
}

#[test]
#[should_panic]
fn mutant_a_copy_is_not_refused() {
    mutant::with("a copy is not refused", || model(beside_a_copy));
}
