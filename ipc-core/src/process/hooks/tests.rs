//! Unit tests of `hooks`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::process::alone::{alone, in_fork};

/// What the process of a test printed for itself.
fn lines(output: &std::process::Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| Some(line.split_once("hook: ")?.1.to_owned())).collect()
}

fn say(text: &'static str) -> impl FnOnce() + Send {
    move || println!("hook: {text}")
}

#[test]
fn greatest_priority_first_then_the_latest() {
    let output = alone("process::hooks::tests::greatest_priority_first_then_the_latest", || {
        for (priority, text) in
            [(0, "d"), (-1, "f"), (5, "b"), (0, "c"), (9, "a"), (i32::MIN, "g"), (0, "never")]
        {
            let hook = at_exit(priority, say(text));
            if text == "never" {
                assert!(hook.cancel() && !hook.cancel() && !hook.call() && !hook.still_active());
            }
        }
        println!();
    });
    if let Some(output) = output {
        assert_eq!(lines(&output), ["a", "b", "c", "d", "f", "g"]);
    }
}

#[test]
fn they_run_at_exit_too() {
    let output = alone("process::hooks::tests::they_run_at_exit_too", || {
        let _ = at_exit(0, say("ran"));
        println!();
        std::process::exit(0);
    });
    // `alone` looks at the exit code, which is the one given to `exit`.
    if let Some(output) = output {
        assert_eq!(lines(&output), ["ran"]);
    }
}

#[test]
fn a_panic_stops_only_itself() {
    let output = alone("process::hooks::tests::a_panic_stops_only_itself", || {
        let _ = at_exit(1, || panic!("in a hook"));
        let _ = at_exit(0, say("after the panic"));
        println!();
    });
    if let Some(output) = output {
        assert_eq!(lines(&output), ["after the panic"]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("in a hook"));
    }
}

#[test]
fn what_a_hook_registers_runs_as_well() {
    let output = alone("process::hooks::tests::what_a_hook_registers_runs_as_well", || {
        let _ = at_exit(0, || {
            println!("hook: outer");
            let _ = at_exit(7, say("inner"));
        });
        println!();
    });
    if let Some(output) = output {
        assert_eq!(lines(&output), ["outer", "inner"]);
    }
}

#[test]
fn children_are_joined_between_the_two_halves() {
    let output = alone("process::hooks::tests::children_are_joined_between_the_two_halves", || {
        let _ = at_exit(0, say("before"));
        let _ = at_exit(-1, say("after"));
        println!();
        run_at_exit(0);
        println!("hook: children");
        run_at_exit(i32::MIN);
    });
    if let Some(output) = output {
        assert_eq!(lines(&output), ["before", "children", "after"]);
    }
}

#[test]
fn a_forked_child_runs_none_of_its_parents() {
    let output = alone("process::hooks::tests::a_forked_child_runs_none_of_its_parents", || {
        let hook = at_exit(0, say("the parent's"));
        println!();
        let code = in_fork(|| {
            assert!(!hook.still_active() && !hook.cancel() && !hook.call());
            run_at_exit(i32::MIN);
            let _ = at_exit(0, say("the child's"));
            run_at_exit(i32::MIN);
            0
        });
        assert_eq!(code, 0);
        assert!(hook.still_active());
    });
    if let Some(output) = output {
        assert_eq!(lines(&output), ["the child's", "the parent's"]);
    }
}

#[test]
fn a_forked_child_keeps_the_registration_at_exit() {
    let output = alone("process::hooks::tests::a_forked_child_keeps_the_registration_at_exit", || {
        let _ = at_exit(0, say("the parent's"));
        println!();
        let code = in_fork(|| {
            let _ = at_exit(0, say("the child's"));
            std::process::exit(3);
        });
        assert_eq!(code, 3);
    });
    if let Some(output) = output {
        assert_eq!(lines(&output), ["the child's", "the parent's"]);
    }
}

#[test]
fn call_runs_it_once_and_now() {
    let runs = Arc::new(AtomicU32::new(0));
    let hook = at_exit(0, {
        let runs = Arc::clone(&runs);
        move || {
            runs.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(hook.still_active());
    assert!(hook.call());
    assert!(!hook.call() && !hook.cancel() && !hook.still_active());
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    // Nothing of it is kept.
    assert_eq!(Arc::strong_count(&runs), 1);
}

#[test]
fn after_a_fork_in_order_and_past_panics() {
    alone("process::hooks::tests::after_a_fork_in_order_and_past_panics", || {
        static TRACE: AtomicU32 = AtomicU32::new(0);
        after_fork(|| TRACE.store(TRACE.load(Ordering::Relaxed) * 10 + 1, Ordering::Relaxed));
        after_fork(|| panic!("in an after-fork hook"));
        after_fork(|| TRACE.store(TRACE.load(Ordering::Relaxed) * 10 + 2, Ordering::Relaxed));
        let code = in_fork(|| {
            run_after_fork();
            TRACE.load(Ordering::Relaxed) as i32
        });
        assert_eq!(code, 12);
        assert_eq!(TRACE.load(Ordering::Relaxed), 0);
    });
}
