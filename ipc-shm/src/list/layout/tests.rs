//! Unit tests of `layout`: what is written is read, and what is scribbled over is an error.

use super::*;

fn check(bytes: &[u8]) -> Result<usize> {
    super::check(bytes, bytes.len())
}

fn list(items: &[Item]) -> Vec<u8> {
    let mut bytes = vec![0; size(items).unwrap()];
    fill(&mut bytes, items).unwrap();
    assert_eq!(check(&bytes).unwrap(), items.len());
    bytes
}

fn some() -> Vec<Item> {
    vec![
        ().into(),
        true.into(),
        i64::MIN.into(),
        f64::NEG_INFINITY.into(),
        "ü\0".into(),
        b"\0\0".into(),
        "".into(),
    ]
}

#[test]
fn what_is_written_is_read() {
    let items = some();
    let bytes = list(&items);
    let read: Vec<Item> = (0..items.len()).map(|at| get(&bytes, items.len(), at).unwrap()).collect();
    assert_eq!(read, items);
    let error = get(&bytes, items.len(), items.len()).unwrap_err();
    assert!(matches!(error, Error::OutOfBounds { index: 7, len: 7 }));
    assert_eq!(check(&list(&[])).unwrap(), 0);
}

#[test]
fn a_place_has_the_next_multiple_of_eight() {
    for (len, capacity) in [(0, 8), (7, 8), (8, 16), (15, 16), (16, 24)] {
        assert_eq!(Item::from("x".repeat(len)).capacity(), Some(capacity));
        assert_eq!(Item::from(vec![0; len]).capacity(), Some(capacity));
    }
    assert_eq!(Item::from(1).capacity(), Some(8));
}

#[test]
fn every_field_that_is_wrong_is_an_error() {
    let items = some();
    let len = items.len();
    let with = |at: usize, word: u64| {
        let mut bytes = list(&items);
        put(&mut bytes, at, word).unwrap();
        bytes
    };
    for (at, word) in [(0, 1), (8, 2), (16, 100), (16, u64::MAX)] {
        assert!(matches!(check(&with(at, word)), Err(Error::NotASegment { .. })), "{at}");
    }
    for short in 0..32 {
        assert!(check(&list(&items)[..short]).is_err());
    }
    let entry = |index| HEADER + index * ENTRY;
    let all = size(&items).unwrap() as u64;
    for (at, word) in
        [(0, 0), (0, 8), (0, all), (0, u64::MAX), (8, all), (8, u64::MAX), (24, 9), (24, u64::MAX)]
    {
        let bytes = with(entry(4) + at, word);
        assert!(matches!(get(&bytes, len, 4), Err(Error::Corrupt { .. })), "{at} {word}");
    }
    assert!(matches!(get(&with(entry(1) + 16, 6), len, 1), Err(Error::Corrupt { .. })));
    assert!(matches!(get(&with(entry(1) + 24, 2), len, 1), Err(Error::Corrupt { .. })));
    let text = get(&with(entry(5) + 16, STR), len, 5);
    assert_eq!(text.unwrap(), Item::from("\0\0"), "bytes that are text as well");
    let mut bytes = list(&items);
    let at = range(&bytes, len, 4).unwrap().start;
    bytes[at] = 0xff;
    let error = get(&bytes, len, 4).unwrap_err().to_string();
    assert!(error.contains("item 4 of a list") && error.contains("utf-8"), "{error}");
    // And is whole again with the next item.
    set(&mut bytes, len, 4, &Item::from("x")).unwrap();
    assert_eq!(get(&bytes, len, 4).unwrap(), Item::from("x"));
}

#[test]
fn what_is_too_long_changes_nothing() {
    let items = some();
    let mut bytes = list(&items);
    let before = bytes.clone();
    for index in 0..items.len() {
        let error = set(&mut bytes, items.len(), index, &Item::from("123456789")).unwrap_err();
        assert!(matches!(error, Error::TooLong { needed: 9, available: 8 }), "{error}");
    }
    assert_eq!(bytes, before);
}
