//! Parts that do not belong together, and what is kept of unfinished messages.

use super::*;

/// What is read away was counted in 32 bits, which a peer has as many packets for as it likes.
#[test]
fn the_count_of_what_is_read_away_has_an_end() {
    for content in [Content::Dropped, Content::Lost(u32::MAX - 1)] {
        let (arrived, place) = (u64::MAX - 1, u32::MAX - 1);
        let mut entry = Unfinished { id: 1, length: u64::MAX, total: 2, arrived, place, content };
        let header = Header {
            role: Role::Part,
            kind: 1,
            here: 2,
            total: 2,
            length: u64::MAX,
            id: 1,
            offset: 0,
            place: 0,
        };
        let descriptors = (0..2).map(|_| rustix::pipe::pipe().unwrap().0).collect();
        entry.grow(
            Packet { header, in_room: 2, spill: Scratch::take(), descriptors, lost: true },
            None,
            None,
        );
        assert_eq!((entry.arrived, entry.place), (u64::MAX, u32::MAX));
    }
}
