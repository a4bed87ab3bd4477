//! One piece of a file: reading it, and saying what it was.
//!
//! Small files are one piece; a large one is cut, so that several workers share it and a killed
//! worker loses little. Who cuts does not look into the file: a piece is a range of bytes, and both its
//! ends move on to the next place where no word can be cut ([`is_cut`]). Two neighbours compute the
//! same place, so each word is counted once, whoever counts it.
//!
//! A file is binary if a NUL stands in its first 8 KiB (git's rule, nearly), or if more than a quarter of these is
//! not UTF-8: what is compressed has NULs enough only where it is long.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use super::words::{Tally, is_cut};

/// How much of a file is looked at to tell text from binary.
const SNIFF: u64 = 8 << 10;
/// Steps in which the end of a piece is looked for.
const STEP: u64 = 4 << 10;

/// A range of bytes of a file, and how long the file was when it was found: what has been appended
/// since is not read, so that a growing log counts the same each time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) path: OsString,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) file_len: u64,
}

/// What a piece turned out to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Outcome {
    Text {
        /// Some of its bytes are not UTF-8.
        broken: bool,
    },
    Binary,
    /// Why it could not be read. Nothing of the piece was counted.
    Unreadable(String),
}

impl Piece {
    /// How many bytes it stands for.
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Counts the words that begin in this piece. `buffer` is reused from piece to piece.
    pub(super) fn count(&self, tally: &mut Tally, buffer: &mut Vec<u8>) -> Outcome {
        match self.read(buffer) {
            Ok(Some(text)) => Outcome::Text { broken: tally.count(text) },
            Ok(None) => Outcome::Binary,
            Err(error) => Outcome::Unreadable(error.to_string()),
        }
    }

    /// The bytes of this piece, its ends moved to where words may be cut; nothing for a binary file.
    fn read<'b>(&self, buffer: &'b mut Vec<u8>) -> io::Result<Option<&'b [u8]>> {
        let file = File::open(&self.path)?;
        buffer.clear();
        append(&file, buffer, 0, SNIFF.min(self.file_len))?;
        if is_binary(buffer) {
            return Ok(None);
        }
        buffer.clear();
        // From the byte before: it says whether a word goes on into the piece.
        append(&file, buffer, self.start.saturating_sub(1), self.end)?;
        let first = match (self.start, buffer.iter().position(|byte| is_cut(*byte))) {
            (0, _) => 0,
            (_, Some(at)) => at + 1,
            (_, None) => return Ok(Some(&[])), // it goes on to beyond the end
        };
        if self.end == self.file_len {
            return Ok(Some(&buffer[first..]));
        }
        let mut look = buffer.len().saturating_sub(1);
        let mut end = self.end;
        loop {
            if let Some(at) = buffer[look..].iter().position(|byte| is_cut(*byte)) {
                return Ok(Some(&buffer[first..=look + at]));
            }
            look = buffer.len();
            let next = (end + STEP).min(self.file_len);
            if append(&file, buffer, end, next)? == 0 {
                return Ok(Some(&buffer[first..]));
            }
            end = next;
        }
    }

    /// Brings the piece into the page cache, so that no run pays for the disk alone.
    pub(super) fn warm(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        // What cannot be read is reported by the run that counts.
        let _ = File::open(&self.path).and_then(|file| append(&file, buffer, self.start, self.end));
    }
}

/// Whether a file that begins so is no text. Of random bytes, nearly half are not UTF-8; of a French text in Latin-1, one in twenty.
fn is_binary(beginning: &[u8]) -> bool {
    let broken: usize = beginning.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    beginning.contains(&0) || broken > beginning.len() / 4
}

/// Appends the bytes `from..to` of the file, and says how many there were: fewer if it has become shorter.
fn append(file: &File, buffer: &mut Vec<u8>, mut from: u64, to: u64) -> io::Result<usize> {
    let old = buffer.len();
    let mut filled = old;
    buffer.resize(old + to.saturating_sub(from) as usize, 0);
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], from) {
            Ok(0) => break,
            Ok(n) => (filled, from) = (filled + n, from + n as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(filled - old)
}

#[cfg(test)]
mod tests {
    use super::super::input::tests::Scratch;
    use super::*;

    fn pieces(scratch: &Scratch, name: &str, text: &[u8], size: u64) -> Vec<Piece> {
        let path = scratch.file(name, text).into_os_string();
        let file_len = text.len() as u64;
        (0..file_len.max(1).div_ceil(size))
            .map(|i| Piece {
                path: path.clone(),
                start: i * size,
                end: (i * size + size).min(file_len),
                file_len,
            })
            .collect()
    }

    #[test]
    fn pieces_of_any_size_count_what_the_whole_counts() {
        let scratch = Scratch::new();
        let long = "é".repeat(5000);
        let text = format!("don't stop, ÉTÉ l’été\r\n{long} ein Wort\n\nΟΔΟΣ e\u{301}te {long}");
        let mut whole = Tally::default();
        whole.count(text.as_bytes());
        for size in (1..40).chain([4096, 9999, 1 << 20]) {
            let mut tally = Tally::default();
            let mut buffer = Vec::new();
            for piece in pieces(&scratch, "text", text.as_bytes(), size) {
                assert_eq!(piece.count(&mut tally, &mut buffer), Outcome::Text { broken: false });
            }
            assert_eq!(tally.differences(&whole), [], "pieces of {size} bytes");
        }
    }

    #[test]
    fn outcomes_tell_text_binary_and_unreadable_apart() {
        let scratch = Scratch::new();
        let mut tally = Tally::default();
        let mut outcome = |piece: &Piece| piece.count(&mut tally, &mut Vec::new());
        assert_eq!(outcome(&pieces(&scratch, "empty", b"", 10)[0]), Outcome::Text { broken: false });
        assert_eq!(outcome(&pieces(&scratch, "latin", b"caf\xE9", 10)[0]), Outcome::Text { broken: true });
        let binary = pieces(&scratch, "binary", b"a\0b, and words after it", 10);
        assert!(binary.len() > 1 && binary.iter().all(|piece| outcome(piece) == Outcome::Binary));
        let compressed = [0x78, 0x9C, 0xCB, 0xB5, b'a', 0xF3, b'q', 0x91];
        assert_eq!(outcome(&pieces(&scratch, "compressed", &compressed, 10)[0]), Outcome::Binary);
        let mut gone = binary[0].clone();
        gone.path.push(".gone");
        assert!(matches!(outcome(&gone), Outcome::Unreadable(why) if why.contains("No such file")));
        assert_eq!((tally.total(), tally.get("caf")), (1, 1));
    }

    #[test]
    fn what_was_appended_since_is_not_read_and_what_was_cut_off_is_no_error() {
        let scratch = Scratch::new();
        let piece = pieces(&scratch, "log", b"one two", 100).remove(0);
        let mut tally = Tally::default();
        scratch.file("log", b"one two three");
        piece.count(&mut tally, &mut Vec::new());
        scratch.file("log", b"one");
        piece.count(&mut tally, &mut Vec::new());
        assert_eq!(tally.sorted(), [("one", 2), ("two", 1)]);
    }
}
