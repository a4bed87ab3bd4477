//! Bytes in, lines out.

/// Where a line is cut that does not end.
pub(super) const LONGEST: usize = 64 * 1024;

/// Collects bytes until a line is whole. Bytes that are a whole line already are handed on without a copy.
#[derive(Default)]
pub(super) struct Lines {
    /// At most [`LONGEST`] bytes, without a newline.
    begun: Vec<u8>,
}

impl Lines {
    /// Takes bytes, emits the lines that they complete, without their ends (`\n`, `\r\n`).
    pub(super) fn feed(&mut self, bytes: &[u8], emit: &mut dyn FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(end) = piece.strip_suffix(b"\n") else {
                self.begun.extend_from_slice(piece);
                self.cut(emit);
                continue;
            };
            if self.begun.is_empty() && end.len() <= LONGEST {
                emit(end.strip_suffix(b"\r").unwrap_or(end));
                continue;
            }
            self.begun.extend_from_slice(end);
            self.cut(emit);
            emit(self.begun.strip_suffix(b"\r").unwrap_or(&self.begun));
            self.begun.clear();
        }
    }

    /// Emits what was begun, if anything was.
    pub(super) fn finish(&mut self, emit: &mut dyn FnMut(&[u8])) {
        if !self.begun.is_empty() {
            emit(&self.begun);
            self.begun = Vec::new();
        }
    }

    /// Emits pieces until what is begun is short enough, and cuts no character.
    fn cut(&mut self, emit: &mut dyn FnMut(&[u8])) {
        while self.begun.len() > LONGEST {
            let continues = |at: &usize| self.begun[*at] & 0b1100_0000 == 0b1000_0000;
            let at = (LONGEST - 3..=LONGEST).rev().find(|at| !continues(at)).unwrap_or(LONGEST);
            emit(&self.begun[..at]);
            self.begun.drain(..at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.feed(piece, &mut |line| out.push(line.to_vec()));
        }
        lines.finish(&mut |line| out.push(line.to_vec()));
        out
    }

    #[test]
    fn however_the_bytes_come_the_lines_are_the_same() {
        let text = b"one\n\ntwo\r\n\r\n\xff\xfe\nthree\rfour\nlast";
        let whole: [&[u8]; 7] = [b"one", b"", b"two", b"", b"\xff\xfe", b"three\rfour", b"last"];
        for size in 1..=text.len() {
            assert_eq!(fed(&text.chunks(size).collect::<Vec<_>>()), whole, "{size}");
        }
        assert!(fed(&[b""]).is_empty());
        assert_eq!(fed(&[b"end\n"]), [b"end"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        for size in [1000, LONGEST, 10 * LONGEST] {
            let text = vec![b'x'; 3 * LONGEST + 5];
            let lengths: Vec<_> = fed(&text.chunks(size).collect::<Vec<_>>()).iter().map(Vec::len).collect();
            assert_eq!(lengths, [LONGEST, LONGEST, LONGEST, 5], "{size}");
        }
    }

    #[test]
    fn the_longest_line_is_whole() {
        let mut text = vec![b'x'; LONGEST];
        text.extend_from_slice(b"\nnext\n");
        for size in [1000, LONGEST, 2 * LONGEST] {
            let lines = fed(&text.chunks(size).collect::<Vec<_>>());
            assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [LONGEST, 4], "{size}");
        }
    }

    #[test]
    fn no_character_is_cut() {
        for character in ["\u{e4}", "\u{20ac}", "\u{1f980}"] {
            for before in 0..4 {
                let text = "x".repeat(before) + &character.repeat(LONGEST);
                let lines = fed(&[text.as_bytes()]);
                assert!(lines.iter().all(|line| line.len() <= LONGEST && str::from_utf8(line).is_ok()));
                assert_eq!(lines.concat(), text.as_bytes());
            }
        }
        // What is no text at all is cut all the same.
        assert_eq!(fed(&[&vec![0x80; LONGEST + 1]]).len(), 2);
    }
}
