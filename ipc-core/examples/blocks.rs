//! How much faster plain data goes through the codec as one block than element by element:
//! `cargo run --release -p ipc-core --features bytemuck --example blocks`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ipc_core::codec::{Codec, Postcard};
use ipc_core::{Block, as_block};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of the values that are sent: far beyond any cache's first level, within the last.
const SIZE: usize = 4 << 20;
const ROUNDS: usize = 15;

#[derive(Serialize, Deserialize)]
struct Field(#[serde(with = "as_block")] Vec<f32>);

fn main() {
    let floats: Vec<f32> = (0..SIZE / 4).map(|n| (n as f32).sqrt()).collect();
    let numbers: Vec<u32> = (0..SIZE as u32 / 4).map(|n| n.wrapping_mul(0x9e37_79b9)).collect();
    println!("{SIZE} bytes, GB/s (median of {ROUNDS}): encode, decode");
    compare("f32", &floats, &Block::from(floats.clone()));
    compare("f32, as_block", &floats, &Field(floats.clone()));
    compare("u32", &numbers, &Block::from(numbers.clone()));
}

fn compare<T, B>(name: &str, elements: &T, block: &B)
where
    T: Serialize + DeserializeOwned,
    B: Serialize + DeserializeOwned,
{
    let (one, many) = (speed(block), speed(elements));
    let ratio = |a: f64, b: f64| a / b;
    println!("{name}: element by element {:.2}, {:.2}", many.0, many.1);
    println!("{name}: as one block {:.2}, {:.2}", one.0, one.1);
    println!("{name}: ratio {:.1}, {:.1}", ratio(one.0, many.0), ratio(one.1, many.1));
}

fn speed<T: Serialize + DeserializeOwned>(value: &T) -> (f64, f64) {
    let mut wire = Vec::new();
    let encode = median(|| {
        wire.clear();
        Postcard.encode(black_box(value), &mut wire).expect("encodable");
    });
    let decode = median(|| drop(black_box(Postcard.decode::<T>(black_box(&wire)).expect("decodable"))));
    let speed = |time: Duration| SIZE as f64 / time.as_secs_f64() / 1e9;
    (speed(encode), speed(decode))
}

fn median(mut f: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            f();
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}
