//! Queues over their public face: halves and their ends, items of any size, descriptors, bands, what is polled and awaited.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

mod support;

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use ipc_core::{Bytes, Context, Descriptor};
use ipc_sync::{Error, Queue, QueueReceiver, QueueSender};
use ipc_testkit::{GENEROUS, leaks, wait_until};

use support::{block_on, spawn};

const METHODS: [fn() -> Context; 2] = [Context::exec, Context::fork_server];

/// Whether a descriptor is ready to be read within that time.
fn is_readable(fd: impl AsFd, timeout: Duration) -> bool {
    !ipc_core::connection::wait(&[&fd.as_fd()], Some(timeout)).unwrap().is_empty()
}

fn is_rung(fd: impl AsFd) -> bool {
    is_readable(fd, Duration::ZERO)
}

#[test]
fn the_last_sender_is_the_end() {
    let _leaks = leaks();
    for start in METHODS {
        let (sender, receiver) = Queue::<u32>::unbounded().unwrap().split();
        let put = |sender: QueueSender<u32>, number| sender.put(number).is_ok();
        let children: Vec<_> =
            (0..3).map(|number| start().spawn(put, (sender.clone(), number)).unwrap()).collect();
        drop(sender);
        let mut all: Vec<_> = receiver.iter().map(Result::unwrap).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
        assert!(matches!(receiver.try_get(), Err(Error::Disconnected)));
        assert!(children.into_iter().all(|child| child.join().unwrap()));
    }
}

#[test]
fn a_sender_on_its_way_counts() {
    let _leaks = leaks();
    let (carrier, carried) = ipc_core::pipe::<QueueSender<u32>>().unwrap();
    let (sender, receiver) = Queue::<u32>::unbounded().unwrap().split();
    carrier.send(sender).unwrap();
    assert_eq!(receiver.get_timeout(Duration::from_millis(250)).unwrap(), None, "it is in the pipe");
    carried.recv().unwrap().put(1).unwrap();
    assert_eq!(receiver.get().unwrap(), 1);
    assert!(receiver.get().unwrap_err().is_disconnected());
}

#[test]
fn killed_halves_are_noticed() {
    let _leaks = leaks();
    for start in METHODS {
        let (sender, receiver) = Queue::<u32>::bounded(1).unwrap().split();
        let sleep = |_: QueueSender<u32>| std::thread::sleep(GENEROUS);
        let child = start().spawn(sleep, (sender,)).unwrap();
        assert_eq!(receiver.get_timeout(Duration::from_millis(150)).unwrap(), None);
        child.kill().unwrap();
        assert!(matches!(receiver.get(), Err(Error::Disconnected)));
        child.join().unwrap_err();

        let (sender, receiver) = Queue::<u32>::bounded(1).unwrap().split();
        let sleep = |_: QueueReceiver<u32>| std::thread::sleep(GENEROUS);
        let child = start().spawn(sleep, (receiver,)).unwrap();
        sender.put(1).unwrap();
        child.kill().unwrap();
        let refused = sender.put(2).unwrap_err();
        assert!(matches!(refused.error(), Error::Disconnected), "{refused}");
        assert_eq!(refused.into_value(), 2);
        child.join().unwrap_err();
    }
}

#[test]
fn dropped_receivers_are_told_to_who_puts() {
    let _leaks = leaks();
    let (sender, receiver) = Queue::unbounded().unwrap().split();
    let other = receiver.clone();
    drop(receiver);
    sender.put(1).unwrap();
    drop(other);
    assert!(matches!(sender.put(2).unwrap_err().error(), Error::Disconnected));
    assert!(matches!(sender.try_put(2).unwrap_err().error(), Error::Disconnected));
}

/// It does not wait at its exit for who reads, and what it put is there.
#[test]
fn what_was_put_outlives_who_put_it() {
    let _leaks = leaks();
    for start in METHODS {
        let queue = Queue::<Bytes>::unbounded().unwrap();
        let put = |queue: Queue<Bytes>| {
            for length in 0..200_usize {
                queue.put(Bytes::from(vec![length as u8; length * 1000])).unwrap();
            }
        };
        start().spawn(put, (queue.clone(),)).unwrap().join().unwrap();
        for length in 0..200_usize {
            assert_eq!(*queue.get().unwrap(), *vec![length as u8; length * 1000]);
        }
        assert!(queue.is_empty());
    }
}

