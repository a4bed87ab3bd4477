//! A large data set that is built once and read by several processes, without a copy:
//! `cargo run --release -p ipc-shm --example dataset -- [MEGABYTES] [PROCESSES]`.
//!
//! The children say how much memory they have that is no file's: the same little, whatever the size of the data.

use std::ops::Range;
use std::time::Instant;

use ipc_core::spawn;
use ipc_shm::{Frozen, Segment, bytemuck};

/// Numbers in a segment, filled in pieces and frozen.
fn build(numbers: usize) -> ipc_shm::Result<Frozen> {
    const PIECE: usize = 1 << 16;
    let segment = Segment::new(numbers * size_of::<f32>())?;
    let mut piece = Vec::with_capacity(PIECE);
    for begin in (0..numbers).step_by(PIECE) {
        piece.clear();
        piece.extend((begin..numbers.min(begin + PIECE)).map(|n| (n % 1000) as f32));
        segment.write(begin * size_of::<f32>(), bytemuck::cast_slice(&piece))?;
    }
    Ok(segment.freeze()?)
}

/// In a child: the sum of a part, and how many kilobytes of memory it has besides.
fn sum(data: Frozen, part: Range<usize>) -> ipc_shm::Result<(f64, u64)> {
    let numbers: &[f32] = data.as_slice_of()?;
    let sum = numbers[part].iter().map(|n| f64::from(*n)).sum();
    Ok((sum, kilobytes("Anonymous:")))
}

/// A line of `/proc/self/smaps_rollup`.
fn kilobytes(name: &str) -> u64 {
    let all = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let number =
        all.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // For a build without ipc-core's hook: a child goes no further.
    ipc_core::init();
    let mut words = std::env::args().skip(1).map(|word| word.parse::<usize>());
    let (megabytes, processes) = (words.next().unwrap_or(Ok(64))?, words.next().unwrap_or(Ok(4))?.max(1));
    let numbers = megabytes * (1 << 20) / size_of::<f32>();

    let begin = Instant::now();
    let data = build(numbers)?;
    println!("{megabytes} MiB built in {:?}", begin.elapsed());

    let begin = Instant::now();
    let part = numbers.div_ceil(processes);
    let mut children = Vec::new();
    for begin in (0..numbers).step_by(part.max(1)) {
        children.push(spawn(sum, (data.clone(), begin..numbers.min(begin + part)))?);
    }
    let mut total = 0.0;
    for child in children {
        let (sum, besides) = child.join()??;
        total += sum;
        println!("a part is {sum}; {besides} kB besides");
    }
    println!("{total} in all, by {processes} processes in {:?}", begin.elapsed());
    Ok(())
}
