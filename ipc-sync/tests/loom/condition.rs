//! The condition: notifications that arrive at one who waited when they were given, whoever dies or gives up meanwhile.

use std::sync::Arc;

use ipc_core::primitive::mutant;
use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::sync::atomic::Ordering::{Relaxed, SeqCst};
use ipc_core::primitive::thread::JoinHandle;
use ipc_core::primitive::time::Until;
use ipc_shm::gate::Node;
use ipc_shm::modelled::word;
use ipc_shm::raw::Taken;
use ipc_sync::raw::{Outer, RawCondition};
use loom::model;

use crate::kernel::{Kernel, Thread};
use crate::{dies_at_each, large};

/// A condition, the lock that it is used with, and what is waited for.
struct Room {
    condition: RawCondition,
    lock: Node,
    ready: AtomicU32,
}

/// The lock, for a thread.
struct Lock<'a>(&'a Thread, &'a Node);

impl Outer for Lock<'_> {
    fn unlock(&mut self) {
        word::free(self.0, self.1);
    }

    /// Who is told of a death knows what to do.
    fn relock(&mut self) -> bool {
        let taken = word::take(self.0, self.1, Until::Forever).unwrap();
        word::repaired(self.0, self.1);
        taken == Taken::Whole
    }
}

impl Room {
    fn new() -> Arc<Room> {
        let (condition, lock, ready) = (RawCondition::new(), Node::new(), AtomicU32::new(0));
        Arc::new(Room { condition, lock, ready })
    }

    fn lock<'a>(&'a self, thread: &'a Thread) -> Lock<'a> {
        let mut lock = Lock(thread, &self.lock);
        lock.relock();
        lock
    }

    /// Waits once.
    fn wait(&self, thread: &Thread) -> bool {
        let mut lock = self.lock(thread);
        let notified = self.condition.wait(thread, Until::Forever, &mut lock).unwrap();
        lock.unlock();
        notified
    }

    /// Waits until it is ready.
    fn wait_until_ready(&self, thread: &Thread) -> bool {
        let mut lock = self.lock(thread);
        while self.ready.load(Relaxed) == 0 {
            self.condition.wait(thread, Until::Forever, &mut lock).unwrap();
        }
        lock.unlock();
        true
    }

    fn notify(&self, thread: &Thread, number: u64) -> u64 {
        self.condition.notify(thread, number).unwrap()
    }
}

/// One who waits once, and may die of it.
fn waiter(
    kernel: &Arc<Kernel>,
    room: &Arc<Room>,
    number: u32,
    dies_at: &'static str,
) -> JoinHandle<Option<bool>> {
    let room = room.clone();
    Thread::start(kernel, number, dies_at, move |thread| room.wait(thread))
}

/// One waits until another has made it ready, who may die of saying so; then another says so `again`.
fn handshake(dies_at: &'static str, again: bool) -> bool {
    let (kernel, room) = (Kernel::new(), Room::new());
    let theirs = room.clone();
    let waiter = Thread::start(&kernel, 2, "", move |thread| theirs.wait_until_ready(thread));
    Thread::run(&kernel, 1, "", |thread| {
        let mut lock = room.lock(thread);
        room.ready.store(1, Relaxed);
        lock.unlock();
    });
    // With a life of its own: it comes to no point before.
    let died = Thread::run(&kernel, 3, dies_at, |thread| _ = room.notify(thread, 1)).is_none();
    if again {
        Thread::run(&kernel, 4, "", |thread| _ = room.notify(thread, 1));
    }
    assert!(waiter.join().unwrap().unwrap());
    assert!(room.condition.is_idle());
    died
}

#[test]
fn a_notification_arrives_whoever_dies_of_it() {
    large(3, || assert!(!handshake("", false)));
    let points = [
        "gate: changed",
        "gate: mark taken",
        "gate: woke",
        "unlocker: lets the data go",
        "unlocker: unlinked",
    ];
    dies_at_each(&points, 3, |point| handshake(point, false));
}