#[test]
fn items_of_any_size_in_a_small_queue() {
    let _leaks = leaks();
    // Bytes are short before items are.
    let (sender, receiver) = Queue::<Bytes>::builder().items(1000).bytes(64 << 10).make().unwrap().split();
    let sizes = [0, 1, 15, 16, 17, 1023, 1024, 1025, 4096, 10_000, 60_000];
    let put = |sender: QueueSender<Bytes>, sizes: Vec<usize>| {
        for round in 0..50 {
            for &size in &sizes {
                sender.put(Bytes::from(vec![(size + round) as u8; size])).unwrap();
            }
        }
    };
    let child = spawn(put, (sender.clone(), sizes.to_vec())).unwrap();
    let mut into = Vec::new();
    for round in 0..50 {
        for &size in &sizes {
            into.clear();
            assert_eq!(receiver.get_into(&mut into).unwrap(), size);
            assert!(into.iter().all(|byte| *byte == (size + round) as u8), "{size} in round {round}");
        }
    }
    child.join().unwrap();
    let long = sender.put(Bytes::from(vec![0; 1 << 20])).unwrap_err();
    assert!(matches!(long.error(), Error::Invalid { .. }), "{long}");
    assert_eq!(long.into_value().len(), 1 << 20);
    assert!(matches!(
        (0..).find_map(|_| sender.try_put(Bytes::from(vec![0; 10_000])).err()).unwrap().error(),
        Error::Full
    ));
}

#[test]
fn descriptors_inside_items() {
    let _leaks = leaks();
    for start in METHODS {
        let queue = Queue::<(u32, Vec<Descriptor>)>::bounded(4).unwrap();
        let put = |queue: Queue<(u32, Vec<Descriptor>)>| {
            for count in [0, 1, 3, 300] {
                let pipes = (0..count).map(|number: u32| {
                    let (reader, mut writer) = std::io::pipe().unwrap();
                    writer.write_all(&number.to_le_bytes()).unwrap();
                    Descriptor::from(reader)
                });
                queue.put((count, pipes.collect())).unwrap();
            }
        };
        // Its descriptors are in the queue when it is gone.
        start().spawn(put, (queue.clone(),)).unwrap().join().unwrap();
        for count in [0, 1, 3, 300] {
            let (said, descriptors) = queue.get().unwrap();
            assert_eq!((said, descriptors.len() as u32), (count, count));
            for (number, descriptor) in (0_u32..).zip(descriptors) {
                let mut bytes = [0; 4];
                descriptor.into_inner::<std::io::PipeReader>().read_exact(&mut bytes).unwrap();
                assert_eq!(u32::from_le_bytes(bytes), number);
            }
        }
    }
}

/// The kernel's own queue of packets is short: who puts more waits for room there as well.
#[test]
fn more_descriptors_than_a_socket_takes_at_once() {
    let _leaks = leaks();
    let (sender, receiver) = Queue::<Vec<Descriptor>>::unbounded().unwrap().split();
    let put = |sender: QueueSender<Vec<Descriptor>>| {
        for _ in 0..1000 {
            sender.put(vec![std::fs::File::open("/dev/null").unwrap().into()]).unwrap();
        }
    };
    let child = spawn(put, (sender,)).unwrap();
    assert_eq!(receiver.iter().map(|item| item.unwrap().len()).sum::<usize>(), 1000);
    child.join().unwrap();
}

/// What is refused is closed, not left for the next.
#[test]
fn descriptors_of_items_that_did_not_fit() {
    let _leaks = leaks();
    let queue = Queue::<Option<Descriptor>>::bounded(1).unwrap();
    queue.put(None).unwrap();
    for _ in 0..100 {
        let (end, _) = std::io::pipe().unwrap();
        let full = queue.try_put(Some(end.into())).unwrap_err();
        assert!(full.into_value().is_some());
    }
    assert!(queue.get().unwrap().is_none());
    let (reader, writer) = std::io::pipe().unwrap();
    queue.put(Some(writer.into())).unwrap();
    drop(queue.get().unwrap());
    assert_eq!({ reader }.read(&mut [0]).unwrap(), 0, "its copies are gone");
}

