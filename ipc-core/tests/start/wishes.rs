//! What a builder asks for, as the kernel sees it in the child; and that it goes before what the parent is.

use ipc_core::{Builder, Resource};
use ipc_testkit::not_run;
use rustix::fs::Mode;
use rustix::process::{
    Rlimit, getpriority_process, getrlimit, getuid, setpriority_process, setrlimit, umask,
};
use serde::{Deserialize, Serialize};

use crate::support::Method;

const NOBODY: u32 = 65534;

/// A process as it sees itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seen {
    umask: String,
    /// Real, effective, saved, and of the file system; as the kernel writes them.
    uid: String,
    gid: String,
    groups: String,
    processors: String,
    nice: i32,
    core: Option<u64>,
    files: Option<u64>,
}

fn seen() -> Seen {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
    };
    Seen {
        umask: field("Umask"),
        uid: field("Uid"),
        gid: field("Gid"),
        groups: field("Groups"),
        processors: field("Cpus_allowed_list"),
        nice: getpriority_process(None).unwrap(),
        core: getrlimit(rustix::process::Resource::Core).current,
        files: getrlimit(rustix::process::Resource::Nofile).current,
    }
}

/// One number as all four ids.
fn ids(id: u32) -> String {
    [id; 4].map(|id| id.to_string()).join("\t")
}

fn of(builder: Builder) -> Seen {
    builder.spawn(seen, ()).unwrap().join().unwrap()
}

pub(crate) fn every_method_fulfils_wishes_before_it_copies_the_parent(m: Method) {
    let context = m.context();
    // Where there is a fork server it is there now, and knows nothing of what follows.
    assert_eq!(of(context.builder()), seen());
    umask(Mode::from_raw_mode(0o77));
    let nice = getpriority_process(None).unwrap().min(15);
    setpriority_process(None, nice + 1).unwrap();
    let lower = |resource, most: u64| {
        let now = getrlimit(resource);
        let current = now.current.map_or(most, |now| now.min(most));
        setrlimit(resource, Rlimit { current: Some(current), maximum: now.maximum }).unwrap();
    };
    lower(rustix::process::Resource::Core, 4096);
    lower(rustix::process::Resource::Nofile, 200);
    let parent = seen();
    assert_eq!((parent.umask.as_str(), parent.nice), ("0077", nice + 1));
    assert_eq!(of(context.builder()), parent, "without a wish it is as its parent");

    // Each alone: the others stay the parent's.
    assert_eq!(of(context.builder().umask(0o27)), Seen { umask: "0027".into(), ..parent.clone() });
    assert_eq!(of(context.builder().nice(nice + 3)), Seen { nice: nice + 3, ..parent.clone() });
    let files = context.builder().rlimit(Resource::Nofile, Some(100), Some(150));
    assert_eq!(of(files), Seen { files: Some(100), ..parent.clone() });
    let first = parent.processors.split([',', '-']).next().unwrap().to_owned();
    let alone = context.builder().affinity([first.parse().unwrap()]);
    assert_eq!(of(alone), Seen { processors: first.clone(), ..parent.clone() });

    // All at once, and the later of two wishes.
    let all = context.builder().umask(0).umask(0o7).nice(19).affinity([first.parse().unwrap()]);
    let all = all.rlimit(Resource::Core, Some(1), None).rlimit(Resource::Core, Some(0), Some(0));
    let wished = Seen { umask: "0007".into(), nice: 19, processors: first, core: Some(0), ..parent.clone() };
    assert_eq!(of(all), wished);

    // Only root may choose who a child is. Groups are told in order.
    if getuid().is_root() {
        let groups = context.builder().groups([7000, 8, 7000]);
        assert_eq!(of(groups), Seen { groups: "8 7000 7000".into(), ..parent.clone() });
        assert_eq!(of(context.builder().groups([])), Seen { groups: String::new(), ..parent.clone() });
        assert_eq!(of(context.builder().gid(7000)), Seen { gid: ids(7000), ..parent.clone() });
        // Who leaves root without a word about groups leaves them, too.
        let left = Seen { uid: ids(NOBODY), groups: String::new(), ..parent.clone() };
        assert_eq!(of(context.builder().uid(NOBODY)), left);
        let all = context.builder().uid(NOBODY).gid(7000).groups([8]);
        assert_eq!(of(all), Seen { gid: ids(7000), groups: "8".into(), ..left });
    } else {
        not_run("only root may choose the user and the groups of a child");
    }
    assert_eq!(of(context.builder()), parent, "no wish outlives its child");
}