#[test]
#[should_panic]
fn mutant_the_wake_is_given_when_the_lock_is_free() {
    mutant::with("the wake is given when the lock is free", || {
        dies_at_each(&["unlocker: unlinked"], 2, |point| handshake(point, false));
    });
}

/// Who notifies dies before it has given anything, or has told that it did: the next notification arrives.
#[test]
fn who_notifies_dies_before() {
    let points = [
        "locker: announced",
        "locker: taken",
        "locker: linked",
        "owner: has the data",
        "gate: about to change",
        "condition notifier: gave",
    ];
    dies_at_each(&points, 3, |point| handshake(point, true));
}

#[test]
#[should_panic]
fn mutant_who_has_nothing_to_give_wakes_nobody() {
    mutant::with("who has nothing to give wakes nobody", || {
        dies_at_each(&["condition notifier: gave"], 2, |point| handshake(point, true));
    });
}

/// Two wait; each of two notifications gets one of them through.
#[test]
fn each_gets_one_through() {
    large(1, || {
        let (kernel, room) = (Kernel::scripted(), Room::new());
        let waiters = [2, 3].map(|number| waiter(&kernel, &room, number, ""));
        kernel.until_asleep(2);
        Thread::run(&kernel, 1, "", |thread| {
            assert_eq!((room.notify(thread, 1), room.notify(thread, 1)), (1, 1));
            assert_eq!(room.notify(thread, 1), room.notify(thread, 1), "nobody waits for more");
        });
        waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), Some(true)));
        assert!(room.condition.is_idle());
    });
}

/// The first of two who wait dies at a point on its way back, perhaps while it waits for the lock: the other gets the notification.
fn the_first_dies(held: bool, dies_at: &'static str) {
    let (kernel, room) = (Kernel::scripted(), Room::new());
    let victim = waiter(&kernel, &room, 3, dies_at);
    kernel.until_asleep(1);
    let other = waiter(&kernel, &room, 2, "");
    kernel.until_asleep(2);
    Thread::run(&kernel, 1, "", |thread| {
        let lock = held.then(|| room.lock(thread));
        room.notify(thread, 1);
        lock.map(|mut lock| lock.unlock());
    });
    assert_eq!(other.join().unwrap(), Some(true));
    assert_eq!(victim.join().unwrap(), None, "nobody comes to {dies_at}");
}

#[test]
fn one_who_was_notified_dies_and_another_gets_it() {
    for point in [
        "gate: woken",
        "gate: found",
        "condition waiter: notified",
        "condition waiter: has the lock",
        "gate: about to change",
    ] {
        large(2, move || the_first_dies(false, point));
    }
}

#[test]
fn one_who_was_notified_dies_waiting_for_the_lock() {
    // Where the lock is free by the time it comes, it does not sleep there, and does not die.
    large(1, || {
        let (kernel, room) = (Kernel::scripted(), Room::new());
        let victim = waiter(&kernel, &room, 3, "sleeper: woken");
        kernel.until_asleep(1);
        let other = waiter(&kernel, &room, 2, "");
        kernel.until_asleep(2);
        Thread::run(&kernel, 1, "", |thread| {
            let mut lock = room.lock(thread);
            room.notify(thread, 1);
            // It sleeps on the lock, the other on the turn.
            kernel.until_asleep(2);
            lock.unlock();
        });
        assert_eq!(other.join().unwrap(), Some(true));
        assert_eq!(victim.join().unwrap(), None);
    });
}

#[test]
#[should_panic]
fn mutant_a_notification_is_taken_before_the_lock_is_had() {
    mutant::with("a notification is taken before the lock is had", || {
        large(1, || the_first_dies(true, "sleeper: woken"));
    });
}

