//! Bad weather around the program's own file: a child is an exec of it, so it must be there, and be this program.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use ipc_core::{Context, Error, Function, Ran, spawn};
use ipc_testkit::leaks;

mod programs;
use programs::program::{say, told};
use programs::{METHODS, Program, context, each_method, joined, not_run, role, sandbox};

fn add(a: u32, b: u32) -> u32 {
    a + b
}

/// A copy of this test program in a directory of its own, both removed when dropped.
struct Copy {
    directory: PathBuf,
    file: PathBuf,
}

impl Copy {
    fn new(name: &str) -> Copy {
        let directory =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("program");
        programs::copy(&std::env::current_exe().unwrap(), &file);
        Copy { directory, file }
    }

    /// Runs `test` of the copy in the role of a method.
    fn start(&self, test: &str, method: &str) -> Program {
        let mut command = Command::new(&self.file);
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env("IPC_TEST_ROLE", method);
        Program::run(command)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The program whose file is changed: spawns before and after, by the method that the role names.
fn spawns_before_and_after(method: &str) {
    let context = context(method);
    say(format_args!("sum {}", joined(context.spawn(add, (1, 2)).unwrap())));
    told();
    for (a, b) in [(2, 3), (3, 4)] {
        say(format_args!("sum {}", joined(context.spawn(add, (a, b)).unwrap())));
    }
    // A server that starts now is an exec of what the file was.
    say(format_args!("sum {}", joined(Context::fork_server().spawn(add, (4, 5)).unwrap())));
}

#[test]
fn a_replaced_binary_spawns_on() {
    if let Some(method) = role() {
        return spawns_before_and_after(&method);
    }
    let _leaks = leaks();
    for method in METHODS {
        let copy = Copy::new("replaced");
        let mut program = copy.start("a_replaced_binary_spawns_on", method);
        assert_eq!(program.hears("sum"), "3");
        // As a package manager does it: another file under the same name.
        let other = copy.directory.join("other");
        fs::copy("/bin/true", &other).unwrap();
        fs::rename(&other, &copy.file).unwrap();
        program.tell("go on");
        for sum in ["5", "7", "9"] {
            assert_eq!(program.hears("sum"), sum, "by {method}");
        }
        program.succeeds();
    }
}

#[test]
fn a_removed_binary_spawns_on() {
    if let Some(method) = role() {
        return spawns_before_and_after(&method);
    }
    let _leaks = leaks();
    for method in METHODS {
        let copy = Copy::new("removed");
        let mut program = copy.start("a_removed_binary_spawns_on", method);
        assert_eq!(program.hears("sum"), "3");
        fs::remove_file(&copy.file).unwrap();
        program.tell("go on");
        for sum in ["5", "7", "9"] {
            assert_eq!(program.hears("sum"), sum, "by {method}");
        }
        program.succeeds();
    }
}

/// The program whose file nobody may execute any more: what a spawn says, by the method that the role names.
fn spawns_what_may_not_run(method: &str) {
    let file = std::env::current_exe().unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let failed = context(method).spawn(add, (1, 2)).unwrap_err();
    assert_eq!(failed.error().ran(), Ran::DidNotRun);
    say(format_args!("said {failed}"));
}

#[test]
fn a_binary_that_may_not_be_executed_is_told_with_the_reasons() {
    if let Some(method) = role() {
        return spawns_what_may_not_run(&method);
    }
    let _leaks = leaks();
    for method in METHODS {
        let copy = Copy::new("unexecutable");
        let mut program = copy.start("a_binary_that_may_not_be_executed_is_told_with_the_reasons", method);
        let said = program.hears("said");
        let begin = "could not start a child: exec of /proc/self/exe: Permission denied (os error 13); ";
        assert!(said.starts_with(begin) && said.contains("`noexec`"), "by {method}: {said}");
        program.succeeds();
    }
}

/// What a spawn by the default way says in a process that has done something to its /proc first.
fn spawn_after(spoil: fn() -> Result<(), String>, method: &str) -> Result<Error, String> {
    sandbox::own_mounts()?;
    spoil()?;
    let failed = context(method).spawn(add, (7, 8)).expect_err("spawned without a way to the program");
    assert_eq!(failed.error().ran(), Ran::DidNotRun);
    let (args, error) = failed.into_parts();
    assert_eq!(args, (7, 8), "the arguments come back");
    // Once more: the answer stays, and nothing was left behind.
    assert!(spawn(add, (1, 1)).is_err());
    assert_eq!(ipc_core::active_children().len(), 0);
    Ok(error)
}

/// Does the same in a child by exec, for each method.
fn each_error(look: impl Function<(String,), Output = Result<Error, String>>) -> Vec<Error> {
    let _leaks = leaks();
    let mut errors = Vec::new();
    for method in METHODS {
        match joined(Context::exec().spawn(look, (method.to_owned(),)).unwrap()) {
            Ok(error) => errors.push(error),
            Err(why) => {
                not_run(&why);
                return Vec::new();
            }
        }
    }
    errors
}

#[test]
fn without_proc_a_spawn_says_what_is_missing() {
    for error in each_error(|method: String| spawn_after(sandbox::hide_proc, &method)) {
        assert!(error.to_string().contains("is /proc mounted"), "{error}");
    }
}

/// The /proc of a process in which another program stands in the place of the one that runs.
fn another_program_in_proc() -> Result<(), String> {
    let vector = fs::read("/proc/self/auxv").map_err(|e| e.to_string())?;
    let status = fs::read("/proc/thread-self/status").map_err(|e| e.to_string())?;
    sandbox::hide_proc()?;
    for directory in ["/proc/self", "/proc/thread-self"] {
        fs::create_dir(directory).map_err(|e| e.to_string())?;
    }
    fs::write("/proc/self/auxv", vector).map_err(|e| e.to_string())?;
    fs::write("/proc/thread-self/status", status).map_err(|e| e.to_string())?;
    std::os::unix::fs::symlink("/bin/sh", "/proc/self/exe").map_err(|e| e.to_string())
}

#[test]
fn another_program_is_never_run() {
    for error in each_error(|method: String| spawn_after(another_program_in_proc, &method)) {
        assert!(matches!(error, Error::Image { .. }), "{error:?}");
        assert!(error.to_string().contains("another program"), "{error}");
    }
}

/// A server that runs is no exec any more; what else a spawn wants to know stands in /proc.
#[test]
fn proc_that_vanishes_later_is_named_too() {
    let _leaks = leaks();
    let look = |method: String| -> Result<String, String> {
        let context = context(&method);
        assert_eq!(joined(context.spawn(add, (1, 2)).unwrap()), 3);
        sandbox::own_mounts()?;
        sandbox::hide_proc()?;
        match context.spawn(add, (1, 2)) {
            Ok(child) => Ok(format!("{:?}", child.join())),
            Err(failed) => Ok(failed.to_string()),
        }
    };
    for method in METHODS {
        match joined(Context::exec().spawn(look, (method.to_owned(),)).unwrap()) {
            Ok(said) => assert!(said.contains("/proc"), "by {method}: {said}"),
            Err(why) => return not_run(&why),
        }
    }
}

#[test]
fn a_spawn_goes_neither_through_argv_nor_the_working_directory() {
    let _leaks = leaks();
    each_method(|context| {
        let there = context.builder().current_dir("/").spawn(|| joined(spawn(add, (20, 3)).unwrap()), ());
        assert_eq!(joined(there.unwrap()), 23);
    });
}
