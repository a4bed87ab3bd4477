//! Our side of group `queue` where several put and several get: two processes of each, and one `Queue` of `Bytes` between them.
//!
//! The parent says when, and is told by both that get when they have got a mark; each that puts puts one behind its part.

use std::io;

use ipc_core::{Bytes, Context};
use ipc_sync::{Queue, QueueReceiver, QueueSender};

use super::failed;
use super::protocol::{Call, Placement, serve, timed};
use super::traffic::Traffic;

/// How many put, and how many get.
const EACH: usize = 2;

/// Behind each part.
const MARK: [u8; 1] = [0];

fn produce(go: QueueReceiver<u32>, items: QueueSender<Bytes>, message: Vec<u8>) -> ipc_sync::Result<()> {
    for part in go {
        for _ in 0..part? {
            items.put_bytes(&message)?;
        }
        items.put_bytes(&MARK)?;
    }
    Ok(())
}

fn consume(items: QueueReceiver<Bytes>, done: QueueSender<u32>) -> ipc_sync::Result<()> {
    let mut item = Vec::new();
    loop {
        item.clear();
        match items.get_into(&mut item) {
            Ok(len) if len == MARK.len() => done.put(0)?,
            Ok(_) => {}
            Err(error) if error.is_end() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Does what group `queue` asks for.
pub(crate) fn run(call: &Call) -> io::Result<()> {
    let traffic = Traffic::of(call)?;
    let batch = traffic.batch.ok_or_else(|| call.unknown())?;
    let part = u32::try_from(batch / EACH).map_err(|_| call.unknown())?;
    let items = Queue::builder().items(100_000).bytes(1 << 20).make().map_err(failed)?;
    let (puts, gets) = items.split();
    let (done, is_done) = Queue::bounded(EACH).map_err(failed)?.split();
    let (putting, getting) = match call.placement {
        Placement::Two { parent, child } => (Some(parent), Some(child)),
        _ => (None, None),
    };
    call.placement.enter()?;
    let builder = |cpu: Option<usize>| {
        let builder = Context::exec().builder();
        match cpu {
            Some(cpu) => builder.affinity([cpu]),
            None => builder,
        }
    };
    let (mut go, mut children) = (Vec::new(), Vec::new());
    for _ in 0..EACH {
        let (tell, told) = Queue::bounded(1).map_err(failed)?.split();
        let message = vec![7; traffic.size];
        children.push(builder(putting).spawn(produce, (told, puts.clone(), message)).map_err(failed)?);
        children.push(builder(getting).spawn(consume, (gets.clone(), done.clone())).map_err(failed)?);
        go.push(tell);
    }
    drop((puts, gets, done));
    serve(|| {
        let (time, ()) = timed(|| {
            for tell in &go {
                tell.put(part).map_err(failed)?;
            }
            for _ in 0..EACH {
                is_done.get().map_err(failed)?;
            }
            Ok(())
        })?;
        Ok(time)
    })?;
    drop(go);
    children.into_iter().try_for_each(|child| child.join().map_err(failed)?.map_err(failed))
}
