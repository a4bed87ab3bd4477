//! The ring, over its public face: values, bytes and messages in place; times, ends, travelling, deaths, descriptors and futures.

#![allow(clippy::unwrap_used)]

mod support;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ipc_core::{Context, Packed};
use ipc_shm::Arena;
use ipc_shm::modelled::scribble;
use ipc_sync::modelled::segment_of_ring;
use ipc_sync::{Error, RingReceiver, RingSender, ring, ring_with};
use ipc_testkit::{GENEROUS, leaks, wait_until};

use support::block_on;

const SHORT: Duration = Duration::from_millis(5);

/// The fewest bytes that a ring has, of which a message takes half.
const SMALL: usize = 4096;

type Ends<T> = (RingSender<T>, RingReceiver<T>);

fn small<T: ipc_core::Message>() -> Ends<T> {
    ring(SMALL).unwrap()
}

#[test]
fn values_arrive_in_order() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<(u32, String)>();
    for n in 0..1000 {
        sender.send((n, "x".repeat(n as usize % 200))).unwrap();
        assert_eq!(receiver.recv().unwrap(), (n, "x".repeat(n as usize % 200)));
    }
    assert_eq!(receiver.try_recv().unwrap(), None);
}

#[test]
fn bytes_of_every_length_arrive_wherever_the_ring_begins() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<()>();
    let longest = sender.max_message();
    assert_eq!(longest, SMALL / 2);
    let mut buffer = vec![0; longest];
    for len in (0..=longest).chain((0..=longest).rev()) {
        let message: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        sender.try_send_bytes(&message).unwrap();
        match len % 3 {
            0 => assert_eq!(receiver.recv_bytes().unwrap(), message),
            1 => {
                assert_eq!(receiver.recv_into(&mut buffer).unwrap(), len);
                assert_eq!(buffer[..len], message);
            }
            _ => assert_eq!(*receiver.recv_loan().unwrap(), message[..]),
        }
    }
}

#[test]
fn a_message_that_is_too_long_comes_back() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<Vec<u8>>();
    let refused = sender.send(vec![1; SMALL]).unwrap_err();
    assert!(matches!(refused.error(), Error::Invalid { .. }), "{refused}");
    assert_eq!(refused.into_value(), vec![1; SMALL]);
    assert!(matches!(sender.send_bytes(&[0; SMALL]), Err(Error::Invalid { .. })));
    assert!(matches!(sender.loan(SMALL / 2 + 1), Err(Error::Invalid { .. })));
    assert!(matches!(sender.loan(usize::MAX), Err(Error::Invalid { .. })));
    assert_eq!(receiver.try_recv().unwrap(), None);
    assert!(matches!(ring::<u8>(usize::MAX), Err(Error::Memory(_) | Error::Invalid { .. })));
}

#[test]
fn a_full_ring_waits_as_long_as_it_is_told() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<u64>();
    let mut sent = 0;
    while sender.try_send(sent).is_ok() {
        sent += 1;
    }
    assert_eq!(sent as usize, SMALL / 64);
    let refused = sender.send_timeout(7, SHORT).unwrap_err();
    assert!(refused.error().is_timed_out());
    assert_eq!(refused.into_value(), 7);
    assert!(sender.send_deadline(7, Instant::now()).unwrap_err().error().is_timed_out());
    assert!(sender.try_send_bytes(b"1").unwrap_err().is_timed_out());
    assert!(sender.try_loan(1).unwrap().is_none() && sender.loan_timeout(1, SHORT).unwrap().is_none());
    // Room for one is room for one.
    assert_eq!(receiver.recv().unwrap(), 0);
    sender.try_send(sent).unwrap();
    assert!(sender.try_send(0).is_err());
    for n in 1..=sent {
        assert_eq!(receiver.try_recv().unwrap(), Some(n));
    }
    assert_eq!(receiver.try_recv().unwrap(), None);
    assert_eq!(receiver.recv_timeout(SHORT).unwrap(), None);
    assert_eq!(receiver.recv_deadline(Instant::now() + SHORT).unwrap(), None);
    assert_eq!(receiver.recv_bytes_timeout(SHORT).unwrap(), None);
    assert_eq!(receiver.recv_into_timeout(&mut [], SHORT).unwrap(), None);
    assert!(receiver.recv_loan_timeout(SHORT).unwrap().is_none());
}

