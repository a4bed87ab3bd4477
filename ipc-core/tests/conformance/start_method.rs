//! Contexts.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ipc_core::{Context, StartMethod, Stdio};

use crate::support::{Method, program, run};

fn double(n: u32) -> u32 {
    2 * n
}

/// Doubles its number by a child of its own.
fn double_by(m: Method, n: u32) -> u32 {
    m.context().spawn(double, (n,)).unwrap().join().unwrap()
}

pub(crate) fn context() {
    for m in Method::ALL {
        run(m, |m: Method| {
            let context = m.context();
            let clone = context.clone();
            for context in [context, clone] {
                assert_eq!(context.method(), m.start_method());
                assert_eq!(context.spawn(double, (4,)).unwrap().join().unwrap(), 8);
                assert_eq!(context.builder().spawn(double_by, (m, 5)).unwrap().join().unwrap(), 10);
            }
        });
    }
}

pub(crate) fn set_get() {
    let _leaks = ipc_testkit::leaks();
    program(
        || {
            assert_eq!(Context::default().method(), StartMethod::ForkServer);
            for m in Method::ALL {
                assert_eq!(double_by(m, 1), 2);
                assert_eq!(Context::default().method(), StartMethod::ForkServer);
            }
            assert_eq!(ipc_core::spawn(double, (2,)).unwrap().join().unwrap(), 4);
            assert_eq!(Context::default().method(), StartMethod::ForkServer);
        },
        (),
    );
}

pub(crate) fn get_all() {
    let methods: HashSet<_> = Method::ALL.map(Method::start_method).into();
    let all = [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork, StartMethod::Thread];
    assert_eq!(methods, HashSet::from(all));
    for m in Method::ALL {
        run(m, |m: Method| assert_eq!(double_by(m, 3), 6));
    }
}

static LOADED: AtomicU32 = AtomicU32::new(0);
static LOADED_BY: AtomicU32 = AtomicU32::new(0);
static TIMES: AtomicU32 = AtomicU32::new(0);

fn load() {
    LOADED.store(4711, Ordering::SeqCst);
    LOADED_BY.store(std::process::id(), Ordering::SeqCst);
    TIMES.fetch_add(1, Ordering::SeqCst);
}

pub(crate) fn preload_resources() {
    run(Method::ForkServer, |m: Method| {
        let context = m.context().preload(load);
        let seen = || [&LOADED, &LOADED_BY, &TIMES].map(|number| number.load(Ordering::SeqCst));
        let children = [(); 3].map(|()| context.spawn(seen, ()).unwrap());
        let server = context.server_pid().unwrap();
        for child in children {
            assert_ne!(child.pid(), server);
            assert_eq!(child.join().unwrap(), [4711, server, 1]);
        }
        assert_eq!(seen(), [0, 0, 0], "it did not run here");
    });
}

pub(crate) fn nested_startmethod(m: Method) {
    let child = m.context().spawn(|m: Method| (double(10), double_by(m, 100)), (m,)).unwrap();
    assert_eq!(child.join().unwrap(), (20, 200));
}

pub(crate) fn spawn_dont_set_context(m: Method) {
    let in_child = || {
        let before = Context::default().method() == StartMethod::ForkServer;
        let value = double_by(Method::Exec, 7);
        (before, value, Context::default().method() == StartMethod::ForkServer)
    };
    assert_eq!(m.context().spawn(in_child, ()).unwrap().join().unwrap(), (true, 14, true));
}

/// The threads allocate and lock; the children allocate, which glibc keeps possible after a fork, and touch no lock of
/// the threads'.
pub(crate) fn fork_among_threads() {
    let _leaks = ipc_testkit::leaks();
    let child = Context::exec().builder().stderr(Stdio::piped()).spawn(fork_hundred, ()).unwrap();
    let said = std::io::read_to_string(child.take_stderr().unwrap()).unwrap();
    child.join().unwrap();
    assert_eq!(said, "");
}

fn fork_hundred() {
    let (stop, lock) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (stop, lock) = (&stop, &lock);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let mut text = lock.lock().unwrap();
                    text.clear();
                    text.extend(vec![thread; 100 + thread]);
                }
            });
        }
        let context = Method::Fork.context();
        for n in 0..100 {
            let child = context.spawn(|n: u32| format!("number {n}"), (n,)).unwrap();
            let value = child.join();
            if value.is_err() {
                stop.store(true, Ordering::SeqCst);
            }
            assert_eq!(value.unwrap(), format!("number {n}"));
        }
        stop.store(true, Ordering::SeqCst);
    });
}
