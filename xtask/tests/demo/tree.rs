//! Trees of text whose words are known, and the demo run on them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a word is written as, and what it counts as.
const WORDS: &[(&str, &str)] = &[
    ("the", "the"),
    ("The", "the"),
    ("don't", "don't"),
    ("l’été", "l’été"),
    ("STRASSE", "strasse"),
    ("Straße", "straße"),
    ("e\u{301}te\u{301}", "e\u{301}te\u{301}"),
    ("ΟΔΟΣ", "οδος"),
    ("Привет", "привет"),
    ("हिन्दी", "हिन्दी"),
    ("漢字", "漢字"),
    ("می\u{200C}خواهم", "می\u{200C}خواهم"),
    ("x86", "x86"),
    ("٣٤٥", "٣٤٥"),
    ("İ", "i\u{307}"),
    ("𝔘nicode", "𝔘nicode"),
];
/// What may stand between two words.
const BETWEEN: &[&[u8]] = &[
    b" ",
    b"\n",
    b"\r\n",
    b"_",
    b", ",
    b"''",
    b" \xFF ",
    b"\xE9",
    b"\xC3 ",
    "—".as_bytes(),
    "❤\u{FE0F}".as_bytes(),
];

/// A directory of its own for a test, removed at its end.
pub(crate) struct Tree {
    pub(crate) dir: PathBuf,
    /// Where the demo writes its counts: beside the input.
    pub(crate) out: String,
    /// What was written, word by word.
    pub(crate) counts: BTreeMap<String, u64>,
    random: u32,
}

impl Tree {
    pub(crate) fn new(name: &str) -> Tree {
        Tree::within(Path::new(env!("CARGO_TARGET_TMPDIR")), name)
    }

    pub(crate) fn within(parent: &Path, name: &str) -> Tree {
        let dir = parent.join(format!("demo-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("in")).unwrap();
        let out = dir.join("counts").into_os_string().into_string().unwrap();
        Tree { dir, out, counts: BTreeMap::new(), random: 1 }
    }

    pub(crate) fn input(&self) -> PathBuf {
        self.dir.join("in")
    }

    pub(crate) fn add(&mut self, name: &str, content: &[u8]) {
        let path = self.input().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A file of so many random words.
    pub(crate) fn add_text(&mut self, name: &str, words: usize) {
        let mut text = Vec::new();
        for _ in 0..words {
            let (written, counted) = WORDS[self.draw() % WORDS.len()];
            text.extend_from_slice(written.as_bytes());
            text.extend_from_slice(BETWEEN[self.draw() % BETWEEN.len()]);
            *self.counts.entry(counted.to_owned()).or_default() += 1;
        }
        self.add(name, &text);
    }

    fn draw(&mut self) -> usize {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.random >> 16) as usize
    }

    /// Files of all kinds: 42 of text, the empty one among them, three binary ones, and a hidden directory.
    pub(crate) fn corpus(name: &str) -> Tree {
        let mut tree = Tree::new(name);
        tree.fill();
        tree
    }

    pub(crate) fn fill(&mut self) {
        for i in 0..40 {
            self.add_text(&format!("{}/file {i}.txt", i % 7), i * i * 4);
        }
        self.add_text("large", 400_000); // several MB: cut into pieces
        self.add("empty", b"");
        self.add("1/binary", b"the words\0in here do not count");
        self.add("binary that is large", &b"the \0 ".repeat(500_000));
        self.add("short and compressed", b"x\x9C\xFF\xCB the \xFE\xF3\x91\xA4 the");
        self.add(".git/objects/12/34", b"words in a hidden directory do not count");
        std::os::unix::fs::symlink("..", self.input().join("2/a link that leads up")).unwrap();
    }

    pub(crate) fn demo(&self, args: &[&str]) -> (Output, BTreeMap<String, u64>) {
        self.demo_by(command(&[]), args)
    }

    /// As this command runs it.
    pub(crate) fn demo_by(&self, mut command: Command, args: &[&str]) -> (Output, BTreeMap<String, u64>) {
        command.args(["words", self.input().to_str().unwrap(), "--counts", &self.out]).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        (output, counts(&fs::read_to_string(&self.out).unwrap()))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("demo").args(args);
    command
}

pub(crate) fn demo(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Lines of `count<TAB>word`.
pub(crate) fn counts(lines: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (count, word) = line.split_once('\t').unwrap();
        (word.to_owned(), count.parse().unwrap())
    };
    lines.lines().map(pair).collect()
}