#[test]
fn higher_bands_come_first() {
    let _leaks = leaks();
    let queue = Queue::<(u32, Option<Descriptor>)>::builder().items(100).bands(3).make().unwrap();
    let put = |queue: Queue<(u32, Option<Descriptor>)>| {
        for number in 0..9_u32 {
            let end = (number % 2 == 0).then(|| std::fs::File::open("/dev/null").unwrap().into());
            queue.sender().band(number % 3).put((number, end)).unwrap();
        }
    };
    spawn(put, (queue.clone(),)).unwrap().join().unwrap();
    assert_eq!(queue.len(), 9);
    let order: Vec<_> = (0..9).map(|_| queue.get().unwrap()).collect();
    assert!(order.iter().all(|(number, end)| end.is_some() == (number % 2 == 0)));
    let order: Vec<_> = order.into_iter().map(|(number, _)| number).collect();
    assert_eq!(order, [2, 5, 8, 1, 4, 7, 0, 3, 6]);
    let none = queue.sender().band(3).put((0, None)).unwrap_err();
    assert!(matches!(none.error(), Error::Invalid { .. }), "{none}");
}

#[test]
fn what_cannot_be_made() {
    let _leaks = leaks();
    let invalid =
        |made: Result<Queue<u32>, Error>| assert!(matches!(made, Err(Error::Invalid { .. })), "{made:?}");
    invalid(Queue::bounded(0));
    invalid(Queue::bounded(usize::MAX));
    for bands in [0, 9] {
        invalid(Queue::builder().bands(bands).make());
    }
    for bytes in [0, 1 << 40, usize::MAX] {
        invalid(Queue::builder().bytes(bytes).make());
    }
}

#[test]
fn closing_and_discarding() {
    let _leaks = leaks();
    let queue = Queue::unbounded().unwrap();
    let waiting =
        spawn(|queue: Queue<u32>| queue.get().map_err(|error| error.is_end()), (queue.clone(),)).unwrap();
    queue.close().unwrap();
    assert_eq!(waiting.join().unwrap(), Err(true), "who waits is told");
    let queue = Queue::bounded(3).unwrap();
    queue.put_many([1, 2, 3]).unwrap();
    let waiting = spawn(|queue: Queue<u32>| queue.put(4).is_err(), (queue.clone(),)).unwrap();
    assert_eq!(queue.discard().unwrap(), 3);
    assert!(waiting.join().unwrap() && queue.is_empty() && queue.is_closed());
    assert!(matches!(queue.get(), Err(Error::Closed)));
}

#[test]
fn many_at_once() {
    let _leaks = leaks();
    let (sender, receiver) = Queue::<u64>::bounded(50).unwrap().split();
    let put = |sender: QueueSender<u64>, from: u64| sender.put_many(from..from + 10_000).is_ok();
    let children: Vec<_> = (0..2).map(|at| spawn(put, (sender.clone(), at * 10_000)).unwrap()).collect();
    drop(sender);
    let mut next = [0, 10_000];
    let mut all = 0;
    while let Ok(items) = receiver.get_many(16) {
        assert!((1..=16).contains(&items.len()));
        for item in items {
            let of = &mut next[usize::from(item >= 10_000)];
            assert_eq!(item, *of, "in the order of who put it");
            *of += 1;
            all += 1;
        }
    }
    assert_eq!(all, 20_000);
    assert!(children.into_iter().all(|child| child.join().unwrap()));
    assert_eq!(receiver.try_get_many(0).unwrap(), []);
}

