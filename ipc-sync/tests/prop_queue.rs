//! Any sequence of operations on a queue agrees with one on `VecDeque`s; and what threads do at the same time, with one order.
//!
//! The queues are tiny, so that they are full by bytes and by items all the time. How many bytes fit exactly is the queue's own affair; what is shown of that: an
//! empty queue takes whatever it may take at all, whatever went before, and what is put comes out.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use ipc_core::{Bytes, pipe};
use ipc_sync::{Error, Queue, QueueReceiver, QueueSender};
use ipc_testkit::leaks;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Put {
        band: u32,
        len: usize,
    },
    PutMany {
        band: u32,
        lens: Vec<usize>,
    },
    Get,
    GetMany(usize),
    Drain,
    Close,
    Discard,
    /// Another handle, by a pipe, takes the place of the first.
    Travel {
        sender: bool,
    },
    /// Another handle comes and goes.
    Clone {
        sender: bool,
    },
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..100_usize, 3 => 900..1100_usize, 2 => 3_900..4_200_usize, 2 => 0..30_000_usize, 1 => 0..200_000_usize]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3_u32, len()).prop_map(|(band, len)| Step::Put { band, len }),
        3 => (0..3_u32, vec(len(), 0..6)).prop_map(|(band, lens)| Step::PutMany { band, lens }),
        10 => Just(Step::Get),
        3 => (0..6_usize).prop_map(Step::GetMany),
        2 => Just(Step::Drain),
        1 => prop_oneof![6 => Just(None), 1 => Just(Some(Step::Close)), 1 => Just(Some(Step::Discard))]
            .prop_map(|step| step.unwrap_or(Step::Get)),
        2 => any::<bool>().prop_map(|sender| Step::Travel { sender }),
        1 => any::<bool>().prop_map(|sender| Step::Clone { sender }),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    items: usize,
    bytes: usize,
    bands: u32,
}

fn shape() -> impl Strategy<Value = Shape> {
    (
        prop_oneof![Just(1), Just(2), Just(7), Just(1000)],
        prop_oneof![Just(1), Just(4096), Just(20_000), Just(250_000), Just(600_000)],
        1..4_u32,
    )
        .prop_map(|(items, bytes, bands)| Shape { items, bytes, bands })
}

struct Naive {
    shape: Shape,
    bands: Vec<VecDeque<Vec<u8>>>,
    closed: bool,
    next: u8,
}

impl Naive {
    fn len(&self) -> usize {
        self.bands.iter().map(VecDeque::len).sum()
    }

    fn item(&mut self, len: usize) -> Vec<u8> {
        self.next = self.next.wrapping_add(1);
        (0..len).map(|at| self.next ^ (at / 251) as u8).collect()
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        self.bands.iter_mut().rev().find_map(VecDeque::pop_front)
    }

    /// What came of a put: `true`: it is there.
    fn put(&mut self, band: usize, item: Vec<u8>, put: Result<(), Error>) -> bool {
        let len = item.len();
        match put {
            Ok(()) => {
                assert!(!self.closed && self.len() < self.shape.items && band < self.bands.len());
                self.bands[band].push_back(item);
                return true;
            }
            Err(Error::Closed) => assert!(self.closed),
            // By items, or by bytes: those that are there, and what their chunks are not used for.
            Err(Error::Full) => {
                assert!(self.len() > 0 && !self.closed, "no room for {len} bytes in an empty queue")
            }
            Err(Error::Invalid { .. }) => {
                assert!(band >= self.bands.len() || len > self.shape.bytes, "{len} in {:?}", self.shape);
            }
            Err(error) => panic!("{error}"),
        }
        false
    }
}

fn travels<T: ipc_core::Message>(handle: T) -> T {
    let (sender, receiver) = pipe().unwrap();
    sender.send(handle).unwrap();
    receiver.recv().unwrap()
}

