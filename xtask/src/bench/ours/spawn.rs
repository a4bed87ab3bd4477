//! Our side of group `spawn`.
//!
//! A pinned thread passes its processor on to its children, so in `2 CPUs` the server is started from the children's
//! processor, and every child asks for it by [`Builder::affinity`], as any program of ours would. Nothing else is set:
//! names, stdio and lifetime are what everybody gets.

use std::io;

use ipc_core::{Builder, Context};

use super::failed;
use super::protocol::{Call, Share, VALUE, await_end, idle, idle_memory, serve as answer, timed};

fn nothing() {}

fn value() -> u64 {
    VALUE
}

/// Does what group `spawn` asks for.
pub(crate) fn serve(call: &Call) -> io::Result<()> {
    let context = match call.task.as_str() {
        "exec-join" => Context::exec(),
        _ => Context::default(),
    };
    let builder = || -> Builder {
        match call.placement.child() {
            Some(cpu) => context.builder().affinity([cpu]),
            None => context.builder(),
        }
    };
    // The first child brings the server with it.
    call.placement.enter_for_servers()?;
    builder().spawn(nothing, ()).map_err(failed)?.join().map_err(failed)?;
    call.placement.enter()?;
    if let Some(why) = context.fallback() {
        return Err(io::Error::other(format!("no fork server here: {why}")));
    }
    match call.task.as_str() {
        "join" | "exec-join" => answer(|| {
            let (time, ()) = timed(|| builder().spawn(nothing, ()).map_err(failed)?.join().map_err(failed))?;
            Ok(time)
        }),
        "start" => answer(|| {
            let (time, child) = timed(|| builder().spawn(nothing, ()).map_err(failed))?;
            child.join().map_err(failed)?;
            Ok(time)
        }),
        "value" => answer(|| {
            let (time, pid) = timed(|| {
                let child = builder().spawn(value, ()).map_err(failed)?;
                let pid = child.pid();
                match child.value().map_err(failed)? {
                    VALUE => Ok(pid),
                    other => Err(io::Error::other(format!("{other} is not what was returned"))),
                }
            })?;
            await_end(pid)?;
            Ok(time)
        }),
        "idle" => {
            let alive = call.more.first().and_then(|alive| alive.parse().ok()).unwrap_or(1);
            answer(|| idle_children(&context, alive, Share::Proportional))
        }
        "own" => answer(|| idle_children(&context, 1, Share::Own)),
        _ => Err(call.unknown()),
    }
}

/// The mean size of so many idle children, all alive together.
fn idle_children(context: &Context, alive: usize, share: Share) -> io::Result<f64> {
    let mut children = Vec::new();
    for _ in 0..alive {
        children.push(context.spawn(idle, ()).map_err(failed)?);
    }
    let mut total = 0.0;
    for child in &children {
        total += idle_memory(child.pid(), share)?;
    }
    for child in children {
        child.kill().map_err(failed)?;
        child.wait().map_err(failed)?;
    }
    Ok(total / alive as f64)
}
