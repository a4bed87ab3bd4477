//! Hostile bytes to the reader of frames over TCP, in any splits and with looks ahead: what comes out is what the plain reading
//! of the bytes gives, and memory follows what has arrived.
#![no_main]

use arbitrary::Arbitrary;
use ipc_core::fuzzing::stream::{Decoder, Found, HEADER};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    limit: u16,
    steps: Vec<(u8, bool)>,
    parts: Vec<Part<'a>>,
}

#[derive(Debug, Arbitrary)]
enum Part<'a> {
    Raw(&'a [u8]),
    /// A frame whose length is right, or off by this.
    Frame { off: i8, rest: &'a [u8] },
}

/// The plain reading: all at once, frame by frame.
fn plain(mut bytes: &[u8], limit: usize) -> Vec<Found> {
    let mut all = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        let length = u64::from_le_bytes(*header);
        bytes = rest;
        if length == 0 {
            all.push(Found::Malformed);
            continue;
        }
        if length - 1 > limit as u64 {
            all.push(Found::TooLong(length - 1));
            bytes = &bytes[usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len())..];
            continue;
        }
        let Some((body, rest)) = bytes.split_at_checked(length as usize) else { break };
        bytes = rest;
        all.push(Found::Frame(body[body.len() - 1], body[..body.len() - 1].to_vec()));
    }
    all
}

fuzz_target!(|input: Input<'_>| {
    let mut bytes = Vec::new();
    for part in &input.parts {
        match part {
            Part::Raw(raw) => bytes.extend_from_slice(raw),
            Part::Frame { off, rest } => {
                bytes.extend((rest.len() as u64).wrapping_add_signed((*off).into()).to_le_bytes());
                bytes.extend_from_slice(rest);
            }
        }
    }
    let limit = usize::from(input.limit);
    let mut left = &bytes[..];
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    let mut steps = input.steps.iter().cycle();
    while !left.is_empty() {
        let (most, looks) = steps.next().copied().unwrap_or((255, false));
        let room = match decoder.wants_but_last() {
            ahead if looks && ahead > 0 => ahead,
            _ => decoder.wants(),
        };
        assert!(room > 0);
        let most = usize::from(most).max(1);
        let (_, came) = decoder
            .fill(room, limit, |place| {
                let count = place.len().min(most).min(left.len());
                place[..count].copy_from_slice(&left[..count]);
                left = &left[count..];
                Ok(count)
            })
            .unwrap();
        found.extend(came);
    }
    assert_eq!(found, plain(&bytes, limit));
});
