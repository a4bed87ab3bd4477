//! Arguments and results of every size: nothing, one packet, a memory file, a gigabyte; and many at once.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use ipc_core::Bytes;
use ipc_testkit::leaks;

mod programs;
use programs::{each_method, joined, not_run};

/// Bytes that differ from place to place; in blocks, for unoptimised loops over each byte are slow.
fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        bytes.extend_from_slice(&BLOCK[..BLOCK.len().min(len - bytes.len())]);
    }
    bytes
}

fn is_pattern(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK.len()).all(|chunk| *chunk == BLOCK[..chunk.len()])
}

/// Its length is no power of two, so that a block in the wrong place is seen.
static BLOCK: [u8; 65_537] = {
    let mut block = [0; 65_537];
    let mut at = 0;
    while at < block.len() {
        block[at] = (at % 251) as u8;
        at += 1;
    }
    block
};

fn take(bytes: Bytes) -> Option<usize> {
    is_pattern(&bytes).then_some(bytes.len())
}

fn give(len: usize) -> Bytes {
    pattern(len).into()
}

#[test]
fn from_nothing_to_many_megabytes() {
    let _leaks = leaks();
    each_method(|context| {
        // Around the sizes where the way changes: the inline body ends at 32 KiB.
        let sizes = [0, 1, 127, 128, 1000, 32_000, 32_767, 32_768, 32_769, 65_536, 1 << 20, 64 << 20];
        for size in sizes {
            assert_eq!(joined(context.spawn(take, (pattern(size).into(),)).unwrap()), Some(size));
            let given = joined(context.spawn(give, (size,)).unwrap());
            assert_eq!(given.len(), size);
            assert!(is_pattern(&given));
        }
    });
}

#[test]
fn vectors_go_element_by_element() {
    let _leaks = leaks();
    each_method(|context| {
        for size in [0, 1, 32_768, 1 << 20, 2 << 20] {
            let echo = joined(context.spawn(|v: Vec<u8>| v, (pattern(size),)).unwrap());
            assert_eq!(echo.len(), size);
            assert!(is_pattern(&echo));
        }
        let words: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        assert_eq!(joined(context.spawn(|w: Vec<String>| w, (words.clone(),)).unwrap()), words);
    });
}

#[test]
fn nothing_at_all() {
    let _leaks = leaks();
    each_method(|context| {
        joined(context.spawn(|| (), ()).unwrap());
        assert_eq!(
            joined(context.spawn(|s: String, v: Vec<()>| (s, v), (String::new(), vec![])).unwrap()),
            (String::new(), vec![])
        );
    });
}

#[test]
fn a_gigabyte() {
    const GIB: usize = 1 << 30;
    let _leaks = leaks();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let available: usize = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    if available < 6 << 20 {
        return not_run("a gigabyte on its way is there up to five times: 6 GiB of free memory are needed");
    }
    // One way at a time, so that less of it is there at once.
    each_method(|context| {
        assert_eq!(joined(context.spawn(take, (pattern(GIB).into(),)).unwrap()), Some(GIB));
        let given = joined(context.spawn(give, (GIB,)).unwrap());
        assert_eq!(given.len(), GIB);
        assert!(is_pattern(&given));
    });
}

/// No parent waits for a child to read, no child for its parent: all are started before one is joined.
#[test]
fn large_values_of_many_children_at_once() {
    let _leaks = leaks();
    each_method(|context| {
        let size = 4 << 20;
        let start = |_| context.spawn(|bytes: Bytes| bytes, (pattern(size).into(),)).unwrap();
        let children: Vec<_> = (0..20).map(start).collect();
        for child in children.into_iter().rev() {
            assert!(is_pattern(&joined(child)));
        }
    });
}

/// A value nobody asks for holds up nobody and leaves nothing.
#[test]
fn large_values_that_nobody_takes() {
    let _leaks = leaks();
    each_method(|context| {
        for _ in 0..4 {
            let child = context.spawn(give, (16 << 20,)).unwrap();
            assert!(child.wait().unwrap().success());
            drop(child);
        }
        // The next spawn sweeps the last one's descriptors away.
        joined(context.spawn(|| (), ()).unwrap());
    });
}
