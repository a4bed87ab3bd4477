//! A list whose bytes are written over between its operations: an item or an error, no panic, no access beyond the segment, and what is put
//! in after all is what comes out.
#![no_main]

use std::cell::RefCell;
use std::time::Duration;

use arbitrary::Arbitrary;
use ipc_shm::modelled::{peek, scribble};
use ipc_shm::{Error, Item, LockError, Segment, ShareableList};
use libfuzzer_sys::fuzz_target;

/// Where the list's own bytes begin, behind the object's header and lock.
const AT: usize = 128;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    /// The bytes of a list, from its own header on; none: as it was made.
    bytes: &'a [u8],
    steps: Vec<Step<'a>>,
}

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Scribble {
        at: u16,
        bytes: &'a [u8],
    },
    /// A word of the header (item 0) or of an item's entry: numbers that are near to right ones are not found by chance.
    Word {
        item: u8,
        word: u8,
        value: u64,
    },
    Near {
        item: u8,
        word: u8,
        add: i8,
    },
    Get(u8),
    Set(u8, Given<'a>),
    All,
    Again,
}

#[derive(Debug, Arbitrary)]
enum Given<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(&'a str),
    Bytes(&'a [u8]),
}

impl From<&Given<'_>> for Item {
    fn from(given: &Given<'_>) -> Item {
        match *given {
            Given::None => Item::None,
            Given::Bool(value) => value.into(),
            Given::Int(number) => number.into(),
            Given::Float(number) => number.into(),
            Given::Str(text) => text.into(),
            Given::Bytes(bytes) => bytes.into(),
        }
    }
}

thread_local! {
    /// A list, and what stood there first.
    static LIST: RefCell<Option<(Segment, Vec<u8>)>> = const { RefCell::new(None) };
}

fn begin() -> Segment {
    LIST.with_borrow_mut(|list| {
        let (segment, bytes) = list.get_or_insert_with(|| {
            let items = [
                Item::None,
                true.into(),
                7.into(),
                0.5.into(),
                "text".into(),
                b"bytes of twenty four...".into(),
            ];
            let segment = ShareableList::new(items).unwrap().segment().clone();
            let mut bytes = vec![0; segment.len()];
            peek(&segment, 0, &mut bytes).unwrap();
            (segment, bytes)
        });
        scribble(&segment, 0, bytes).unwrap();
        segment.clone()
    })
}

fn word(item: u8, word: u8) -> usize {
    AT + usize::from(item % 8) * 32 + usize::from(word % 4) * 8
}

/// An answer is an item, or one of these errors.
fn answered<T>(answer: ipc_shm::Result<T>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error @ (Error::Corrupt { .. } | Error::OutOfBounds { .. } | Error::TooLong { .. })) => {
            assert!(!error.to_string().is_empty());
            None
        }
        Err(other) => panic!("{other}"),
    }
}

fn same(one: &Item, other: &Item) -> bool {
    match (one, other) {
        (Item::Float(one), Item::Float(other)) => one.to_bits() == other.to_bits(),
        _ => one == other,
    }
}

fn take(segment: &Segment) -> Option<ShareableList> {
    match ShareableList::try_from(segment.clone()) {
        Ok(list) => {
            assert!(AT + 32 + 32 * list.len() <= segment.len());
            Some(list)
        }
        Err(Error::NotASegment { why }) => {
            assert!(!why.is_empty());
            None
        }
        Err(other) => panic!("{other}"),
    }
}

fuzz_target!(|input: Input<'_>| {
    let segment = begin();
    let room = segment.len() - AT;
    scribble(&segment, AT, &input.bytes[..input.bytes.len().min(room)]).unwrap();
    let Some(mut list) = take(&segment) else { return };
    for step in input.steps.iter().take(64) {
        match step {
            Step::Scribble { at, bytes } => {
                let at = usize::from(*at) % room;
                scribble(&segment, AT + at, &bytes[..bytes.len().min(room - at)]).unwrap();
            }
            Step::Word { item, word: number, value } => {
                // What does not fit is left out.
                let _ = scribble(&segment, word(*item, *number), &value.to_le_bytes());
            }
            Step::Near { item, word: number, add } => {
                let mut value = [0; 8];
                if peek(&segment, word(*item, *number), &mut value).is_ok() {
                    let value = u64::from_le_bytes(value).wrapping_add_signed((*add).into());
                    scribble(&segment, word(*item, *number), &value.to_le_bytes()).unwrap();
                }
            }
            Step::Get(at) => {
                answered(list.get((*at).into()));
                answered(list.capacity((*at).into()));
            }
            Step::Set(at, given) => {
                let item = Item::from(given);
                if answered(list.set((*at).into(), item.clone())).is_some() {
                    // Its place may be another's, or hold both the length and the text: only then is it changed.
                    if let Some(found) = answered(list.get((*at).into())) {
                        assert!(same(&found, &item));
                    }
                }
            }
            Step::All => {
                answered(list.to_vec());
                answered(list.format());
                answered(list.count(&Item::None));
                assert_eq!(list.iter().count(), list.len());
                assert!(!format!("{list:?}").is_empty());
            }
            Step::Again => {
                if let Some(again) = take(&segment) {
                    list = again;
                }
            }
        }
    }
    match list.lock_timeout(Duration::from_millis(1)) {
        Ok(guard) => drop(guard),
        Err(LockError::TimedOut) => panic!("nobody has it"),
        Err(error) => panic!("{error}"),
    };
});
