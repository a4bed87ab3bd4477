//! What a process makes at the first use and then shares: the registry of functions by name stands in one, and the helper that wakes
//! futures.
//!
//! Whoever comes first may make it, several at once too; all see the one that was kept, and see it whole.

use ipc_core::modelled::{ForkLocal, Made, Pointer};
use ipc_core::primitive::cell::UnsafeCell;
use ipc_core::primitive::{mutant, thread};
use loom::model;
use loom::sync::atomic::{AtomicPtr, Ordering};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Std};

/// loom's pointer; a mutant of it publishes the value before its contents.
struct Modelled(AtomicPtr<Made<Table>>);

impl Pointer<Made<Table>> for Modelled {
    fn load(&self) -> *mut Made<Table> {
        self.0.load(Ordering::Acquire)
    }

    fn exchange(&self, old: *mut Made<Table>, new: *mut Made<Table>) -> Result<(), *mut Made<Table>> {
        let publish = if mutant::is("published too early") { Ordering::Relaxed } else { Ordering::AcqRel };
        self.0.compare_exchange(old, new, publish, Ordering::Acquire).map(drop)
    }
}

/// What is made: loom's cell knows whether who reads has seen what was written.
struct Table {
    number: usize,
    content: UnsafeCell<usize>,
}

// SAFETY: written while it is made, and read by those who found it: whether the one is before the other is what loom checks.
unsafe impl Sync for Table {}

struct Shared {
    table: ForkLocal<Table, Modelled>,
    /// How many were made; not part of what is modelled.
    made: AtomicUsize,
}

impl Shared {
    /// Asks for the table, and gives its number.
    fn look(&self) -> usize {
        let table = self.table.get_or_make(|| {
            let number = self.made.fetch_add(1, Std::Relaxed);
            let content = UnsafeCell::new(0);
            // SAFETY: nobody else has it yet.
            content.with_mut(|content| unsafe { *content = 10 + number });
            Table { number, content }
        });
        // SAFETY: nobody writes to a table once it is made.
        table.content.with(|content| assert_eq!(unsafe { *content }, 10 + table.number, "whole"));
        table.number
    }
}

fn three_at_once() {
    let pointer = Modelled(AtomicPtr::new(std::ptr::null_mut()));
    let shared = Arc::new(Shared { table: ForkLocal::on(pointer), made: AtomicUsize::new(0) });
    let looks: Vec<_> = (0..2)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || shared.look())
        })
        .collect();
    let mine = shared.look();
    for look in looks {
        assert_eq!(look.join().unwrap(), mine, "all have the same");
    }
    assert_eq!(shared.look(), mine, "all have the same");
}

#[test]
fn all_who_come_at_once_get_one_value() {
    model(three_at_once);
}

#[test]
#[should_panic(expected = "all have the same")]
fn mutant_each_thread_keeps_its_own() {
    mutant::with("each thread keeps its own", || model(three_at_once));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn mutant_published_too_early() {
    mutant::with("published too early", || model(three_at_once));
}
