//! The relay, by `log`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ipc_core::codec::{Codec, Postcard};
use ipc_core::{Builder, Context, Descriptor, Signal, logging};
use ipc_testkit::leaks;

use crate::support::{Method, descriptors, program};
use crate::{SEEN, collects, seen};

fn logs(n: u32) -> u32 {
    log::info!("number {n}");
    log::debug!("too much");
    log::warn!(target: "elsewhere", "careful with {n}");
    n
}

fn each(method: Method) {
    collects();
    log::info!("before");
    let context = method.context();
    for n in 0..3 {
        let child = context.builder().name(format!("c{n}")).spawn(logs, (n,)).unwrap();
        let pid = child.pid();
        assert_eq!(child.join().unwrap(), n);
        // Delivered by then.
        let seen = SEEN.lock().unwrap();
        let [.., number, careful] = &seen[..] else { panic!("{seen:?}") };
        let who = |origin: &Option<ipc_core::ChildId>| origin.as_ref().map(|who| (who.name.clone(), who.pid));
        let expected = (method != Method::Threads).then(|| (format!("c{n}"), pid));
        assert_eq!((who(&number.0), who(&careful.0)), (expected.clone(), expected));
        assert_eq!(
            (number.1, &*number.2, &*number.3),
            (log::Level::Info, "logging::relay", &*format!("number {n}"))
        );
        assert_eq!((careful.1, &*careful.2), (log::Level::Warn, "elsewhere"));
    }
    assert_eq!(seen().len(), 7);
}

#[test]
fn records_arrive_with_name_and_pid_before_the_join_returns() {
    let _leaks = leaks();
    for method in Method::ALL {
        program(each, (method,));
    }
}

fn grandchildren(method: Method) {
    collects();
    let parent = |method: Method| {
        let context = method.context();
        let child = context.builder().name("grandchild").spawn(logs, (7,)).unwrap();
        let pid = child.pid();
        child.join().unwrap();
        pid
    };
    let child = method.context().builder().name("child").spawn(parent, (method,)).unwrap();
    let pid = child.join().unwrap();
    assert_eq!(seen()[0], ("grandchild".into(), "number 7".into()));
    assert_eq!(SEEN.lock().unwrap()[0].0.as_ref().unwrap().pid, pid);
    assert_eq!(seen().len(), 2);
}

#[test]
fn grandchildren_log_to_the_one_who_asked() {
    let _leaks = leaks();
    for method in Method::PROCESSES {
        program(grandchildren, (method,));
    }
}

fn last_words(method: Method) {
    collects();
    for round in 0..20 {
        let child = method.context().spawn(
            |round: u32| {
                log::error!("last words {round}");
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                    .unwrap();
            },
            (round,),
        );
        assert_eq!(child.unwrap().join().unwrap_err().signal(), Some(Signal::KILL));
        assert_eq!(seen().last().unwrap().1, format!("last words {round}"));
    }
}

#[test]
fn a_record_outlives_the_one_who_is_killed_right_after_it() {
    let _leaks = leaks();
    for method in Method::PROCESSES {
        program(last_words, (method,));
    }
}

const EACH: usize = 1250;

fn many(method: Method) {
    collects();
    let floods = |name: usize| {
        for n in 0..EACH {
            log::info!("{name} {n} {}", "x".repeat(n % 300));
        }
    };
    let context = method.context();
    let children: Vec<_> = (0..8_usize).map(|name| context.spawn(floods, (name,)).unwrap()).collect();
    for child in children {
        child.join().unwrap();
    }
    let mut next = BTreeMap::new();
    for (_, text) in seen() {
        let mut words = text.split(' ');
        let mut number = || words.next().unwrap().parse::<usize>().unwrap();
        let (name, n) = (number(), number());
        assert_eq!(words.next(), Some(&*"x".repeat(n % 300)), "torn");
        let expected = next.entry(name).or_insert(0);
        assert_eq!(n, *expected, "of {name}");
        *expected += 1;
    }
    assert_eq!(next.into_values().collect::<Vec<_>>(), [EACH; 8]);
}

