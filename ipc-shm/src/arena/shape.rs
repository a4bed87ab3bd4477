//! Where what stands in an arena. It follows from the segment's length alone, so nobody need believe what is written there.
//!
//! | bytes | what |
//! |---|---|
//! | 0..64 | the header of the object |
//! | 64..104 | the arena's lock, for all that follows |
//! | 104..128 | what is under way ([`super::ledger`]); where to look first for a free granule, and for a free entry |
//! | 128.. | a bit for each granule: it is used |
//! | | a bit for each page: it holds entries, and always will |
//! | | a word for each page of entries: a bit for each that is used |
//! | from the next page on | granules: pages of entries, and data |
//!
//! A *granule* is 64 bytes, an *entry* 128, a *page* 4096: 64 granules or 32 entries. An entry:
//!
//! | bytes | what |
//! |---|---|
//! | 0..40 | the lock of the object |
//! | 40..64 | its data, if that is small |
//! | 64..68 | its generation: odd as long as it lives; counted up when it is made and when it is freed |
//! | 68..112 | kind, the element's type, how many, where the data stands, and which lock guards it |
//!
//! Why entries never become anything else: a handle of what was freed may be asked for its lock at any time. It then takes the lock of
//! what stands there now, for a moment, sees another generation, and lets it go. If data could stand there, it would have written into that.

use crate::{Error, Result};

pub(crate) const GRANULE: usize = 64;
pub(crate) const ENTRY: usize = 128;
pub(crate) const PAGE: usize = 4096;
/// Of an entry: where its small data, its generation and the rest stand.
pub(crate) const SMALL: usize = 40;
pub(crate) const GENERATION: usize = 64;
pub(crate) const RECORD: usize = 68;

/// How many granules are a page.
pub(super) const PAGE_GRANULES: usize = PAGE / GRANULE;
/// How many entries are a page.
pub(super) const PAGE_ENTRIES: usize = PAGE / ENTRY;

/// Granules are counted by 31 bits.
const MOST: usize = GRANULE << 31;

/// Of the arena: what is under way, and the two places to look first.
pub(super) const UNDER_WAY: usize = 104;
pub(super) const NEXT_GRANULE: usize = 112;
pub(super) const NEXT_PAGE: usize = 116;
const MAPS: usize = 128;

/// The shape of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pages: usize,
}

impl Shape {
    /// Of a segment of so many bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub(crate) fn checked(len: usize) -> Result<Shape> {
        if len > MOST {
            return Err(Error::invalid("the length", format!("an arena has at most {MOST} bytes")));
        }
        let shape = Shape { pages: len / PAGE };
        if shape.pages < 2 || shape.first_page() >= shape.pages {
            return Err(Error::invalid("the length", format!("an arena has at least {} bytes", 2 * PAGE)));
        }
        Ok(shape)
    }

    pub(crate) fn pages(self) -> usize {
        self.pages
    }

    pub(crate) fn granules(self) -> usize {
        self.pages * PAGE_GRANULES
    }

    /// The first page that is not the arena's own.
    pub(crate) fn first_page(self) -> usize {
        (self.live(0) + self.pages * 4).div_ceil(PAGE)
    }

    pub(super) fn first_granule(self) -> usize {
        self.first_page() * PAGE_GRANULES
    }

    /// Where the bits of the granules stand, in words of 64; there is one for each page.
    pub(super) fn used(self) -> usize {
        MAPS
    }

    /// Where the word stands that has a page's bit, of those that say which hold entries.
    pub(super) fn entries(self, page: usize) -> usize {
        MAPS + self.pages * 8 + page / 64 * 8
    }

    /// Where the word for the entries of a page stands.
    pub(super) fn live(self, page: usize) -> usize {
        MAPS + self.pages * 8 + self.pages.div_ceil(64) * 8 + page * 4
    }
}
