//! The backtrace of a panic: captured where std would, and cut to what is the user's.
//!
//! Naming the frames means reading the program's debug information anew in each child that panics, which took 200 to 300 ms here
//! where the panic alone takes less than one. So they are had for the asking, as std has it: `RUST_BACKTRACE`, or
//! `RUST_LIB_BACKTRACE` for this alone.
//!
//! Around a function there are some fifty frames that say nothing of it: the panic's own on top, below it the child's way to the function,
//! and in a child of a fork server the server's way there. std cuts at two functions, known by their names, and so do we; ours
//! has the same name, so that what std prints is cut as well. `RUST_BACKTRACE=full` keeps all.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write;

/// The frames, if the environment asks for them.
pub(super) fn capture() -> Option<Backtrace> {
    Some(Backtrace::capture()).filter(|backtrace| backtrace.status() == BacktraceStatus::Captured)
}

/// Calls a user's function, and marks the frames above as the user's.
#[inline(never)]
pub(crate) fn __rust_begin_short_backtrace<T>(f: impl FnOnce() -> T) -> T {
    let value = f();
    // Something is left to do, so that this frame is not given up for the function's.
    std::hint::black_box(());
    value
}

/// The frames as lines.
pub(super) fn lines(backtrace: &Backtrace) -> String {
    let all = backtrace.to_string();
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|wish| wish == "full") { all } else { cut(&all) }
}

/// The frames between the marks, numbered anew. Each begins with a line of its number and name, or its name alone where it was
/// inlined into the next; a line of its place may follow. Without the marks (a program without symbols) all are kept.
fn cut(all: &str) -> String {
    let mut frames: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in all.lines() {
        match frames.last_mut() {
            Some((_, places)) if line.trim_start().starts_with("at ") => places.push(line),
            _ => {
                let line = line.trim_start();
                let name = line.split_once(": ").filter(|(number, _)| number.parse::<u32>().is_ok());
                frames.push((name.map_or(line, |(_, name)| name), Vec::new()));
            }
        }
    }
    let place = |of: &str| frames.iter().position(|(name, _)| name.contains(of));
    let begin = place("__rust_end_short_backtrace").map_or(0, |at| at + 1);
    let end = place("__rust_begin_short_backtrace").filter(|end| *end >= begin).unwrap_or(frames.len());
    let mut kept = String::new();
    for (number, (name, places)) in frames[begin..end].iter().enumerate() {
        let _ = writeln!(kept, "{number:4}: {name}");
        for place in places {
            let _ = writeln!(kept, "{place}");
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_others_are_cut() {
        let all = "   0: std::backtrace::Backtrace::create\n   1: std::sys::backtrace::__rust_end_short_backtrace\n             \
                   at /rustc/library/std/src/sys/backtrace.rs:170:18\n   2: core::panicking::panic_fmt\n             at \
                   /rustc/x.rs:75:14\n   3: app::deep\n             at ./src/main.rs:4:5\n      app::inlined\n  10: \
                   ipc_core::entry::trace::__rust_begin_short_backtrace\n  11: main\n  12: \
                   ipc_core::entry::trace::__rust_begin_short_backtrace\n  13: _start\n";
        let kept = "   0: core::panicking::panic_fmt\n             at /rustc/x.rs:75:14\n   1: app::deep\n             \
                    at ./src/main.rs:4:5\n   2: app::inlined\n";
        assert_eq!(cut(all), kept);
        assert_eq!(cut("   0: <unknown>\n   1: <unknown>\n"), "   0: <unknown>\n   1: <unknown>\n");
        assert_eq!(cut(""), "");
    }
}
