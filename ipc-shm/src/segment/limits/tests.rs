//! Unit tests of `limits`, on recorded trees.

use super::*;

/// A /proc and a /sys/fs/cgroup of a test's own, removed with the value.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, files: &[(&str, &str)]) -> Tree {
        let root = std::env::temp_dir().join(format!("ipc-shm-limits-{name}-{}", std::process::id()));
        let tree = Tree(root);
        for (file, text) in files {
            let file = tree.0.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        tree
    }

    /// What is short, and the end of its name; `None`: nothing is.
    fn short(&self, needed: u64) -> Option<(u64, String)> {
        let limits = Limits::under(&self.0.join("proc"), &self.0.join("cgroup"));
        match limits.look(needed) {
            Ok(available) => {
                assert!(available >= needed);
                None
            }
            Err(Error::NoMemory { needed: told, available, limit }) => {
                assert_eq!(told, needed);
                let here = format!("{}/", self.0.display());
                Some((available, limit.replace(&here, "")))
            }
            Err(other) => panic!("{other}"),
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const MEMINFO: (&str, &str) =
    ("proc/meminfo", "MemTotal:       2000 kB\nMemFree:         10 kB\nMemAvailable:   1000 kB\n");

const ENOUGH: Option<(u64, String)> = None;

fn by(available: u64, limit: &str) -> Option<(u64, String)> {
    Some((available, limit.to_owned()))
}

#[test]
fn the_machine() {
    let tree = Tree::new("machine", &[MEMINFO, ("proc/self/cgroup", "0::/\n")]);
    assert_eq!(tree.short(1_024_000), ENOUGH);
    assert_eq!(tree.short(1_024_001), by(1_024_000, "MemAvailable in proc/meminfo"));
}

#[test]
fn version_2_and_what_encloses_it() {
    let tree = Tree::new(
        "v2",
        &[
            MEMINFO,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("cgroup/a/memory.max", "640000\n"),
            ("cgroup/a/memory.current", "0\n"),
            ("cgroup/a/b/memory.max", "max\n"),
            ("cgroup/a/b/memory.current", "0\n"),
        ],
    );
    // A 64th is kept free.
    assert_eq!(tree.short(630_000), ENOUGH);
    assert_eq!(tree.short(630_001), by(630_000, "cgroup/a/memory.max"));
    // The inner one is less now.
    fs::write(tree.0.join("cgroup/a/b/memory.max"), "6400").unwrap();
    assert_eq!(tree.short(6_301), by(6_300, "cgroup/a/b/memory.max"));
    fs::write(tree.0.join("cgroup/a/b/memory.current"), "6400").unwrap();
    assert_eq!(tree.short(1), by(0, "cgroup/a/b/memory.max"));
    // More in use than allowed: a limit that was lowered.
    fs::write(tree.0.join("cgroup/a/b/memory.current"), "10000").unwrap();
    assert_eq!(tree.short(1), by(0, "cgroup/a/b/memory.max"));
}

#[test]
fn version_1_beside_others() {
    let tree = Tree::new(
        "v1",
        &[
            MEMINFO,
            ("proc/self/cgroup", "9:name=systemd:/\n8:pids:/x\n4:foo,memory:/a/b\n0::/\n"),
            ("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("cgroup/memory/memory.usage_in_bytes", "100\n"),
            ("cgroup/memory/a/memory.limit_in_bytes", "7400\n"),
            ("cgroup/memory/a/memory.usage_in_bytes", "1000\n"),
            ("cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"),
            ("cgroup/memory/a/b/memory.usage_in_bytes", "100\n"),
            ("cgroup/memory/x/memory.limit_in_bytes", "1\n"),
            ("cgroup/memory/x/memory.usage_in_bytes", "1\n"),
        ],
    );
    assert_eq!(tree.short(6_300), ENOUGH);
    assert_eq!(tree.short(6_301), by(6_300, "cgroup/memory/a/memory.limit_in_bytes"));
}

#[test]
fn page_cache_counts_as_free_and_no_more_than_the_limit() {
    for (name, line, dir, limit, usage, field) in [
        ("cache2", "0::/a", "cgroup/a", "memory.max", "memory.current", "inactive_file"),
        (
            "cache1",
            "4:memory:/a",
            "cgroup/memory/a",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ] {
        let tree = Tree::new(
            name,
            &[
                MEMINFO,
                ("proc/self/cgroup", line),
                (&format!("{dir}/{limit}"), "12800\n"),
                (&format!("{dir}/{usage}"), "12800\n"),
                (&format!("{dir}/memory.stat"), &format!("active_file 99\n{field} 6400\nanon 7\n")),
            ],
        );
        assert_eq!(tree.short(6_300), ENOUGH, "{name}");
        assert_eq!(tree.short(6_301), by(6_300, &format!("{dir}/{limit}")), "{name}");
        fs::write(tree.0.join(dir).join("memory.stat"), format!("{field} 99999999999\n")).unwrap();
        assert_eq!(tree.short(12_601), by(12_600, &format!("{dir}/{limit}")), "{name}");
    }
}

#[test]
fn a_container_that_is_mounted_as_the_root() {
    // The path is the machine's; what is mounted is the group itself.
    let tree = Tree::new(
        "container",
        &[
            MEMINFO,
            ("proc/self/cgroup", "4:memory:/docker/1234\n"),
            ("cgroup/memory/memory.limit_in_bytes", "6400\n"),
            ("cgroup/memory/memory.usage_in_bytes", "0\n"),
        ],
    );
    assert_eq!(tree.short(6_301), by(6_300, "cgroup/memory/memory.limit_in_bytes"));
}

#[test]
fn a_path_out_of_the_namespace_is_not_followed() {
    let tree = Tree::new(
        "outside",
        &[
            MEMINFO,
            ("proc/self/cgroup", "0::/../a\n"),
            ("cgroup/memory.max", "6400\n"),
            ("cgroup/memory.current", "0\n"),
            ("a/memory.max", "1\n"),
            ("a/memory.current", "1\n"),
        ],
    );
    assert_eq!(tree.short(6_300), ENOUGH);
    assert_eq!(tree.short(6_301), by(6_300, "cgroup/memory.max"));
}

#[test]
fn version_2_beside_version_1() {
    let tree = Tree::new(
        "hybrid",
        &[
            MEMINFO,
            ("proc/self/cgroup", "0::/a\n"),
            ("cgroup/unified/a/memory.max", "6400\n"),
            ("cgroup/unified/a/memory.current", "0\n"),
        ],
    );
    assert_eq!(tree.short(6_301), by(6_300, "cgroup/unified/a/memory.max"));
}

#[test]
fn what_cannot_be_read_is_no_limit() {
    let tree = Tree::new("nothing", &[]);
    assert_eq!(tree.short(u64::MAX), ENOUGH);
    let tree = Tree::new(
        "nonsense",
        &[
            ("proc/meminfo", "MemAvailable: many kB\n"),
            ("proc/self/cgroup", "0\n\n0:\n:::::\n0::/a\n4:memory:/b\n"),
            ("cgroup/a/memory.max", "\u{fffd}\n"),
            ("cgroup/memory/b/memory.limit_in_bytes", "100\n"),
        ],
    );
    assert_eq!(tree.short(u64::MAX), ENOUGH);
}

#[test]
fn the_process_itself() {
    assert!(of_process(4096).is_ok());
    let error = of_process(ADDRESSES).unwrap_err();
    assert!(error.to_string().contains("the address space of a process"), "{error}");
    assert!(mapped() > 0);
}

#[test]
fn a_look_stands_for_a_small_part_of_what_it_found() {
    let trust = Trust::none();
    assert!(!trust.take(1));
    trust.renew(64 * 1000);
    assert!(!trust.take(1001));
    assert!(trust.take(600) && trust.take(400) && !trust.take(1));
    trust.renew(u64::MAX);
    assert!(!trust.take(Trust::SMALL + 1));
    let times = (0..).take_while(|_| trust.take(Trust::SMALL)).count() as u64;
    assert_eq!(times, Trust::TOGETHER / Trust::SMALL);
    trust.renew(u64::MAX);
    trust.until.store(now(), Relaxed);
    assert!(!trust.take(1));
}
