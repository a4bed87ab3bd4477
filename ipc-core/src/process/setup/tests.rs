//! Unit tests of `setup`.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::{env, fs};

use rustix::process::{getgid, getgroups, getpriority_process, getuid};
use rustix::thread::sched_getaffinity;

use super::*;
use crate::process::alone::{in_fork, is_root, single_threaded};

const NOBODY: u32 = 65534;

/// A directory of our own, removed with its value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, mode: u32) -> Scratch {
        let path =
            env::temp_dir().canonicalize().unwrap().join(format!("ipc-core-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Scratch(path)
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.as_os_str().as_bytes().to_vec()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// For a process of one thread, which those of `alone` are.
fn apply(setup: Setup) -> Result<(), Failed> {
    // As the real one: what is applied has travelled.
    let bytes = postcard::to_stdvec(&setup).unwrap();
    let setup: Setup = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(fs::read_dir("/proc/self/task").unwrap().count(), 1);
    // SAFETY: there is one thread.
    unsafe { setup.apply() }
}

fn failure(setup: Setup) -> (String, i32) {
    let failed = apply(setup).unwrap_err();
    (failed.step, failed.errno)
}

#[test]
fn nothing_to_do() {
    single_threaded("process::setup::tests::nothing_to_do", || {
        assert!(Setup::default().is_empty());
        let environment: Vec<_> = env::vars_os().collect();
        apply(Setup::default()).unwrap();
        assert!(env::vars_os().eq(environment));
    });
}

#[test]
fn everything_that_needs_no_rights() {
    single_threaded("process::setup::tests::everything_that_needs_no_rights", || {
        let directory = Scratch::new("setup", 0o755);
        fs::create_dir(directory.0.join("inner")).unwrap();
        let processor =
            (0..1024).find(|processor| sched_getaffinity(None).unwrap().is_set(*processor)).unwrap();
        let limit = Limit { soft: Some(77), hard: Some(88) };
        let setup = Setup {
            environment: Some(Environment::from_pairs([("ONE", "1"), ("TWO", "")]).unwrap()),
            start_dir: Some(directory.bytes()),
            // Relative to the parent's directory.
            current_dir: Some(b"inner".to_vec()),
            rlimits: vec![
                (Resource::Nofile, Limit { soft: Some(99), hard: Some(99) }),
                (Resource::Nofile, limit),
            ],
            affinity: Some(vec![processor as u32]),
            nice: Some(5),
            umask: Some(0o027),
            ignored: vec![(libc::SIGUSR1, true)],
            signal_mask: Some(1 << (libc::SIGUSR2 - 1)),
            ..Setup::default()
        };
        assert!(!setup.is_empty());
        apply(setup).unwrap();
        assert!(env::vars().eq([("ONE".into(), "1".into()), ("TWO".into(), String::new())]));
        assert_eq!(env::current_dir().unwrap(), directory.0.join("inner"));
        assert_eq!(Limit::get(Resource::Nofile), limit);
        let set = sched_getaffinity(None).unwrap();
        assert!(set.count() == 1 && set.is_set(processor));
        assert_eq!(getpriority_process(None).unwrap(), 5);
        fs::write("file", "").unwrap();
        assert_eq!(fs::metadata("file").unwrap().mode() & 0o777, 0o640);
        let status = fs::read("/proc/self/status").unwrap();
        let bits = |name| {
            let value = crate::process::task::field(&status, name).unwrap();
            u64::from_str_radix(str::from_utf8(value).unwrap(), 16).unwrap()
        };
        assert_eq!(bits("SigBlk"), 1 << (libc::SIGUSR2 - 1));
        assert_ne!(bits("SigIgn") & (1 << (libc::SIGUSR1 - 1)), 0);
        apply(Setup { ignored: vec![(libc::SIGUSR1, false)], ..Setup::default() }).unwrap();
    });
}

#[test]
fn the_new_environment_is_a_whole_one() {
    single_threaded("process::setup::tests::the_new_environment_is_a_whole_one", || {
        let path = env::var("PATH").unwrap();
        let pairs = [("PATH", path.as_str()), ("A", "1"), ("B", "2")];
        let environment = Environment::from_pairs(pairs).unwrap();
        apply(Setup { environment: Some(environment.clone()), ..Setup::default() }).unwrap();
        assert_eq!(Environment::capture(), environment);
        // The C library changes it as any other, and programs started from here get it.
        // SAFETY: there is one thread.
        unsafe {
            env::set_var("A", "other");
            env::set_var("C", "3");
            env::remove_var("B");
        }
        let output = std::process::Command::new("env").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, format!("PATH={path}\nA=other\nC=3\n"));
        apply(Setup { environment: Some(Environment::default()), ..Setup::default() }).unwrap();
        assert_eq!(env::vars_os().count(), 0);
        // SAFETY: there is one thread.
        unsafe { env::set_var("D", "4") };
        assert!(env::vars().eq([("D".into(), "4".into())]));
    });
}

#[test]
fn a_memory_limit_does_not_keep_the_environment_out() {
    single_threaded("process::setup::tests::a_memory_limit_does_not_keep_the_environment_out", || {
        let limit = Limit { soft: Some(1), hard: Some(1) };
        let setup = Setup {
            environment: Some(Environment::from_pairs([("A", "x".repeat(100_000))]).unwrap()),
            rlimits: vec![(Resource::As, limit)],
            ..Setup::default()
        };
        assert_eq!(
            in_fork(|| i32::from(apply(setup).is_err() || env::var("A").unwrap().len() != 100_000)),
            0
        );
    });
}

#[test]
fn a_failing_step_says_which() {
    single_threaded("process::setup::tests::a_failing_step_says_which", || {
        let (step, errno) = failure(Setup { current_dir: Some(b"/no/where".to_vec()), ..Setup::default() });
        assert_eq!((step.as_str(), errno), ("change to the directory \"/no/where\"", libc::ENOENT));
        let limit = Limit { soft: Some(2), hard: Some(1) };
        let (step, errno) = failure(Setup { rlimits: vec![(Resource::Core, limit)], ..Setup::default() });
        assert_eq!((step.as_str(), errno), ("set RLIMIT_CORE to 2 (hard 1)", libc::EINVAL));
        let possible = allowed().unwrap();
        for processors in [vec![], vec![1023], vec![0, 5000], vec![u32::MAX]] {
            let text = format!("pin to the processors {processors:?} (allowed here: {possible})");
            assert_eq!(
                failure(Setup { affinity: Some(processors), ..Setup::default() }),
                (text, libc::EINVAL)
            );
        }
        let (step, errno) = failure(Setup { ignored: vec![(libc::SIGKILL, true)], ..Setup::default() });
        assert_eq!((step.as_str(), errno), ("ignore the signal 9", libc::EINVAL));
        let failed = apply(Setup { start_dir: Some(b"/dev/null".to_vec()), ..Setup::default() }).unwrap_err();
        assert_eq!(
            failed.to_string(),
            "change to the directory \"/dev/null\": Not a directory (os error 20)"
        );
        // Zero bytes cannot be in a path.
        assert_eq!(failure(Setup { start_dir: Some(b"a\0b".to_vec()), ..Setup::default() }).1, libc::EINVAL);
    });
}

#[test]
fn the_order_of_rights() {
    single_threaded("process::setup::tests::the_order_of_rights", || {
        if !is_root("a change of user") {
            return;
        }
        let private = Scratch::new("private", 0o700);
        let user = Setup { uid: Some(NOBODY), gid: Some(NOBODY), ..Setup::default() };
        // What needs root is done before root is left: raising a limit, a negative nice value, the parent's directory.
        let low = Limit { soft: Some(1), hard: Some(1) };
        let raised = Limit { soft: Some(10), hard: Some(1 << 40) };
        let mut limits = vec![(Resource::Msgqueue, low)];
        if in_fork(|| i32::from(raised.set(Resource::Msgqueue).is_err())) == 0 {
            limits.push((Resource::Msgqueue, raised));
        } else {
            // A container's root often is not allowed to, and that is for its host to say; the rest goes on.
            ipc_testkit::not_here("raising a hard limit: this root lacks CAP_SYS_RESOURCE");
        }
        let (_, last) = limits[limits.len() - 1];
        let setup =
            Setup { start_dir: Some(private.bytes()), rlimits: limits, nice: Some(-5), ..user.clone() };
        let code = in_fork(|| {
            apply(setup).unwrap();
            assert_eq!((getuid().as_raw(), getgid().as_raw()), (NOBODY, NOBODY));
            assert!(getgroups().unwrap().is_empty());
            assert_eq!(Limit::get(Resource::Msgqueue), last);
            assert_eq!(getpriority_process(None).unwrap(), -5);
            // All three ids: there is no way back.
            assert!(inherit::set_uid(0).is_err());
            0
        });
        assert_eq!(code, 0);
        // The builder's directory is entered by the rights of the new user.
        let code = in_fork(|| {
            let failed = apply(Setup { current_dir: Some(private.bytes()), ..user.clone() }).unwrap_err();
            i32::from(failed.errno != libc::EACCES)
        });
        assert_eq!(code, 0);
        // Groups that are named are kept.
        let code = in_fork(|| {
            apply(Setup { groups: Some(vec![1, 2]), ..user.clone() }).unwrap();
            let groups: Vec<_> = getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
            i32::from(groups != [1, 2])
        });
        assert_eq!(code, 0);
        // Without root there is no change, and the error names the step.
        let code = in_fork(|| {
            apply(user.clone()).unwrap();
            let (step, errno) = failure(Setup { uid: Some(0), ..Setup::default() });
            assert_eq!((step.as_str(), errno), ("change to the user 0", libc::EPERM));
            let (step, errno) = failure(Setup { groups: Some(vec![0]), ..Setup::default() });
            assert_eq!((step.as_str(), errno), ("set the supplementary groups to [0]", libc::EPERM));
            0
        });
        assert_eq!(code, 0);
    });
}
