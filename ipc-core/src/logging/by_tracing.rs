//! The facade `tracing`: the subscriber of a child, and events on their way into the parent's.
//!
//! An event's callsite is a constant of the program that made it, so what the parent's subscriber sees is an event of *this* module, with what the
//! child's was as fields: `process.name`, `process.pid`, `process.target`, `process.spans`, and the message. Filters by target see `ipc_core::logging`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};

use super::up::up;
use super::{Facade, Level, Record};

/// The subscriber of a child whose records are relayed.
struct Relayed {
    level: LevelFilter,
    next: AtomicU64,
}

struct Span {
    name: String,
    handles: usize,
}

/// The spans of this process that are open. A forked child goes on in those that its parent was in.
static SPANS: Mutex<BTreeMap<u64, Span>> = Mutex::new(BTreeMap::new());

fn spans() -> MutexGuard<'static, BTreeMap<u64, Span>> {
    // No code of the user's runs under it, and a panic cannot leave the map half changed.
    SPANS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// [`SPANS`], so that no other thread holds them during a fork.
pub(crate) struct Held(#[expect(dead_code, reason = "held")] MutexGuard<'static, BTreeMap<u64, Span>>);

pub(crate) fn hold() -> Held {
    Held(spans())
}

thread_local! {
    /// The spans that this thread is in.
    static INSIDE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Subscriber for Relayed {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = Text::default();
        span.record(&mut text);
        let fields = text.fields.trim_start();
        let name = span.metadata().name();
        let name = if fields.is_empty() { name.to_owned() } else { format!("{name}{{{fields}}}") };
        spans().insert(id, Span { name, handles: 1 });
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(up) = up() else { return };
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *metadata.level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        };
        let message = (text.message + &text.fields).trim_start().to_owned();
        let mut record = Record::new(Facade::Tracing, level, metadata.target(), message);
        let inside = INSIDE.try_with(|inside| inside.borrow().clone()).unwrap_or_default();
        let spans = spans();
        record.spans = inside
            .iter()
            .filter_map(|id| spans.get(id).map(|span| span.name.chars().take(256).collect()))
            .take(16)
            .collect();
        drop(spans);
        record.module = metadata.module_path().map(str::to_owned);
        record.file = metadata.file().map(str::to_owned);
        record.line = metadata.line();
        up.send(record);
    }

    fn enter(&self, span: &Id) {
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        let _ = INSIDE.try_with(|inside| {
            let mut inside = inside.borrow_mut();
            if let Some(at) = inside.iter().rposition(|id| *id == span.into_u64()) {
                inside.remove(at);
            }
        });
    }

    fn clone_span(&self, span: &Id) -> Id {
        if let Some(span) = spans().get_mut(&span.into_u64()) {
            span.handles += 1;
        }
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let mut spans = spans();
        let Some(known) = spans.get_mut(&span.into_u64()) else { return false };
        known.handles -= 1;
        let last = known.handles == 0;
        if last {
            spans.remove(&span.into_u64());
        }
        last
    }
}

/// The fields of an event as text: the message, and ` name=value` for each other.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string fails only where a value's own Debug does; then it is cut short.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Gives a child's event to this process's subscriber.
pub(super) fn deliver(record: &Record) {
    macro_rules! give {
        ($level:expr, $message:expr) => {
            tracing::event!(
                target: "ipc_core::logging",
                $level,
                process.name = %record.process.name,
                process.pid = record.process.pid,
                process.target = %record.target,
                process.spans = %record.spans.join(":"),
                "{}",
                $message
            )
        };
    }
    if record.lost > 0 {
        give!(
            tracing::Level::WARN,
            format_args!("{} records of {} were lost before this one", record.lost, record.process)
        );
    }
    match record.level {
        Level::Error => give!(tracing::Level::ERROR, record.message),
        Level::Warn => give!(tracing::Level::WARN, record.message),
        Level::Info => give!(tracing::Level::INFO, record.message),
        Level::Debug => give!(tracing::Level::DEBUG, record.message),
        Level::Trace => give!(tracing::Level::TRACE, record.message),
    }
}

const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

pub(super) fn level() -> u8 {
    LEVELS.iter().position(|level| *level == LevelFilter::current()).unwrap_or(0) as u8
}

/// Makes this process, a child, send its events up.
pub(super) fn set_up(level: u8) {
    let level = LEVELS.get(usize::from(level)).copied().unwrap_or(LevelFilter::OFF);
    let relayed = Relayed { level, next: AtomicU64::new(1) };
    // A forked child has its parent's.
    let _ = tracing::subscriber::set_global_default(relayed);
}
