//! Unit tests of `baseline`.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::time::Instant;

use rustix::fs::Mode;
use rustix::process::{chdir, setpriority_process, umask};
use rustix::thread::sched_setaffinity;

use super::*;
use crate::process::alone::{in_fork, single_threaded};

#[test]
fn nothing_has_changed() {
    let (then, now) = (Snapshot::capture().unwrap(), Snapshot::capture().unwrap());
    assert_eq!(then, now);
    assert!(then.baseline.can_become(&now.baseline));
    assert!(then.baseline.difference(&now.baseline).is_empty());
    assert_eq!((Baseline::capture().unwrap(), Identity::capture().unwrap()), (then.baseline, then.identity));
}

/// Changes whatever can be changed.
fn change_all() {
    // SAFETY: there is one thread.
    unsafe {
        env::set_var("IPC_CORE_NEW", "1");
        env::remove_var("PATH");
    }
    chdir("/proc").unwrap();
    umask(Mode::from_raw_mode(0o013));
    Limit { soft: Some(50), hard: Some(60) }.set(Resource::Nofile).unwrap();
    Limit { soft: Some(1 << 40), hard: None }.set(Resource::Fsize).unwrap();
    let mut one = CpuSet::new();
    let all = sched_getaffinity(None).unwrap();
    one.set((0..CpuSet::MAX_CPU).rev().find(|processor| all.is_set(*processor)).unwrap());
    sched_setaffinity(None, &one).unwrap();
    setpriority_process(None, 7).unwrap();
    inherit::set_ignored(libc::SIGUSR1, true).unwrap();
    inherit::set_signal_mask(1 << (libc::SIGUSR2 - 1)).unwrap();
}

#[test]
fn a_child_of_then_becomes_one_of_now() {
    single_threaded("process::baseline::tests::a_child_of_then_becomes_one_of_now", || {
        let then = Snapshot::capture().unwrap();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        // The fork server's part: a process that is as the parent was, and is told the rest.
        let code = in_fork(|| {
            let code = in_fork(|| {
                change_all();
                let setup = then.baseline.difference(&Baseline::capture().unwrap());
                assert!(setup.environment.is_some() && setup.start_dir.as_deref() == Some(b"/proc"));
                assert_eq!((setup.umask, setup.nice), (Some(0o013), Some(7)));
                assert_eq!(setup.rlimits.len(), 2);
                assert_eq!(setup.ignored, [(libc::SIGUSR1, true)]);
                assert_eq!(setup.signal_mask, Some(1 << (libc::SIGUSR2 - 1)));
                assert!(setup.affinity.as_ref().is_none_or(|processors| processors.len() == 1));
                let bytes = postcard::to_stdvec(&setup).unwrap();
                writer.write_all(&bytes.len().to_ne_bytes()).unwrap();
                writer.write_all(&bytes).unwrap();
                0
            });
            assert_eq!(code, 0);
            // The process above has the writing end too: no end of file to be waited for.
            let mut length = [0; size_of::<usize>()];
            reader.read_exact(&mut length).unwrap();
            let mut bytes = vec![0; usize::from_ne_bytes(length)];
            reader.read_exact(&mut bytes).unwrap();
            let setup: Setup = postcard::from_bytes(&bytes).unwrap();
            // SAFETY: there is one thread.
            unsafe { setup.clone().apply() }.unwrap();
            // Now it differs from then as the parent does.
            let now = Snapshot::capture().unwrap();
            assert_eq!(then.baseline.difference(&now.baseline), setup);
            assert_eq!(then.identity, now.identity);
            0
        });
        assert_eq!(code, 0);
    });
}

#[test]
fn back_to_where_it_was() {
    single_threaded("process::baseline::tests::back_to_where_it_was", || {
        let then = Baseline::capture().unwrap();
        let former = inherit::signal_mask().unwrap();
        inherit::set_signal_mask(former | 1).unwrap();
        inherit::set_ignored(libc::SIGUSR1, true).unwrap();
        let between = Baseline::capture().unwrap();
        let back = between.difference(&then);
        assert_eq!(
            (back.signal_mask, back.ignored.as_slice()),
            (Some(former), &[(libc::SIGUSR1, false)][..])
        );
        // SAFETY: there is one thread.
        unsafe { back.apply() }.unwrap();
        assert!(then == Baseline::capture().unwrap());
    });
}

