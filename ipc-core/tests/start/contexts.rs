//! Contexts side by side.

use ipc_core::{Context, StartMethod, parent};

use crate::support::Method;

fn parents() -> (Option<u32>, u32) {
    (parent().map(|parent| parent.pid()), std::os::unix::process::parent_id())
}

pub(crate) fn the_default_context_is_the_fork_server() {
    let default = Context::default();
    assert_eq!(default.server_pid(), None);
    let me = std::process::id();
    for child in [ipc_core::spawn(parents, ()).unwrap(), default.spawn(parents, ()).unwrap()] {
        assert_eq!(child.join().unwrap(), (Some(me), me));
    }
    assert_eq!(default.method(), StartMethod::ForkServer);
    assert_eq!(default.fallback(), None);
    assert!(format!("{default:?}").contains("ForkServer"), "{default:?}");
    let server = default.server_pid();
    assert!(server.is_some_and(|server| server != me));
    assert_eq!(Context::default().server_pid(), server, "the whole program shares it");
}

pub(crate) fn the_fork_server_falls_back_to_spawn_and_says_so() {
    let with_switch = || {
        let context = Context::fork_server();
        assert_eq!((context.method(), context.fallback()), (StartMethod::ForkServer, None), "not yet tried");
        assert_eq!(context.spawn(|n: u32| n + 1, (1,)).unwrap().join().unwrap(), 2);
        assert_eq!(context.method(), StartMethod::Spawn);
        let why = context.fallback().unwrap();
        assert!(why.contains("PR_GET_TID_ADDRESS"), "{why}");
        assert_eq!(context.spawn(|n: u32| n + 1, (2,)).unwrap().join().unwrap(), 3);
    };
    let builder = Context::exec().builder().env("IPC_CORE_WITHOUT", "tid_address");
    builder.spawn(with_switch, ()).unwrap().join().unwrap();
}

pub(crate) fn using_one_context_changes_no_other() {
    let use_others = || {
        for m in Method::ALL {
            let context = m.context();
            assert_eq!(context.spawn(|| 1, ()).unwrap().join().unwrap(), 1);
            assert_eq!(context.method(), m.start_method());
        }
    };
    let default = Context::default();
    use_others();
    assert_eq!(
        (default.method(), default.server_pid()),
        (StartMethod::ForkServer, None),
        "not yet used itself"
    );
    assert_eq!(ipc_core::spawn(|| 2, ()).unwrap().join().unwrap(), 2);
    let server = default.server_pid();
    assert!(server.is_some());
    use_others();
    assert_eq!(ipc_core::spawn(|| 2, ()).unwrap().join().unwrap(), 2);
    assert_eq!((default.method(), default.server_pid()), (StartMethod::ForkServer, server));
}
