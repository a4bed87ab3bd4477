//! The facade `log`: the logger that this crate installs, and records on their way into one.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use log::kv::Value;
use log::{LevelFilter, Log, Metadata};

use super::up::up;
use super::{Facade, Level, Record, origin, taken};
use crate::error::Result;
use crate::process::current::current;

/// The logger of a process: its parent's, if that relays; else the user's, or a line on standard error.
struct Logger;

static STDERR: AtomicBool = AtomicBool::new(false);

/// The user's.
static INNER: OnceLock<Box<dyn Log>> = OnceLock::new();

/// Writes records to standard error, as `[LEVEL/name] message` with the process's name, up to this level; and has children do so, each for itself
/// unless they [relay](super::relay).
///
/// ```
/// ipc_core::logging::log_to_stderr(log::LevelFilter::Warn)?;
/// log::warn!("almost full"); // [WARN/MainProcess] almost full
/// # Ok::<(), ipc_core::Error>(())
/// ```
///
/// Python's `multiprocessing.log_to_stderr`. Calling it again changes the level.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid): this process has another logger.
pub fn log_to_stderr(level: LevelFilter) -> Result<()> {
    if !STDERR.load(Ordering::Relaxed) && log::set_logger(&Logger).is_err() {
        return taken();
    }
    STDERR.store(true, Ordering::Relaxed);
    log::set_max_level(level);
    Ok(())
}

/// Installs a logger in `log` that forked children can relay past: in this process it gets everything, in them nothing.
///
/// Executed and fork-server children need no such thing; any logger of the parent's is right for them.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid): this process has a logger.
pub fn set_logger(logger: impl Log + 'static) -> Result<()> {
    if log::set_logger(&Logger).is_err() || INNER.set(Box::new(logger)).is_err() {
        return taken();
    }
    Ok(())
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        up().is_some() || INNER.get().is_none_or(|inner| inner.enabled(metadata))
    }

    fn log(&self, record: &log::Record<'_>) {
        if let (Some(up), None) = (up(), origin()) {
            let level = level_of(record.level());
            let mut sent = Record::new(Facade::Log, level, record.target(), record.args().to_string());
            sent.module = record.module_path().map(str::to_owned);
            sent.file = record.file().map(str::to_owned);
            sent.line = record.line();
            up.send(sent);
        } else if let Some(inner) = INNER.get() {
            inner.log(record);
        } else if STDERR.load(Ordering::Relaxed) {
            write(record);
        }
    }

    fn flush(&self) {
        if let (None, Some(inner)) = (up(), INNER.get()) {
            inner.flush();
        }
    }
}

fn write(record: &log::Record<'_>) {
    let name = origin().map_or_else(|| current().name(), |process| process.name);
    // One write, so that the lines of several processes do not mix. Where nobody reads, nobody is told.
    let line = format!("[{}/{name}] {}\n", record.level(), record.args());
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Gives a child's record to this process's logger.
pub(super) fn deliver(record: &Record) {
    let level = match record.level {
        Level::Error => log::Level::Error,
        Level::Warn => log::Level::Warn,
        Level::Info => log::Level::Info,
        Level::Debug => log::Level::Debug,
        Level::Trace => log::Level::Trace,
    };
    let process = [
        ("process.name", Value::from(&*record.process.name)),
        ("process.pid", Value::from(record.process.pid)),
    ];
    let give = |message: &str, level| {
        if level > log::max_level() {
            return;
        }
        log::logger().log(
            &log::Record::builder()
                .level(level)
                .target(&record.target)
                .module_path(record.module.as_deref())
                .file(record.file.as_deref())
                .line(record.line)
                .key_values(&process)
                .args(format_args!("{message}"))
                .build(),
        );
    };
    if record.lost > 0 {
        give(
            &format!("{} records of {} were lost before this one", record.lost, record.process),
            log::Level::Warn,
        );
    }
    give(&record.message, level);
}

fn level_of(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug => Level::Debug,
        log::Level::Trace => Level::Trace,
    }
}

pub(super) fn level() -> u8 {
    log::max_level() as u8
}

pub(super) fn writes_to_stderr() -> bool {
    STDERR.load(Ordering::Relaxed)
}

/// Makes this process, a child, log as its parent said.
pub(super) fn set_up(level: u8, stderr: bool, relayed: bool) {
    if stderr {
        STDERR.store(true, Ordering::Relaxed);
    }
    if stderr || relayed {
        // A forked child has its parent's.
        let _ = log::set_logger(&Logger);
    }
    let level = LevelFilter::iter().find(|known| *known as u8 == level);
    log::set_max_level(level.unwrap_or(LevelFilter::Off));
}
