//! The function that a fork server runs at its start.

use std::sync::atomic::{AtomicU32, Ordering};

use ipc_core::{Context, Error, Function, Ran};

use crate::support::Method;

/// What the first spawn says, and the second again.
fn refusal(preload: impl Function<(), Output = ()>) -> String {
    let context = Context::fork_server().preload(preload);
    let mut words = Vec::new();
    for _ in 0..2 {
        let refused = context.spawn(|text: String| text, ("given".to_string(),)).unwrap_err();
        assert!(matches!(refused.error(), Error::Preload { .. }), "{refused}");
        assert_eq!(refused.error().ran(), Ran::DidNotRun);
        words.push(refused.to_string());
        assert_eq!(refused.into_args(), ("given".to_string(),));
    }
    // The same but for the servers' process ids.
    let shape = |words: &str| words.replace(|letter: char| letter.is_ascii_digit(), "");
    assert_eq!(shape(&words[0]), shape(&words[1]));
    words.remove(0)
}

pub(crate) fn a_preload_that_panics_is_an_error() {
    let words = refusal(|| panic!("no data in {}", "/nowhere"));
    assert!(words.contains("no data in /nowhere"), "{words}");
    let words = refusal(|| std::process::exit(0));
    assert!(words.contains("exited with code 0"), "{words}");
}

pub(crate) fn a_preload_that_leaves_threads_is_an_error() {
    let words = refusal(|| {
        for _ in 0..2 {
            std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            });
        }
    });
    assert!(words.contains("2 threads"), "{words}");
}

static LOADED: AtomicU32 = AtomicU32::new(0);

fn load() {
    LOADED.store(9, Ordering::SeqCst);
}

fn loaded() -> u32 {
    LOADED.load(Ordering::SeqCst)
}

fn seen_by(context: &Context) -> u32 {
    context.spawn(loaded, ()).unwrap().join().unwrap()
}

pub(crate) fn a_preload_leaves_the_default_server_alone() {
    let default = Context::default();
    assert_eq!(seen_by(&default), 0);
    let loading = Context::default().preload(load);
    assert_eq!(seen_by(&loading), 9);
    assert_eq!(seen_by(&default), 0);
    assert_eq!(seen_by(&loading), 9);
    assert!(default.server_pid().is_some() && loading.server_pid().is_some());
    assert_ne!(default.server_pid(), loading.server_pid());
}

pub(crate) fn a_preload_on_another_context_has_no_effect() {
    for m in [Method::Exec, Method::Fork, Method::Threads] {
        let context = m.context().preload(load);
        assert_eq!(context.method(), m.start_method());
        assert_eq!(seen_by(&context), 0, "{m:?}");
    }
    assert_eq!(loaded(), 0);
}
