//! Our side of `cargo xtask bench`, one round of every task: that the figures come, not what they are. The peers are not
//! built here, and nothing is measured.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output, Stdio};

/// What a task answers to one round of so many repetitions.
fn round(task: &[&str], times: usize) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-ours"));
    let mut contender = command
        .args(task)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The end of its input, right after, is its leave.
    let mut input = contender.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, format!("run {times}\n").as_bytes()).unwrap();
    drop(input);
    contender.wait_with_output().unwrap()
}

#[test]
fn every_task_of_ours_gives_its_figures() {
    for task in [
        &["spawn", "exec-join", "free"][..],
        &["spawn", "join", "free"],
        &["spawn", "join", "one:0"],
        &["spawn", "start", "free"],
        &["spawn", "value", "free"],
        &["spawn", "own", "free", "1"],
        &["spawn", "idle", "free", "2"],
        &["lock", "uncontended", "free", "100"],
        &["lock", "add", "free", "100"],
        &["lock", "total", "free", "1"],
        &["lock", "share", "one:0", "1"],
        &["shm", "create", "one:0", "4096"],
        &["shm", "copy", "free", "4096"],
    ] {
        let output = round(task, 2);
        let said = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{task:?}: {}: {said}{errors}", output.status);
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some("ready"), "{task:?}: {errors}");
        let figures: Vec<f64> =
            lines.next().unwrap().split_whitespace().map(|figure| figure.parse().unwrap()).collect();
        assert!(figures.len() == 2 && figures.iter().all(|figure| *figure > 0.0), "{task:?}: {said}");
        assert_eq!(lines.next(), None, "{task:?}");
    }
}

#[test]
fn an_unknown_task_is_an_error_in_words() {
    let output = round(&["spawn", "nonsense", "free"], 1);
    assert!(String::from_utf8_lossy(&output.stdout).contains("error: "), "{output:?}");
}
