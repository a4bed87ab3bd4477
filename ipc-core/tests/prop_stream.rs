//! Properties of what reads a stream of bytes: however the bytes are split, the same comes out, and nothing beyond is taken.
#![allow(clippy::unwrap_used)]

use ipc_core::AuthKey;
use ipc_core::fuzzing::auth::{Handshake, Refusal, Role};
use ipc_core::fuzzing::stream::{Decoder, Found, HEADER, frame};
use proptest::collection::vec;
use proptest::prelude::*;

fn wire(kind: u8, content: &[u8]) -> Vec<u8> {
    let (header, kind) = frame(kind, content.len());
    [&header[..], content, &kind].concat()
}

/// Reads from `bytes` as a socket gives them: at most what is asked for, and at most so much at a time.
fn read(decoder: &mut Decoder, bytes: &mut &[u8], room: usize, most: usize, limit: usize) -> Option<Found> {
    let mut taken = 0;
    let filled = decoder.fill(room, limit, |place| {
        taken = place.len().min(most).min(bytes.len());
        place[..taken].copy_from_slice(&bytes[..taken]);
        Ok(taken)
    });
    *bytes = &bytes[taken..];
    filled.unwrap().1
}

/// The model: frame by frame, all at once.
fn expected(frames: &[(u8, Vec<u8>)], limit: usize) -> Vec<Found> {
    let found = |(kind, content): &(u8, Vec<u8>)| match content.len() {
        length if length > limit => Found::TooLong(length as u64),
        _ => Found::Frame(*kind, content.clone()),
    };
    frames.iter().map(found).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Any frames, in any splits, with looks ahead in between: the same frames, in order.
    #[test]
    fn any_split_of_a_stream_gives_the_same_frames(
        frames in vec((any::<u8>(), vec(any::<u8>(), 0..300)), 0..8),
        steps in vec((1..40_usize, any::<bool>()), 1..20),
        limit in 0..400_usize,
    ) {
        let all: Vec<u8> = frames.iter().flat_map(|(kind, content)| wire(*kind, content)).collect();
        let mut bytes = &all[..];
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        let mut steps = steps.into_iter().cycle();
        while !bytes.is_empty() {
            let (most, looks) = steps.next().unwrap();
            let room = if looks { decoder.wants_but_last() } else { decoder.wants() };
            if room == 0 {
                // The last byte of a frame: a look ahead leaves it.
                prop_assert!(looks && decoder.is_amid());
                continue_with(&mut decoder, &mut bytes, limit, &mut found);
                continue;
            }
            let came = read(&mut decoder, &mut bytes, room, most, limit);
            prop_assert!(!(looks && matches!(came, Some(Found::Frame(..)))), "a look ahead takes no frame");
            found.extend(came);
        }
        prop_assert_eq!(found, expected(&frames, limit));
        prop_assert!(!decoder.is_amid());
        prop_assert_eq!(decoder.wants(), HEADER);
    }

    /// Every prefix of a frame is the middle of it, and says how far it came.
    #[test]
    fn a_stream_that_ends_early_says_where(content in vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
        let all = wire(1, &content);
        let cut = cut.index(all.len());
        let mut bytes = &all[..cut];
        let mut decoder = Decoder::default();
        while !bytes.is_empty() {
            let room = decoder.wants();
            prop_assert_eq!(read(&mut decoder, &mut bytes, room, usize::MAX, 1000), None);
        }
        prop_assert_eq!(decoder.is_amid(), cut > 0);
        let known = (cut >= HEADER).then_some(all.len() as u64);
        prop_assert_eq!(decoder.progress(), (cut as u64, known));
    }

    /// Any bytes at all: memory follows what has arrived, whatever lengths are claimed.
    #[test]
    fn hostile_streams_take_no_memory_by_their_word(bytes in vec(any::<u8>(), 0..400), limit in any::<usize>()) {
        let mut bytes = &bytes[..];
        let mut decoder = Decoder::default();
        while !bytes.is_empty() {
            let room = decoder.wants();
            prop_assert!(room > 0 && room <= 64 * 1024);
            read(&mut decoder, &mut bytes, room, 7, limit);
        }
    }

    /// Two honest sides come to the same end as fast as on one wire, whatever the wire does to the bytes.
    #[test]
    fn any_split_of_a_handshake_ends_the_same(
        ours in proptest::option::of(vec(any::<u8>(), 0..80)),
        theirs in proptest::option::of(vec(any::<u8>(), 0..80)),
        same in any::<bool>(),
        nonces in any::<([u8; 32], [u8; 32])>(),
        steps in vec(1..80_usize, 1..10),
    ) {
        let theirs = if same { ours.clone() } else { theirs };
        let agree = ours == theirs;
        let mut listener = Handshake::new(Role::Listener, ours.clone().map(AuthKey::from_bytes), nonces.0);
        let mut client = Handshake::new(Role::Client, theirs.clone().map(AuthKey::from_bytes), nonces.1);
        let mut steps = steps.into_iter().cycle();
        let mut carry = |from: &mut Handshake, to: &mut Handshake| {
            while !from.output().is_empty() {
                let count = steps.next().unwrap().min(from.output().len());
                let part = from.output()[..count].to_vec();
                from.sent(count);
                let mut fed = 0;
                while fed < count && to.wants() > 0 {
                    fed += to.feed(&part[fed..]);
                }
            }
        };
        for _ in 0..3 {
            carry(&mut listener, &mut client);
            carry(&mut client, &mut listener);
        }
        let expected = match (&ours, &theirs) {
            _ if agree => (Ok(()), Ok(())),
            (Some(_), Some(_)) => (Err(Refusal::WrongKey), Err(Refusal::WrongKeyHere)),
            (Some(_), None) => (Err(Refusal::NoKey), Err(Refusal::KeyNeeded)),
            _ => (Err(Refusal::KeyNeeded), Err(Refusal::NoKey)),
        };
        prop_assert_eq!((listener.outcome().unwrap().clone(), client.outcome().unwrap().clone()), expected);
    }

    /// Any bytes: an outcome or a wait for at most the rest of one message, and never a success.
    #[test]
    fn garbage_never_gets_through(bytes in vec(any::<u8>(), 0..600), client in any::<bool>()) {
        let role = if client { Role::Client } else { Role::Listener };
        let mut side = Handshake::new(role, Some(AuthKey::from_bytes("a")), [1; 32]);
        let taken = side.feed(&bytes);
        prop_assert!(taken <= bytes.len() && side.wants() <= 255);
        prop_assert!(side.outcome() != Some(&Ok(())));
    }
}

/// The byte that a look ahead has left.
fn continue_with(decoder: &mut Decoder, bytes: &mut &[u8], limit: usize, found: &mut Vec<Found>) {
    let room = decoder.wants();
    found.extend(read(decoder, bytes, room, usize::MAX, limit));
}
