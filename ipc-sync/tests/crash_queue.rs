//! Those who put, get and close, killed: at each named crash point of the queue, of its locks and of the gates it sleeps at, and at random instants; by exec and over
//! a fork server, while others work.
//!
//! A ledger beside the queue says what each producer began and finished to put, and how often each item was got. From it follows, for whoever was killed: nothing
//! comes twice or torn, each one's order is kept, and what is missing was in the hands of a dead consumer. A program that hangs fails.

#![allow(clippy::unwrap_used)]

#[path = "victims/mod.rs"]
mod victims;

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ipc_core::primitive::crash::CrashPoints;
use ipc_core::{Bytes, Child, Context, Descriptor, Signal};
use ipc_shm::raw::{Layout, Shared};
use ipc_sync::modelled::POINTS;
use ipc_sync::{Error, Queue, QueueReceiver, QueueSender};
use ipc_testkit::{GENEROUS, Rng, kills, leaks};
use serde::{Deserialize, Serialize};

use victims::{METHODS, context};

const ROLES: [&str; 3] = ["producer", "consumer", "closer"];

/// The queue's, and those of its locks and gates.
fn points() -> Vec<&'static str> {
    // Those of a lock that only who finds a dead one's, or comes at a rare moment, comes to, are its own crate's.
    let below = [
        "locker: announced",
        "locker: taken",
        "locker: linked",
        "owner: has",
        "sleeper: ",
        "unlocker: lets",
        "unlocker: unlinked",
        "gate: ",
    ];
    let below = ipc_shm::modelled::POINTS
        .into_iter()
        .filter(|point| below.iter().any(|role| point.starts_with(role)));
    POINTS
        .iter()
        .copied()
        .filter(|point| ROLES.iter().any(|role| point.starts_with(role)))
        .chain(below)
        .collect()
}

/// How often somebody is to die at each point.
fn deaths(method: &str) -> u32 {
    let of_all = match (ipc_testkit::full(), ipc_testkit::quick()) {
        (true, _) => 1_500,
        (false, true) => 4,
        (false, false) => 60,
    };
    if method == "exec" { (of_all / 5).max(2) } else { of_all }
}

/// How many producers there are in a round, and consumers as well.
const EACH: usize = 2;

/// How many items each producer has.
const ITEMS: u32 = 24;

/// How many items go in one step, at most.
const MANY: u32 = 4;

/// More than a packet takes.
const DESCRIPTORS: usize = 254;

#[derive(Serialize, Deserialize)]
struct Item {
    producer: u32,
    number: u32,
    bytes: Bytes,
    descriptors: Vec<Descriptor>,
}

