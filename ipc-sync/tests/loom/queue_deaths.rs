//! The queue's log when somebody dies at one of its points: producers, consumers, who wakes and who is woken.

use super::*;

/// A producer dies, another one puts, one gets. The dead one's item is there, whole, or it is not.
fn a_producer_dies(point: &'static str) -> bool {
    let (kernel, queue) = (Kernel::new(), Queue::new(4, 8, 1));
    Thread::run(&kernel, 1, "", |thread| round(thread, &queue));
    let theirs = queue.clone();
    let victim = Thread::start(&kernel, 2, point, move |thread| theirs.put(thread, 10));
    let theirs = queue.clone();
    let other = Thread::start(&kernel, 3, "", move |thread| theirs.put(thread, 20));
    let first = Thread::run(&kernel, 1, "", |thread| queue.get(thread)).unwrap();
    let died = victim.join().unwrap().is_none();
    assert!(other.join().unwrap().unwrap());
    Thread::run(&kernel, 1, "", |thread| {
        let second = queue.try_get(thread);
        match (first, second) {
            (Some(10), Some(20)) | (Some(20), Some(10)) => {}
            (Some(20), None) => assert!(died),
            other => panic!("{other:?}"),
        }
        queue.is_whole(thread);
    });
    died
}

#[test]
fn a_producer_dies_anywhere() {
    dies_at_each(2, &PRODUCER, a_producer_dies);
}

#[test]
fn a_producer_dies_at_its_lock() {
    dies_at_each(2, &LOCKER, a_producer_dies);
}

#[test]
#[should_panic]
fn mutant_what_is_taken_is_not_noted() {
    mutant::with("what is taken is not noted", || dies_at_each(1, &PRODUCER[1..3], a_producer_dies));
}

#[test]
#[should_panic]
fn mutant_a_dead_producer_s_work_is_left() {
    mutant::with("a dead producer's work is left", || dies_at_each(1, &PRODUCER[1..3], a_producer_dies));
}

/// Somebody sleeps, and who was to wake it dies: it is woken all the same, if the item is there.
fn a_waker_dies(point: &'static str) -> bool {
    let (kernel, queue) = (Kernel::new(), Queue::new(4, 2, 1));
    let theirs = queue.clone();
    let victim = Thread::start(&kernel, 2, point, move |thread| theirs.put(thread, 10));
    let got = Thread::run(&kernel, 1, "", |thread| queue.get(thread)).unwrap();
    assert_eq!(got, Some(10));
    victim.join().unwrap().is_none()
}

#[test]
fn a_waker_dies_after_it_published() {
    dies_at_each(
        3,
        &["gate: changed", "gate: mark taken", "gate: woke", "producer: published"],
        a_waker_dies,
    );
}

#[test]
#[should_panic]
fn mutant_a_waker_announces_nothing() {
    mutant::with("a waker announces nothing", || dies_at_each(2, &["gate: changed"], a_waker_dies));
}

/// A consumer dies, another one gets: the item is there, or it went with the dead; the next one is there in any case.
pub(super) fn a_consumer_dies(point: &'static str) -> bool {
    let (kernel, queue) = (Kernel::new(), Queue::new(4, 8, 1));
    let theirs = queue.clone();
    let victim = Thread::start(&kernel, 2, point, move |thread| theirs.try_get(thread));
    let theirs = queue.clone();
    let other = Thread::start(&kernel, 3, "", move |thread| theirs.get(thread));
    Thread::run(&kernel, 1, "", |thread| (1..=2).for_each(|item| assert!(queue.put(thread, item))));
    let theirs = victim.join().unwrap();
    let got = other.join().unwrap().unwrap().unwrap();
    Thread::run(&kernel, 1, "", |thread| {
        let left = queue.try_get(thread);
        let went = [1, 2].into_iter().filter(|item| *item != got && Some(*item) != left).count();
        match theirs {
            // Dead.
            None => {
                let before = ["consumer: about to take", "gate: about to change"].contains(&point);
                assert!(went <= usize::from(!before) && left != Some(got));
            }
            Some(None) => assert_eq!((got, left), (1, Some(2))),
            Some(Some(first)) => assert!(first != got && left.is_none()),
        }
        queue.is_whole(thread);
    });
    theirs.is_none()
}

#[test]
fn a_consumer_dies_anywhere() {
    dies_at_each(2, &CONSUMER[..2], a_consumer_dies);
    dies_at_each(2, &[CONSUMER[2], CONSUMER[4], CONSUMER[5]], a_consumer_dies);
}

#[test]
fn a_consumer_dies_at_its_lock() {
    dies_at_each(1, &LOCKER, a_consumer_dies);
}

/// A consumer that sleeps is woken and dies; another one that sleeps gets the item, or there is none for it.
fn a_woken_consumer_dies(point: &'static str) -> bool {
    let (kernel, queue) = (Kernel::new(), Queue::new(4, 8, 1));
    let theirs = queue.clone();
    let victim = Thread::start(&kernel, 2, point, move |thread| theirs.get(thread));
    let theirs = queue.clone();
    let other = Thread::start(&kernel, 3, "", move |thread| theirs.get(thread).unwrap());
    Thread::run(&kernel, 1, "", |thread| (1..=2).for_each(|item| assert!(queue.put(thread, item))));
    let died = victim.join().unwrap().is_none();
    assert!([1, 2].contains(&other.join().unwrap().unwrap()));
    died
}

#[test]
fn a_woken_consumer_dies_anywhere() {
    let points = ["gate: marked", "gate: about to sleep", "gate: woken", "gate: found"];
    dies_at_each(2, &points, a_woken_consumer_dies);
}

#[test]
#[should_panic]
fn mutant_a_sleeper_announces_nothing() {
    mutant::with("a sleeper announces nothing", || dies_at_each(2, &["gate: woken"], a_woken_consumer_dies));
}

/// A consumer that makes room dies; who waits for room gets it, if it was made.
fn a_maker_of_room_dies(point: &'static str) -> bool {
    let (kernel, queue) = (Kernel::new(), Queue::new(4, 1, 1));
    Thread::run(&kernel, 1, "", |thread| assert!(queue.put(thread, 1)));
    let theirs = queue.clone();
    let victim = Thread::start(&kernel, 2, point, move |thread| theirs.get(thread));
    Thread::run(&kernel, 1, "", |thread| assert!(queue.put(thread, 2)));
    let died = victim.join().unwrap().is_none();
    Thread::run(&kernel, 1, "", |thread| {
        assert_eq!(queue.get(thread), Some(2));
        queue.is_whole_of_one(thread);
    });
    died
}

#[test]
fn a_maker_of_room_dies_after_it_took() {
    let points = ["gate: changed", "gate: mark taken", "gate: woke", "consumer: took"];
    dies_at_each(3, &points, a_maker_of_room_dies);
}
