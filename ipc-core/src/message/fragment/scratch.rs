//! A buffer for one packet, kept by the thread from one message to the next.

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};

use super::LARGEST;

thread_local! {
    static KEPT: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// An empty vector with room for the content of the longest packet; it goes back to the thread on drop.
pub(crate) struct Scratch(Vec<u8>);

impl Scratch {
    pub(crate) fn take() -> Scratch {
        let mut kept = KEPT.try_with(Cell::take).ok().flatten().unwrap_or_default();
        kept.clear();
        // Pages that no packet reaches are never touched.
        kept.reserve_exact(LARGEST);
        Scratch(kept)
    }
}

impl Deref for Scratch {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scratch({} bytes)", self.len())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        let _ = KEPT.try_with(|kept| kept.set(Some(buffer)));
    }
}
