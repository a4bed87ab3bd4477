//! What is left of a listener in a process that has a copy of it.

use super::super::endpoint;
use super::*;
use crate::process::alone::{alone, in_fork, is_root};

/// Against hanging only.
const PATIENCE: Duration = Duration::from_secs(20);

/// Its next child is process 1 of a new pid namespace.
fn unshare() {
    // SAFETY: numbers only.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
}

/// A copy with the number of its original removed the path, and took the socket out of the epoll that both share.
#[test]
fn a_process_of_the_same_number_leaves_the_listener_alone() {
    if !is_root("a process 1 that is a copy of a process 1") {
        return;
    }
    alone("connection::listener::tests::a_process_of_the_same_number_leaves_the_listener_alone", || {
        let path = std::env::temp_dir().join(format!("ipc-core-same-number-{}", std::process::id()));
        unshare();
        let code = in_fork(|| {
            assert_eq!(std::process::id(), 1);
            let listener = Listener::builder().without_authentication().bind(path.clone()).unwrap();
            let silent = endpoint::connect(listener.address(), Until::Forever).unwrap();
            assert!(listener.try_accept::<u8, u8>().unwrap().is_none());
            unshare();
            let code = in_fork(|| {
                assert_eq!(std::process::id(), 1);
                assert!(listener.front().is_none());
                assert!(listener.try_accept::<u8, u8>().unwrap().is_none());
                listener.close();
                0
            });
            assert_eq!(code, 0);
            assert!(path.exists());
            let another = endpoint::connect(listener.address(), Until::Forever).unwrap();
            assert_eq!(crate::wait(&[&listener], Some(PATIENCE)).unwrap(), [0]);
            drop((silent, another));
            let deadline = Instant::now() + PATIENCE;
            while listener.refused() < 2 {
                assert!(Instant::now() < deadline, "a client is not seen any more");
                assert!(listener.try_accept::<u8, u8>().unwrap().is_none());
            }
            drop(listener);
            0
        });
        assert_eq!(code, 0);
        assert!(!path.exists());
    });
}
