//! Hostile start messages to a child: an error in words or a function of this program, found where its name says; never a
//! panic, never a jump to anywhere else, no descriptor too many.
//!
//! Bytes at random name no function, so most messages are true ones whose name is another, whose bytes are changed, or that
//! are cut.
#![no_main]

use std::os::fd::OwnedFd;

use arbitrary::Arbitrary;
use ipc_core::fuzzing::{start, start_message};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    message: Message<'a>,
    descriptors: u8,
}

#[derive(Debug, Arbitrary)]
enum Message<'a> {
    Raw(&'a [u8]),
    /// A head of a length that is right.
    Head(&'a [u8]),
    Named {
        second: bool,
        offset: Offset,
        types: Hash,
        image: Hash,
        numbers: Vec<i32>,
        given: u8,
        changes: Vec<(u16, u8)>,
        cut: Option<u16>,
        args: &'a [u8],
    },
}

#[derive(Debug, Arbitrary)]
enum Offset {
    Right,
    /// By words, near and far: what lies around entries in the image.
    Words(i16),
    Far(i32),
    Any(u64),
}

#[derive(Debug, Arbitrary)]
enum Hash {
    Right,
    Wrong(u64),
}

impl Hash {
    fn flips(&self) -> u64 {
        match self {
            Hash::Right => 0,
            Hash::Wrong(flips) => *flips,
        }
    }
}

/// Functions that may be named and are never called.
fn one(text: String) -> usize {
    panic!("called with {text}")
}

fn two(a: u8, b: Vec<u32>) -> Result<u8, String> {
    panic!("called with {a} {b:?}")
}

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A name is a place in the image, and looking whether a function stands there reads constants at any distance from
/// functions: inside the image, which is checked, and between its variables, which the sanitizer would report.
// SAFETY: the sanitizer's runtime asks this function for its options, by this name; nobody else has it.
#[unsafe(no_mangle)]
extern "C" fn __asan_default_options() -> *const std::ffi::c_char {
    c"report_globals=0".as_ptr()
}

fuzz_target!(|input: Input<'_>| {
    let before = open();
    let mut expected = None;
    let body = match input.message {
        Message::Raw(bytes) => bytes.to_vec(),
        Message::Head(bytes) => [&(bytes.len() as u32).to_le_bytes(), bytes].concat(),
        Message::Named { second, offset, types, image, numbers, given, changes, cut, args } => {
            let offset = match offset {
                Offset::Right => 0,
                Offset::Words(words) => (i64::from(words) * 8) as u64,
                Offset::Far(bytes) => i64::from(bytes) as u64,
                Offset::Any(bytes) => bytes,
            };
            let (types, image) = (types.flips(), image.flips());
            let named = (0..3).filter(|stream| given >> (2 * stream) & 3 == 1).count() + numbers.len();
            let mut body = match second {
                false => start_message(one, offset, types, image, numbers, given),
                true => start_message(two, offset, types, image, numbers, given),
            };
            body.extend_from_slice(args);
            if changes.is_empty() && cut.is_none() {
                let right = offset == 0 && types == 0 && image == 0;
                expected = Some((right, named));
            }
            for (at, flips) in changes {
                let at = usize::from(at) % body.len();
                body[at] ^= flips;
            }
            body.truncate(cut.map_or(usize::MAX, usize::from));
            body
        }
    };
    let count = usize::from(input.descriptors % 8);
    let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let descriptors = (0..count).map(|_| null.try_clone().unwrap()).collect();
    let found = start(&body, descriptors);
    match (&found, expected) {
        (Ok((placed, for_args)), Some((right, named))) => {
            assert!(right, "another name was taken for the function");
            assert_eq!((*placed, placed + for_args), (named, count));
        }
        (Ok((placed, for_args)), None) => assert_eq!(placed + for_args, count),
        (Err(why), Some((true, named))) => assert!(named > count, "{why}"),
        (Err(why), _) => assert!(!why.is_empty()),
    }
    drop((null, found));
    assert_eq!(open(), before);
});
