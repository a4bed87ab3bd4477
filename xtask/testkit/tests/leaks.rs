//! What the guard against leaks sees. A program of its own with one test, for it looks at its whole process:
//! beside other tests, their children and descriptors come and go between two looks.

use std::fs;
use std::process::Command;

use ipc_testkit::{Allowed, GENEROUS, Snapshot, wait_until};

#[test]
fn children_and_descriptors_are_seen_and_gone_again() {
    let before = Snapshot::take().unwrap();
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let files: Vec<_> = (0..3).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    let now = Snapshot::take().unwrap();
    let more = now.more_than(&before, Allowed::default());
    assert!(more.iter().any(|more| more.starts_with("child")), "{more:?}");
    assert!(more.iter().any(|more| more.contains("/dev/null")), "{more:?}");
    for (allowed, reported) in [(1, false), (0, true)] {
        let allowed = Allowed { children: allowed, descriptors: 1000, segments: 0 };
        let more = now.more_than(&before, allowed);
        assert_eq!(more.iter().any(|more| more.starts_with("child")), reported, "{more:?}");
    }

    child.kill().unwrap();
    let seen = || Snapshot::take().unwrap().children.remove(&child.id());
    assert!(wait_until(GENEROUS, || seen().is_some_and(|what| what.starts_with("(Z)"))), "a zombie counts");
    child.wait().unwrap();
    drop(files);
    assert!(!Snapshot::take().unwrap().children.contains_key(&child.id()));
}