#[test]
fn ten_thousand_records_of_eight_children_none_torn_or_lost() {
    let _leaks = leaks();
    for method in Method::PROCESSES {
        program(many, (method,));
    }
}

/// A parent that does not read: its sink waits.
fn stopped() {
    log::set_max_level(log::LevelFilter::Info);
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let counts = Arc::new(Mutex::new((0_u64, 0_u64)));
    let (theirs, ours) = (gate.clone(), counts.clone());
    logging::relay_to(move |record| {
        let mut open = theirs.0.lock().unwrap();
        while !*open {
            open = theirs.1.wait(open).unwrap();
        }
        let mut counts = ours.lock().unwrap();
        counts.0 += 1;
        counts.1 += record.lost;
    })
    .unwrap();
    let (mut told, tell) = std::io::pipe().unwrap();
    let (go_on, mut say) = std::io::pipe().unwrap();
    let child = Context::exec().spawn(
        |tell: Descriptor, go_on: Descriptor| {
            let mut tell: std::io::PipeWriter = tell.into();
            let mut go_on: std::io::PipeReader = go_on.into();
            for n in 0..3000 {
                log::info!("{n} {}", "x".repeat(1000));
            }
            tell.write_all(b"x").unwrap();
            let mut sent = 3000_u64;
            // Until it is seen that some were lost.
            let done = std::thread::spawn(move || go_on.read(&mut [0]).unwrap());
            while !done.is_finished() {
                log::info!("again");
                sent += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            sent
        },
        (tell.into(), go_on.into()),
    );
    // It has not waited for us for ever.
    told.read_exact(&mut [0]).unwrap();
    assert_eq!(counts.lock().unwrap().0, 0);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    assert!(ipc_testkit::wait_until(ipc_testkit::GENEROUS, || counts.lock().unwrap().1 > 0));
    say.write_all(b"x").unwrap();
    let sent = child.unwrap().join().unwrap();
    let (arrived, lost) = *counts.lock().unwrap();
    assert_eq!(arrived + lost, sent, "{lost} lost");
    assert!(lost > 100);
}

#[test]
fn a_parent_that_does_not_read_stops_no_child_and_learns_what_it_missed() {
    let _leaks = leaks();
    program(stopped, ());
}

fn long_and_strange() {
    collects();
    let child = ipc_core::spawn(
        || {
            log::info!("{}", "ä".repeat(100_000));
            log::info!(target: &"t".repeat(1000), "a\0b\n[c]");
        },
        (),
    );
    child.unwrap().join().unwrap();
    let seen = seen();
    assert!(seen[0].1.ends_with("… (200000 bytes)"), "{}", seen[0].1.len());
    assert_eq!(seen[1].1, "a\0b\n[c]");
}

#[test]
fn a_long_text_is_cut_and_says_so() {
    let _leaks = leaks();
    program(long_and_strange, ());
}

fn panicking_sink() {
    log::set_max_level(log::LevelFilter::Info);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let theirs = seen.clone();
    logging::relay_to(move |record| {
        theirs.lock().unwrap().push(record.message.clone());
        assert!(!record.message.ends_with('1'), "as expected");
    })
    .unwrap();
    for n in 0..3 {
        ipc_core::spawn(logs, (n,)).unwrap().join().unwrap();
    }
    let texts = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    assert_eq!(texts.len(), 6);
    assert!(logging::relay_to(|_| {}).unwrap_err().to_string().contains("there is one already"));
}

#[test]
fn a_logger_that_panics_loses_that_record_alone() {
    let _leaks = leaks();
    program(panicking_sink, ());
}

/// The sockets of this process.
fn sockets() -> Vec<(i32, String)> {
    let mut all = descriptors();
    all.retain(|(_, target)| target.starts_with("socket:"));
    all
}

/// A child's function: sends the relay packets. Its socket is the one that parent and child have both.
fn forge(packets: Vec<Vec<u8>>, parents: Vec<(i32, String)>) {
    let relays = |(_, target): &(i32, String)| parents.iter().any(|(_, known)| known == target);
    let (number, _) = sockets().into_iter().find(relays).unwrap();
    // SAFETY: open, and the relay's for as long as this process lives.
    let relay = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    for packet in packets {
        rustix::net::send(relay, &packet, rustix::net::SendFlags::empty()).unwrap();
    }
}

/// A record as it travels, by which so many were lost before it.
fn record(lost: u64) -> Vec<u8> {
    let (variant, process, facade, level) = (0_u8, ("forger", 1_u32), 0_u8, 2_u8);
    let (target, message, no_spans) = ("t", "forged", 0_u8);
    let (module, file, line) = (None::<&str>, None::<&str>, None::<u32>);
    let mut bytes = Vec::new();
    let record = (variant, process, facade, level, target, message, no_spans, module, file, line, lost);
    Postcard.encode(&record, &mut bytes).unwrap();
    bytes
}

/// A process that relays for its parent, with a child that forges, and one that does not.
fn between() {
    logging::relay().unwrap();
    let parents = sockets();
    let context = Context::exec();
    context.spawn(forge, (vec![record(u64::MAX), record(u64::MAX)], parents)).unwrap().join().unwrap();
    context.spawn(logs, (3,)).unwrap().join().unwrap();
}

fn forged_losses() {
    collects();
    Context::exec().spawn(between, ()).unwrap().join().unwrap();
    let texts: Vec<_> = seen().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts.iter().filter(|text| *text == "forged").count(), 2, "{texts:?}");
    assert!(texts.contains(&"number 3".into()), "{texts:?}");
}

