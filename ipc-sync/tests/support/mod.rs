//! What tests of this crate have in common.

#![allow(dead_code, reason = "each test uses its part")]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Wake};

use ipc_core::{Child, Context, Function, Message, SpawnError};

/// Runs a function in a child of its own, without a server that would be left.
pub(crate) fn spawn<F: Function<A>, A: Message>(f: F, args: A) -> Result<Child<F::Output>, SpawnError<A>>
where
    F::Output: Message,
{
    Context::exec().spawn(f, args)
}

/// The least of executors.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
