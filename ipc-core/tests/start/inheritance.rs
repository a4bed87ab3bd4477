//! What a child has of its parent, by each method.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use ipc_core::{Context, Descriptor, after_fork};

use crate::support::{Gate, Method, descriptors, number_after, open, wait_at};

static HOOKS: Mutex<Vec<(u32, u32)>> = Mutex::new(Vec::new());

fn note(number: u32) {
    HOOKS.lock().unwrap().push((number, std::process::id()));
}

fn noted() -> (u32, Vec<(u32, u32)>) {
    (std::process::id(), HOOKS.lock().unwrap().clone())
}

pub(crate) fn after_fork_hooks_run_in_forked_children() {
    let register = || {
        after_fork(|| note(1));
        after_fork(|| note(2));
    };
    let in_child = |context: &Context| {
        let (pid, noted) = context.spawn(noted, ()).unwrap().join().unwrap();
        assert!(noted.iter().all(|(_, by)| *by == pid), "{noted:?} in {pid}");
        noted.into_iter().map(|(number, _)| number).collect::<Vec<_>>()
    };
    register();
    for _ in 0..2 {
        assert_eq!(in_child(&Method::Fork.context()), [1, 2]);
    }
    assert_eq!(in_child(&Context::exec()), []);
    assert_eq!(in_child(&Context::fork_server()), [], "a server is executed");
    assert_eq!(in_child(&Context::fork_server().preload(register)), [1, 2]);
    assert_eq!(noted().1, [], "none of them ran here");
}

pub(crate) fn a_forked_child_has_the_parents_descriptors() {
    let (reader, writer) = std::io::pipe().unwrap();
    let kept = [libc::F_DUPFD_CLOEXEC, libc::F_DUPFD].map(|how| {
        // SAFETY: the descriptor is open; the new one belongs to nobody yet.
        unsafe { OwnedFd::from_raw_fd(libc::fcntl(reader.as_raw_fd(), how, 100)) }
    });
    let gate = Gate::new();
    let before = descriptors();
    let other = Context::exec().spawn(number_after, (gate.entrance(), 1)).unwrap();
    let private: Vec<_> = descriptors().into_iter().filter(|open| !before.contains(open)).collect();
    assert_eq!(private.len(), 3, "its pidfd, its control socket and its lifeline: {private:?}");

    let seen = Method::Fork.context().spawn(descriptors, ()).unwrap().join().unwrap();
    for number in
        [&reader.as_raw_fd(), &writer.as_raw_fd()].into_iter().chain(&kept.each_ref().map(|k| k.as_raw_fd()))
    {
        let open = before.iter().find(|(open, _)| open == number).unwrap();
        assert!(seen.contains(open), "{open:?} in {seen:?}");
    }
    for (_, target) in private.iter().filter(|(_, target)| !target.starts_with("anon_inode:")) {
        assert!(!seen.iter().any(|(_, theirs)| theirs == target), "{target} in {seen:?}");
    }
    gate.open();
    assert_eq!(other.join().unwrap(), 1);
}

static CHANGED: AtomicU32 = AtomicU32::new(1);

fn changed() -> u32 {
    CHANGED.fetch_add(10, Ordering::SeqCst)
}

pub(crate) fn a_forked_child_is_a_copy() {
    CHANGED.store(2, Ordering::SeqCst);
    let context = Method::Fork.context();
    for _ in 0..2 {
        assert_eq!(context.spawn(changed, ()).unwrap().join().unwrap(), 2);
    }
    assert_eq!(CHANGED.load(Ordering::SeqCst), 2, "the copy's changes are its own");
    CHANGED.store(3, Ordering::SeqCst);
    assert_eq!(context.spawn(changed, ()).unwrap().join().unwrap(), 3);
}

pub(crate) fn an_execed_child_starts_afresh() {
    CHANGED.store(2, Ordering::SeqCst);
    for m in [Method::Exec, Method::ForkServer] {
        let context = m.context();
        for _ in 0..2 {
            assert_eq!(context.spawn(changed, ()).unwrap().join().unwrap(), 1);
            CHANGED.fetch_add(1, Ordering::SeqCst);
        }
    }
}

pub(crate) fn every_method_carries_the_working_directory(m: Method) {
    fn here() -> PathBuf {
        std::env::current_dir().unwrap()
    }
    let context = m.context();
    for directory in ["/usr", "/proc", "/"] {
        std::env::set_current_dir(directory).unwrap();
        assert_eq!(context.spawn(here, ()).unwrap().join().unwrap(), PathBuf::from(directory));
        let wanted = context.builder().current_dir("/dev").spawn(here, ()).unwrap();
        assert_eq!(wanted.join().unwrap(), PathBuf::from("/dev"));
        assert_eq!(here(), PathBuf::from(directory));
    }
}

pub(crate) fn every_method_keeps_the_parents_argv(m: Method) {
    let arguments = |ready: Descriptor, gate: Descriptor, _secret: String| -> Vec<OsString> {
        open(ready);
        wait_at(gate);
        std::env::args_os().collect()
    };
    let (ready, gate) = (Gate::new(), Gate::new());
    let secret = "what-is-nobody-elses-business".to_string();
    let child = m.context().spawn(arguments, (ready.key(), gate.entrance(), secret.clone())).unwrap();
    ready.wait();
    let shown = std::fs::read_to_string(format!("/proc/{}/cmdline", child.pid())).unwrap();
    assert!(!shown.contains(&secret), "{shown}");
    gate.open();
    assert_eq!(child.join().unwrap(), std::env::args_os().collect::<Vec<_>>());
}

type Variables = BTreeMap<OsString, OsString>;

fn variables() -> Variables {
    std::env::vars_os().collect()
}

pub(crate) fn every_method_carries_the_environment(m: Method) {
    let context = m.context();
    let seen = || context.spawn(variables, ()).unwrap().join().unwrap();
    assert_eq!(seen(), variables(), "nothing more, no marker either");
    for value in [Some("one"), Some("two"), None] {
        match value {
            // SAFETY: this process has one thread that touches the environment.
            Some(value) => unsafe { std::env::set_var("IPC_TEST_VARIABLE", value) },
            // SAFETY: as above.
            None => unsafe { std::env::remove_var("IPC_TEST_VARIABLE") },
        }
        assert_eq!(seen(), variables());
        let builder = context.builder().env("IPC_TEST_VARIABLE", "its own").env_remove("PATH");
        let mut expected = variables();
        expected.insert("IPC_TEST_VARIABLE".into(), "its own".into());
        expected.remove(&OsString::from("PATH"));
        assert_eq!(builder.spawn(variables, ()).unwrap().join().unwrap(), expected);
    }
    let builder = context.builder().env("A", "lost").env_clear().env("B", "kept").envs([("C", "too")]);
    let expected: Variables = [("B", "kept"), ("C", "too")].map(|(n, v)| (n.into(), v.into())).into();
    assert_eq!(builder.spawn(variables, ()).unwrap().join().unwrap(), expected);
}
