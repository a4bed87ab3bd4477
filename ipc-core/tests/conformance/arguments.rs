//! What a child is given and what it knows of itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipc_core::{AuthKey, Context, Descriptor, Message, active_children, parent};
use serde::{Deserialize, Serialize};

use crate::support::{Gate, Method, open, wait_at};

fn who() -> (u32, bool, usize) {
    let me = ipc_core::current();
    (me.pid(), me.is_daemon(), me.authkey().unwrap().as_bytes().len())
}

pub(crate) fn current(m: Method) {
    let (pid, daemon, key) = who();
    assert_eq!((pid, daemon), (std::process::id(), false));
    assert!(key > 0);

    let child = m.context().spawn(|| (who(), std::process::id()), ()).unwrap();
    let pid = child.pid();
    assert_eq!(child.join().unwrap(), ((pid, false, key), pid));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    name: String,
    weight: f64,
    parts: Option<BTreeMap<u8, Vec<i64>>>,
}

pub(crate) fn args_argument(m: Method) {
    fn returned<T: Message + Clone + PartialEq + std::fmt::Debug>(context: &Context, value: T) {
        let echo = |value: T| value;
        assert_eq!(context.spawn(echo, (value.clone(),)).unwrap().join().unwrap(), value);
    }
    let context = m.context();
    returned(&context, 1);
    returned(&context, "x".to_string());
    returned(&context, vec![1, 2]);
    returned(&context, ((1, "a".to_string()), vec![(2, 3)]));
    let parts = Some(BTreeMap::from([(1, vec![-1, i64::MAX]), (2, vec![])]));
    returned(&context, Order { name: "\u{e4}".into(), weight: 0.1, parts });
    let sum = context.spawn(|a: u8, b: u16, c: u32| u32::from(a) + u32::from(b) + c, (1, 2, 3)).unwrap();
    assert_eq!(sum.join().unwrap(), 6);
}

pub(crate) fn daemon_argument(m: Method) {
    fn flags(m: Method, daemon: Option<bool>) -> (bool, bool) {
        let builder = m.context().builder();
        let builder = match daemon {
            Some(daemon) => builder.daemon(daemon),
            None => builder,
        };
        let child = builder.spawn(|| ipc_core::current().is_daemon(), ()).unwrap();
        (child.is_daemon(), child.join().unwrap())
    }
    let all = |m| [None, Some(true), Some(false)].map(|daemon| flags(m, daemon));
    assert_eq!(all(m), [(false, false), (true, true), (false, false)]);
    let in_a_daemon = m.context().builder().daemon(true).spawn(all, (m,)).unwrap();
    assert_eq!(in_a_daemon.join().unwrap(), [(true, true), (true, true), (false, false)]);
}

/// What a child in [`process`] says of itself: name, pid, key, argument.
type Told = (String, u32, Vec<u8>, String);

pub(crate) fn process(m: Method) {
    let (ready, gate) = (Gate::new(), Gate::new());
    let told = |ready: Descriptor, gate: Descriptor, argument: String| -> Told {
        open(ready);
        wait_at(gate);
        let me = ipc_core::current();
        (me.name(), me.pid(), me.authkey().unwrap().as_bytes().to_vec(), argument)
    };
    let name = format!("the child of {m:?}");
    let listed = |name: &str| active_children().iter().any(|child| child.name() == name);
    assert!(!listed(&name));

    let mut builder = m.context().builder().name(&name);
    let mut key = ipc_core::current().authkey().unwrap();
    if m != Method::Threads {
        key = AuthKey::from_bytes("another key");
        builder = builder.authkey(key.clone());
    }
    let child = builder.spawn(told, (ready.key(), gate.entrance(), "argument".to_string())).unwrap();
    ready.wait();
    assert!(child.is_alive());
    assert!(listed(&name));
    assert_eq!(child.exit_status(), None);
    assert_eq!(child.name(), name);
    assert_eq!(child.pid() == std::process::id(), m == Method::Threads);
    let pid = child.pid();

    gate.open();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(child.exit_status(), Some(status));
    assert!(!child.is_alive());
    assert!(!listed(&name));
    let expected = (name, pid, key.as_bytes().to_vec(), "argument".to_string());
    assert_eq!(child.join().unwrap(), expected);
    // Who runs the body has a parent only where that is a program (see `support`).
    assert_eq!(parent().is_some(), m == Method::Fork);
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// An argument that says when it goes.
#[derive(Serialize, Deserialize)]
struct Counted(u32);

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn lose_target_ref(m: Method) {
    // The threads' counter is everybody's; each back end's test has the process to itself only where it is a program.
    crate::support::program(
        |m: Method| {
            let gate = Gate::new();
            let child = m
                .context()
                .spawn(
                    |gate: Descriptor, argument: Counted| {
                        wait_at(gate);
                        argument.0
                    },
                    (gate.entrance(), Counted(5)),
                )
                .unwrap();
            let dropped = || DROPPED.load(Ordering::SeqCst);
            assert_eq!(dropped(), usize::from(m != Method::Threads), "when spawn has returned");
            gate.open();
            child.wait().unwrap();
            assert_eq!(dropped(), 1, "when the child has ended");
            assert_eq!(child.join().unwrap(), 5);
        },
        (m,),
    );
}
