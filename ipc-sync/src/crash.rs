//! Crash points of this crate: where `tests/crash.rs` has processes killed. Nothing without the feature `crash-points`.
//!
//! Algorithms that are generic over [`System`](ipc_shm::gate::System) reach theirs by `System::crash_point`, where the models have threads die as well; all
//! others by [`reached`].

/// All points; the part before the colon says who dies there.
#[cfg(feature = "crash-points")]
pub const POINTS: &[&str] = &[
    // rings
    "ring sender: has room",
    "ring sender: written",
    "ring sender: written in place",
    "ring sender: published",
    "ring receiver: found",
    "ring receiver: read",
    "ring receiver: gave back",
    "ring bell: about to ring",
    // events
    "event: counted",
    "event: changed",
    // conditions
    "condition waiter: enrolled",
    "condition waiter: gave the lock back",
    "condition waiter: steps aside",
    "condition waiter: has the turn",
    "condition waiter: notified",
    "condition waiter: has the lock",
    "condition waiter: took",
    "condition waiter: gives up",
    "condition notifier: gave",
    "future of a condition: gave it on",
    // semaphores and barriers
    "semaphore: entered",
    "semaphore: acquired",
    "semaphore: given back",
    "semaphore: given back for another",
    "semaphore: dead entry cleared",
    "semaphore: about to repair",
    "barrier: sat down",
    "barrier: all are there",
    "barrier: about to act",
    "barrier: has acted",
    "barrier: stood up",
    "barrier: undone",
    "barrier: dead party cleared",
    "barrier: gives up",
    "barrier: counted anew",
    // what is set once
    "once: has the lock",
    "once: made",
    "once: written",
    "once: set",
    // queues
    "producer: chunk noted",
    "producer: chunk cut off",
    "producer: chunk appended",
    "producer: chunk taken",
    "producer: descriptors sent",
    "producer: about to publish",
    "producer: published",
    "consumer: descriptors seen",
    "consumer: some descriptors taken",
    "consumer: about to take",
    "consumer: took",
    "consumer: descriptors left",
    "closer: about to close",
    "closer: receivers told",
];

/// Kills this process, if it is to die here.
#[cfg(feature = "crash-points")]
#[allow(dead_code, reason = "not all builds have a place")]
pub(crate) fn reached(name: &'static str) {
    ipc_core::primitive::crash::reached_by_name(name, || ());
}

#[cfg(not(feature = "crash-points"))]
#[inline(always)]
#[allow(dead_code, reason = "not all builds have a place")]
pub(crate) fn reached(_name: &'static str) {}

#[cfg(all(test, feature = "crash-points"))]
mod tests {
    use super::POINTS;

    /// A point that is not in the list would never be hit by a test, and nobody would see it.
    #[test]
    fn every_point_is_in_the_list() {
        fn walk(directory: &std::path::Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    let source = std::fs::read_to_string(&path).unwrap();
                    for call in ["crash_point(\"", "reached(\""] {
                        let names = source.split(call).skip(1).filter_map(|rest| rest.split('"').next());
                        found.extend(names.filter(|name| name.contains(": ")).map(str::to_owned));
                    }
                }
            }
        }
        let mut found = Vec::new();
        walk(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.len() >= POINTS.len() / 2, "they are looked for in the wrong way");
        let unlisted: Vec<_> = found.iter().filter(|name| !POINTS.contains(&name.as_str())).collect();
        assert!(unlisted.is_empty(), "{unlisted:?}");
        // And the other way round: what nobody comes to cannot be tested.
        let unused: Vec<_> = POINTS.iter().filter(|name| !found.iter().any(|found| found == *name)).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }
}
