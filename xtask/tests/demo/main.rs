//! `cargo xtask demo words`, run as a user runs it, against counts made without it: by whoever wrote the
//! files, and by a Python program that knows the same definition of a word (words.py).
//!
//! `cargo xtask demo` by these words, over what cargo has brought, is a check of the matrix (src/test/checks.rs).

#![allow(clippy::unwrap_used)]

mod terminal;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, getuid, kill_process};

use tree::{Tree, command, counts, demo, said};

/// The independent count; nothing, and a word about it, where there is no Python.
fn by_python(path: &Path) -> Option<BTreeMap<String, u64>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/words.py");
    match Command::new("python3").arg(script).arg(path).stderr(Stdio::inherit()).output() {
        Ok(output) => {
            assert!(output.status.success());
            Some(counts(&String::from_utf8(output.stdout).unwrap()))
        }
        Err(error) => {
            ipc_testkit::not_run(&format!("python3 ({error}); install it with the system's packages"));
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
    for line in [
        "42 of text",
        "3 binary",
        "1 links",
        "not all UTF-8",
        "throughput",
        "speed-up",
        "one process counted the same",
    ] {
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
    let named = report.lines().filter(|line| {
        let words = line.trim_start();
        words.starts_with("pid ") && words.contains(", batch ") && words.contains(", had ")
    });
    assert_eq!(named.count() as u64, hits[0], "each of them is named: {report}");
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

/// The line of the report that says how many words there were, and how many different ones.
fn words(report: &str) -> (u64, u64) {
    let line = report.lines().find_map(|line| line.strip_prefix("words  ")?.strip_suffix(" different"));
    let line = line.unwrap_or_else(|| panic!("{report}")).replace(',', "");
    let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn without_arguments_it_counts_what_cargo_has_brought_else_the_workspace() {
    let mut tree = Tree::new("bare");
    let bare = |home: &Path| {
        let output = command(&[]).env("CARGO_HOME", home).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let report = bare(&tree.input());
    assert!(report.contains(&format!("Words under {}\n", workspace.display())), "{report}");
    assert!(words(&report).0 > 10_000, "{report}");
    tree.add_text("registry/src/index/crate/src/lib.rs", 5000);
    let report = bare(&tree.input());
    let brought = tree.input().join("registry/src");
    assert!(report.contains(&format!("Words under {}\n", brought.display())), "{report}");
    assert_eq!(words(&report), (tree.counts.values().sum(), tree.counts.len() as u64), "{report}");
}

#[test]
fn a_count_that_differs_is_exit_code_1_and_no_report() {
    let mut tree = Tree::new("miscount");
    tree.add_text("one", 2000);
    let (input, the) = (tree.input(), tree.counts["the"]);
    for (pass, args, words) in [
        ("0", &[][..], "the workers did not count what one process counts"),
        ("1", &["--kill", "--seed", "7"], "pass 1 under fire (seed 7) counted something else"),
    ] {
        let mut demo = command(&["words", input.to_str().unwrap()]);
        let output = demo.args(args).env("IPC_DEMO_MISCOUNT", pass).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(&format!("{words}:\n`the`: {}, not {the}\n", the + 1)), "{errors}");
        assert!(output.stdout.is_empty(), "{}", said(&output));
    }
}

#[test]
fn what_cannot_be_read_is_reported_and_not_fatal() {
    // In the system's directory, where any user gets to.
    let mut tree = Tree::within(&std::env::temp_dir(), "unreadable");
    tree.fill();
    tree.add("secret", b"words that are not to be read");
    tree.add("closed/file", b"nor these");
    let (secret, closed) = (tree.input().join("secret"), tree.input().join("closed"));
    let set = |mode| {
        for path in [&closed, &secret] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    let command = if getuid().is_root() { as_another_user(&tree) } else { command(&[]) };
    set(0o000);
    let (output, found) = tree.demo_by(command, &[]);
    set(0o700);
    assert_eq!(found, tree.counts);
    let report = said(&output);
    for line in ["2 unreadable\n", "  secret: Permission denied", "  closed: Permission denied"] {
        assert!(report.contains(line), "{line}: {report}");
    }
}

/// The demo by a user who, other than root, cannot read everything. The tree is that user's, and holds a copy of the program,
/// which may lie where nobody else gets to.
fn as_another_user(tree: &Tree) -> Command {
    const NOBODY: u32 = 65534;
    let program = tree.dir.join("xtask");
    // By other processes: while this one had the copy open for writing, another test's child might have it too, and running
    // it would fail (ETXTBSY).
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    run(Command::new("cp").arg(env!("CARGO_BIN_EXE_xtask")).arg(&program));
    run(Command::new("chown").args(["-R", &NOBODY.to_string()]).arg(&tree.dir));
    let mut command = Command::new(program);
    command.arg("demo").uid(NOBODY).gid(NOBODY).current_dir("/");
    command
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
