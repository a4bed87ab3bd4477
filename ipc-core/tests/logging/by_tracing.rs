//! The relay, by `tracing`.

use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use ipc_core::{Builder, Context, logging};
use ipc_testkit::{GENEROUS, leaks};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{Method, program};

static EVENTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects events as text, up to level INFO.
struct Collect;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() != "process.pid" {
            self.0 += &format!(" {}={value:?}", field.name());
        }
    }
}

impl Subscriber for Collect {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        EVENTS.lock().unwrap().push(text.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn traces() {
    tracing::warn!(count = 3, name = "x", "outside");
    let _span = tracing::info_span!("reading", file = 7).entered();
    let inner = tracing::info_span!("line");
    inner.in_scope(|| tracing::info!(target: "t", "inside"));
    tracing::debug!("hidden");
    drop(inner);
    tracing::error!(why = ?Some(1));
}

fn body(method: Method) {
    tracing::subscriber::set_global_default(Collect).unwrap();
    logging::relay().unwrap();
    method.context().builder().name("c").spawn(traces, ()).unwrap().join().unwrap();
    let events = EVENTS.lock().unwrap();
    let who =
        |target: &str, spans: &str| format!("process.name=c process.target={target} process.spans={spans}");
    let here = "logging::by_tracing";
    let expected = [
        ("WARN", who(here, ""), "outside count=3 name=\"x\""),
        ("INFO", who("t", "reading{file=7}:line"), "inside"),
        ("ERROR", who(here, "reading{file=7}"), "why=Some(1)"),
    ];
    assert_eq!(events.len(), expected.len(), "{events:?}");
    for (event, (level, who, text)) in events.iter().zip(expected) {
        for part in [level, &who, text] {
            assert!(event.contains(part), "{event:?} has no {part:?}");
        }
    }
}

#[test]
fn events_arrive_with_their_fields_and_spans() {
    let _leaks = leaks();
    // A forked child has its parent's subscriber, as it stands in memory.
    for method in [Method::Exec, Method::ForkServer] {
        program(body, (method,));
    }
}

const COPIES: usize = 200;

fn says() {
    tracing::info!("copy");
}

/// A child with threads that open and close spans, which forks.
fn forks_beside_spans() {
    says();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(tracing::info_span!("beside", n = 1));
                }
            });
        }
        let _span = tracing::info_span!("around").entered();
        for _ in 0..COPIES {
            // SAFETY: the copy allocates, which glibc allows after a fork, and makes an event, as it may.
            unsafe { Builder::new().fork(says) }.unwrap().join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn copies() {
    tracing::subscriber::set_global_default(Collect).unwrap();
    logging::relay().unwrap();
    let child = Context::exec().spawn(forks_beside_spans, ()).unwrap();
    assert!(child.join_timeout(GENEROUS).unwrap().is_some(), "a copy waits for a lock");
    let events = EVENTS.lock().unwrap();
    assert_eq!(events.iter().filter(|event| event.contains("process.spans=around")).count(), COPIES);
}

/// A thread that opened a span during a fork held a lock that nobody could release in the copy, whose first event waited for it.
#[test]
fn a_fork_beside_an_opened_span_has_no_lock_of_it() {
    let _leaks = leaks();
    program(copies, ());
}