fn run(shape: Shape, steps: Vec<Step>) {
    let queue =
        Queue::<Bytes>::builder().items(shape.items).bytes(shape.bytes).bands(shape.bands).make().unwrap();
    let (mut sender, mut receiver): (QueueSender<Bytes>, QueueReceiver<Bytes>) = queue.split();
    let mut naive =
        Naive { shape, bands: vec![VecDeque::new(); shape.bands as usize], closed: false, next: 0 };
    for step in steps {
        match step {
            Step::Put { band, len } => {
                let item = naive.item(len);
                let put = sender.band(band).try_put(item.clone().into()).map_err(Error::from);
                naive.put(band as usize, item, put);
            }
            Step::PutMany { band, lens } => {
                let items: Vec<Vec<u8>> = lens.into_iter().map(|len| naive.item(len)).collect();
                let all = items.iter().map(|item| Bytes::from(item.clone()));
                let (left, error) = match sender.band(band).put_many_timeout(all, std::time::Duration::ZERO) {
                    Ok(()) => (0, None),
                    Err(failed) => {
                        let (left, error) = failed.into_parts();
                        (left.len(), Some(error))
                    }
                };
                let put = items.len() - left;
                let mut items = items.into_iter();
                for item in items.by_ref().take(put) {
                    assert!(naive.put(band as usize, item, Ok(())));
                }
                if let (Some(item), Some(error)) = (items.next(), error) {
                    naive.put(band as usize, item, Err(error));
                }
            }
            Step::Get => match receiver.try_get() {
                Ok(got) => {
                    assert!(!naive.closed || got.is_some());
                    assert_eq!(got.map(|bytes| bytes.to_vec()), naive.pop());
                }
                Err(Error::Closed) => assert!(naive.closed && naive.len() == 0),
                Err(error) => panic!("{error}"),
            },
            Step::GetMany(most) => match receiver.try_get_many(most) {
                Ok(got) => {
                    assert_eq!(got.len(), naive.len().min(most));
                    for bytes in got {
                        assert_eq!(Some(bytes.to_vec()), naive.pop());
                    }
                }
                Err(Error::Closed) => assert!(naive.closed && naive.len() == 0),
                Err(error) => panic!("{error}"),
            },
            Step::Drain => {
                while let Ok(Some(bytes)) = receiver.try_get() {
                    assert_eq!(Some(bytes.to_vec()), naive.pop());
                }
                assert_eq!(naive.len(), 0);
                // Each band takes the longest there may be, by turns.
                for band in 0..shape.bands * u32::from(!naive.closed) {
                    let item = naive.item(shape.bytes);
                    sender.band(band).try_put(item.clone().into()).unwrap();
                    assert!(receiver.get().unwrap()[..] == item[..]);
                }
            }
            Step::Close => {
                assert_eq!(sender.close().unwrap(), naive.closed);
                naive.closed = true;
            }
            Step::Discard => {
                assert_eq!(receiver.discard().unwrap(), naive.len());
                naive.bands.iter_mut().for_each(VecDeque::clear);
                naive.closed = true;
            }
            Step::Travel { sender: true } => sender = travels(sender.clone()),
            Step::Travel { sender: false } => receiver = travels(receiver.clone()),
            Step::Clone { sender: true } => drop(travels(sender.clone())),
            Step::Clone { sender: false } => drop(travels(receiver.clone())),
        }
        assert_eq!((sender.len(), receiver.is_empty()), (naive.len(), naive.len() == 0));
        assert_eq!((sender.is_full(), sender.is_closed()), (naive.len() >= shape.items, naive.closed));
    }
    drop(sender);
    while let Some(item) = naive.pop() {
        assert!(receiver.get().unwrap()[..] == item[..]);
    }
    let end = receiver.get().unwrap_err();
    assert!(matches!((end, naive.closed), (Error::Closed, true) | (Error::Disconnected, false)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sequences_agree_with_deques(shape in shape(), steps in vec(step(), 0..60)) {
        run(shape, steps);
    }
}

/// What one thread did: when it began and ended, by a clock that all share.
#[derive(Clone, Copy, Debug)]
struct Done {
    begun: u64,
    ended: u64,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Put(u32),
    Full,
    Got(Option<u32>),
}

/// Whether there is an order of what was done that a queue of so many items would have: by trying all that are possible.
fn is_one_order(done: &mut Vec<Done>, queue: &mut VecDeque<u32>, items: usize) -> bool {
    // What has ended before another began comes before it.
    let Some(first_end) = done.iter().map(|one| one.ended).min() else { return true };
    for at in 0..done.len() {
        let one = done[at];
        if one.begun > first_end {
            continue;
        }
        let before = queue.clone();
        let fits = match one.what {
            What::Put(item) => {
                queue.push_back(item);
                queue.len() <= items
            }
            What::Full => queue.len() >= items,
            What::Got(got) => queue.pop_front() == got,
        };
        done.remove(at);
        if fits && is_one_order(done, queue, items) {
            return true;
        }
        done.insert(at, one);
        *queue = before;
    }
    false
}

fn history(items: usize, puts: [usize; 2], gets: [usize; 2]) {
    let queue = Queue::<u32>::builder().items(items).bytes(4096).make().unwrap();
    let clock = AtomicU64::new(0);
    let begin = std::sync::Barrier::new(4);
    let tick = || clock.fetch_add(1, SeqCst);
    let mut done: Vec<Done> = std::thread::scope(|scope| {
        let (queue, tick, begin) = (&queue, &tick, &begin);
        let mut threads = Vec::new();
        for (me, puts) in puts.into_iter().enumerate() {
            threads.push(scope.spawn(move || {
                begin.wait();
                let put = |number: usize| {
                    let item = (me * 100 + number) as u32;
                    let begun = tick();
                    let what = match queue.try_put(item) {
                        Ok(()) => What::Put(item),
                        Err(full) if matches!(full.error(), Error::Full) => What::Full,
                        Err(error) => panic!("{error}"),
                    };
                    Done { begun, ended: tick(), what }
                };
                (0..puts).map(put).collect::<Vec<_>>()
            }));
        }
        for gets in gets {
            threads.push(scope.spawn(move || {
                begin.wait();
                let get = |_| {
                    let begun = tick();
                    let what = What::Got(queue.try_get().unwrap());
                    Done { begun, ended: tick(), what }
                };
                (0..gets).map(get).collect::<Vec<_>>()
            }));
        }
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let all = done.clone();
    assert!(is_one_order(&mut done, &mut VecDeque::new(), items), "{all:#?}");
}

#[test]
fn what_threads_do_has_one_order() {
    let _leaks = leaks();
    let rounds = if ipc_testkit::quick() { 500 } else { 5_000 };
    for round in 0..rounds {
        history([1, 2, 100][round % 3], [2, 2], [2, 2]);
    }
}