#[test]
fn both_sides_sleep_and_are_woken() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<u64>();
    let slow = std::thread::spawn(move || {
        for n in 0..300 {
            // The first find the receiver asleep; the others fill the ring, while that sleeps.
            if n < 20 {
                std::thread::sleep(Duration::from_millis(1));
            }
            sender.send(n).unwrap();
        }
        sender
    });
    for n in 0..300 {
        if n > 100 && n < 120 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(receiver.recv().unwrap(), n);
    }
    drop(slow.join().unwrap());
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn kinds_do_not_mix_and_the_ring_goes_on() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<String>();
    sender.send_bytes(b"bytes").unwrap();
    sender.send("value".into()).unwrap();
    sender.send("in place".into()).unwrap();
    sender.send_bytes(b"long").unwrap();
    sender.send("last".into()).unwrap();
    assert!(receiver.recv().unwrap_err().to_string().contains("recv_bytes"));
    assert!(receiver.recv_bytes().unwrap_err().to_string().contains("`recv`"));
    assert!(receiver.recv_loan().is_err());
    match receiver.recv_into(&mut [0; 3]) {
        Err(Error::Message(ipc_core::Error::BufferTooShort { message, room: 3 })) => {
            assert_eq!(*message, *b"long")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(receiver.recv().unwrap(), "last");
}

#[test]
fn a_value_of_another_type_is_an_error_and_gone() {
    let _leaks = leaks();
    let (sender, mut receiver) = small::<bool>();
    let mut sender: RingSender<u8> = Packed::new(&sender).unwrap().open().unwrap();
    sender.send(9).unwrap();
    sender.send(1).unwrap();
    assert!(receiver.recv().is_err());
    assert!(receiver.recv().unwrap());
    sender.send(9).unwrap();
    sender.send(1).unwrap();
    drop(sender);
    let all: Vec<_> = receiver.iter().collect();
    assert!(matches!(&all[..], [Err(_), Ok(true)]), "{all:?}");
}

#[test]
fn many_are_published_together() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<u32>();
    assert_eq!(sender.try_send_many(0..10).unwrap(), 10);
    assert_eq!(sender.send_many([]).unwrap(), 0);
    // More than there is room for: what found none comes back, those behind it are left in the iterator.
    let mut more = 10..1000;
    let first = sender.try_send_many(&mut more).unwrap_err();
    assert!(first.error().is_timed_out());
    let first = first.into_value();
    assert_eq!((first, more.next()), (64, Some(65)));
    assert!(sender.send_many_timeout([1], SHORT).is_err());
    assert!(sender.send_many_deadline([1], Instant::now()).is_err());
    for n in 0..first {
        assert_eq!(receiver.recv().unwrap(), n);
    }
    let all = std::thread::spawn(move || sender.send_many(0..1000).unwrap());
    for n in 0..1000 {
        assert_eq!(receiver.recv().unwrap(), n);
    }
    assert_eq!(all.join().unwrap(), 1000);
}

#[test]
fn a_panic_while_many_are_sent_leaves_the_ring_whole() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<u32>();
    let panics = (0..3).map(|n| if n < 2 { n } else { panic!("no third") });
    let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sender.send_many(panics)));
    assert!(sent.is_err());
    sender.send(7).unwrap();
    assert_eq!([(); 3].map(|()| receiver.recv().unwrap()), [0, 1, 7]);
}

#[test]
fn a_loan_is_sent_when_it_is_committed() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<()>();
    for n in 0..200_usize {
        let len = n * 10;
        let mut loan = sender.loan(len).unwrap();
        assert_eq!((loan.len(), loan.as_ptr() as usize % 64), (len, 0));
        loan.fill(1);
        drop(loan);
        assert!(receiver.try_recv_loan().unwrap().is_none());
        let mut loan = sender.loan(len).unwrap();
        loan.fill(n as u8);
        loan.truncate(len + 1);
        loan.truncate(len - len / 3);
        loan.commit().unwrap();
        let message = receiver.recv_loan().unwrap();
        assert_eq!((message.len(), message.as_ptr() as usize % 64), (len - len / 3, 0));
        assert!(message.iter().all(|byte| *byte == n as u8));
    }
}

