//! Scopes: all names of one go together, however it ends.

use ipc_shm::{Item, ShareableList, SharedMemoryScope};

use super::*;

fn all_stand(names: &[String]) -> bool {
    names.iter().all(|name| stands(name))
}

#[test]
fn a_scope_ends_with_all_its_names() {
    let _leaks = leaks();
    for close in [true, false] {
        let scope = SharedMemoryScope::new();
        drop(scope.shared_memory(5).unwrap());
        let list = scope.shareable_list([Item::from("kept"), 7.into()]).unwrap();
        let named = scope.create(fresh("scope"), 5).unwrap();
        let unlinked = scope.name(fresh("scope"), named.segment().clone()).unwrap();
        let mut names = scope.names();
        assert_eq!(names.len(), 4);
        assert!(all_stand(&names));
        unlinked.unlink().unwrap();
        assert!(!stands(&names.remove(3)));
        if close {
            scope.close().unwrap();
        } else {
            drop(scope);
        }
        assert!(names.iter().all(|name| !stands(name)), "handles do not keep them");
        assert_eq!(list.get(0).unwrap(), Item::from("kept"));
        assert!(matches!(named.unlink(), Err(Error::NotFound { .. })));
    }
}

#[test]
fn children_find_what_is_in_it() {
    let _leaks = leaks();
    let scope = SharedMemoryScope::new();
    let list = scope.shareable_list((0..3).map(Item::from)).unwrap();
    let double = |name: String| {
        let list = ShareableList::attach(name).unwrap();
        for (index, item) in list.to_vec().unwrap().into_iter().enumerate() {
            let Item::Int(n) = item else { panic!("{item}") };
            list.set(index, 2 * n).unwrap();
        }
    };
    joined(exec(), double, (scope.names().remove(0),));
    assert_eq!(list.to_vec().unwrap(), [0.into(), 2.into(), 4.into()]);
}

#[test]
fn it_ends_with_its_process() {
    let _leaks = leaks();
    let (line, theirs) = duplex::<(), Vec<String>>().unwrap();
    let child = exec().spawn(
        |theirs: Connection<Vec<String>, ()>| {
            let scope = SharedMemoryScope::new();
            for len in 1..20 {
                scope.shared_memory(len).unwrap();
            }
            scope.shareable_list([Item::None]).unwrap();
            theirs.send(scope.names()).unwrap();
            let _ = theirs.recv();
        },
        (theirs,),
    );
    let child = child.unwrap();
    let names = line.recv_timeout(GENEROUS).unwrap().unwrap();
    assert!(names.len() == 20 && all_stand(&names));
    child.kill().unwrap();
    child.join().unwrap_err();
    names.iter().for_each(|name| gone(name));
}
