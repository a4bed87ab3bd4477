//! A [`System`] for a thread without a robust list, in a sandbox that refuses to tell of it: what was begun with an atomic must go on.
//!
//! It announces nothing, so nobody is woken for it when it dies; it sleeps 100 ms at a time, so a wake-up that was lost with another is
//! no harm to itself. An atomic is not made or received where there is no list, so this is for what comes later.

use ipc_core::primitive::sync::atomic::AtomicU32;
use ipc_core::primitive::time::Until;

use super::kernel;
use crate::gate::State;
use crate::lock::system::{Node, System, WAITERS, Woken};

/// See the module's documentation. It takes no locks.
pub(crate) struct Unlisted;

// SAFETY: it has no room for a lock, so none is taken.
unsafe impl System for Unlisted {
    type Announced = ();

    fn thread(&self) -> u32 {
        0
    }

    fn process(&self) -> u32 {
        std::process::id()
    }

    fn announce(&self, _node: &Node) {}

    fn retract(&self, _before: ()) {}

    fn has_room(&self) -> bool {
        false
    }

    fn link(&self, _node: &Node) {}

    fn unlink(&self, _node: &Node) -> bool {
        true
    }

    fn holds(&self, _node: &Node) -> bool {
        false
    }

    fn wait(&self, word: &AtomicU32, expected: u32, until: Until) -> Woken {
        kernel::sleep_in_slices(word, expected, until)
    }

    fn wait_at_gate<W: State>(
        &self,
        gate: &AtomicU32,
        _state: &W,
        _seen: (W::Seen, usize),
        until: Until,
    ) -> Woken {
        kernel::sleep_in_slices(gate, WAITERS, until)
    }

    fn nap(&self, times: u32, until: Until) {
        kernel::nap(times, until);
    }

    fn wake(&self, word: &AtomicU32, most: u32) -> usize {
        kernel::wake(std::ptr::from_ref(word).cast(), most)
    }

    fn spins(&self) -> u32 {
        0
    }

    fn crash_point(&self, _name: &'static str) {}
}

#[cfg(all(test, not(ipc_loom)))]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;
    use crate::gate;

    #[test]
    fn it_waits_and_wakes() {
        let (node, state) = (Node::new(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let look = |seen| (seen > 1).then_some(seen);
                assert_eq!(
                    gate::wait(&Unlisted, &node, &state, Until::Forever, look, |_| true),
                    Some(1 << 40)
                );
            });
            for number in [1, 1 << 40] {
                gate::change(&Unlisted, &node, u32::MAX, || state.store(number, SeqCst));
            }
        });
        let short = Until::after(std::time::Duration::from_millis(1));
        assert_eq!(gate::wait(&Unlisted, &node, &state, short, |_| None::<()>, |_| true), None);
    }
}
