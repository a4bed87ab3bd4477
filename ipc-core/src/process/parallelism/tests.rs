//! Unit tests of `parallelism`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::*;
use crate::process::alone;

const PRINT: &str = "process::parallelism::tests::print";

/// Run by the others, in the group or file system they made.
#[test]
fn print() {
    println!("parallelism={}", available_parallelism().unwrap());
}

/// What a process prints that `sh` has prepared the way for: `script` ends where the process is to be started.
fn printed(script: &str) -> usize {
    let program = alone::command(PRINT);
    let mut shell = Command::new("sh");
    shell
        .args(["-e", "-c", &format!("{script}\nexec \"$@\""), "sh"])
        .arg(program.get_program())
        .args(program.get_args());
    let output = shell.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number =
        text.split("parallelism=").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{script}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn processors() -> usize {
    sched_getaffinity(None).unwrap().count() as usize
}

#[test]
fn at_most_the_processors_of_this_thread() {
    alone::alone("process::parallelism::tests::at_most_the_processors_of_this_thread", || {
        assert!(available_parallelism().unwrap().get() <= processors());
        let all = sched_getaffinity(None).unwrap();
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).find(|processor| all.is_set(*processor)).unwrap());
        sched_setaffinity(None, &one).unwrap();
        assert_eq!(available_parallelism().unwrap().get(), 1);
        sched_setaffinity(None, &all).unwrap();
    });
}

/// A group under the v1 controller `cpu`, removed with its value.
struct Group(PathBuf);

impl Group {
    fn new(parent: &Path, name: &str, quota: &str) -> Group {
        let group = Group(parent.join(name));
        fs::create_dir(&group.0).unwrap();
        fs::write(group.0.join("cpu.cfs_period_us"), "100000").unwrap();
        fs::write(group.0.join("cpu.cfs_quota_us"), quota).unwrap();
        group
    }

    fn printed(&self) -> usize {
        printed(&format!("echo $$ > {}/cgroup.procs", self.0.display()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn real_groups_of_version_1() {
    let root = Path::new("/sys/fs/cgroup/cpu");
    if !alone::is_root("a quota in a real cgroup") {
        return;
    }
    // Which version a kernel's controllers have was decided when it was started, and most are of version 2 by now.
    if !root.join("cpu.cfs_quota_us").exists() {
        return ipc_testkit::not_here("a quota in a real cgroup: no v1 controller at /sys/fs/cgroup/cpu");
    }
    let name = format!("ipc-core-test-{}", std::process::id());
    let outer = Group::new(root, &name, "100000");
    assert_eq!(outer.printed(), 1);
    // Without a limit of its own the inner group has the outer one's.
    let inner = Group::new(&outer.0, "inner", "-1");
    assert_eq!(inner.printed(), 1);
    // Raised beyond the machine: then the processors count.
    fs::write(outer.0.join("cpu.cfs_quota_us"), "100000000").unwrap();
    assert_eq!(inner.printed(), processors());
    // Rounded down, but never to nothing.
    fs::write(outer.0.join("cpu.cfs_quota_us"), "190000").unwrap();
    assert_eq!(inner.printed(), 1);
    fs::write(outer.0.join("cpu.cfs_quota_us"), "5000").unwrap();
    assert_eq!(outer.printed(), 1);
}

/// Recorded trees: a file system of our own over /sys/fs/cgroup, a text of our own over /proc/self/cgroup. The
/// numbers are set against this machine's processors, of which two suffice.
#[test]
fn recorded_groups_of_version_2() {
    if !alone::is_root("recorded cgroups") {
        return;
    }
    let unshare = Command::new("unshare").args(["-m", "true"]).status();
    if !unshare.is_ok_and(|status| status.success()) {
        return ipc_testkit::not_run("recorded cgroups: install util-linux, allow mount namespaces");
    }
    let program = alone::command(PRINT);
    let (path, arguments) = (program.get_program().to_owned(), program.get_args().map(ToOwned::to_owned));
    let arguments: Vec<_> = arguments.collect();
    let all = processors();
    for (groups, files, expected) in [
        // A group with its own quota.
        ("0::/a", &[("a", "100000 100000")][..], 1),
        // An enclosing one is smaller.
        ("0::/a/b/c", &[("a", "max 100000"), ("a/b", "150000 100000"), ("a/b/c", "max 100000")], 1),
        // No quota anywhere.
        ("0::/a/b", &[("a", "max 100000"), ("a/b", "max 100000")], all),
        // Larger than the machine.
        ("0::/a", &[("a", "99900000 100000")], all),
        // Less than one processor is one.
        ("0::/a", &[("a", "1000 100000")], 1),
        // The root group has no quota file.
        ("0::/", &[], all),
    ] {
        let mut script =
            String::from("mount -t tmpfs none /sys/fs/cgroup; touch /sys/fs/cgroup/cgroup.controllers\n");
        for (group, quota) in files {
            script.push_str(&format!(
                "mkdir -p /sys/fs/cgroup/{group}; touch /sys/fs/cgroup/{group}/cgroup.controllers; \
                 echo {quota} > /sys/fs/cgroup/{group}/cpu.max\n"
            ));
        }
        script.push_str(&format!(
            "echo {groups} > /sys/fs/cgroup/text; mount --bind /sys/fs/cgroup/text /proc/$$/cgroup"
        ));
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-e", "-c", &format!("{script}\nexec \"$@\""), "sh"])
            .arg(&path)
            .args(&arguments);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(&format!("parallelism={expected}\n")), "{groups} {files:?}: {text}{errors}");
    }
}
