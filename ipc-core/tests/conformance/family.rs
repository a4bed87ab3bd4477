//! Parents, children, and many of them.

use std::collections::HashSet;
use std::sync::Mutex;

use ipc_core::{Child, Descriptor, Signal, current, parent};

use crate::support::{Gate, Method, number_after, open, stay, wait_at};

pub(crate) fn parent_process_attributes(m: Method) {
    if m != Method::Fork {
        assert!(parent().is_none(), "a first process has none");
    }
    let told = || parent().map(|parent| (parent.pid(), parent.name().to_string(), parent.is_alive()));
    let child = m.context().spawn(told, ()).unwrap();
    assert_eq!(child.join().unwrap(), Some((std::process::id(), current().name(), true)));
}

pub(crate) fn parent_process(m: Method) {
    let (lives, ended) = (Gate::new(), Gate::new());
    let grandchild = |lives: Descriptor, ended: Descriptor| {
        let parent = parent().unwrap();
        assert!(parent.is_alive());
        open(lives);
        parent.join().unwrap();
        assert!(!parent.is_alive());
        open(ended);
    };
    let middle = move |m: Method, lives: Descriptor, ended: Descriptor| {
        let _child = m.context().builder().detached(true).spawn(grandchild, (lives, ended)).unwrap();
        loop {
            std::thread::park();
        }
    };
    let child: Child<()> = m.context().spawn(middle, (m, lives.key(), ended.key())).unwrap();
    lives.wait();
    child.terminate().unwrap();
    ended.wait();
    assert_eq!(child.join().unwrap_err().signal(), Some(Signal::TERM));
}

pub(crate) fn active_children(m: Method) {
    let name = format!("active by {m:?}");
    let listed =
        |pid: u32| ipc_core::active_children().iter().any(|child| child.pid() == pid && child.name() == name);
    let gate = Gate::new();
    assert!(!ipc_core::active_children().iter().any(|child| child.name() == name));
    let child = m.context().builder().name(&name).spawn(number_after, (gate.entrance(), 1)).unwrap();
    assert!(listed(child.pid()));
    gate.open();
    child.wait().unwrap();
    assert!(!listed(child.pid()));
    assert_eq!(child.join().unwrap(), 1);
}

/// What the threads of [`recursion`] write to.
static PATHS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Notes its path, then has its two children do so, one after the other: what they noted, in order.
fn node(m: Method, path: Vec<u8>) -> Vec<Vec<u8>> {
    let mut noted = vec![path.clone()];
    if m == Method::Threads {
        PATHS.lock().unwrap().push(path.clone());
    }
    if path.len() < 2 {
        let context = m.context();
        for i in 0..2 {
            let path = [path.as_slice(), &[i]].concat();
            noted.extend(context.spawn(node, (m, path)).unwrap().join().unwrap());
        }
    }
    noted
}

pub(crate) fn recursion(m: Method) {
    let expected: [&[u8]; 7] = [&[], &[0], &[0, 0], &[0, 1], &[1], &[1, 0], &[1, 1]];
    assert_eq!(node(m, Vec::new()), expected);
    if m == Method::Threads {
        assert_eq!(*PATHS.lock().unwrap(), expected);
    }
}

const MANY: u32 = 100;

/// `support::run` looks for what is left of them.
pub(crate) fn many_processes(m: Method) {
    let (context, gate) = (m.context(), Gate::new());
    let entrance = |number| (gate.entrance(), number);
    let children: Vec<_> =
        (0..MANY).map(|number| context.spawn(number_after, entrance(number)).unwrap()).collect();
    let pids: HashSet<_> = children.iter().map(Child::pid).collect();
    assert_eq!(pids.len(), MANY as usize);
    children.iter().for_each(|_| gate.open());
    for (number, child) in (0..).zip(children) {
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(child.join().unwrap(), number);
    }

    let ready = Gate::new();
    let children: Vec<_> = (0..MANY).map(|_| context.spawn(stay, (ready.key(),)).unwrap()).collect();
    children.iter().for_each(|_| ready.wait());
    children.iter().for_each(|child| child.terminate().unwrap());
    for child in children {
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM));
        assert_eq!(child.join().unwrap_err().signal(), Some(Signal::TERM));
    }
    // Nobody waits here any more.
    gate.open();
    wait_at(gate.entrance());
}
