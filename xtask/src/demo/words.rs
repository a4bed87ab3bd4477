//! What a word is, and counting them.
//!
//! A word begins with a letter or a number, goes on over letters, marks, numbers and the two joiners
//! U+200C and U+200D, and a single apostrophe (' or ’) between two such runs belongs to it. As a
//! regular expression over Unicode's general categories:
//!
//! ```text
//! W = [LN][LMN\u200C\u200D]*        word = W(['’]W)*
//! ```
//!
//! So `don't`, `l’été` (composed or not), `हिन्दी` and `42` are one word each, and `foo_bar` is two.
//! Words are counted in lower case (Unicode's full mapping, word by word). Scripts that set no spaces
//! between words would need a dictionary: there a whole run counts as one. Bytes that are not UTF-8
//! end a word and are nothing else; the rest of such a file counts.
//!
//! The definition is this simple so that it can be checked by ten lines of another language:
//! `tests/words.py` does, and `tests/demo` compares every count with it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Counts as they travel: two blocks, not a string for each word, which took a quarter of the time.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Counted {
    /// One a line; no word contains the end of one.
    words: String,
    counts: Vec<u64>,
}

/// How often each word was seen.
#[derive(Default)]
pub(super) struct Tally {
    counts: HashMap<String, u64>,
    lower: String,
}

impl Tally {
    /// Counts the words of `text`; says whether some of its bytes were not UTF-8.
    pub(super) fn count(&mut self, text: &[u8]) -> bool {
        let mut broken = false;
        for chunk in text.utf8_chunks() {
            each_word(chunk.valid(), |word| self.count_one(word));
            broken |= !chunk.invalid().is_empty();
        }
        broken
    }

    fn count_one(&mut self, word: &str) {
        if word.is_ascii() {
            self.lower.clear();
            self.lower.push_str(word);
            self.lower.make_ascii_lowercase();
        } else {
            self.lower = word.to_lowercase();
        }
        match self.counts.get_mut(&self.lower) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(self.lower.clone(), 1);
            }
        }
    }

    /// Adds what another one has counted.
    pub(super) fn add(&mut self, counted: &Counted) {
        for (word, count) in counted.words.split_terminator('\n').zip(&counted.counts) {
            match self.counts.get_mut(word) {
                Some(known) => *known += count,
                None => {
                    self.counts.insert(word.to_owned(), *count);
                }
            }
        }
    }

    /// The counts, in no particular order.
    pub(super) fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        for (word, count) in &self.counts {
            counted.words.push_str(word);
            counted.words.push('\n');
            counted.counts.push(*count);
        }
        counted
    }

    pub(super) fn get(&self, word: &str) -> u64 {
        self.counts.get(word).copied().unwrap_or(0)
    }

    /// Distinct words.
    pub(super) fn distinct(&self) -> usize {
        self.counts.len()
    }

    /// All words, each as often as it was seen.
    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The most frequent first; equals in the order of their bytes.
    pub(super) fn sorted(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.counts.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all
    }

    /// Every word whose count differs, with its count here and there, in order.
    pub(super) fn differences<'a>(&'a self, other: &'a Tally) -> Vec<(&'a str, u64, u64)> {
        let only_there = other.counts.keys().filter(|word| !self.counts.contains_key(*word));
        let mut found: Vec<_> = self
            .counts
            .keys()
            .chain(only_there)
            .map(|word| (word.as_str(), self.get(word), other.get(word)))
            .filter(|(_, here, there)| here != there)
            .collect();
        found.sort_unstable();
        found
    }
}

/// What a character can do in a word.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// A letter or a number: begins a word and goes on with it.
    Begins,
    /// A mark or a joiner: only goes on.
    Continues,
    Apostrophe,
    Separates,
}

fn role(c: char) -> Role {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => Role::Begins,
        '\'' | '’' => Role::Apostrophe,
        '\u{200C}' | '\u{200D}' => Role::Continues,
        _ if c.is_ascii() => Role::Separates,
        _ => match c.general_category_group() {
            GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number => Role::Begins,
            GeneralCategoryGroup::Mark => Role::Continues,
            _ => Role::Separates,
        },
    }
}

