//! The one helper thread: waits for descriptors on behalf of futures, and wakes their wakers.
//!
//! It owns nothing of anybody's: a future lends the number of a descriptor that it holds for as long as it waits. Started by the first future
//! that has to wait, the thread then sleeps in epoll_wait(2) and costs nothing while nobody is woken; it never ends, blocks all signals, and
//! runs no code but wakers. A forked child has no such thread; its first future starts one of its own, and what a copied future had arranged
//! with the parent's helper is forgotten without touching it.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::Waker;

use super::table::{Kernel, Place, Table};
use crate::primitive::sync::Mutex;
use crate::sys::epoll::Epoll;
use crate::sys::fork_local::ForkLocal;
use crate::sys::incarnation::Incarnation;
use crate::sys::inherit::BlockedSignals;

static HELPER: ForkLocal<Mutex<Option<Arc<Helper>>>> = ForkLocal::new();

struct Helper {
    owner: Incarnation,
    epoll: Epoll,
    table: Table,
}

impl Kernel for Epoll {
    fn arm(&self, number: RawFd, interest: u8) -> io::Result<()> {
        Epoll::arm(self, number, interest)
    }

    fn disarm(&self, number: RawFd) {
        Epoll::disarm(self, number);
    }
}

/// This process's helper, started if it is not there.
fn helper() -> io::Result<Arc<Helper>> {
    let mut helper = HELPER.get_or_make(|| Mutex::new(None)).lock();
    if let Some(helper) = &*helper {
        return Ok(helper.clone());
    }
    let fresh =
        Arc::new(Helper { owner: Incarnation::this(), epoll: Epoll::new()?, table: Table::default() });
    let theirs = fresh.clone();
    let _blocked = BlockedSignals::all()?;
    std::thread::Builder::new().name("ipc-ready".into()).stack_size(STACK).spawn(move || theirs.run())?;
    Ok(helper.insert(fresh).clone())
}

/// Wakers are somebody else's code, but a waker does little.
const STACK: usize = 256 * 1024;

impl Helper {
    fn run(&self) {
        let mut ready = Vec::new();
        loop {
            match self.epoll.wait(&mut ready) {
                Ok(()) => {
                    ready.iter().for_each(|(number, ready)| self.table.fired(&self.epoll, *number, *ready))
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The descriptor is ours and open; whatever this is, it must not turn into a loop that burns a processor.
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
            }
        }
    }
}

/// What one future has arranged with the helper.
#[derive(Default)]
pub(crate) struct Arranged {
    helper: Option<Arc<Helper>>,
    place: Place,
}

impl Arranged {
    /// Sees to it that `waker` is called when the descriptor is ready (now, if it is).
    ///
    /// # Errors
    /// No thread or no descriptor can be had for the helper; the kernel cannot wait for this descriptor.
    pub(crate) fn wait(&mut self, number: RawFd, interest: u8, waker: &Waker) -> io::Result<()> {
        let helper = match self.helper.take().filter(|helper| helper.owner.is_this()) {
            Some(helper) => helper,
            None => {
                self.place.forget();
                helper()?
            }
        };
        let helper = self.helper.insert(helper);
        self.place.wait(&helper.table, &helper.epoll, number, interest, waker)
    }

    /// Leaves nothing behind.
    pub(crate) fn leave(&mut self) {
        match self.helper.take() {
            Some(helper) if helper.owner.is_this() => {
                self.place.leave(&helper.table, &helper.epoll);
            }
            _ => self.place.forget(),
        }
    }
}

impl Drop for Arranged {
    fn drop(&mut self) {
        self.leave();
    }
}

/// How many futures wait for descriptors in this process.
#[cfg(test)]
pub(crate) fn waiting() -> usize {
    let helper = HELPER.get().and_then(|helper| helper.lock().clone());
    helper.map_or(0, |helper| helper.table.len())
}
