//! Values and waiting for them.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ipc_core::{Builder, Child, Context, Error};
use ipc_testkit::GENEROUS;

use crate::support::{Gate, Method, await_end, is_child, number_after, program};

pub(crate) fn join_gives_the_value(m: Method) {
    let context = m.context();
    context.spawn(|| (), ()).unwrap().join().unwrap();
    assert_eq!(context.spawn(|| i128::MIN, ()).unwrap().join().unwrap(), i128::MIN);
    assert_eq!(context.spawn(|| "\u{20ac}".to_string(), ()).unwrap().join().unwrap(), "\u{20ac}");
    assert_eq!(context.spawn(|| vec![Some(0.5), None], ()).unwrap().join().unwrap(), [Some(0.5), None]);
    // An error of the user's own type is a value like others.
    let child = context.spawn(|| Err::<u8, String>("no".into()), ()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(child.join().unwrap(), Err("no".into()));
}

pub(crate) fn join_timeout_tells_a_timeout_from_a_value(m: Method) {
    let gate = Gate::new();
    let context = m.context();
    let blocked = || context.spawn(number_after, (gate.entrance(), 4)).unwrap();
    let short = Duration::from_millis(20);
    let begin = Instant::now();
    let child = blocked();
    assert_eq!(child.join_timeout(short).unwrap(), None);
    assert!(begin.elapsed() >= short);
    gate.open();
    assert_eq!(child.join_timeout(GENEROUS).unwrap(), Some(4));

    let child = blocked();
    assert_eq!(child.join_deadline(Instant::now()).unwrap(), None);
    let deadline = Instant::now() + short;
    assert_eq!(child.join_deadline(deadline).unwrap(), None);
    assert!(Instant::now() >= deadline);
    gate.open();
    assert_eq!(child.join_deadline(Instant::now() + GENEROUS).unwrap(), Some(4));
}

pub(crate) fn a_value_is_given_once(m: Method) {
    fn taken<T: std::fmt::Debug>(result: ipc_core::Result<T>) {
        assert!(matches!(result, Err(Error::Taken { .. })), "{result:?}");
    }
    for by_join in [true, false] {
        let child = m.context().spawn(|| 4, ()).unwrap();
        assert_eq!(child.join_timeout(GENEROUS).unwrap(), Some(4));
        taken(child.join_timeout(GENEROUS));
        taken(child.try_join());
        assert_eq!(child.wait().unwrap().code(), Some(0), "the status stays");
        taken(if by_join { child.join() } else { child.value() });
    }
}

pub(crate) fn what_went_wrong_is_told_as_often_as_asked(m: Method) {
    let said = |child: &ipc_core::Child<()>| {
        let error = child.join_timeout(GENEROUS).unwrap_err();
        (error.to_string(), error.ran())
    };
    let panics = m.context().spawn(|| panic!("every time"), ()).unwrap();
    let first = said(&panics);
    assert!(first.0.contains("every time") && first.1 == ipc_core::Ran::Ran, "{first:?}");
    assert_eq!(said(&panics), first);
    assert_eq!(panics.join().unwrap_err().to_string(), first.0);
    let unread = m.context().spawn(|_: Unreadable| (), (Unreadable,)).unwrap();
    let first = said(&unread);
    assert!(first.0.contains("for nobody") && first.1 == ipc_core::Ran::DidNotRun, "{first:?}");
    assert_eq!(said(&unread), first);
}

/// Arguments that nobody can decode.
#[derive(serde::Serialize)]
struct Unreadable;

impl<'de> serde::Deserialize<'de> for Unreadable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Unreadable, D::Error> {
        Err(serde::de::Error::custom("for nobody"))
    }
}

pub(crate) fn wait_may_be_repeated(m: Method) {
    let gate = Gate::new();
    let leave = |gate: ipc_core::Descriptor| -> u8 {
        crate::support::wait_at(gate);
        std::process::exit(5)
    };
    let child = m.context().spawn(leave, (gate.entrance(),)).unwrap();
    assert_eq!(child.wait_timeout(Duration::ZERO).unwrap(), None);
    let child = &child;
    let statuses = std::thread::scope(|scope| {
        let waiting = [(); 4].map(|()| scope.spawn(|| child.wait().unwrap()));
        gate.open();
        waiting.map(|thread| thread.join().unwrap())
    });
    for _ in 0..2 {
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(5));
        assert_eq!(child.wait_timeout(GENEROUS).unwrap(), Some(status));
        assert_eq!(child.exit_status(), Some(status));
        assert_eq!(statuses, [status; 4]);
    }
}

pub(crate) fn is_alive_reaps(m: Method) {
    let child = m.context().spawn(|| 8, ()).unwrap();
    let pid = child.pid();
    await_end(pid);
    assert!(!child.is_alive());
    assert!(!is_child(pid), "a zombie is left");
    assert_eq!(child.join().unwrap(), 8);
}

static HANDLE: OnceLock<Child<u32>> = OnceLock::new();

pub(crate) fn a_forked_copy_of_a_handle_is_not_the_parents() {
    program(
        || {
            let gate = Gate::new();
            let child = Context::exec().spawn(number_after, (gate.entrance(), 11)).unwrap();
            let child = HANDLE.get_or_init(|| child);
            let look = || {
                let copy = HANDLE.get().unwrap();
                let refused = |error: Error| matches!(error, Error::NotParent { .. });
                [
                    refused(copy.wait().unwrap_err()),
                    refused(copy.try_join().unwrap_err()),
                    refused(copy.terminate().unwrap_err()),
                    refused(copy.kill().unwrap_err()),
                    copy.is_alive(),
                ]
            };
            // SAFETY: this process has one thread.
            let sibling = unsafe { Builder::new().fork(look) }.unwrap();
            assert_eq!(sibling.join().unwrap(), [true; 5]);
            assert!(child.is_alive());
            gate.open();
            await_end(child.pid());
            for _ in 0..2 {
                // SAFETY: as above.
                let sibling = unsafe { Builder::new().fork(|| HANDLE.get().unwrap().is_alive()) }.unwrap();
                assert!(!sibling.join().unwrap(), "a zombie, then waited for");
                child.wait().unwrap();
            }
            assert_eq!(child.join_timeout(GENEROUS).unwrap(), Some(11));
        },
        (),
    );
}