#[test]
fn ends_are_polled() {
    let _leaks = leaks();
    let (sender, receiver) = Queue::<u32>::bounded(2).unwrap().split();
    assert!(!is_rung(&receiver) && is_rung(&sender));
    sender.put(1).unwrap();
    sender.put(2).unwrap();
    assert!(sender.try_put(3).is_err());
    assert!(is_rung(&receiver) && !is_rung(&sender));
    assert_eq!(receiver.get().unwrap(), 1);
    assert!(is_rung(&receiver) && is_rung(&sender), "one is left, and room for one");
    assert_eq!(receiver.try_get().unwrap(), Some(2));
    assert_eq!(receiver.try_get().unwrap(), None);
    assert!(!is_rung(&receiver));
    let child = spawn(|sender: QueueSender<u32>| sender.put(4).unwrap(), (sender.clone(),)).unwrap();
    assert!(is_readable(&receiver, GENEROUS));
    assert_eq!(receiver.get().unwrap(), 4);
    child.join().unwrap();
    assert_eq!(receiver.try_get().unwrap(), None);
    // A death can be seen, too.
    let child = spawn(|_: QueueSender<u32>| std::thread::sleep(GENEROUS), (sender,)).unwrap();
    // The one that left from here was not the last.
    assert!(is_rung(&receiver));
    assert_eq!(receiver.try_get().unwrap(), None);
    assert!(!is_rung(&receiver));
    child.kill().unwrap();
    assert!(is_readable(&receiver, GENEROUS));
    assert!(receiver.try_get().unwrap_err().is_disconnected());
    child.join().unwrap_err();
}

#[test]
fn a_closed_queue_rings() {
    let _leaks = leaks();
    let queue = Queue::<u32>::bounded(2).unwrap();
    let (sender, receiver) = (queue.sender(), queue.receiver());
    assert!(!is_rung(&receiver));
    queue.put_many([1, 2]).unwrap();
    assert!(queue.try_put(3).is_err());
    assert!(!is_rung(&sender));
    spawn(|queue: Queue<u32>| queue.close().unwrap(), (queue,)).unwrap().join().unwrap();
    assert!(is_readable(&receiver, GENEROUS) && is_readable(&sender, GENEROUS));
}

#[test]
fn ends_are_awaited() {
    let _leaks = leaks();
    let program = || {
        let queue = Queue::<u32>::bounded(1).unwrap();
        let echo = |(there, back): (Queue<u32>, Queue<u32>)| {
            for number in there.iter() {
                back.put(number.unwrap() + 1).unwrap();
            }
        };
        let back = Queue::<u32>::bounded(1).unwrap();
        let child = spawn(echo, ((queue.clone(), back.clone()),)).unwrap();
        let (sender, receiver) = (queue.sender(), back.receiver());
        block_on(async {
            for number in 0..200 {
                sender.put_async(number).await.unwrap();
                assert_eq!(receiver.get_async().await.unwrap(), number + 1);
            }
            queue.close().unwrap();
            assert!(sender.put_async(1).await.unwrap_err().error().is_end());
        });
        child.join().unwrap();
    };
    spawn(program, ()).unwrap().join().unwrap();
}

#[test]
fn a_backlog_and_its_end() {
    let _leaks = leaks();
    // 64 MiB at a time through 8 MiB chunks' worth of places, twice: the second time in the same memory.
    let queue = Queue::<Bytes>::builder().bytes(64 << 20).make().unwrap();
    for _ in 0..2 {
        let mut put = 0;
        while queue.try_put(Bytes::from(vec![put as u8; 100_000])).is_ok() {
            put += 1;
        }
        assert!(put >= 600, "{put} items of 100 kB in 64 MiB");
        for number in 0..put {
            let item = queue.get().unwrap();
            assert!(item.len() == 100_000 && item.iter().all(|byte| *byte == number as u8));
        }
        assert!(queue.is_empty());
    }
}

#[test]
fn a_queue_of_something_else_is_none() {
    let _leaks = leaks();
    let packed = ipc_core::Packed::new(&Queue::<u64>::unbounded().unwrap()).unwrap();
    let error = packed.open::<Queue<u32>>().unwrap_err();
    assert!(error.to_string().contains("a queue"), "{error}");
}