#[test]
fn a_message_in_place_keeps_its_room_until_it_is_dropped() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<()>();
    let half = sender.max_message();
    sender.send_bytes(&vec![1; half]).unwrap();
    sender.send_bytes(&vec![2; half]).unwrap();
    let message = receiver.recv_loan().unwrap();
    assert!(sender.try_send_bytes(&[3]).unwrap_err().is_timed_out());
    assert!(message.iter().all(|byte| *byte == 1));
    drop(message);
    sender.try_send_bytes(&[3]).unwrap();
}

#[test]
fn dropped_ends_end_the_ring() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<u8>();
    sender.send(1).unwrap();
    drop(sender);
    assert_eq!(receiver.recv().unwrap(), 1);
    assert!(receiver.recv().unwrap_err().is_disconnected());
    assert!(receiver.try_recv().unwrap_err().is_disconnected());
    assert!(receiver.iter().next().is_none());
    let (mut sender, receiver) = small::<u8>();
    drop(receiver);
    let refused = sender.send(3).unwrap_err();
    assert!(refused.error().is_disconnected());
    assert_eq!(refused.into_value(), 3);
    assert!(sender.send_bytes(&[]).unwrap_err().is_disconnected());
    assert!(sender.loan(1).unwrap_err().is_disconnected());
}

#[test]
fn who_sleeps_is_told_of_a_dropped_end_at_once() {
    let _leaks = leaks();
    let (sender, mut receiver) = small::<u8>();
    let asleep = std::thread::spawn(move || receiver.recv().unwrap_err());
    std::thread::sleep(SHORT);
    drop(sender);
    assert!(asleep.join().unwrap().is_disconnected());
    let (mut sender, receiver) = small::<u8>();
    let asleep = std::thread::spawn(move || {
        loop {
            if let Err(refused) = sender.send(0) {
                return refused;
            }
        }
    });
    std::thread::sleep(SHORT);
    drop(receiver);
    assert!(asleep.join().unwrap().error().is_disconnected());
}

fn squares(mut jobs: RingReceiver<u64>, mut results: RingSender<u64>) {
    for job in jobs.iter() {
        results.send(job.unwrap().pow(2)).unwrap();
    }
}

/// Both ways, with every start method that needs no `unsafe`.
#[test]
fn ends_travel_to_children() {
    let _leaks = leaks();
    for context in [Context::exec(), Context::fork_server()] {
        let (mut there, jobs) = small::<u64>();
        let (results, mut back) = small::<u64>();
        there.send(2).unwrap();
        let child = context.spawn(squares, (jobs, results)).unwrap();
        for n in 3..1000 {
            there.send(n).unwrap();
            assert_eq!(back.recv().unwrap(), (n - 1) * (n - 1));
        }
        drop(there);
        assert_eq!(back.recv().unwrap(), 999 * 999);
        assert!(back.recv().unwrap_err().is_disconnected());
        child.join().unwrap();
    }
}

#[test]
fn an_end_that_was_sent_is_one_no_more() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<u8>();
    sender.send(1).unwrap();
    let packed = Packed::new(&sender).unwrap();
    assert!(matches!(sender.send(2).unwrap_err().error(), Error::Invalid { .. }));
    assert!(sender.loan(1).is_err());
    assert!(Packed::new(&sender).is_err());
    // It closes nothing.
    drop(sender);
    let mut sender: RingSender<u8> = packed.open().unwrap();
    sender.send(3).unwrap();
    assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (1, 3));
    let packed = Packed::new(&receiver).unwrap();
    assert!(matches!(receiver.recv(), Err(Error::Invalid { .. })));
    let mut receiver: RingReceiver<u8> = packed.open().unwrap();
    sender.send(4).unwrap();
    assert_eq!(receiver.recv().unwrap(), 4);
}

#[test]
fn an_end_arrives_once_and_as_what_it_is() {
    let _leaks = leaks();
    let (sender, mut receiver) = small::<u8>();
    let packed = Packed::new(&sender).unwrap();
    let [one, other, third] = [(); 3].map(|()| Packed::new(&packed).unwrap().open::<Packed>().unwrap());
    assert!(third.open::<RingReceiver<u8>>().is_err());
    let mut sender: RingSender<u8> = one.open().unwrap();
    let twice = other.open::<RingSender<u8>>().unwrap_err();
    assert!(twice.to_string().contains("already"), "{twice}");
    sender.send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
}