/// Whether a text may be cut after this byte without cutting a word: it is ASCII, so never a part of
/// a longer character, and stands in no word.
pub(super) fn is_cut(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_alphanumeric() && byte != b'\''
}

fn each_word(text: &str, mut found: impl FnMut(&str)) {
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if role(c) != Role::Begins {
            continue;
        }
        let mut end = start + c.len_utf8();
        while let Some(&(at, c)) = chars.peek() {
            match role(c) {
                Role::Begins | Role::Continues => end = at + c.len_utf8(),
                Role::Separates => break,
                Role::Apostrophe => {
                    let after = text[at + c.len_utf8()..].chars().next();
                    if after.is_none_or(|c| role(c) != Role::Begins) {
                        break;
                    }
                }
            }
            chars.next();
        }
        found(&text[start..end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        each_word(text, |word| all.push(word.to_lowercase()));
        all
    }

    #[test]
    fn letters_marks_and_numbers_make_a_word() {
        assert_eq!(words("The end, the END."), ["the", "end", "the", "end"]);
        assert_eq!(words("foo_bar 3.14 x2"), ["foo", "bar", "3", "14", "x2"]);
        assert_eq!(words("Straße ÉTÉ e\u{301}te\u{301}"), ["straße", "été", "e\u{301}te\u{301}"]);
        assert_eq!(words("हिन्दी，漢字 ΟΔΟΣ"), ["हिन्दी", "漢字", "οδος"]);
        assert_eq!(words("می\u{200C}خواهم"), ["می\u{200C}خواهم"]);
    }

    #[test]
    fn an_apostrophe_joins_but_never_begins_or_ends() {
        assert_eq!(words("don't l’eau"), ["don't", "l’eau"]);
        assert_eq!(words("'tis the dogs' 'a' a''b a'"), ["tis", "the", "dogs", "a", "a", "b", "a"]);
        assert_eq!(words("rock'n'roll a'’b"), ["rock'n'roll", "a", "b"]);
    }

    #[test]
    fn a_mark_alone_is_no_word() {
        assert_eq!(words("❤\u{FE0F} \u{301}\u{301} \u{200D} a' \u{301}"), ["a"]);
    }

    #[test]
    fn bytes_that_are_not_utf8_separate() {
        let mut tally = Tally::default();
        assert!(tally.count(b"caf\xE9 na\xC3\xAFve a\xFFb\r\nB"));
        assert_eq!(tally.sorted(), [("b", 2), ("a", 1), ("caf", 1), ("naïve", 1)]);
        assert!(!tally.count("naïve".as_bytes()));
        assert_eq!((tally.get("naïve"), tally.total(), tally.distinct()), (2, 6, 4));
    }

    #[test]
    fn counts_travel_whole() {
        let (mut here, mut there) = (Tally::default(), Tally::default());
        here.count("ein Wort, ein ÉTÉ".as_bytes());
        there.add(&here.counted());
        there.add(&here.counted());
        assert_eq!(there.sorted(), [("ein", 4), ("wort", 2), ("été", 2)]);
        there.add(&Tally::default().counted());
        assert_eq!((there.total(), there.distinct()), (8, 3));
    }

    #[test]
    fn differences_are_found_on_both_sides() {
        let (mut here, mut there) = (Tally::default(), Tally::default());
        here.count(b"a b b c");
        there.count(b"a b d");
        assert_eq!(here.differences(&there), [("b", 2, 1), ("c", 1, 0), ("d", 0, 1)]);
        assert!(here.differences(&here).is_empty());
    }

    #[test]
    fn a_cut_never_falls_into_a_word() {
        let text = "don't, stop: l’été_ΟΔΟΣ 3.14\nx";
        let whole = words(text);
        for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| is_cut(*byte)) {
            let mut parts = words(&text[..=at]);
            parts.extend(words(&text[at + 1..]));
            assert_eq!(parts, whole, "cut after byte {at} ({byte})");
        }
    }
}
