//! A hostile environment to the parse of the marker: two different descriptors that may be open, or nothing.
//!
//! Bytes at random never begin with the image's fingerprint, so the text is either raw or a true marker with a piece of it
//! replaced.
#![no_main]

use arbitrary::Arbitrary;
use ipc_core::fuzzing::{marker, parse_marker};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Raw(&'a str),
    True {
        control: i32,
        lifeline: i32,
    },
    Altered {
        control: i32,
        lifeline: i32,
        at: u8,
        gone: u8,
        instead: &'a str,
    },
    /// The part before the numbers is right.
    Numbers(&'a str),
}

fuzz_target!(|input: Input<'_>| {
    let text = match input {
        Input::Raw(text) => text.to_owned(),
        Input::True { control, lifeline } => {
            let found = parse_marker(&marker(control, lifeline));
            let valid = control >= 0 && lifeline >= 0 && control != lifeline;
            assert_eq!(found, valid.then_some([control, lifeline]));
            return;
        }
        Input::Altered { control, lifeline, at, gone, instead } => {
            let mut text = marker(control, lifeline);
            let at = usize::from(at) % (text.len() + 1);
            let end = (at + usize::from(gone)).min(text.len());
            text.replace_range(at..end, instead);
            text
        }
        Input::Numbers(numbers) => {
            let whole = marker(1, 2);
            format!("{}{numbers}", whole.strip_suffix("1:2").unwrap())
        }
    };
    if let Some([control, lifeline]) = parse_marker(&text) {
        assert!(control >= 0 && lifeline >= 0 && control != lifeline);
        // Only this program's own markers are obeyed.
        let true_one = marker(control, lifeline);
        let version = true_one.split(':').next().unwrap();
        assert!(text.starts_with(&format!("{version}:")), "{text:?}");
    }
});
