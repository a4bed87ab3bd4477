//! Lists, names, and the process that removes them.

use std::path::Path;

use ipc_core::{Connection, duplex};
use ipc_shm::{Item, ShareableList, SharedMemory};
use ipc_testkit::Allowed;

use super::*;

/// What a process keeps that has had a name: the reaper, its handle's descriptors, and the connection.
const KEPT: Allowed = Allowed { children: 1, descriptors: 5, segments: 0 };

fn stands(name: &str) -> bool {
    Path::new("/dev/shm").join(name).exists()
}

pub(crate) fn list(region: &mut Region) -> Answer {
    region.begin();
    let list = ShareableList::new([1.into(), "text".into(), Item::None]).map_err(said)?;
    list.set(2, "more").map_err(said)?;
    assert_eq!(list.to_vec().map_err(said)?, [1.into(), "text".into(), "more".into()]);
    Ok(())
}

/// A name of its own, from the first call to the last, with the reaper there.
fn name_there(name: &str) -> Answer {
    let memory = SharedMemory::create(name, 100).map_err(said)?;
    let attached = SharedMemory::attach(name);
    if let Ok(attached) = &attached {
        assert_eq!(attached.as_ptr(), memory.as_ptr());
        let refused = attached.unlink().map_err(said);
        assert!(refused.is_err(), "who has attached took the name away");
    }
    let taken = SharedMemory::create(name, 100).map(|_| panic!("two owners")).unwrap_err();
    let unlinked = memory.unlink().map_err(said);
    // What failed is done at another try, or when the handle goes; if that fails too, with the process.
    if unlinked.is_err() && stands(name) {
        let _ = memory.unlink();
    }
    let taken = if matches!(taken, Error::AlreadyExists { .. }) { Ok(()) } else { Err(said(taken)) };
    attached.map(drop).map_err(said).and(taken).and(unlinked)
}

pub(crate) fn name(region: &mut Region) -> Answer {
    let first = SharedMemory::new(1).map_err(said)?;
    region.allow(KEPT);
    region.begin();
    let name = format!("{}-walk", first.name());
    let there = name_there(&name);
    if there.is_ok() {
        assert!(!stands(&name), "the name stays");
    }
    there
}

/// The process's first: the reaper is started in the region, and all its life is there.
pub(crate) fn name_first(region: &mut Region) -> Answer {
    region.allow(KEPT);
    region.begin();
    let memory = SharedMemory::new(1).map_err(said)?;
    memory.unlink().map_err(said)
}

fn own(theirs: Connection<String, ()>) -> Answer {
    let memory = SharedMemory::new(1).map_err(said)?;
    theirs.send(memory.name().to_owned()).map_err(words)?;
    let _ = theirs.recv();
    drop(memory);
    Ok(())
}

/// An owner is killed: its name goes, whatever failed in the reaper.
pub(crate) fn name_owner_dies(region: &mut Region) -> Answer {
    region.allow(KEPT);
    region.begin();
    let first = SharedMemory::new(1).map_err(said)?;
    let (ours, theirs) = duplex::<(), String>().map_err(words)?;
    let child = spawn(own, (theirs,))?;
    let name = ours.recv_timeout(LONG).map_err(words);
    // However it went, the child is gone.
    let killed = child.kill().map_err(words);
    let _ = child.join();
    drop(ours);
    killed?;
    let name = name?.ok_or("the other process says nothing")?;
    if !wait_until(LONG / 2, || !stands(&name)) {
        // A reaper that could not is followed by one that can.
        drop(SharedMemory::new(1).map_err(said)?);
        return Err(if stands(&name) { format!("{name} stays") } else { "it came late".to_owned() });
    }
    first.unlink().map_err(said)
}
