//! Unit tests of `identity`.

use std::fs;
use std::path::Path;

use rustix::process::setsid;
use rustix::thread::{UnshareFlags, set_no_new_privs, unshare_unsafe};

use super::*;
use crate::process::alone::{in_fork, is_root, single_threaded};
use crate::sys::inherit;

/// What differs after `change`, in a process of its own.
fn after(change: impl FnOnce() -> bool) -> u8 {
    let names = [
        "credentials or sandbox",
        "namespaces",
        "control groups",
        "root directory",
        "process group",
        "session",
    ];
    let code = in_fork(|| {
        // Opened before: after a change of root directory there may be no /proc.
        let task = Task::open().unwrap();
        let capture = || Identity::from_task(&task, &task.read("status").unwrap()).unwrap();
        let then = capture();
        assert_eq!(then, Identity::capture().unwrap());
        assert!(change());
        let now = capture();
        let differs = now.differs_in(&then);
        assert_eq!(differs.is_empty(), now == then);
        names.iter().enumerate().filter(|(_, name)| differs.contains(name)).map(|(bit, _)| 1 << bit).sum()
    });
    code as u8
}

const CREDENTIALS: u8 = 1;
const NAMESPACES: u8 = 2;
const GROUPS: u8 = 4;
const ROOT: u8 = 8;
const PROCESS_GROUP: u8 = 16;
const SESSION: u8 = 32;

#[test]
fn what_needs_no_rights() {
    single_threaded("process::identity::tests::what_needs_no_rights", || {
        assert_eq!(after(|| true), 0);
        assert_eq!(after(|| set_no_new_privs(true).is_ok()), CREDENTIALS);
        assert_eq!(after(|| rustix::process::setpgid(None, None).is_ok()), PROCESS_GROUP);
        // In a forked process, which leads no group.
        assert_eq!(after(|| setsid().is_ok()), PROCESS_GROUP | SESSION);
        // What a baseline carries is none of its business.
        assert_eq!(after(|| std::env::set_current_dir("/proc").is_ok()), 0);
    });
}

#[test]
fn what_needs_root() {
    single_threaded("process::identity::tests::what_needs_root", || {
        if !is_root("changes of user, root directory, namespaces and control groups") {
            return;
        }
        // With the rights goes the look at every namespace.
        assert_eq!(after(|| inherit::set_uid(65534).is_ok()), CREDENTIALS | NAMESPACES);
        assert_eq!(after(|| inherit::set_gid(65534).is_ok()), CREDENTIALS);
        assert_eq!(after(|| inherit::set_groups(&[7]).is_ok()), CREDENTIALS);
        assert_eq!(after(|| rustix::process::chroot("/proc").is_ok()), ROOT);
        // SAFETY: a new UTS namespace changes nothing that std relies on.
        let unshare = || unsafe { unshare_unsafe(UnshareFlags::NEWUTS) }.is_ok();
        assert_eq!(after(unshare), NAMESPACES);
    });
}

#[test]
fn the_user_namespace_stands_for_all_where_there_are_no_rights() {
    single_threaded(
        "process::identity::tests::the_user_namespace_stands_for_all_where_there_are_no_rights",
        || {
            if rustix::process::geteuid().is_root() {
                inherit::set_uid(65534).unwrap();
            }
            // Its files in /proc belong to root since the change of user, until it is declared dumpable again.
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).unwrap();
            let links = Identity::capture().unwrap().namespaces;
            assert!(links.starts_with(b"user:[") && links.iter().filter(|byte| **byte == b'\n').count() == 1);
            // SAFETY: new namespaces change nothing that std relies on.
            let unshare = |flags| unsafe { unshare_unsafe(flags) };
            assert!(unshare(UnshareFlags::NEWUTS).is_err());
            if in_fork(|| i32::from(unshare(UnshareFlags::NEWUSER).is_err())) != 0 {
                // A setting of the whole machine, which many a distribution has off on purpose.
                return ipc_testkit::not_here("user namespaces: this kernel allows users none");
            }
            assert_eq!(
                after(|| unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWUTS).is_ok()),
                CREDENTIALS | NAMESPACES
            );
        },
    );
}

#[test]
fn another_control_group() {
    single_threaded("process::identity::tests::another_control_group", || {
        let root = Path::new("/sys/fs/cgroup/cpu");
        if !is_root("a change of control group") {
            return;
        }
        // As for a quota: which version its controllers have was decided when the machine was started.
        if !root.exists() {
            return ipc_testkit::not_here(
                "a change of control group: no v1 controller at /sys/fs/cgroup/cpu",
            );
        }
        let group = root.join(format!("ipc-core-identity-{}", std::process::id()));
        fs::create_dir(&group).unwrap();
        let differs = after(|| fs::write(group.join("cgroup.procs"), "0").is_ok());
        fs::remove_dir(&group).unwrap();
        assert_eq!(differs, GROUPS);
    });
}
