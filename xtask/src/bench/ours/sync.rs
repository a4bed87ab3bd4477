//! Our side of group `sync`: a semaphore by one thread; two events, and a child that has them as arguments.

use std::hint::black_box;
use std::io;

use ipc_core::Context;
use ipc_sync::{CountingSemaphore, Event, Semaphore};

use super::counting::{Counter, alone, is_alone};
use super::failed;
use super::protocol::Call;
use super::traffic::{Bytes, Traffic};

struct Counting(CountingSemaphore);
struct Owned(Semaphore);

impl Counter for Counting {
    #[inline]
    fn touch(&self) -> io::Result<()> {
        self.0.acquire().map_err(failed)?;
        self.0.release().map_err(failed)
    }

    fn add(&self) -> io::Result<()> {
        self.touch()
    }

    fn value(&self) -> io::Result<u64> {
        Ok(self.0.available().into())
    }
}

impl Counter for Owned {
    #[inline]
    fn touch(&self) -> io::Result<()> {
        self.0.acquire().map(drop).map_err(failed)
    }

    fn add(&self) -> io::Result<()> {
        self.touch()
    }

    fn value(&self) -> io::Result<u64> {
        Ok(self.0.available().into())
    }
}

/// Set by this side, set by the other.
struct End {
    mine: Event,
    theirs: Event,
    message: [u8; 8],
}

impl Bytes for End {
    fn send(&mut self, _: &[u8]) -> io::Result<()> {
        self.mine.set();
        Ok(())
    }

    fn receive(&mut self, _: usize) -> io::Result<&[u8]> {
        self.theirs.wait();
        self.theirs.clear();
        Ok(&self.message)
    }
}

/// The child: it ends with its parent.
fn follow(mine: Event, theirs: Event) {
    let _ = Traffic { typed: false, size: 8, batch: None }.follow(&mut End { mine, theirs, message: [0; 8] });
}

/// Does what group `sync` asks for.
pub(crate) fn serve(call: &Call) -> io::Result<()> {
    if is_alone(call) {
        call.placement.enter()?;
        return match call.more.get(1).map(String::as_str) {
            Some("counting") => alone(call, black_box(&Counting(CountingSemaphore::new(1).map_err(failed)?))),
            Some("owned") => alone(call, black_box(&Owned(Semaphore::new(1).map_err(failed)?))),
            _ => Err(call.unknown()),
        };
    }
    let (mine, theirs) = (Event::new().map_err(failed)?, Event::new().map_err(failed)?);
    let context = Context::default();
    let builder = match call.placement.child() {
        Some(cpu) => context.builder().affinity([cpu]),
        None => context.builder(),
    };
    call.placement.enter()?;
    let child = builder.spawn(follow, (theirs.clone(), mine.clone())).map_err(failed)?;
    let led = Traffic::of(call)?.lead(&mut End { mine, theirs, message: [0; 8] });
    // It waits for the next round, for ever.
    child.kill().map_err(failed)?;
    led
}