#[test]
fn an_end_that_could_not_be_sent_stays() {
    let _leaks = leaks();
    let (sender, mut receiver) = small::<u8>();
    let (pipe, gone) = ipc_core::pipe::<RingSender<u8>>().unwrap();
    drop(gone);
    let mut sender = pipe.send(sender).unwrap_err().into_value();
    sender.send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
}

#[test]
fn an_end_that_nobody_receives_is_gone() {
    let _leaks = leaks();
    let (sender, mut receiver) = small::<u8>();
    let packed = Packed::new(&sender).unwrap();
    drop(sender);
    assert_eq!(receiver.recv_timeout(SHORT).unwrap(), None);
    drop(packed);
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn descriptors_do_not_fit_in_and_the_error_says_what_to_do() {
    let _leaks = leaks();
    let (mut sender, _receiver) = small::<ipc_core::Descriptor>();
    let file = std::fs::File::open("/dev/null").unwrap();
    let refused = sender.send(file.into()).unwrap_err();
    assert!(refused.to_string().contains("a pipe or a queue"), "{refused}");
}

fn send_and_wait(mut sender: RingSender<u8>) {
    sender.send(1).unwrap();
    std::thread::sleep(GENEROUS);
}

fn sleep_with(_receiver: RingReceiver<u8>) {
    std::thread::sleep(GENEROUS);
}

#[test]
fn the_death_of_the_other_side_is_noticed_asleep() {
    let _leaks = leaks();
    let (sender, mut receiver) = small::<u8>();
    let child = Context::exec().spawn(send_and_wait, (sender,)).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    child.kill().unwrap();
    assert!(receiver.recv().unwrap_err().is_disconnected());
    assert!(receiver.recv().unwrap_err().is_disconnected());
    child.join().unwrap_err();
    let (mut sender, receiver) = small::<u8>();
    let child = Context::exec().spawn(sleep_with, (receiver,)).unwrap();
    while sender.try_send(0).is_ok() {}
    child.kill().unwrap();
    assert!(sender.send(0).unwrap_err().error().is_disconnected());
    assert!(sender.try_send_bytes(&[]).unwrap_err().is_disconnected());
    child.join().unwrap_err();
}

#[test]
fn the_death_of_the_other_side_is_noticed_by_tries() {
    let _leaks = leaks();
    let (sender, mut receiver) = small::<u8>();
    let child = Context::exec().spawn(send_and_wait, (sender,)).unwrap();
    assert!(wait_until(GENEROUS, || receiver.try_recv().unwrap() == Some(1)));
    child.kill().unwrap();
    assert!(wait_until(GENEROUS, || receiver.try_recv().is_err_and(|error| error.is_disconnected())));
    child.join().unwrap_err();
}

fn is_readable(end: &dyn AsFd, timeout: Duration) -> bool {
    !ipc_core::wait(&[end], Some(timeout)).unwrap().is_empty()
}

#[test]
fn a_receivers_descriptor_is_readable_when_something_is_there() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<u8>();
    for n in 0..100 {
        assert!(!is_readable(&receiver, Duration::ZERO), "after {n}");
        sender.send(n).unwrap();
        sender.send(n).unwrap();
        // As long as something is there, and until it was found that nothing is.
        for _ in 0..2 {
            assert!(is_readable(&receiver, GENEROUS));
            assert_eq!(receiver.try_recv().unwrap(), Some(n));
        }
        assert_eq!(receiver.try_recv().unwrap(), None);
    }
    drop(sender);
    assert!(is_readable(&receiver, GENEROUS));
    assert!(receiver.try_recv().unwrap_err().is_disconnected());
}

#[test]
fn a_receivers_descriptor_tells_also_who_asks_for_it_late() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<u8>();
    sender.send(1).unwrap();
    assert_eq!(receiver.try_recv().unwrap(), Some(1));
    assert_eq!(receiver.try_recv().unwrap(), None);
    sender.send(2).unwrap();
    assert!(is_readable(&receiver, GENEROUS));
    assert_eq!(receiver.try_recv().unwrap(), Some(2));
    // Blocking in between changes nothing.
    assert_eq!(receiver.recv_timeout(SHORT).unwrap(), None);
    assert_eq!(receiver.try_recv().unwrap(), None);
    assert!(!is_readable(&receiver, Duration::ZERO));
    sender.send(3).unwrap();
    assert!(is_readable(&receiver, GENEROUS));
}

