//! The mirror of a thread's robust list, which other threads look at: what was held all the time is found, wherever it goes meanwhile.

use std::sync::Arc;

use ipc_core::primitive::mutant;
use ipc_core::primitive::thread;
use ipc_shm::modelled::mirror::Mirror;
use loom::model;

const END: usize = 1;
const A: usize = 10;
const B: usize = 20;
const C: usize = 30;

/// A thread has A, and does something with others; another thread looks for A.
fn looked_for(life: fn(&Mirror<2>)) {
    let mirror = Arc::new(Mirror::<2>::new());
    mirror.empty(END);
    mirror.put_first(A);
    let theirs = mirror.clone();
    let looks = thread::spawn(move || {
        assert!(theirs.holds_within(&(A..A + 1)), "it has it, and is not found to have it")
    });
    life(&mirror);
    looks.join().unwrap();
    assert!(mirror.holds(A) && !mirror.holds_within(&(0..A)));
}

fn another_comes(mirror: &Mirror<2>) {
    mirror.put(B, END, |behind| assert_eq!(behind, A));
}

fn another_comes_and_goes(mirror: &Mirror<2>) {
    mirror.put(B, END, |_| ());
    assert_eq!(mirror.take_newest(END), A);
    assert!(mirror.holds_only(A));
}

fn another_goes_and_comes(mirror: &Mirror<2>) {
    another_comes_and_goes(mirror);
    mirror.put(B, END, |_| ());
}

#[test]
fn when_another_is_taken() {
    model(|| looked_for(another_comes));
}

#[test]
#[should_panic]
fn mutant_the_newest_is_overwritten_before_it_has_another_place() {
    mutant::with("the newest is overwritten before it has another place", || {
        model(|| looked_for(another_comes))
    });
}

#[test]
fn when_another_is_given_back() {
    model(|| looked_for(another_goes_and_comes));
}

#[test]
#[should_panic]
fn mutant_who_looks_does_not_look_again() {
    mutant::with("who looks does not look again", || model(|| looked_for(another_goes_and_comes)));
}

/// C is the oldest of three, and is given back: A goes to its place.
fn an_older_is_given_back() {
    let mirror = Arc::new(Mirror::<2>::new());
    mirror.empty(END);
    mirror.put_first(C);
    mirror.put(A, END, |_| ());
    mirror.put(B, END, |_| ());
    let theirs = mirror.clone();
    let looks = thread::spawn(move || {
        assert!(theirs.holds_within(&(A..A + 1)), "it has it, and is not found to have it")
    });
    assert!(mirror.take_older(C, END, |newer, behind| assert_eq!((newer, behind), (A, END))));
    assert!(!mirror.take_older(C, END, |_, _| ()));
    looks.join().unwrap();
    assert!(mirror.holds(A) && mirror.holds(B) && mirror.len(END) == 2);
}

#[test]
fn when_an_older_is_given_back() {
    model(an_older_is_given_back);
}
