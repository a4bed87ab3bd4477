//! The runner against programs that do it right and programs that do not. Without strace they show nothing.

use super::*;

fn walker(project: &Project, scenario: &str) -> Walker {
    let (program, _) = build(project, "ipc-testkit", "fault_bad").unwrap();
    // What hangs for ever need not be waited for as long as what may only be slow.
    let hang = if scenario == "hangs" { Duration::from_secs(2) } else { walk::HANG };
    Walker { program, scratch: walk::scratch(&project.target).unwrap(), hang }
}

/// Sweeps the testkit's example, whose scenarios are known.
fn swept(scenario: &str, table: &str) -> Option<Swept> {
    if let Err(how) = tools::strace() {
        ipc_testkit::not_run(&how);
        return None;
    }
    let project = Project::load().unwrap();
    let walker = walker(&project, scenario);
    let limits = Limits { times: 3, only: None, scenario: Some(scenario.to_owned()) };
    Some(sweep(&walker, &Table::parse(table).unwrap(), &limits).unwrap())
}

/// What libc and the loader of a child do besides.
const REST: &str = "skip close mmap munmap brk # the allocator\nskip wait4 waitid poll # waiting\n\
    skip rt_sigaction rt_sigprocmask sigaltstack exit_group execve clone clone3 vfork futex # a process\n\
    skip access newfstatat fstat read pread64 mprotect arch_prctl set_tid_address set_robust_list # a loader\n\
    skip rseq prlimit64 getrandom kill getpid pidfd_send_signal pipe2 write sched_getaffinity fcntl # and the rest\n";

fn only_failure(scenario: &str, table: &str) -> Option<String> {
    let swept = swept(scenario, &format!("{table}\n{REST}"))?;
    let whats: Vec<_> = swept.failures.iter().map(|failure| failure.what.clone()).collect();
    assert!(!whats.is_empty(), "{swept:?}");
    Some(whats.join("\n"))
}

#[test]
fn a_clear_error_is_a_good_answer_and_each_time_is_hit() {
    let Some(swept) = swept("two_opens", &format!("openat EMFILE,ENFILE # open(2)\n{REST}")) else { return };
    assert!(swept.failures.is_empty(), "{:?}", swept.failures);
    // Two opens, two errors; the third time comes through untouched.
    assert_eq!((swept.injections, swept.errors, swept.survived), (4, 3, 1), "{swept:?}");
}

#[test]
fn a_row_that_is_never_hit_fails() {
    let Some(what) = only_failure("two_opens", "openat EMFILE # open(2)\nsocket EMFILE # socket(2)") else {
        return;
    };
    assert!(what.contains("socket:EMFILE was hit in no scenario"), "{what}");
}

#[test]
fn a_call_that_the_table_does_not_know_fails() {
    let Some(what) = only_failure("two_opens", "") else { return };
    assert!(what.contains("neither lists nor skips: openat"), "{what}");
}

/// A scenario that answers a failing open badly, and what must be said of it.
fn found(scenario: &str, wanted: &str) {
    let Some(what) = only_failure(scenario, "openat EMFILE # open(2)") else { return };
    assert!(what.contains(wanted), "{scenario}: {what}");
}

#[test]
fn a_hang_is_found() {
    found("hangs", "hung");
}

#[test]
fn a_crash_is_found() {
    found("aborts", "signal");
}

#[test]
fn a_leaked_descriptor_is_found() {
    found("leaks_a_descriptor", "leak: descriptor");
}

#[test]
fn a_process_left_behind_is_found() {
    found("leaves_a_process", "left running");
}

#[test]
fn a_walk_without_region_is_found() {
    if tools::strace().is_ok() {
        let project = Project::load().unwrap();
        let error =
            walker(&project, "never_begins").walk("never_begins", walk::Who::Caller, None).unwrap_err();
        assert!(error.contains("before its region"), "{error}");
    }
}

#[test]
fn calls_of_children_are_swept_too() {
    let Some(swept) = swept("child_opens", &format!("openat EMFILE # open(2)\n{REST}")) else { return };
    // The caller opens nothing: what was hit was hit in the child, which is born in the region.
    assert!(swept.injections > 0 && swept.failures.is_empty(), "{swept:?}");
}
