//! raw_sync: its `Mutex`, which is a shared `pthread_mutex_t` behind a trait object, with a counter behind it.

use std::hint::black_box;
use std::io;
use std::process::ExitCode;

use peers::counting::{Counter, alone, is_alone};
use peers::protocol::contend;
use peers::{in_shared_memory, two_runners};
use raw_sync::locks::{LockImpl, LockInit, Mutex};

struct Locked(Box<dyn LockImpl>);

impl Counter for Locked {
    #[inline]
    fn touch(&self) -> io::Result<()> {
        self.0.lock().map(drop).map_err(failed)
    }

    #[inline]
    fn add(&self) -> io::Result<()> {
        let guard = self.0.lock().map_err(failed)?;
        // SAFETY: the guard gives the address of the counter, which is who has the lock's.
        unsafe { *(*guard).cast::<u64>() += 1 };
        Ok(())
    }

    fn value(&self) -> io::Result<u64> {
        let guard = self.0.lock().map_err(failed)?;
        // SAFETY: as above.
        Ok(unsafe { *(*guard).cast::<u64>() })
    }
}

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

fn main() -> ExitCode {
    contend(std::env::args().skip(1), |call| {
        // Zeroed, and the counter at its beginning, the mutex right behind it.
        let memory = std::ptr::from_ref(in_shared_memory([0_u64; 32])?).cast_mut().cast::<u8>();
        // SAFETY: shared memory for good, larger than both, and nobody refers to it in any other way.
        let (lock, _) = unsafe { Mutex::new(memory.add(8), memory) }.map_err(failed)?;
        let locked = Locked(lock);
        if is_alone(&call) { alone(&call, black_box(&locked)) } else { two_runners(&call, &locked) }
    })
}
