//! Our side of group `lock`: a `Lock`, a `Value`, and for two processes two children that have the value as an argument.

use std::hint::black_box;
use std::io;

use ipc_core::Context;
use ipc_shm::{Lock, Segment, Value};

use super::counting::{Counter, Stage, alone, is_alone, processors};
use super::failed;
use super::protocol::Call;

struct Ours {
    lock: Lock,
    value: Value<u64>,
}

impl Ours {
    fn new() -> io::Result<Self> {
        Ok(Self { lock: Lock::new().map_err(failed)?, value: Value::new(0).map_err(failed)? })
    }
}

impl Counter for Ours {
    #[inline]
    fn touch(&self) -> io::Result<()> {
        self.lock.lock().map(drop).map_err(failed)
    }

    #[inline]
    fn add(&self) -> io::Result<()> {
        self.value.update(|value| *value += 1).map_err(failed)
    }

    fn value(&self) -> io::Result<u64> {
        self.value.get().map_err(failed)
    }
}

/// The stage in a segment that is as long as it and lives as long.
fn stage(segment: &Segment) -> &Stage {
    // SAFETY: at a page's beginning, mapped as long as the segment is borrowed, as long as a `Stage`, and of atomics only.
    unsafe { segment.as_ptr().cast::<Stage>().as_ref() }
}

/// A child.
fn run(value: Value<u64>, lane: usize, segment: Segment) {
    if let Ok(lock) = Lock::new() {
        stage(&segment).run(lane, &Ours { lock, value });
    }
}

/// Does what group `lock` asks for.
pub(crate) fn serve(call: &Call) -> io::Result<()> {
    let ours = Ours::new()?;
    if is_alone(call) {
        call.placement.enter()?;
        return alone(call, black_box(&ours));
    }
    let segment = Segment::new(size_of::<Stage>()).map_err(failed)?;
    let context = Context::default();
    let mut children = Vec::new();
    for (lane, processor) in processors(call.placement).into_iter().enumerate() {
        let builder = match processor {
            Some(cpu) => context.builder().affinity([cpu]),
            None => context.builder(),
        };
        children.push(builder.spawn(run, (ours.value.clone(), lane, segment.clone())).map_err(failed)?);
    }
    stage(&segment).conduct(call, &ours)?;
    children.into_iter().try_for_each(|child| child.join().map_err(failed))
}
