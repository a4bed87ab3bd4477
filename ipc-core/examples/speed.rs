//! How long it takes to start and join an empty child, by each start method: medians in microseconds.
use std::time::Instant;

use ipc_core::Context;

fn nothing() {}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> ipc_core::Result<()> {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1000);
    let only = std::env::args().nth(2);
    for (name, context, rounds) in
        [("fork server", Context::fork_server(), rounds), ("exec", Context::exec(), rounds / 4 + 1)]
    {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let (mut start, mut join, mut value) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let begin = Instant::now();
            let child = context.spawn(nothing, ())?;
            start.push(begin.elapsed().as_secs_f64() * 1e6);
            child.join()?;
            join.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        for _ in 0..rounds {
            let begin = Instant::now();
            context.spawn(nothing, ())?.value()?;
            value.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        println!(
            "{name:12} start {:6.1}  start and join {:6.1}  start and value {:6.1}",
            median(start),
            median(join),
            median(value)
        );
    }
    Ok(())
}
