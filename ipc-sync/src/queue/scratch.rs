//! Room for an item's bytes, on their way in and out, which a thread uses again.

use std::cell::RefCell;

thread_local! {
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// No more of it is kept from one item to the next.
const KEPT: usize = 1 << 20;

/// Empty room.
pub(super) fn room() -> Vec<u8> {
    ROOM.try_with(|room| room.take()).unwrap_or_default()
}

/// Room that is not needed any more.
pub(super) fn keep(mut room: Vec<u8>) {
    if room.capacity() <= KEPT {
        room.clear();
        let _ = ROOM.try_with(|kept| kept.replace(room));
    }
}
