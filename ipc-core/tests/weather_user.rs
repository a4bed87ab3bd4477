//! Bad weather: a process that becomes another user, or puts itself into a sandbox, before or after its first spawn.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use ipc_core::{Context, Error, Function, Ran, StartMethod, spawn};
use ipc_testkit::{GENEROUS, leaks, process_gone, wait_until};

mod programs;
use programs::sandbox::{Refuse, become_user, forbid_privileges, is_root, landlock, refuse};
use programs::{METHODS, context, each_method, joined, not_run, state, status_field};

const NOBODY: u32 = 65534;

fn user() -> (u32, u32) {
    (rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw())
}

/// In a child by exec, for each method.
fn each(f: impl Function<(String,), Output = ()>) {
    let _leaks = leaks();
    for method in METHODS {
        println!("by {method}");
        joined(Context::exec().spawn(f, (method.to_owned(),)).unwrap());
    }
}

#[test]
fn setuid_after_the_first_spawn() {
    if !is_root() {
        return not_run("only root can become another user");
    }
    each(|method: String| {
        let context = context(&method);
        assert_eq!(joined(context.spawn(user, ()).unwrap()), (0, 0));
        let before = context.server_pid();
        let children = || ipc_testkit::Snapshot::take().unwrap().children;
        if before.is_some() {
            assert!(wait_until(GENEROUS, || children().len() == 2), "server and spare");
        }
        let old: Vec<u32> = children().into_keys().collect();
        become_user(NOBODY);
        for _ in 0..3 {
            assert_eq!(joined(context.spawn(user, ()).unwrap()), (NOBODY, NOBODY));
        }
        assert_eq!(context.fallback(), None);
        if before.is_some() {
            assert_ne!(context.server_pid(), before, "the server was not replaced");
        }
        // The old server and its spare are gone, and waited for: no zombie.
        for pid in old {
            assert_eq!(state(pid), None, "pid {pid}");
        }
        // A grandchild is the new user as well.
        let grandchild = context.spawn(|| joined(spawn(user, ()).unwrap()), ());
        assert_eq!(joined(grandchild.unwrap()), (NOBODY, NOBODY));
    });
}

#[test]
fn setuid_before_the_first_spawn() {
    if !is_root() {
        return not_run("only root can become another user");
    }
    each(|method: String| {
        become_user(NOBODY);
        assert_eq!(joined(context(&method).spawn(user, ()).unwrap()), (NOBODY, NOBODY));
    });
}

#[test]
fn a_child_of_another_user_may_have_children() {
    if !is_root() {
        return not_run("only root can become another user");
    }
    let _leaks = leaks();
    each_method(|context| {
        let child = context.builder().uid(NOBODY).gid(NOBODY);
        let grandchildren = || METHODS.map(|method| joined(crate::context(method).spawn(user, ()).unwrap()));
        assert_eq!(joined(child.spawn(grandchildren, ()).unwrap()), [(NOBODY, NOBODY); 2]);
    });
}

#[test]
fn a_child_of_another_user_dies_with_its_parent() {
    if !is_root() {
        return not_run("only root can become another user");
    }
    each(|method: String| {
        let parent = Context::exec().spawn(
            |method: String| {
                let builder = context(&method).builder().uid(NOBODY).gid(NOBODY);
                let child = builder.spawn(std::thread::park, ()).unwrap();
                let (pid, user) = (child.pid(), user());
                assert_eq!(user, (0, 0));
                std::mem::forget(child);
                // Given away while the parent lives on: the value does not wait for its death.
                let _ = ipc_core::at_exit(0, || {
                    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                        .expect("kill");
                });
                pid
            },
            (method,),
        );
        let pid = parent.unwrap().value().unwrap();
        assert!(wait_until(GENEROUS, || process_gone(pid)), "{:?}", state(pid));
    });
}

fn sandboxed() -> bool {
    status_field("Seccomp") == "2"
}