#[test]
fn a_reader_that_lags_is_no_harm() {
    let _leaks = leaks();
    let (sender, receiver) = Queue::<u64>::bounded(1000).unwrap().split();
    let put = |sender: QueueSender<u64>| (0..100_000).all(|number| sender.put(number).is_ok());
    let child = spawn(put, (sender,)).unwrap();
    assert!(wait_until(GENEROUS, || receiver.len() == 1000));
    assert!(receiver.iter().map(Result::unwrap).eq(0..100_000));
    assert!(child.join().unwrap());
}

#[test]
fn joining_waits_for_what_is_in_hands() {
    let _leaks = leaks();
    let jobs = Queue::<u32>::builder().items(10).joinable().make().unwrap();
    jobs.join().unwrap();
    jobs.put_many([1, 2, 3]).unwrap();
    assert!(!jobs.join_timeout(Duration::from_millis(50)).unwrap());
    assert_eq!(jobs.get_many(3).unwrap(), [1, 2, 3]);
    assert!(!jobs.join_timeout(Duration::from_millis(50)).unwrap());
    let joins = spawn(|jobs: Queue<u32>| jobs.join().is_ok(), (jobs.clone(),)).unwrap();
    for _ in 0..3 {
        assert!(joins.is_alive());
        jobs.task_done().unwrap();
    }
    assert!(joins.join().unwrap());
    assert!(matches!(jobs.task_done(), Err(Error::Invalid { .. })), "called too often");
    let plain = Queue::<u32>::bounded(1).unwrap();
    assert!(matches!(plain.join(), Err(Error::Invalid { .. })));
    assert!(matches!(plain.task_done(), Err(Error::Invalid { .. })));
}

#[test]
fn what_the_dead_had_in_hand_is_told_to_who_joins() {
    let _leaks = leaks();
    for start in METHODS {
        let jobs = Queue::<u32>::builder().items(10).joinable().make().unwrap();
        jobs.put_many(0..5).unwrap();
        let take_two = |jobs: Queue<u32>| {
            jobs.get_many(2).unwrap();
            std::thread::sleep(GENEROUS);
        };
        let child = start().spawn(take_two, (jobs.clone(),)).unwrap();
        assert!(wait_until(GENEROUS, || jobs.len() == 3));
        let rest = |jobs: Queue<u32>| {
            for _ in 0..3 {
                jobs.get().unwrap();
                jobs.task_done().unwrap();
            }
        };
        start().spawn(rest, (jobs.clone(),)).unwrap().join().unwrap();
        assert!(!jobs.join_timeout(Duration::from_millis(50)).unwrap());
        child.kill().unwrap();
        assert!(matches!(jobs.join(), Err(Error::Abandoned { items: 2 })));
        jobs.join().unwrap();
        child.join().unwrap_err();
    }
}

#[test]
fn bytes_go_many_at_a_time() {
    let _leaks = leaks();
    let queue = Queue::<Bytes>::builder().items(1000).bands(2).make().unwrap();
    let items: Vec<Vec<u8>> = (0..600).map(|len| vec![len as u8; len]).collect();
    queue.sender().put_many_bytes(&items[..300]).unwrap();
    queue.sender().band(1).put_many_bytes(&items[300..]).unwrap();
    let (mut bytes, mut ends) = (b"before".to_vec(), vec![6]);
    // The higher band comes first, and the lower one with it.
    assert_eq!(queue.receiver().get_many_into(450, &mut bytes, &mut ends).unwrap(), 450);
    let got: Vec<&[u8]> = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
    assert!(got.iter().copied().eq(items[300..].iter().chain(&items[..150]).map(Vec::as_slice)));
    assert_eq!(queue.receiver().get_many_into(0, &mut bytes, &mut ends).unwrap(), 0);
    assert_eq!(queue.receiver().get_many_into(450, &mut bytes, &mut ends).unwrap(), 150);
    assert_eq!((queue.len(), ends.len()), (0, 601));

    let none = queue.sender().band(2).put_many_bytes(&items).unwrap_err();
    assert!(matches!(none.error(), Error::Invalid { .. }) && none.into_value().len() == 600);
    queue.close().unwrap();
    let closed = queue.sender().put_many_bytes(&items[..2]).unwrap_err();
    assert!(matches!(closed.error(), Error::Closed) && closed.into_value() == &items[..2]);
    assert!(matches!(queue.receiver().get_many_into(9, &mut bytes, &mut ends), Err(Error::Closed)));
    assert_eq!((bytes.len(), ends.len()), (6 + (0..600).sum::<usize>(), 601));
}

