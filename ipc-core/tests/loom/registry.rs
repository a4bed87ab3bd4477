//! The registry of all children: adding, joining, listing and dropping against each other and against death.
//!
//! The registry counts references, so those to children are loom's here: no model and no mutant of this file can deadlock.

use std::sync::Arc as Std;

use ipc_core::modelled::{Member, Registry};
use ipc_core::primitive::sync::Arc;
use ipc_core::primitive::{mutant, thread};
use loom::model;

use crate::kernel::{Child, killed};

impl Member for Child {
    fn has_ended(&self) -> bool {
        self.status().is_some()
    }
}

struct Family {
    registry: Std<Registry<Child>>,
    child: Arc<Child>,
}

impl Family {
    fn new() -> Family {
        let family = Family { registry: Std::new(Registry::new()), child: Arc::new(Child::new()) };
        family.registry.add(family.child.clone());
        family
    }

    /// The child as its life, which holds no reference of its parent's.
    fn dies(&self) -> thread::JoinHandle<()> {
        let process = self.child.process.clone();
        thread::spawn(move || process.end(killed()))
    }

    fn joins(&self) -> thread::JoinHandle<()> {
        let (registry, child) = (self.registry.clone(), self.child.clone());
        thread::spawn(move || {
            assert_eq!(child.wait(), killed());
            registry.remove(&child);
        })
    }

    fn lists(&self) -> thread::JoinHandle<usize> {
        let registry = self.registry.clone();
        thread::spawn(move || registry.running().len())
    }

    /// Adds another child, which stays.
    fn adds(&self) -> (thread::JoinHandle<()>, Std<crate::kernel::Process>) {
        let (registry, second) = (self.registry.clone(), Arc::new(Child::new()));
        let process = second.process.clone();
        // Its handle is dropped at once.
        (thread::spawn(move || registry.add(second)), process)
    }
}

/// Only this child is left.
fn is_left(registry: &Registry<Child>, process: &Std<crate::kernel::Process>) {
    let running = registry.running();
    let left = running.iter().filter(|child| Std::ptr_eq(&child.process, process)).count();
    assert_eq!((running.len(), left), (1, 1), "the other child is there");
}

/// A handle is dropped, the child dies, another is added, in any order: the next look has collected the first.
fn dropped_handle() {
    let family = Family::new();
    let (life, (adder, second)) = (family.dies(), family.adds());
    let Family { registry, child } = family;
    let process = child.process.clone();
    drop(child);
    life.join().unwrap();
    adder.join().unwrap();
    is_left(&registry, &second);
    assert_eq!(process.given(), 1, "collected");
}

#[test]
fn a_child_whose_handle_was_dropped_is_collected() {
    model(dropped_handle);
}

#[test]
#[should_panic(expected = "collected")]
fn mutant_a_child_without_a_handle_is_forgotten() {
    mutant::with("a child without a handle is forgotten", || model(dropped_handle));
}

/// A join, `active_children` and a new child.
fn join_and_list() {
    let family = Family::new();
    let (life, joiner, lister) = (family.dies(), family.joins(), family.lists());
    let (adder, second) = family.adds();
    adder.join().unwrap();
    life.join().unwrap();
    joiner.join().unwrap();
    assert!(lister.join().unwrap() <= 2);
    is_left(&family.registry, &second);
    assert_eq!(family.child.process.given(), 1, "collected");
}

#[test]
fn join_list_and_sweep_collect_one_child_once() {
    model(join_and_list);
}

#[test]
#[should_panic(expected = "the other child is there")]
fn mutant_any_is_removed() {
    mutant::with("any is removed", || model(join_and_list));
}

/// Two threads share a handle, and both remove what they joined.
fn removed_twice() {
    let family = Family::new();
    let (life, one, two) = (family.dies(), family.joins(), family.joins());
    let second = Arc::new(Child::new());
    let process = second.process.clone();
    family.registry.add(second);
    [life, one, two].into_iter().for_each(|thread| thread.join().unwrap());
    is_left(&family.registry, &process);
    assert_eq!(family.child.process.given(), 1);
}

#[test]
fn removing_twice_removes_nobody_else() {
    model(removed_twice);
}

#[test]
#[should_panic(expected = "the other child is there")]
fn mutant_any_is_removed_twice() {
    mutant::with("any is removed", || model(removed_twice));
}

/// Who runs is on every list.
fn listed() {
    let family = Family::new();
    let (one, two) = (family.lists(), family.lists());
    let (adder, _second) = family.adds();
    assert!((1..=2).contains(&one.join().unwrap()), "on every list");
    assert!((1..=2).contains(&two.join().unwrap()), "on every list");
    adder.join().unwrap();
    assert_eq!(family.registry.running().len(), 2, "on every list");
    assert_eq!(family.child.process.given(), 0);
}

#[test]
fn a_running_child_is_listed_by_all() {
    model(listed);
}

#[test]
#[should_panic(expected = "on every list")]
fn mutant_a_list_takes_all_out() {
    mutant::with("a list takes all out", || model(listed));
}

/// A handle is dropped while a second holder, who has the child from a list, waits for it, and others list: that one has the
/// status, the registry nobody, and the kernel is asked once.
fn dropped_beside_a_waiter() {
    let family = Family::new();
    let (life, waiter, lister) = (family.dies(), family.joins(), family.lists());
    let Family { registry, child } = family;
    let process = child.process.clone();
    drop(child);
    life.join().unwrap();
    waiter.join().unwrap();
    assert!(lister.join().unwrap() <= 1);
    assert!(registry.running().is_empty());
    assert_eq!(process.given(), 1, "collected once");
}

#[test]
fn a_waiter_outlasts_the_handle() {
    model(dropped_beside_a_waiter);
}

#[test]
#[should_panic(expected = "collected once")]
fn mutant_a_waiters_status_is_not_kept() {
    mutant::with("a status is not kept", || model(dropped_beside_a_waiter));
}
