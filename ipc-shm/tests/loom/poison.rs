//! What an owner's panic leaves: the next are told, whoever dies beside it, until one says that it is whole again.

use ipc_core::primitive::mutant;
use ipc_core::primitive::time::Until;
use ipc_shm::modelled::system::System;
use ipc_shm::modelled::word::{self, Refused, Taken};
use loom::model;

use crate::dies_at_each;
use crate::kernel::{Kernel, Thread};
use crate::lock::Locked;

/// An owner that panics half way through a change, as its guard does it: poison, then the word. Of what it is told it only takes note.
fn panics(locked: &Locked, thread: &Thread) {
    if let Taken::OwnerDied(_) = take(locked, thread) {
        word::repaired(thread, &locked.node);
    }
    let [first, _] = locked.read();
    locked.write(0, first + 1);
    word::poison(thread, &locked.node);
    thread.crash_point("owner: panicked");
    word::free(thread, &locked.node);
}

/// Takes it and looks: a change is whole, unless something was told.
fn take(locked: &Locked, thread: &Thread) -> Taken {
    let taken = word::take(thread, &locked.node, Until::Forever).unwrap();
    let [first, second] = locked.read();
    assert!(first == second || taken != Taken::Whole, "half a change was taken for a whole one");
    taken
}

/// One who is told of a panic, or of a death, and mends it.
fn mends(locked: &Locked, thread: &Thread) -> Taken {
    let taken = take(locked, thread);
    locked.write(1, locked.read()[0]);
    thread.crash_point("owner: mended");
    if taken != Taken::Whole {
        word::repaired(thread, &locked.node);
    }
    thread.crash_point("owner: cleared");
    word::free(thread, &locked.node);
    taken
}

/// One panics, perhaps dying of it, while another mends what it finds. Gives what the last finds, and whether the first lived.
fn panic_and_mend(dies_at: &'static str) -> (Taken, bool) {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    let theirs = locked.clone();
    let other = Thread::start(&kernel, 2, dies_at, move |thread| panics(&theirs, thread));
    let first = Thread::run(&kernel, 1, "", |thread| mends(&locked, thread)).unwrap();
    let lived = other.join().unwrap().is_some();
    let last = Thread::run(&kernel, 3, "", |thread| mends(&locked, thread)).unwrap();
    // One of the two has come after it, and nobody else.
    assert!(
        first == Taken::Whole || last == Taken::Whole,
        "it is told once, and mended: {first:?}, {last:?}"
    );
    if lived {
        assert!([first, last].contains(&Taken::Panicked), "nobody was told: {first:?}, {last:?}");
    }
    locked.check(&kernel);
    (if first == Taken::Whole { last } else { first }, lived)
}

#[test]
fn a_panic_is_told() {
    model(|| assert_eq!(panic_and_mend(""), (Taken::Panicked, true)));
}

#[test]
fn a_death_before_the_data_is_let_go_is_told_instead() {
    model(|| match panic_and_mend("owner: panicked") {
        (Taken::OwnerDied(1002), false) => {}
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_panic_is_told_wherever_its_owner_dies_afterwards() {
    let points =
        ["unlocker: lets the data go", "unlocker: unlinked", "unlocker: freed", "unlocker: woke nobody"];
    dies_at_each(&points, |point| {
        let (told, lived) = panic_and_mend(point);
        assert_eq!(told, Taken::Panicked);
        !lived
    });
}

#[test]
#[should_panic]
fn mutant_poison_is_set_after_the_word_is_free() {
    mutant::with("poison is set after the word is free", || model(|| _ = panic_and_mend("")));
}

/// After a panic, two who are told; the first may die or do without mending it, for a panic is told until somebody has.
fn told_twice(dies_at: &'static str) -> (Option<Taken>, Taken) {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    Thread::run(&kernel, 2, "", |thread| panics(&locked, thread)).unwrap();
    let theirs = locked.clone();
    let other = Thread::start(&kernel, 3, dies_at, move |thread| {
        let taken = take(&theirs, thread);
        thread.crash_point("owner: told");
        word::free(thread, &theirs.node);
        taken
    });
    let mine = Thread::run(&kernel, 1, "", |thread| {
        let taken = take(&locked, thread);
        word::free(thread, &locked.node);
        taken
    });
    let other = other.join().unwrap();
    // Dead or alive, the panic was not mended by anybody: it is to be told still, unless a death is.
    let last = Thread::run(&kernel, 4, "", |thread| match word::take(thread, &locked.node, Until::Forever) {
        Ok(taken) => {
            word::free(thread, &locked.node);
            Ok(taken)
        }
        Err(refused) => Err(refused),
    });
    assert!(matches!(last.unwrap(), Ok(Taken::Panicked | Taken::OwnerDied(_)) | Err(Refused::Lost)));
    locked.check(&kernel);
    (other, mine.unwrap())
}

#[test]
fn a_panic_is_told_to_all() {
    model(|| assert_eq!(told_twice(""), (Some(Taken::Panicked), Taken::Panicked)));
}

/// It had the data in its hands: that is more than a panic.
#[test]
fn who_was_told_of_a_panic_dies() {
    model(|| {
        let (other, mine) = told_twice("owner: told");
        assert_eq!(other, None);
        assert!(matches!(mine, Taken::Panicked | Taken::OwnerDied(1003)), "{mine:?}");
    });
}

#[test]
#[should_panic]
fn mutant_a_panic_is_told_once() {
    mutant::with("a panic is told once", || model(|| _ = told_twice("")));
}

/// A panic was left; one mends it, and another panics before or after that, or after the mender's death. What is told is what was left last.
/// Gives whether the mender died.
fn mended_beside_a_panic(dies_at: &'static str) -> bool {
    let (kernel, locked) = (Kernel::new(), Locked::new());
    Thread::run(&kernel, 2, "", |thread| panics(&locked, thread)).unwrap();
    let theirs = locked.clone();
    let other = Thread::start(&kernel, 3, dies_at, move |thread| mends(&theirs, thread));
    Thread::run(&kernel, 1, "", |thread| panics(&locked, thread)).unwrap();
    let died = other.join().unwrap().is_none();
    // Whole is what somebody has mended: `take` looks at it.
    Thread::run(&kernel, 4, "", |thread| mends(&locked, thread)).unwrap();
    assert_eq!(Thread::run(&kernel, 5, "", |thread| mends(&locked, thread)), Some(Taken::Whole));
    locked.check(&kernel);
    died
}

#[test]
fn what_was_told_is_cleared_and_no_more() {
    model(|| assert!(!mended_beside_a_panic("")));
    let points = ["owner: mended", "owner: cleared", "unlocker: lets the data go", "unlocker: freed"];
    dies_at_each(&points, mended_beside_a_panic);
}

#[test]
#[should_panic]
fn mutant_what_was_told_is_cleared_after_the_word_is_free() {
    mutant::with("what was told is cleared after the word is free", || {
        model(|| _ = mended_beside_a_panic(""))
    });
}