#[test]
fn a_directory_made_anew_is_another_one() {
    single_threaded("process::baseline::tests::a_directory_made_anew_is_another_one", || {
        let path =
            env::temp_dir().canonicalize().unwrap().join(format!("ipc-core-{}-anew", std::process::id()));
        fs::create_dir(&path).unwrap();
        chdir(&path).unwrap();
        let then = Baseline::capture().unwrap();
        fs::remove_dir(&path).unwrap();
        // It has no name now, and a server that stands in the same one needs none.
        let nameless = Baseline::capture().unwrap();
        assert_eq!(nameless.directory.path, None);
        assert!(then.difference(&nameless).start_dir.is_none());
        // Any other server cannot get there.
        chdir("/").unwrap();
        let root = Baseline::capture().unwrap();
        assert!(!root.can_become(&nameless) && nameless.can_become(&root));
        // The same name, another directory.
        fs::create_dir(&path).unwrap();
        chdir(&path).unwrap();
        let now = Baseline::capture().unwrap();
        assert_ne!(then.directory.inode, 0);
        assert_eq!(then.directory.path, now.directory.path);
        if then.directory != now.directory {
            assert_eq!(then.difference(&now).start_dir.as_deref(), Some(path.as_os_str().as_encoded_bytes()));
        } else {
            eprintln!("not seen: this file system gives the same number again");
        }
        chdir("/").unwrap();
        fs::remove_dir(&path).unwrap();
    });
}

#[test]
fn the_nameless_directory_a_server_stands_in() {
    single_threaded("process::baseline::tests::the_nameless_directory_a_server_stands_in", || {
        let path =
            env::temp_dir().canonicalize().unwrap().join(format!("ipc-core-{}-nameless", std::process::id()));
        fs::create_dir(&path).unwrap();
        chdir(&path).unwrap();
        fs::remove_dir(&path).unwrap();
        let then = Baseline::capture().unwrap();
        assert!(then.can_become(&Baseline::capture().unwrap()));
        chdir("/").unwrap();
    });
}

#[test]
fn fields_of_status() {
    let status = b"Name:\tx\nUmask:\t0022\nSigIgn:\t0000000000001000\nUmaskX:\t1\n";
    assert_eq!(field(status, "Umask"), Some(&b"0022"[..]));
    assert_eq!(number(status, "Umask", 8).unwrap(), 0o022);
    assert_eq!(number(status, "SigIgn", 16).unwrap(), 0x1000);
    assert!(field(status, "Um").is_none());
    assert!(number(status, "Seccomp", 10).unwrap_err().to_string().contains("Seccomp"));
}

/// Prints what a spawn pays. No bound is asserted: see the benchmarks.
#[test]
fn the_time_it_takes() {
    fn best<T>(mut f: impl FnMut() -> T) -> f64 {
        let rounds = (0..50).map(|_| {
            let start = Instant::now();
            (0..20).for_each(|_| drop(std::hint::black_box(f())));
            start.elapsed().as_secs_f64() / 20.0 * 1e6
        });
        rounds.fold(f64::MAX, f64::min)
    }
    let (then, now) = (Snapshot::capture().unwrap(), Snapshot::capture().unwrap());
    println!(
        "environment ({} variables) {:.2} us, baseline {:.2}, identity {:.2}, both {:.2}, difference {:.2}",
        env::vars_os().count(),
        best(Environment::capture),
        best(|| Baseline::capture().unwrap()),
        best(|| Identity::capture().unwrap()),
        best(|| Snapshot::capture().unwrap()),
        best(|| then.baseline.difference(&now.baseline)),
    );
    let task = Task::open().unwrap();
    println!(
        "open /proc/thread-self {:.2} us, status {:.2}, cgroup {:.2}, directory {:.2}, limits {:.2}",
        best(|| Task::open().unwrap()),
        best(|| task.read("status").unwrap()),
        best(|| task.read("cgroup").unwrap()),
        best(|| Directory::current().unwrap()),
        best(|| Resource::ALL.map(Limit::get)),
    );
}
