//! Log records of children in the parent's log, under every start method.
//!
//! Loggers are a process's for good, so each body runs in a program of its own.
#![cfg(all(feature = "log", feature = "tracing"))]
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

#[path = "logging/by_tracing.rs"]
mod by_tracing;
#[path = "logging/relay.rs"]
mod relay;
#[path = "logging/stderr.rs"]
mod stderr;
mod support;

use std::sync::Mutex;

use ipc_core::ChildId;

/// A record: whose, level, target, text.
type Seen = (Option<ChildId>, log::Level, String, String);

/// What a program's logger has been given.
static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

struct Collect;

impl log::Log for Collect {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let seen = (ipc_core::logging::origin(), record.level(), record.target().to_owned(), text);
        SEEN.lock().unwrap().push(seen);
    }

    fn flush(&self) {}
}

/// Makes this program one that relays into [`SEEN`].
fn collects() {
    ipc_core::logging::set_logger(Collect).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    ipc_core::logging::relay().unwrap();
}

/// The texts, with the names of those who logged them.
fn seen() -> Vec<(String, String)> {
    let seen = SEEN.lock().unwrap();
    seen.iter()
        .map(|(who, .., text)| (who.as_ref().map_or("-".into(), |who| who.name.clone()), text.clone()))
        .collect()
}
