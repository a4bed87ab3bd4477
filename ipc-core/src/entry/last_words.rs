//! The line that a child leaves on standard error when it has used up its stack.
//!
//! It is said by a signal handler, on a stack of 64 KiB, at a moment when any lock may be held: so the text is made beforehand, and
//! stands in memory that is always there.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crate::sys;

/// The longest text.
const ROOM: usize = 512;

/// What is said after the name.
const END: &[u8] = b" has overflowed its stack\n";

/// See the module's documentation.
pub(super) struct LastWords {
    who: [AtomicU8; ROOM],
    length: AtomicUsize,
}

impl LastWords {
    pub(super) const fn new() -> LastWords {
        LastWords { who: [const { AtomicU8::new(0) }; ROOM], length: AtomicUsize::new(0) }
    }

    /// This process is the child of this name from now on. A long name is cut.
    pub(super) fn set(&self, name: &str) {
        let name: String = name.chars().take(40).collect();
        let text = format!("\nchild {name:?} (pid {})", std::process::id());
        self.length.store(0, Ordering::Relaxed);
        for (place, byte) in self.who.iter().zip(text.bytes()) {
            place.store(byte, Ordering::Relaxed);
        }
        self.length.store(text.len().min(ROOM), Ordering::Relaxed);
    }

    /// Async-signal-safe.
    pub(super) fn say(&self) {
        let mut text = [0; ROOM + END.len()];
        let length = self.length.load(Ordering::Relaxed);
        for (to, from) in text.iter_mut().zip(&self.who[..length]) {
            *to = from.load(Ordering::Relaxed);
        }
        text[length..length + END.len()].copy_from_slice(END);
        if let Some(stderr) = sys::descriptor::standard_stream(2) {
            let _ = rustix::io::write(stderr, &text[..length + END.len()]);
        }
    }
}
