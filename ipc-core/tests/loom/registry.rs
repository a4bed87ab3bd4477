//! All children of a process: none is lost while it runs, none is kept once it has ended, whoever drops or joins when.

use ipc_core::modelled::{Member, Registry};
use ipc_core::primitive::sync::Arc;
use ipc_core::primitive::sync::atomic::{AtomicBool, Ordering};
use ipc_core::primitive::thread;

/// A child: has it died, and was its zombie taken away. Who asserts holds the two words, and not the child itself.
#[derive(Default)]
struct Child {
    died: Arc<AtomicBool>,
    reaped: Arc<AtomicBool>,
}

impl Child {
    fn new(died: bool) -> Arc<Child> {
        Arc::new(Child { died: Arc::new(AtomicBool::new(died)), reaped: Arc::new(AtomicBool::new(false)) })
    }
}

impl Member for Child {
    fn has_ended(&self) -> bool {
        let died = self.died.load(Ordering::Acquire);
        if died {
            self.reaped.store(true, Ordering::Release);
        }
        died
    }
}

/// Handles dropped by two threads while another child is added: if that sweep came too early, the next one takes the zombie
/// away. The death falls anywhere before.
fn drop_and_sweep(add: impl Fn(&Registry<Child>, Arc<Child>)) {
    let registry = Registry::new();
    let child = Child::new(false);
    let (died, reaped) = (child.died.clone(), child.reaped.clone());
    add(&registry, child.clone());
    let drops = thread::spawn({
        let handle = child.clone();
        move || {
            died.store(true, Ordering::Release);
            drop(handle);
        }
    });
    drop(child);
    add(&registry, Child::new(false));
    drops.join().unwrap();
    add(&registry, Child::new(false));
    assert!(reaped.load(Ordering::Acquire));
}

#[test]
fn a_dropped_child_that_has_ended_is_swept() {
    loom::model(|| drop_and_sweep(Registry::add));
}

/// The mutant: only the first two additions sweep, as if one sweep had to be enough.
#[test]
#[should_panic]
fn mutant_one_sweep_is_enough() {
    loom::model(|| {
        let added = std::cell::Cell::new(0);
        drop_and_sweep(|registry, child| {
            added.set(added.get() + 1);
            if added.get() <= 2 {
                registry.add(child);
            }
        });
    });
}

/// A join against a sweep: the child is removed once, and the others stay.
#[test]
fn a_join_and_a_sweep_agree() {
    loom::model(|| {
        let registry = Arc::new(Registry::new());
        let (ended, lives) = (Child::new(true), Child::new(false));
        registry.add(ended.clone());
        registry.add(lives.clone());
        let sweeps = thread::spawn({
            let registry = registry.clone();
            move || registry.running().len()
        });
        assert!(ended.has_ended());
        registry.remove(&ended);
        assert_eq!(sweeps.join().unwrap(), 1);
        let left = registry.running();
        assert!(left.len() == 1 && Arc::ptr_eq(&left[0], &lives));
        assert!(ended.reaped.load(Ordering::Acquire));
    });
}

/// Children added by two threads while a third looks: none is lost.
#[test]
fn no_running_child_is_lost() {
    loom::model(|| {
        let registry = Arc::new(Registry::new());
        let adds: Vec<_> = (0..2)
            .map(|_| {
                let registry = registry.clone();
                thread::spawn(move || registry.add(Child::new(false)))
            })
            .collect();
        assert!(registry.running().len() <= 2);
        for add in adds {
            add.join().unwrap();
        }
        assert_eq!(registry.running().len(), 2);
    });
}

/// The death falls between the look and the removal: a running child is never removed, a dead one is at the next look.
#[test]
fn a_death_during_the_look_is_seen_at_the_next() {
    loom::model(|| {
        let registry = Arc::new(Registry::new());
        let child = Child::new(false);
        registry.add(child.clone());
        let dies = thread::spawn({
            let child = child.clone();
            move || child.died.store(true, Ordering::Release)
        });
        let seen = registry.running().len();
        assert!(seen == 1 || child.died.load(Ordering::Acquire));
        dies.join().unwrap();
        assert!(registry.running().is_empty());
    });
}

/// The mutant: two steps instead of one lock, so that a child added in between is lost.
#[test]
#[should_panic]
fn mutant_look_and_replace() {
    loom::model(|| {
        let members = Arc::new(ipc_core::primitive::sync::Mutex::new(Vec::<Arc<Child>>::new()));
        let adds = thread::spawn({
            let members = members.clone();
            move || members.lock().push(Child::new(false))
        });
        let kept: Vec<_> = members.lock().iter().filter(|child| !child.has_ended()).cloned().collect();
        *members.lock() = kept;
        adds.join().unwrap();
        assert_eq!(members.lock().len(), 1);
    });
}