/// The losses that a child claimed were added to in the relay's thread, which an overflow ended.
#[test]
fn a_record_that_claims_too_many_losses_ends_no_relay() {
    let _leaks = leaks();
    program(forged_losses, ());
}

/// Whether a join of a child that logs waits for its record: it is not delivered before the join gives up.
fn join_waits(before: impl FnOnce()) -> bool {
    log::set_max_level(log::LevelFilter::Info);
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = gate.clone();
    logging::relay_to(move |record| {
        let open = theirs.0.lock().unwrap();
        if record.message == "last" {
            drop(theirs.1.wait_while(open, |open| !*open).unwrap());
        }
    })
    .unwrap();
    before();
    let begun = Instant::now();
    Context::exec().spawn(|| log::info!("last"), ()).unwrap().join().unwrap();
    let waited = begun.elapsed();
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    waited >= Duration::from_secs(1)
}

fn forged_mark() {
    let marks = || {
        // The greatest number, and others of the length that a mark has.
        let marks =
            vec![[&[1], &[255; 9][..], &[1]].concat(), [1; 17].to_vec(), [&[1], &[255; 16][..]].concat()];
        Context::exec().spawn(forge, (marks, sockets())).unwrap().join().unwrap();
    };
    assert!(join_waits(marks));
}

/// A child could say in the parent's name that all was delivered, for all times.
#[test]
fn a_forged_mark_ends_no_wait_for_records() {
    let _leaks = leaks();
    program(forged_mark, ());
}

fn fork_in_sink() {
    log::set_max_level(log::LevelFilter::Info);
    let (say, said) = std::sync::mpsc::channel();
    logging::relay_to(move |_| {
        // SAFETY: the other thread of this program waits, and holds nothing that the copy needs.
        let copy = unsafe { Builder::new().fork(|| join_waits(|| ())) };
        say.send(copy.unwrap().join().unwrap()).unwrap();
    })
    .unwrap();
    Context::exec().spawn(|| log::info!("first"), ()).unwrap().join().unwrap();
    assert!(said.recv_timeout(ipc_testkit::GENEROUS).unwrap());
}

/// The copy's only thread took itself for the relay's, and waited for no records.
#[test]
fn a_child_forked_in_a_sink_waits_for_its_own_records() {
    let _leaks = leaks();
    program(fork_in_sink, ());
}
