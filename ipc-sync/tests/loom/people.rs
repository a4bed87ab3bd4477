//! Processes of a model: each thread is one, and dies with it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use ipc_core::primitive::process::Life;
use ipc_core::primitive::sync::Mutex;
use ipc_core::primitive::thread;
use ipc_sync::Result;
use ipc_sync::raw::{People, Person};

use crate::kernel::{Died, Kernel, Thread};

/// Who has died, as far as the system can tell.
#[derive(Clone)]
pub(crate) struct Town {
    dead: Arc<Mutex<Vec<Life>>>,
    time: Arc<AtomicU64>,
}

impl Town {
    pub(crate) fn new() -> Town {
        Town { dead: Arc::new(Mutex::new(Vec::new())), time: Arc::new(AtomicU64::new(1000)) }
    }

    /// Runs a life as a process of its own; `None`: it died at the point.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        kernel: &Arc<Kernel>,
        number: u32,
        dies_at: &'static str,
        life: impl FnOnce(&Thread, &Citizen) -> T + Send + 'static,
    ) -> thread::JoinHandle<Option<T>> {
        let (kernel, town) = (kernel.clone(), self.clone());
        // It is not quiet before it has begun.
        kernel.lives(1);
        thread::spawn(move || {
            town.run(&kernel, number, dies_at, |thread, me| {
                kernel.lives(-1);
                life(thread, me)
            })
        })
    }

    /// The same on the calling thread.
    pub(crate) fn run<T>(
        &self,
        kernel: &Arc<Kernel>,
        number: u32,
        dies_at: &'static str,
        life: impl FnOnce(&Thread, &Citizen) -> T,
    ) -> Option<T> {
        self.run_as(kernel, number, Life { pid: number, started: 7 }, dies_at, life)
    }

    /// The same as this process, whose number another may have had.
    pub(crate) fn run_as<T>(
        &self,
        kernel: &Arc<Kernel>,
        number: u32,
        process: Life,
        dies_at: &'static str,
        life: impl FnOnce(&Thread, &Citizen) -> T,
    ) -> Option<T> {
        let me = Citizen { process, town: self.clone() };
        let value = Thread::run(kernel, number, dies_at, |thread| {
            let end = catch_unwind(AssertUnwindSafe(|| life(thread, &me)));
            end.unwrap_or_else(|panic| {
                // The kernel marks a thread's locks before the process is known to be dead; nobody may think meanwhile that all is quiet.
                if panic.is::<Died>() {
                    kernel.lives(1);
                }
                resume_unwind(panic)
            })
        });
        if value.is_none() {
            self.dead.lock().push(process);
            kernel.lives(-1);
        }
        value
    }
}

/// One of them.
pub(crate) struct Citizen {
    process: Life,
    town: Town,
}

impl People for Citizen {
    fn this(&self) -> Result<Person> {
        Ok(Person { life: self.process, clock: 1 })
    }

    fn is_over(&self, life: Life) -> bool {
        self.town.dead.lock().contains(&life)
    }

    /// Whenever one looks, much time has passed.
    fn now(&self) -> u64 {
        self.town.time.fetch_add(1000, Relaxed)
    }
}
