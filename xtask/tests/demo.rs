//! `cargo xtask demo words`, run as a user runs it, against counts made without it: by whoever wrote the
//! files, and by a Python program that knows the same definition of a word (words.py).

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

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
struct Tree {
    dir: PathBuf,
    /// Where the demo writes its counts: beside the input.
    out: String,
    /// What was written, word by word.
    counts: BTreeMap<String, u64>,
    random: u32,
}

impl Tree {
    fn new(name: &str) -> Tree {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("demo-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("in")).unwrap();
        let out = dir.join("counts").into_os_string().into_string().unwrap();
        Tree { dir, out, counts: BTreeMap::new(), random: 1 }
    }

    fn input(&self) -> PathBuf {
        self.dir.join("in")
    }

    fn add(&mut self, name: &str, content: &[u8]) {
        let path = self.input().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A file of so many random words.
    fn add_text(&mut self, name: &str, words: usize) {
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

    /// Files of all kinds: 42 of text, the empty one among them, and two binary ones.
    fn corpus(name: &str) -> Tree {
        let mut tree = Tree::new(name);
        for i in 0..40 {
            tree.add_text(&format!("{}/file {i}.txt", i % 7), i * i * 4);
        }
        tree.add_text("large", 400_000); // several MB: cut into pieces
        tree.add("empty", b"");
        tree.add("1/binary", b"the words\0in here do not count");
        tree.add("binary that is large", &b"the \0 ".repeat(500_000));
        std::os::unix::fs::symlink("..", tree.input().join("2/a link that leads up")).unwrap();
        tree
    }

    fn demo(&self, args: &[&str]) -> (Output, BTreeMap<String, u64>) {
        let output =
            demo(&[&["words", self.input().to_str().unwrap(), "--counts", &self.out], args].concat());
        assert!(output.status.success(), "{}", said(&output));
        (output, counts(&fs::read_to_string(&self.out).unwrap()))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("demo").args(args);
    command
}

fn demo(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Lines of `count<TAB>word`.
fn counts(lines: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (count, word) = line.split_once('\t').unwrap();
        (word.to_owned(), count.parse().unwrap())
    };
    lines.lines().map(pair).collect()
}

/// The independent count; nothing, and a line that says so, where there is no Python.
fn by_python(path: &Path) -> Option<BTreeMap<String, u64>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/words.py");
    match Command::new("python3").arg(script).arg(path).stderr(Stdio::inherit()).output() {
        Ok(output) => {
            assert!(output.status.success());
            Some(counts(&String::from_utf8(output.stdout).unwrap()))
        }
        Err(error) => {
            eprintln!("not run: python3 ({error}); install it with the system's packages");
            None
        }
    }
}

#[test]
fn every_count_is_what_was_written_and_what_python_counts() {
    let tree = Tree::corpus("counts");
    let (output, found) = tree.demo(&[]);
    assert_eq!(found, tree.counts);
    if let Some(expected) = by_python(&tree.input()) {
        assert_eq!(found, expected);
    }
    let report = said(&output);
    for line in ["42 of text", "2 binary", "1 links", "not all UTF-8", "throughput", "speed-up"] {
        assert!(report.contains(line), "{line}: {report}");
    }
}

#[test]
fn killing_workers_changes_no_count() {
    let tree = Tree::corpus("kill");
    let (output, found) = tree.demo(&["--kill"]);
    assert_eq!(found, tree.counts);
    let report = said(&output);
    let hits: Vec<u64> = report
        .lines()
        .filter_map(|line| {
            line.strip_prefix("under fire  ")?.split_once(" workers killed with a file in hand")
        })
        .map(|(number, _)| number.parse().unwrap())
        .collect();
    assert!(hits.len() == 1 && hits[0] >= 50, "{report}");
    assert!(report.contains("run again") && report.contains("every pass counted"), "{report}");
}

#[test]
fn one_small_file_is_enough_to_kill_fifty() {
    let mut tree = Tree::new("small");
    tree.add_text("one", 2000);
    let (output, found) = tree.demo(&["--kill", "--seed", "7"]);
    assert_eq!(found, tree.counts);
    assert!(said(&output).contains("(seed 7)"), "{}", said(&output));
}

#[test]
fn the_sources_of_the_workspace_count_the_same_in_python() {
    for sources in ["src", "../ipc-core/src"] {
        let tree = Tree::new("sources");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(sources);
        let output = demo(&[&path.to_string_lossy() as &str, "--counts", &tree.out]);
        assert!(!output.status.success(), "a path alone names no demo");
        let output = demo(&["words", &path.to_string_lossy(), "--counts", &tree.out]);
        assert!(output.status.success(), "{}", said(&output));
        if let Some(expected) = by_python(&path) {
            assert_eq!(counts(&fs::read_to_string(&tree.out).unwrap()), expected, "{sources}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_reported_and_not_fatal() {
    let mut tree = Tree::corpus("unreadable");
    tree.add("secret", b"words that are not to be read");
    let secret = tree.input().join("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads it all the same; then there is nothing to see here.
    if fs::read(&secret).is_err() {
        let (output, found) = tree.demo(&[]);
        assert_eq!(found, tree.counts);
        assert!(said(&output).contains("secret: Permission denied"), "{}", said(&output));
    }
}

#[test]
fn a_path_that_is_not_there_fails_and_is_named() {
    let output = demo(&["words", "/no/such/path"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("/no/such/path"), "{}", said(&output));
}

#[test]
fn ctrl_c_ends_it_and_leaves_nobody() {
    let mut tree = Tree::new("ctrl-c");
    (0..8).for_each(|i| tree.add_text(&format!("large {i}"), 300_000));
    let mut demo = command(&["words", tree.input().to_str().unwrap(), "--kill"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(demo.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("worker processes"), "{line}");
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    // The pipes end when the last process that holds them has ended: the demo's workers as well.
    let (mut rest, mut report) = (String::new(), String::new());
    stderr.read_to_string(&mut rest).unwrap();
    demo.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("stopped by signal 2") && report.is_empty(), "{rest}{report}");
}
