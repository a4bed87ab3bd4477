//! How fast a pipe is, beside the raw socket pair, in one run: `cargo run --release -p ipc-core --example pipe_speed [pinned]`.
//!
//! Both sides are processes (a fork of this one answers). Rounds of ours and raw alternate, and what is printed are the medians of
//! a round and their ratio.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use ipc_core::{Connection, duplex};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

const ROUNDS: usize = 41;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().any(|arg| arg == "pinned") {
        let mut one = rustix::thread::CpuSet::new();
        one.set(0);
        rustix::thread::sched_setaffinity(None, &one)?;
    }
    println!("{:>9} {:>10} {:>12} {:>12} {:>7}", "bytes", "what", "raw µs", "ours µs", "ratio");
    let (ours, theirs) = duplex::<u64, u64>()?;
    let (raw, raw_theirs) = pair(SocketType::SEQPACKET)?;
    let (stream, stream_theirs) = pair(SocketType::STREAM)?;
    // SAFETY: one thread so far.
    let context = unsafe { ipc_core::Context::fork() };
    let child = context.spawn(
        answer,
        (theirs, ipc_core::Descriptor::from(raw_theirs), ipc_core::Descriptor::from(stream_theirs)),
    )?;
    if let Some(size) = std::env::args().find_map(|arg| arg.parse().ok()) {
        one_way(&ours, raw.as_fd(), stream.as_fd(), size)?;
        ours.send_bytes(b"")?;
        return child.join().map_err(Into::into);
    }
    typed_round_trip(&ours, raw.as_fd())?;
    let small = std::env::args().any(|arg| arg == "small");
    for size in [8, 64, 1024, 4096, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20]
        .into_iter()
        .take(if small { 4 } else { 9 })
    {
        one_way(&ours, raw.as_fd(), stream.as_fd(), size)?;
    }
    ours.send_bytes(b"")?;
    child.join()?;
    Ok(())
}

fn pair(kind: SocketType) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}

/// The child: what to do comes as bytes: which way, and how long.
fn answer(ours: Connection<u64, u64>, raw: ipc_core::Descriptor, stream: ipc_core::Descriptor) {
    let mut buffer = vec![0; 16 << 20];
    loop {
        let command = ours.recv_bytes().unwrap();
        let Ok(command) = <[u8; 24]>::try_from(&command[..]) else { return };
        let word = |at: usize| u64::from_le_bytes(command[at..at + 8].try_into().unwrap());
        let (what, times, size) = (word(0), word(8), word(16) as usize);
        for _ in 0..times {
            match what {
                0 => ours.send(ours.recv().unwrap() + 1).unwrap(),
                1 => {
                    assert_eq!(ours.recv_into(&mut buffer).unwrap(), size);
                }
                2 => {
                    assert_eq!(ours.recv_bytes().unwrap().len(), size);
                }
                3 => {
                    let got = recv(raw.as_fd(), &mut buffer[..], RecvFlags::empty()).unwrap().0;
                    assert_eq!(got, size);
                }
                4 => read_all(stream.as_fd(), &mut buffer[..size]),
                5 => {
                    let mut n = [0; 8];
                    recv(raw.as_fd(), &mut n, RecvFlags::empty()).unwrap();
                    let n: u64 = postcard::from_bytes(&n).unwrap();
                    let mut out = [0; 10];
                    let out = postcard::to_slice(&(n + 1), &mut out).unwrap();
                    send(raw.as_fd(), out, SendFlags::empty()).unwrap();
                }
                _ => {
                    let n = recv(raw.as_fd(), &mut buffer[..], RecvFlags::empty()).unwrap().0;
                    send(raw.as_fd(), &buffer[..n], SendFlags::empty()).unwrap();
                    continue;
                }
            }
        }
        if (1..5).contains(&what) {
            ours.send_bytes(b"!").unwrap();
        }
    }
}

fn read_all(stream: BorrowedFd<'_>, mut into: &mut [u8]) {
    while !into.is_empty() {
        let n = recv(stream, &mut *into, RecvFlags::empty()).unwrap().0;
        into = &mut into[n..];
    }
}

fn write_all(stream: BorrowedFd<'_>, mut from: &[u8]) {
    while !from.is_empty() {
        from = &from[send(stream, from, SendFlags::empty()).unwrap()..];
    }
}

fn command(ours: &Connection<u64, u64>, what: u64, times: usize, size: usize) {
    let words = [what, times as u64, size as u64];
    ours.send_bytes(&words.map(u64::to_le_bytes).concat()).unwrap();
}

fn timed(times: usize, f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64() * 1e6 / times as f64
}

fn typed_round_trip(
    ours: &Connection<u64, u64>,
    raw: BorrowedFd<'_>,
) -> Result<(), Box<dyn std::error::Error>> {
    const TIMES: usize = 2000;
    let mut samples = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        command(ours, 0, TIMES, 0);
        samples[0].push(timed(TIMES, || {
            for n in 0..TIMES as u64 {
                ours.send(n).unwrap();
                ours.recv().unwrap();
            }
        }));
        command(ours, 5, TIMES, 0);
        samples[1].push(timed(TIMES, || {
            for n in 0..TIMES as u64 {
                let mut out = [0; 10];
                let out = postcard::to_slice(&n, &mut out).unwrap();
                send(raw, out, SendFlags::empty()).unwrap();
                let mut n = [0; 8];
                recv(raw, &mut n, RecvFlags::empty()).unwrap();
                let _: u64 = postcard::from_bytes(&n).unwrap();
            }
        }));
        command(ours, 6, TIMES, 0);
        samples[2].push(timed(TIMES, || {
            let mut back = [0; 8];
            for n in 0..TIMES as u64 {
                send(raw, &n.to_le_bytes(), SendFlags::empty()).unwrap();
                recv(raw, &mut back, RecvFlags::empty()).unwrap();
            }
        }));
    }
    row(8, "typed/pc", median(&mut samples[1]), median(&mut samples[0].clone()));
    row(8, "typed/raw", median(&mut samples[2]), median(&mut samples[0]));
    Ok(())
}

fn one_way(
    ours: &Connection<u64, u64>,
    raw: BorrowedFd<'_>,
    stream: BorrowedFd<'_>,
    size: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let times = (32 << 20) / (size + 4096);
    let times = times.clamp(4, 4000);
    let bytes = vec![7; size];
    let mut samples = [const { Vec::new() }; 4];
    let done = || assert_eq!(ours.recv_bytes().unwrap().len(), 1);
    for _ in 0..ROUNDS {
        for (what, samples) in (1..).zip(&mut samples) {
            if what == 3 && size > 64 << 10 {
                samples.push(f64::NAN);
                continue;
            }
            command(ours, what, times, size);
            samples.push(timed(times, || {
                for _ in 0..times {
                    match what {
                        1 | 2 => ours.send_bytes(&bytes).unwrap(),
                        3 => assert_eq!(send(raw, &bytes, SendFlags::empty()).unwrap(), size),
                        _ => write_all(stream, &bytes),
                    }
                }
                done();
            }));
        }
    }
    let [into, new, packets, stream] = samples.each_mut().map(|samples| median(samples));
    if size <= 64 << 10 {
        row(size, "into/pkt", packets, into);
        row(size, "new/pkt", packets, new);
    }
    row(size, "into/strm", stream, into);
    row(size, "new/strm", stream, new);
    Ok(())
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn row(size: usize, what: &str, raw: f64, ours: f64) {
    println!("{size:>9} {what:>10} {raw:>12.2} {ours:>12.2} {:>7.3}", ours / raw);
}
