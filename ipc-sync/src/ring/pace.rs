//! How often a receiver looks that has to wait: by what the last waits have brought.
//!
//! Who waits for an answer wants it at once. Who waits in the middle of a stream does better to look seldom: each look takes the cache line away from the
//! sender. A stream shows in that a look finds several messages; but who looks all the time never finds more than one. So now and then a wait
//! is taken for one in a stream, to see.

use crate::waiting::Pace;

/// So many waits in a row that brought a single message were for answers.
const ANSWERS: u32 = 4;

/// Every how many waits is a try.
const TRY: u32 = 256;

/// What the last waits have brought.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    /// How many of them, in a row, a single message.
    single: u32,
}

impl Pacing {
    /// For the next wait.
    #[inline(always)]
    pub(super) fn pace(&self) -> Pace {
        if self.single < ANSWERS || self.single.is_multiple_of(TRY) { Pace::Stream } else { Pace::Answer }
    }

    /// A wait has brought a message, and perhaps more than one.
    pub(super) fn found(&mut self, more: bool) {
        self.single = if more { 0 } else { self.single.wrapping_add(1) };
    }
}