/// Each way to wait, where there is something and where there is not.
#[test]
fn every_form_of_waiting_ends() {
    let _leaks = leaks().allow(0, 8, 0);
    let now = std::time::Instant::now;
    let soon = || now() + Duration::from_millis(5);
    let (short, long) = (Duration::from_millis(5), now() + GENEROUS);
    let queue = Queue::<u32>::bounded(3).unwrap();
    let (sender, receiver) = (queue.sender(), queue.receiver());
    sender.try_put_many([1, 2]).unwrap();
    let full = sender.try_put_many([3, 4]).unwrap_err();
    assert!(matches!(full.error(), Error::Full) && full.into_value() == [4]);
    assert_eq!(sender.put_many_deadline([5], soon()).unwrap_err().into_value(), [5]);
    assert_eq!(queue.put_deadline(5, soon()).unwrap_err().into_value(), 5);
    assert_eq!(receiver.get_many_deadline(2, long).unwrap(), [1, 2]);
    assert_eq!(queue.try_get_many(9).unwrap(), [3]);
    assert!(receiver.get_many_deadline(2, soon()).unwrap().is_empty());
    assert!(receiver.get_many_timeout(2, short).unwrap().is_empty());
    assert_eq!(queue.get_deadline(soon()).unwrap(), None);
    sender.put_many_deadline([6, 7], long).unwrap();
    queue.put_deadline(8, long).unwrap();
    assert_eq!(queue.get_deadline(long).unwrap(), Some(6));
    assert_eq!(block_on(queue.get_async()).unwrap(), 7);
    block_on(queue.put_async(9)).unwrap();
    queue.close().unwrap();
    let mut rest = Vec::new();
    for item in &receiver {
        rest.push(item.unwrap());
    }
    assert_eq!(rest, [8, 9]);

    let queue = Queue::<Bytes>::bounded(2).unwrap();
    let (sender, receiver) = (queue.sender(), queue.receiver());
    sender.put_bytes_timeout(b"a", GENEROUS).unwrap();
    sender.put_bytes_deadline(b"b", long).unwrap();
    assert!(matches!(sender.put_bytes_timeout(b"c", short), Err(Error::Full)));
    assert!(matches!(sender.put_bytes_deadline(b"c", soon()), Err(Error::Full)));
    assert_eq!(sender.put_many_bytes_timeout(&[b"c"], short).unwrap_err().into_value(), &[b"c"]);
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    assert_eq!(receiver.try_get_into(&mut bytes).unwrap(), Some(1));
    assert_eq!(receiver.get_into_deadline(&mut bytes, long).unwrap(), Some(1));
    assert_eq!(receiver.try_get_into(&mut bytes).unwrap(), None);
    assert_eq!(receiver.get_into_deadline(&mut bytes, soon()).unwrap(), None);
    assert_eq!(receiver.get_many_into_timeout(9, &mut bytes, &mut ends, short).unwrap(), 0);
    sender.put_many_bytes_timeout(&[b"c", b"d"], GENEROUS).unwrap();
    assert_eq!(receiver.get_many_into_timeout(9, &mut bytes, &mut ends, GENEROUS).unwrap(), 2);
    assert_eq!((&bytes[..], &ends[..]), (&b"abcd"[..], &[3, 4][..]));

    let jobs = Queue::<u32>::builder().joinable().make().unwrap();
    jobs.put(1).unwrap();
    assert!(!jobs.sender().join_deadline(soon()).unwrap());
    jobs.get().unwrap();
    jobs.task_done().unwrap();
    assert!(jobs.sender().join_deadline(long).unwrap());
}