/// Two wait and are notified, and then a third waits, whom they overtake or who overtakes one of them: it gets nothing of theirs, and what is given afterwards.
fn one_comes_later() {
    let (kernel, room) = (Kernel::scripted(), Room::new());
    let waiters = [2, 3].map(|number| {
        let theirs = room.clone();
        Thread::start(&kernel, number, "", move |thread| {
            let notified = theirs.wait(thread);
            // The last of the two, for the third: that waits by then, for they could not have the lock before.
            if theirs.ready.fetch_add(1, SeqCst) == 1 {
                theirs.notify(thread, 1);
            }
            notified
        })
    });
    kernel.until_asleep(2);
    Thread::run(&kernel, 1, "", |thread| {
        let mut lock = room.lock(thread);
        assert_eq!(room.notify(thread, 2), 2);
        assert!(room.condition.wait(thread, Until::Forever, &mut lock).unwrap());
        assert_eq!(room.ready.load(SeqCst), 2, "it was woken by what others were to get");
        lock.unlock();
    })
    .unwrap();
    waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), Some(true)));
    assert!(room.condition.is_idle());
}

#[test]
fn who_comes_later_gets_nothing_of_what_was_given_before() {
    large(1, one_comes_later);
}

#[test]
#[should_panic]
fn mutant_who_comes_later_may_take_it() {
    mutant::with("who comes later may take it", || large(1, one_comes_later));
}

#[test]
#[should_panic]
fn mutant_who_may_take_none_keeps_the_turn() {
    mutant::with("who may take none keeps the turn", || large(2, one_comes_later));
}

/// The time of one who waits ends while it is notified: it was, if a notification was given.
fn gives_up(others: bool) {
    let (kernel, room) = (Kernel::scripted(), Room::new());
    let first = waiter(&kernel, &room, 2, "");
    kernel.until_asleep(1);
    let second = others.then(|| waiter(&kernel, &room, 3, ""));
    kernel.until_asleep(1 + usize::from(others));
    let theirs = room.clone();
    let notifier = Thread::start(&kernel, 4, "", move |thread| theirs.notify(thread, 1));
    kernel.expire_at_gate(2);
    let mut given = notifier.join().unwrap().unwrap();
    if others {
        // Whoever of them is left.
        Thread::run(&kernel, 1, "", |thread| given += room.notify(thread, 1));
    }
    let through = [Some(first), second].into_iter().flatten();
    let notified = through.filter_map(|waiter| waiter.join().unwrap()).filter(|notified| *notified).count();
    assert_eq!(notified as u64, given);
    assert!(room.condition.is_idle());
}

#[test]
fn who_gives_up_while_it_is_notified() {
    large(2, || gives_up(false));
}

#[test]
fn who_gives_up_leaves_it_to_another() {
    large(1, || gives_up(true));
}

#[test]
#[should_panic]
fn mutant_who_gives_up_takes_nothing() {
    mutant::with("who gives up takes nothing", || large(2, || gives_up(false)));
}

/// One who waited dies without having been notified; what is given for it hinders nobody, then and later.
fn one_dies_asleep(dies_at: &'static str) {
    let (kernel, room) = (Kernel::scripted(), Room::new());
    let victim = waiter(&kernel, &room, 3, dies_at);
    assert_eq!(victim.join().unwrap(), None);
    for _ in 0..2 {
        let other = waiter(&kernel, &room, 2, "");
        kernel.until_asleep(1);
        Thread::run(&kernel, 1, "", |thread| assert!(room.notify(thread, u64::MAX) >= 1));
        assert_eq!(other.join().unwrap(), Some(true));
    }
}

#[test]
fn one_dies_before_it_is_notified() {
    for point in [
        "condition waiter: enrolled",
        "condition waiter: gave the lock back",
        "condition waiter: has the turn",
        "gate: marked",
        "gate: about to sleep",
    ] {
        large(2, move || one_dies_asleep(point));
    }
}