impl Item {
    fn new(producer: u32, number: u32, seed: u64) -> Item {
        let mut rng = Rng::from_seed(seed ^ u64::from(number) << 32);
        let len = match rng.below(16) {
            0 => 200_000,
            1..=3 => 2_000,
            4..=9 => 64,
            _ => 0,
        };
        let descriptors = match rng.below(24) {
            0 => DESCRIPTORS,
            1..=4 => 2,
            _ => 0,
        };
        let file = || Descriptor::from(std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        Item {
            producer,
            number,
            bytes: vec![Item::byte(producer, number); len].into(),
            descriptors: (0..descriptors).map(|_| file()).collect(),
        }
    }

    fn byte(producer: u32, number: u32) -> u8 {
        (producer * 101 + number) as u8
    }

    fn is_whole(&self) -> bool {
        let byte = Item::byte(self.producer, self.number);
        [0, 64, 2_000, 200_000].contains(&self.bytes.len())
            && self.bytes.iter().all(|found| *found == byte)
            && [0, 2, DESCRIPTORS].contains(&self.descriptors.len())
    }
}

/// What has happened.
#[repr(C)]
struct Ledger {
    /// The number of the last item that each producer began to put, and of the last one that was put.
    begun: [AtomicU32; EACH],
    put: [AtomicU32; EACH],
    /// How often an item was there without its descriptors.
    bare: AtomicU32,
}

// SAFETY: `repr(C)`, atomics, no pointers; zeros are a new one.
unsafe impl Layout for Ledger {
    type Item = AtomicU32;
    const NAME: &'static str = "a ledger";
    const VERSION: u32 = 1;
}

/// A producer's life.
fn produce(sender: QueueSender<Item>, ledger: Shared<Ledger>, me: u32, seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let sender = sender.band(rng.below(2) as u32);
    let me_at = me as usize;
    let mut next = 1;
    while next <= ITEMS {
        let count = if rng.below(3) == 0 { MANY.min(ITEMS + 1 - next) } else { 1 };
        ledger.begun[me_at].store(next + count - 1, SeqCst);
        let mut items = (next..next + count).map(|number| Item::new(me, number, seed));
        let put = if count == 1 {
            sender.put(items.next().unwrap()).map_err(Error::from)
        } else {
            sender.put_many(items).map_err(Error::from)
        };
        match put {
            Ok(()) => {}
            Err(Error::Closed | Error::Disconnected) => return,
            Err(error) => panic!("{error}"),
        }
        next += count;
        ledger.put[me_at].store(next - 1, SeqCst);
    }
}

fn note(ledger: &Ledger, items: &[AtomicU32], last: &mut [u32; EACH], item: &Item) {
    let producer = item.producer as usize;
    assert!(item.is_whole(), "torn: item {} of {producer}", item.number);
    assert!(last[producer] < item.number, "out of order");
    last[producer] = item.number;
    assert!(item.number <= ledger.begun[producer].load(SeqCst), "it was never put");
    let before = items[producer * (ITEMS as usize + 1) + item.number as usize].fetch_add(1, SeqCst);
    assert_eq!(before, 0, "item {} of {producer} came twice", item.number);
}

/// A consumer's life. Gives how it ended.
fn consume(receiver: QueueReceiver<Item>, ledger: Shared<Ledger>, seed: u64) -> bool {
    let mut rng = Rng::from_seed(seed);
    let mut last = [0; EACH];
    loop {
        let got = if rng.below(3) == 0 {
            receiver.get_many(MANY as usize)
        } else {
            receiver.get().map(|item| vec![item])
        };
        match got {
            Ok(items) => items.iter().for_each(|item| note(&ledger, ledger.items(), &mut last, item)),
            Err(Error::Closed) => return true,
            Err(Error::Disconnected) => return false,
            // A consumer has died with some of its descriptors.
            Err(Error::Corrupt { why }) if why.contains("descriptors") => {
                _ = ledger.bare.fetch_add(1, SeqCst)
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn close(sender: QueueSender<Item>) {
    sender.close().unwrap();
}

/// Who is killed, and when.
enum Death<'a> {
    /// Whoever comes to this point, again and again.
    At(&'a CrashPoints, &'a str),
    /// Anybody, after a while.
    Random,
}

/// All have been killed or come to an end; gives how many were killed.
#[track_caller]
fn all_end<T: ipc_core::Message>(children: Vec<Child<T>>) -> u32 {
    let ends = children.into_iter().map(|child| match child.join_timeout(GENEROUS) {
        Ok(end) => {
            end.expect("somebody is left waiting");
            0
        }
        Err(error) => {
            assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
            1
        }
    });
    ends.sum()
}

/// One queue's life, with deaths. Gives how many died.
fn round(context: &Context, death: &Death<'_>, rng: &mut Rng) -> u32 {
    let queue = Queue::builder().items(6).bytes(300_000).bands(2).make().unwrap();
    let (sender, receiver) = queue.split();
    let ledger = Shared::<Ledger>::new(EACH * (ITEMS as usize + 1)).unwrap();
    let consumers: Vec<Child<bool>> = (0..EACH)
        .map(|_| start(context, consume, (receiver.clone(), ledger.clone(), rng.next_u64())))
        .collect();
    let producers: Vec<Child<()>> = (0..EACH as u32)
        .map(|me| start(context, produce, (sender.clone(), ledger.clone(), me, rng.next_u64())))
        .collect();
    let is_closers = matches!(death, Death::At(_, point) if point.starts_with("closer"));
    let closes = is_closers || rng.below(4) == 0;
    let nth = if is_closers { 1 } else { 1 + rng.below(4) as u32 };
    if let (Death::At(points, point), true) = (death, is_closers) {
        points.arm(point, nth);
    }
    let closer = closes.then(|| start(context, close, (sender.clone(),)));
    // The last senders are theirs, or this process closes it when they have ended, which is told at once. It comes by at gates itself, before anything is armed.
    let kept = (rng.below(4) > 0).then_some(sender);
    if let (Death::At(points, point), false) = (death, is_closers) {
        points.arm(point, nth);
    }
    let end = Instant::now() + GENEROUS;
    let mut killed = match death {
        Death::At(points, point) => points.kills(point),
        Death::Random => 0,
    };
    while producers.iter().any(Child::is_alive) && consumers.iter().any(Child::is_alive) {
        assert!(Instant::now() < end, "somebody is left waiting");
        match death {
            Death::At(points, point) => {
                std::thread::sleep(Duration::from_micros(200));
                let now = points.kills(point);
                if now > killed {
                    killed = now;
                    points.arm(point, 1 + rng.below(8) as u32);
                }
            }
            Death::Random => {
                std::thread::sleep(rng.duration(Duration::from_micros(3_000)));
                match rng.below(2 * EACH as u64) as usize {
                    at if at < EACH => producers[at].kill().unwrap(),
                    at => consumers[at - EACH].kill().unwrap(),
                }
            }
        }
    }
    // What consumers leave, if they are dead, is taken here; while a last producer may be waiting for room.
    if let Death::At(points, _) = death {
        points.disarm();
    }
    let mut rest = (receiver, [0; EACH]);
    if !consumers.iter().any(Child::is_alive) {
        take_rest(&ledger, &mut rest, &producers);
    }
    let mut died = closer.map_or(0, |closer| all_end(vec![closer]));
    died += all_end(producers);
    if let Some(sender) = kept {
        sender.close().unwrap();
    }
    let dead_consumers = all_end(consumers);
    take_rest(&ledger, &mut rest, &[]);
    judge(&ledger, dead_consumers);
    died + dead_consumers
}

fn start<F, A>(context: &Context, f: F, args: A) -> Child<F::Output>
where
    F: ipc_core::Function<A>,
    A: ipc_core::Message,
    F::Output: ipc_core::Message,
{
    context.builder().daemon(true).spawn(f, args).unwrap()
}

/// Takes what there is, until the end.
fn take_rest(
    ledger: &Shared<Ledger>,
    (receiver, last): &mut (QueueReceiver<Item>, [u32; EACH]),
    producers: &[Child<()>],
) {
    let end = Instant::now() + GENEROUS;
    loop {
        match receiver.get_timeout(Duration::from_millis(20)) {
            Ok(Some(item)) => note(ledger, ledger.items(), last, &item),
            Err(Error::Closed | Error::Disconnected) => return,
            Err(Error::Corrupt { why }) if why.contains("descriptors") => {
                _ = ledger.bare.fetch_add(1, SeqCst)
            }
            Ok(None) if !producers.is_empty() && !producers.iter().any(Child::is_alive) => return,
            Ok(None) => assert!(Instant::now() < end, "nobody has a sender, and it is not told"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Whether what is missing is no more than what the dead had in hand.
fn judge(ledger: &Shared<Ledger>, dead_consumers: u32) {
    let mut missing = 0;
    for producer in 0..EACH {
        let got =
            |number: u32| ledger.items()[producer * (ITEMS as usize + 1) + number as usize].load(SeqCst);
        let (put, begun) = (ledger.put[producer].load(SeqCst), ledger.begun[producer].load(SeqCst));
        assert!(put <= begun && begun - put <= MANY);
        let last = (1..=ITEMS).rev().find(|number| got(*number) > 0).unwrap_or(0);
        assert!(last <= begun);
        missing += (1..=put.max(last)).filter(|number| got(*number) == 0).count() as u32;
    }
    let bare = ledger.bare.load(SeqCst);
    assert!(missing <= dead_consumers * MANY, "{missing} are missing, {dead_consumers} consumers died");
    assert!(bare <= dead_consumers, "{bare} had no descriptors");
}

/// Kills whoever comes to a point, in a program of its own.
fn kill_at(method: String, point: String, deaths: u32, seed: u64) {
    let points = CrashPoints::of_this_process().unwrap();
    let _leaks = leaks();
    let (context, mut rng) = (context(&method), Rng::from_seed(seed));
    let mut rounds = 0;
    while points.kills(&point) < deaths {
        round(&context, &Death::At(&points, &point), &mut rng);
        rounds += 1;
        assert!(rounds < 100 + 40 * deaths, "{} of {deaths} died at {point}", points.kills(&point));
    }
}

fn killed_at_points(method: &str) {
    let _leaks = leaks();
    let all = points();
    let crash = CrashPoints::create(&all).unwrap();
    let mut rng = Rng::new();
    for point in all {
        let seed = rng.next_u64();
        let (name, value) = crash.env().unwrap();
        let args = (method.to_owned(), point.to_owned(), deaths(method), seed);
        let program = Context::exec().builder().env(name, value).spawn(kill_at, args).unwrap();
        program.join().unwrap_or_else(|error| panic!("{point}, {method}, {seed}: {error}"));
        kills(&format!("{point}, queue, {method}"), crash.kills(point).into());
    }
}

#[test]
fn killed_at_each_point_executed() {
    killed_at_points("exec");
}

#[test]
fn killed_at_each_point_cloned() {
    killed_at_points("fork server");
}

fn killed_at_random(method: &str) {
    let _leaks = leaks();
    let (context, mut rng) = (context(method), Rng::new());
    let (deaths, mut died) = (5 * deaths(method), 0);
    while died < deaths {
        died += round(&context, &Death::Random, &mut rng);
    }
    kills(&format!("queue, random instant, {method}"), died.into());
}

#[test]
fn killed_at_random_instants_executed() {
    killed_at_random("exec");
}

#[test]
fn killed_at_random_instants_cloned() {
    killed_at_random("fork server");
}

/// The last sender killed, the last receiver killed: who is left is told, while it waits.
#[test]
fn the_last_of_a_side_is_killed() {
    let _leaks = leaks();
    for method in METHODS {
        let context = context(method);
        for _ in 0..5 {
            let (sender, receiver) = Queue::<u32>::bounded(1).unwrap().split();
            let child = start(&context, hold, (Some(sender), None));
            assert_eq!(receiver.get().unwrap(), 7);
            let waiter = std::thread::spawn(move || receiver.get());
            child.kill().unwrap();
            assert!(matches!(waiter.join().unwrap(), Err(Error::Disconnected)));
            child.join().unwrap_err();

            let (sender, receiver) = Queue::<u32>::bounded(1).unwrap().split();
            let child = start(&context, hold, (None, Some(receiver)));
            sender.put(7).unwrap();
            sender.put(8).unwrap();
            let waiter = std::thread::spawn(move || sender.put(9).map_err(Error::from));
            child.kill().unwrap();
            assert!(matches!(waiter.join().unwrap(), Err(Error::Disconnected)));
            child.join().unwrap_err();
        }
        kills(&format!("queue, the last of a side, {method}"), 10);
    }
}

fn hold(sender: Option<QueueSender<u32>>, receiver: Option<QueueReceiver<u32>>) {
    if let Some(sender) = &sender {
        sender.put(7).unwrap();
    }
    if let Some(receiver) = &receiver {
        assert_eq!(receiver.get().unwrap(), 7);
    }
    loop {
        std::thread::park();
    }
}

#[test]
fn every_point_has_a_test() {
    let of_a_queue =
        |point: &&&str| ["producer: ", "consumer: ", "closer: "].iter().any(|role| point.starts_with(role));
    let all = POINTS.iter().filter(of_a_queue).count();
    let queue = points().into_iter().filter(|point| ROLES.iter().any(|role| point.starts_with(role))).count();
    assert_eq!(queue, all);
}
