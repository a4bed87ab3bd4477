//! What is shown on a terminal: that of script(1), which records it.

use std::fs;
use std::process::{Command, Stdio};

use super::tree::{Tree, counts};

/// Runs the demo on a terminal of this kind: what that was shown, and the report, which went to a file. Nothing, and a word
/// about it, where there is no script.
fn on_terminal(kind: &str, tree: &Tree) -> Option<(String, String)> {
    let report = tree.dir.join("report");
    let mut script = Command::new("script");
    script.args([
        "-qec",
        "stty cols 100 rows 30; exec \"$DEMO\" demo words \"$TREE\" --counts \"$COUNTS\" >\"$REPORT\"",
    ]);
    script.arg("/dev/null").stdin(Stdio::null()).env("SHELL", "/bin/sh").env("TERM", kind);
    script.env("DEMO", env!("CARGO_BIN_EXE_xtask")).env("TREE", tree.input());
    script.env("COUNTS", &tree.out).env("REPORT", &report);
    let Ok(output) = script.output() else {
        ipc_testkit::not_run("a terminal: apt-get install bsdutils");
        return None;
    };
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(counts(&fs::read_to_string(&tree.out).unwrap()), tree.counts);
    Some((shown, fs::read_to_string(report).unwrap()))
}

/// Some megabytes: work for longer than it takes to draw once.
fn tree(name: &str) -> Tree {
    let mut tree = Tree::new(name);
    (0..8).for_each(|i| tree.add_text(&format!("large {i}"), 100_000));
    tree
}

/// The sequence that clears a line (ECMA-48, EL).
const CLEARED: &str = "\x1b[2K";

#[test]
fn a_terminal_shows_bars_and_is_left_in_order() {
    let Some((shown, report)) = on_terminal("xterm", &tree("bars")) else { return };
    assert!(
        shown.contains(" worker processes") && shown.contains("one process, for comparison"),
        "{shown:?}"
    );
    assert!(shown.contains('━') && shown.contains("MB, "), "{shown:?}");
    // Each worker's line says what it has in hand.
    let mut lines = shown.split("worker ").skip(1);
    let in_hand = |line: &str| line.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with("  large ");
    assert!(lines.any(in_hand), "{shown:?}");
    // Nothing stays of it, and none of it is in the report.
    let (_, left) = shown.rsplit_once(CLEARED).unwrap();
    assert!(!left.contains("process") && !left.contains("worker") && !left.contains('━'), "{left:?}");
    assert!(report.starts_with("Words under ") && report.contains("\nspeed-up "), "{report}");
    assert!(!report.contains('\x1b'), "{report:?}");
}

#[test]
fn a_terminal_that_cannot_draw_gets_lines() {
    let Some((shown, report)) = on_terminal("dumb", &tree("dumb")) else { return };
    assert!(shown.contains(" worker processes: ") && !shown.contains('\x1b'), "{shown:?}");
    assert!(report.starts_with("Words under "), "{report}");
}