#[test]
fn a_senders_descriptor_is_readable_when_there_is_room() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<u8>();
    for _ in 0..10 {
        assert!(is_readable(&sender, GENEROUS));
        while sender.try_send(1).is_ok() {}
        assert!(!is_readable(&sender, Duration::ZERO));
        receiver.recv().unwrap();
    }
    drop(receiver);
    assert!(is_readable(&sender, GENEROUS));
    assert!(sender.try_send(1).unwrap_err().error().is_disconnected());
}

#[test]
fn who_polls_is_told_of_a_death_at_once() {
    let _leaks = leaks();
    let (sender, mut receiver) = small::<u8>();
    let child = Context::exec().spawn(send_and_wait, (sender,)).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    let _ = is_readable(&receiver, Duration::ZERO);
    assert_eq!(receiver.try_recv().unwrap(), None);
    child.kill().unwrap();
    assert!(is_readable(&receiver, GENEROUS));
    assert!(receiver.try_recv().unwrap_err().is_disconnected());
    child.join().unwrap_err();
}

#[test]
fn futures_send_and_receive() {
    let (mut sender, mut receiver) = small::<u32>();
    let sends = std::thread::spawn(move || {
        block_on(async {
            for n in 0..2000 {
                sender.send_async(n).await.unwrap();
            }
            sender.send_bytes(b"end").unwrap();
        });
    });
    block_on(async {
        for n in 0..2000 {
            assert_eq!(receiver.recv_async().await.unwrap(), n);
        }
        assert_eq!(receiver.recv_bytes_async().await.unwrap(), b"end");
        sends.join().unwrap();
        assert!(receiver.recv_async().await.unwrap_err().is_disconnected());
    });
    let (mut sender, receiver) = small::<u32>();
    drop(receiver);
    assert!(block_on(sender.send_async(1)).unwrap_err().error().is_disconnected());
}

#[test]
fn a_ring_in_an_arena() {
    let _leaks = leaks();
    let arena = Arena::new(1 << 20).unwrap();
    let (mut sender, receiver) = ring_with::<u64>(1 << 14, &arena).unwrap();
    let child = Context::exec()
        .spawn(|mut receiver: RingReceiver<u64>| receiver.iter().flatten().sum::<u64>(), (receiver,));
    sender.send_many(1..=1000).unwrap();
    drop(sender);
    assert_eq!(child.unwrap().join().unwrap(), 500_500);
}

#[test]
fn indices_that_were_written_over_are_an_error() {
    let _leaks = leaks();
    let (mut sender, mut receiver) = small::<u64>();
    let segment = segment_of_ring(&receiver);
    sender.send(1).unwrap();
    // The indices stand first and third in the ring's head, which stands behind the segment's own.
    let word = |at: usize| {
        let mut bytes = [0; 8];
        ipc_shm::modelled::peek(&segment, at, &mut bytes).unwrap();
        u64::from_ne_bytes(bytes)
    };
    let sent = (64..segment.len()).step_by(64).find(|at| word(*at) == 2).unwrap();
    scribble(&segment, sent, &u64::MAX.to_ne_bytes()).unwrap();
    assert!(matches!(receiver.recv(), Err(Error::Corrupt { .. })));
    assert!(matches!(receiver.try_recv_loan(), Err(Error::Corrupt { .. })));
    scribble(&segment, sent, &2_u64.to_ne_bytes()).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    scribble(&segment, sent + 128, &(1_u64 << 40).to_ne_bytes()).unwrap();
    let refused = (0..100).find_map(|n| sender.try_send(n).err()).unwrap();
    assert!(matches!(refused.error(), Error::Corrupt { .. }), "{refused}");
    assert!(Packed::new(&sender).unwrap().open::<RingSender<u64>>().is_err());
}

#[test]
fn ends_go_to_other_threads() {
    fn goes<T: Send>() {}
    goes::<RingSender<std::cell::Cell<u8>>>();
    goes::<RingReceiver<std::cell::Cell<u8>>>();
    let (sender, receiver) = small::<u8>();
    assert!(format!("{sender:?} {receiver:?}").contains("4096"));
}
