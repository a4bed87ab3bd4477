//! Why a lock counts who goes to sleep on it (`sleeps`): one interleaving, step by step.
//!
//! Who frees a lock and wakes nobody takes the `WAITERS` bit off. Between the two, somebody else may have had the lock, others have fallen
//! asleep on it, and it may be free again: the bit that is taken off then is theirs. That alone would do no harm, for who freed it last
//! wakes one of them. But if that one is killed while a third has the lock, then nobody knows of the others.

use std::sync::Arc;

use ipc_core::primitive::sync::atomic::Ordering::SeqCst;
use ipc_core::primitive::sync::{Condvar, Mutex};
use ipc_core::primitive::thread::JoinHandle;
use ipc_core::primitive::time::Until;
use ipc_shm::modelled::system::{Node, OWNER, WAITERS};
use ipc_shm::modelled::word;

use crate::kernel::{Kernel, Thread};

/// Something that happens once, and is waited for.
struct Once(Mutex<bool>, Condvar);

impl Once {
    fn new() -> Arc<Once> {
        Arc::new(Once(Mutex::new(false), Condvar::new()))
    }

    fn happens(&self) {
        *self.0.lock() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let mut happened = self.0.lock();
        while !*happened {
            happened = self.1.wait(happened);
        }
    }
}

type Sleepers = Arc<Mutex<Vec<JoinHandle<Option<()>>>>>;

/// Two fall asleep, the first of whom will be woken and killed once a third has the lock.
fn fall_asleep(kernel: &Arc<Kernel>, node: &Arc<Node>, barged: &Arc<Once>, sleepers: &Sleepers) {
    for (number, dies_at) in [(3, "sleeper: woken"), (4, "")] {
        let (node, barged) = (node.clone(), barged.clone());
        let sleeper = Thread::start(kernel, number, dies_at, move |thread| {
            if number == 3 {
                thread.at("sleeper: woken", move || barged.wait());
            }
            word::take(thread, &node, Until::Forever).unwrap();
            word::free(thread, &node);
        });
        sleepers.lock().push(sleeper);
        kernel.until_asleep(number as usize - 2);
    }
}

/// The whole of it; panics if somebody is left asleep.
pub(crate) fn who_went_to_sleep_meanwhile() {
    let (kernel, node, barged) = (Kernel::scripted(), Arc::new(Node::new()), Once::new());
    let sleepers = Sleepers::new(Mutex::new(Vec::new()));
    Thread::run(&kernel, 1, "", |thread| {
        word::take(thread, &node, Until::Forever).unwrap();
        // As one leaves it whose time was over.
        node.word.fetch_or(WAITERS, SeqCst);
        let script = (kernel.clone(), node.clone(), barged.clone(), sleepers.clone());
        thread.at("unlocker: woke nobody", move || {
            let (kernel, node, barged, sleepers) = script;
            // Another has the lock, and frees it; its death wakes the first sleeper, as its wake-up would have.
            Thread::run(&kernel, 2, "unlocker: freed", |other| {
                word::take(other, &node, Until::Forever).unwrap();
                fall_asleep(&kernel, &node, &barged, &sleepers);
                word::free(other, &node);
            });
        });
        word::free(thread, &node);
    });
    let mut sleepers = std::mem::take(&mut *sleepers.lock()).into_iter();
    let (first, second) = (sleepers.next().unwrap(), sleepers.next().unwrap());
    Thread::run(&kernel, 5, "", |thread| {
        word::take(thread, &node, Until::Forever).unwrap();
        barged.happens();
        assert!(first.join().unwrap().is_none(), "it is killed, just woken");
        word::free(thread, &node);
    });
    assert_eq!(kernel.asleep(), 0, "somebody sleeps, and nobody knows of it");
    second.join().unwrap().unwrap();
    assert_eq!(node.word.load(SeqCst) & OWNER, 0);
}
