//! Tests that cannot run on every machine.
//!
//! A test that passes because it has looked at nothing must say so where somebody reads it, and the runners swallow what passing
//! tests print. So it is also written to a file that the test matrix names, which puts it into the notes of
//! its cell; and where everything is to run (`CI` in the environment, as most services have it and `cargo xtask test --ci` sets it), it is
//! a failure. What no installation and no other user would mend, for it is the machine's kernel or its owner's choice, stays a
//! note there, too: CI could never pass on such a machine.

use std::fs::OpenOptions;
use std::io::Write;

/// Names the file that takes a line from each test that could not run.
pub const NOT_RUN: &str = "IPC_NOT_RUN";

/// Says that the calling test could not run here, and why. It then returns.
///
/// # Panics
///
/// Where everything is to run.
pub fn not_run(why: &str) {
    note(why);
    assert!(std::env::var_os("CI").is_none(), "not run: {why}");
}

/// As [`not_run`] for what this machine cannot do, however it is set up: noted, and a failure nowhere.
pub fn not_here(why: &str) {
    note(why);
}

fn note(why: &str) {
    let thread = std::thread::current();
    let line = format!("{}: not run: {}\n", thread.name().unwrap_or("a test"), why.replace('\n', " "));
    print!("{line}");
    if let Some(path) = std::env::var_os(NOT_RUN) {
        // One write, so that lines of several tests do not mix. Without the file there is still what was printed.
        let file = OpenOptions::new().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn both_are_noted_and_ci_forgives_only_the_machine() {
        const ROLE: &str = "IPC_TESTKIT_SAYS";
        match std::env::var(ROLE).as_deref() {
            Ok("not_run") => return not_run("no tool"),
            Ok("not_here") => return not_here("no such kernel"),
            _ => {}
        }
        let notes = std::env::temp_dir().join(format!("ipc-testkit-notes-{}", std::process::id()));
        for (role, ci, passes, note) in [
            ("not_run", false, true, "not run: no tool\n"),
            ("not_run", true, false, "not run: no tool\n"),
            ("not_here", true, true, "not run: no such kernel\n"),
        ] {
            let mut test = Command::new(std::env::current_exe().unwrap());
            test.args(["not_run::tests::both_are_noted_and_ci_forgives_only_the_machine", "--exact"]);
            test.env(ROLE, role).env(NOT_RUN, &notes).env_remove("CI");
            if ci {
                test.env("CI", "true");
            }
            let passed = test.output().unwrap().status.success();
            let noted = std::fs::read_to_string(&notes).unwrap();
            std::fs::remove_file(&notes).unwrap();
            assert!(noted.ends_with(note), "{role}: {noted}");
            assert_eq!(passed, passes, "{role}, CI: {ci}");
        }
    }
}