/// Who notifies dies inside: nothing is wedged, and the next notification arrives.
#[test]
fn one_dies_inside() {
    large(2, || {
        let (kernel, room) = (Kernel::scripted(), Room::new());
        let waiter = waiter(&kernel, &room, 2, "");
        kernel.until_asleep(1);
        Thread::run(&kernel, 1, "condition notifier: gave", |thread| room.notify(thread, 1));
        Thread::run(&kernel, 3, "", |thread| room.notify(thread, 1));
        assert_eq!(waiter.join().unwrap(), Some(true));
    });
}

/// Who has taken it dies with the lock: whoever takes that next is told.
#[test]
fn one_dies_with_what_it_took() {
    model(|| {
        let (kernel, room) = (Kernel::scripted(), Room::new());
        let victim = waiter(&kernel, &room, 2, "condition waiter: took");
        kernel.until_asleep(1);
        Thread::run(&kernel, 1, "", |thread| room.notify(thread, 1));
        assert_eq!(victim.join().unwrap(), None);
        Thread::run(&kernel, 3, "", |thread| {
            let taken = word::take(thread, &room.lock, Until::Forever).unwrap();
            assert!(matches!(taken, Taken::OwnerDied(1002)), "{taken:?}");
            word::repaired(thread, &room.lock);
            word::free(thread, &room.lock);
        });
    });
}

/// A future at it, as its executor polls it: it looks until it is notified, and takes that with the lock.
fn polled(room: &Room, thread: &Thread) {
    let mut lock = room.lock(thread);
    while room.ready.load(Relaxed) == 0 {
        let ticket = room.condition.enrol(thread).unwrap();
        loop {
            lock.unlock();
            while !room.condition.is_notified(ticket) {
                loom::thread::yield_now();
            }
            lock.relock();
            if room.condition.take(thread, ticket).unwrap() {
                break;
            }
        }
    }
    lock.unlock();
}

#[test]
fn who_polls_is_notified_beside_who_sleeps() {
    large(2, || {
        let (kernel, room) = (Kernel::new(), Room::new());
        let theirs = room.clone();
        let sleeper = Thread::start(&kernel, 2, "", move |thread| theirs.wait_until_ready(thread));
        let theirs = room.clone();
        let future = Thread::start(&kernel, 3, "", move |thread| polled(&theirs, thread));
        Thread::run(&kernel, 1, "", |thread| {
            let mut lock = room.lock(thread);
            room.ready.store(1, Relaxed);
            lock.unlock();
            room.notify(thread, u64::MAX);
        });
        assert!(sleeper.join().unwrap().unwrap());
        future.join().unwrap().unwrap();
        assert!(room.condition.is_idle());
    });
}

/// One sleeps, and a future waits as well and is dropped, or dies of it, while one of the two is notified: the sleeper gets through.
fn one_is_dropped(dies_at: &'static str) -> bool {
    let (kernel, room) = (Kernel::scripted(), Room::new());
    let sleeper = waiter(&kernel, &room, 2, "");
    kernel.until_asleep(1);
    let ticket = Thread::run(&kernel, 4, "", |thread| room.condition.enrol(thread).unwrap()).unwrap();
    let theirs = room.clone();
    // It gives up what it has a ticket for; a thread of its own, so that it may come before the notification, amid it, or after it.
    let future = Thread::start(&kernel, 3, dies_at, move |thread| {
        theirs.condition.give_up(thread, ticket).unwrap();
    });
    Thread::run(&kernel, 1, "", |thread| assert_eq!(room.notify(thread, 1), 1));
    assert_eq!(sleeper.join().unwrap(), Some(true));
    let died = future.join().unwrap().is_none();
    assert!(died || room.condition.is_idle());
    died
}

#[test]
fn what_was_given_for_one_who_is_dropped_goes_to_another() {
    large(2, || assert!(!one_is_dropped("")));
    dies_at_each(&["future of a condition: gave it on"], 2, one_is_dropped);
}

#[test]
#[should_panic]
fn mutant_who_gives_up_keeps_what_it_was_given() {
    mutant::with("who gives up keeps what it was given", || large(2, || assert!(!one_is_dropped(""))));
}