/// The call that the filter of the next tests refuses; it means nothing to a spawn.
fn sysinfo_is_refused() -> bool {
    // SAFETY: the structure is written by the call, if it is made.
    let done = unsafe {
        let mut info: libc::sysinfo = std::mem::zeroed();
        libc::syscall(libc::SYS_sysinfo, &raw mut info)
    };
    done == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

#[test]
fn children_share_a_sandbox_that_came_after_the_first_spawn() {
    each(|method: String| {
        let context = context(&method);
        assert!(!joined(context.spawn(sysinfo_is_refused, ()).unwrap()));
        let server = context.server_pid();
        refuse(&[Refuse::Call(libc::SYS_sysinfo)]);
        assert!(joined(context.spawn(sysinfo_is_refused, ()).unwrap()));
        assert!(joined(context.spawn(sandboxed, ()).unwrap()));
        if server.is_some() {
            assert_ne!(context.server_pid(), server, "the server was not replaced");
        }
        let grandchild = context.spawn(|| joined(spawn(sysinfo_is_refused, ()).unwrap()), ());
        assert!(joined(grandchild.unwrap()));
    });
}

#[test]
fn a_second_sandbox_replaces_the_server_again() {
    let _leaks = leaks();
    let twice = || {
        let context = Context::fork_server();
        let mut servers = std::collections::BTreeSet::new();
        for round in 0..3 {
            assert_eq!(joined(context.spawn(sysinfo_is_refused, ()).unwrap()), round > 0);
            assert!(servers.insert(context.server_pid()));
            refuse(&[Refuse::Call(libc::SYS_sysinfo)]);
        }
    };
    joined(Context::exec().spawn(twice, ()).unwrap());
}

/// Such a domain shows nowhere in /proc.
#[test]
fn children_share_a_landlock_domain_that_came_after_the_first_spawn() {
    let _leaks = leaks();
    for method in METHODS {
        let confined = |method: String| {
            let context = context(&method);
            let may_read = |path: String| std::fs::read(path).is_ok();
            let file = std::env::temp_dir().join(format!("ipc-landlock-{}", std::process::id()));
            std::fs::write(&file, "outside").unwrap();
            let path = file.display().to_string();
            let ask = || joined(context.spawn(may_read, (path.clone(),)).unwrap());
            // What differs in /proc as well is not to be what is noticed.
            forbid_privileges();
            let (before, server) = (ask(), context.server_pid());
            let confined = landlock(&file);
            let seen = [before, ask(), ask()];
            if server.is_some() && confined {
                assert_ne!(context.server_pid(), server, "the server was not replaced");
            }
            std::fs::remove_file(&file).unwrap();
            (confined, seen)
        };
        let child = Context::exec().builder().spawn(confined, (method.to_owned(),));
        match joined(child.unwrap()) {
            (true, seen) => assert_eq!(seen, [true, false, false], "by {method}"),
            (false, _) => return not_run("this kernel has no Landlock"),
        }
    }
}

/// In a sandbox that refuses these, the fork server becomes exec and says why.
fn falls_back(calls: &[Refuse], word: &str) {
    refuse(calls);
    let context = Context::fork_server();
    assert_eq!((context.method(), context.fallback()), (StartMethod::ForkServer, None), "not tried yet");
    for n in 0..3_u64 {
        assert_eq!(joined(context.spawn(|n: u64| n + 1, (n,)).unwrap()), n + 1);
    }
    assert_eq!(context.method(), StartMethod::Spawn);
    let why = context.fallback().expect("a reason");
    assert!(why.contains(word), "{why}");
    assert!(format!("{context:?}").contains(word));
    assert!(joined(context.spawn(sandboxed, ()).unwrap()));
    assert_eq!(context.server_pid(), None, "the server is gone");
    assert!(ipc_testkit::Snapshot::take().unwrap().children.is_empty());
}

#[test]
fn where_the_tid_address_is_refused_children_are_executed() {
    let _leaks = leaks();
    let look = || {
        falls_back(
            &[Refuse::Value(libc::SYS_prctl, 0, libc::PR_GET_TID_ADDRESS as u32)],
            "PR_GET_TID_ADDRESS",
        );
    };
    joined(Context::exec().spawn(look, ()).unwrap());
}

#[test]
fn where_clone_parent_is_refused_children_are_executed() {
    let _leaks = leaks();
    let look = || falls_back(&[Refuse::Bits(libc::SYS_clone, 0, libc::CLONE_PARENT as u32)], "CLONE_PARENT");
    joined(Context::exec().spawn(look, ()).unwrap());
}

#[test]
fn switches_force_the_same_fallbacks() {
    let _leaks = leaks();
    for (switch, word) in [("tid_address", "PR_GET_TID_ADDRESS"), ("clone", "CLONE_PARENT")] {
        let look = || {
            let context = Context::fork_server();
            let sum = joined(context.spawn(|a: u32, b: u32| a + b, (1, 2)).unwrap());
            (sum, context.method() == StartMethod::Spawn, context.fallback().unwrap_or_default())
        };
        let child = Context::exec().builder().env("IPC_CORE_WITHOUT", switch).spawn(look, ());
        let (sum, executed, why) = joined(child.unwrap());
        assert!(sum == 3 && executed && why.contains(word), "{why}");
    }
}

/// Without close_range(2) the descriptors are marked one by one.
#[test]
fn without_close_range_nothing_is_inherited_either() {
    let _leaks = leaks();
    let look = || {
        let leaked: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        for file in &leaked {
            // As a C library opens it: without close-on-exec.
            rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).unwrap();
        }
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        METHODS.map(|method| joined(context(method).spawn(count, ()).unwrap()))
    };
    let with = joined(Context::exec().spawn(look, ()).unwrap());
    let without = Context::exec().builder().env("IPC_CORE_WITHOUT", "close_range").spawn(look, ());
    assert_eq!(joined(without.unwrap()), with);
    assert!(with.iter().all(|&count| count < 10), "{with:?}");
}

#[test]
fn where_exec_is_refused_the_error_names_it() {
    each(|method: String| {
        let context = context(&method);
        joined(context.spawn(|| (), ()).unwrap());
        refuse(&[Refuse::Call(libc::SYS_execve)]);
        let failed = context.spawn(|text: String| text, ("kept".into(),)).unwrap_err();
        assert!(failed.to_string().contains("exec of /proc/self/exe"), "{failed}");
        assert!(failed.to_string().contains("seccomp"), "{failed}");
        assert!(matches!(failed.error(), Error::Os { .. }));
        assert_eq!(failed.error().ran(), Ran::DidNotRun);
        assert_eq!(failed.into_args().0, "kept");
    });
}

#[test]
fn where_all_clones_are_refused_the_error_names_it() {
    each(|method: String| {
        refuse(&[Refuse::Call(libc::SYS_clone), Refuse::Call(libc::SYS_clone3)]);
        let failed = context(&method).spawn(|| (), ()).unwrap_err();
        assert!(failed.to_string().contains("clone"), "{failed}");
        assert!(failed.to_string().contains("seccomp"), "{failed}");
    });
}
