//! A bare zygote: the least that a fork server can be, and the floor that ours is compared with.
//!
//! A small single-threaded process, exec'd once. For each byte on its socket it forks; the child leaves at once by
//! `_exit`, the zygote waits for it and sends the byte back. No identity, no arguments, no descriptors, no environment,
//! no supervision. The value variant's child writes eight bytes into a pipe that both sides have had from the start, and
//! the parent's clock stops when it has read them; the death is awaited outside the clock.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use peers::protocol::{Call, Share, VALUE, contend, idle_memory, serve, timed};

const JOIN: u8 = b'j';
const RETURN_A_VALUE: u8 = b'v';
const IDLE: u8 = b'i';
const REAP: u8 = b'r';

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("server") {
        zygote();
        return ExitCode::SUCCESS;
    }
    contend(std::env::args().skip(1), parent)
}

/// The server: requests on descriptor 0, values on descriptor 1. Plain system calls, as a floor should be.
fn zygote() {
    let mut request = 0_u8;
    // SAFETY: `request` is one byte, valid for the call.
    while unsafe { libc::read(0, (&raw mut request).cast(), 1) } == 1 {
        if request == REAP {
            wait(-1);
            answer(&[request]);
            continue;
        }
        // SAFETY: this process has one thread, so the child may do whatever the parent may.
        let child = unsafe { libc::fork() };
        if child == 0 {
            match request {
                RETURN_A_VALUE => {
                    let value = VALUE.to_le_bytes();
                    // SAFETY: `value` is valid for its length.
                    unsafe { libc::write(1, value.as_ptr().cast(), value.len()) };
                }
                IDLE => peers::protocol::idle(),
                _ => {}
            }
            // SAFETY: leaving without anything of the parent's being flushed or run is what is wanted.
            unsafe { libc::_exit(0) };
        }
        if request == IDLE {
            answer(&child.to_le_bytes());
        } else {
            wait(child);
            answer(&[request]);
        }
    }
}

fn wait(child: libc::pid_t) {
    // SAFETY: a null status is allowed.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
}

fn answer(bytes: &[u8]) {
    // SAFETY: `bytes` is valid for its length.
    unsafe { libc::write(0, bytes.as_ptr().cast(), bytes.len()) };
}

fn parent(call: Call) -> io::Result<()> {
    let (mut socket, theirs) = UnixStream::pair()?;
    let (mut values, their_values) = io::pipe()?;
    call.placement.enter_for_servers()?;
    let mut server = Command::new(std::env::current_exe()?)
        .arg("server")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(OwnedFd::from(their_values)))
        .spawn()?;
    call.placement.enter()?;

    let mut reply = [0];
    match call.task.as_str() {
        "join" => serve(|| {
            let (time, ()) = timed(|| {
                socket.write_all(&[JOIN])?;
                socket.read_exact(&mut reply)
            })?;
            Ok(time)
        }),
        "value" => serve(|| {
            let mut value = [0; 8];
            let (time, ()) = timed(|| {
                socket.write_all(&[RETURN_A_VALUE])?;
                values.read_exact(&mut value)
            })?;
            socket.read_exact(&mut reply)?;
            Ok(time)
        }),
        "idle" => {
            let alive = call.more.first().and_then(|alive| alive.parse().ok()).unwrap_or(1);
            serve(|| idle_children(&mut socket, alive, Share::Proportional))
        }
        "own" => serve(|| idle_children(&mut socket, 1, Share::Own)),
        _ => Err(call.unknown()),
    }?;
    drop(socket);
    server.wait()?;
    Ok(())
}

/// The mean size of so many idle children, all alive together.
fn idle_children(socket: &mut UnixStream, alive: usize, share: Share) -> io::Result<f64> {
    let mut pids = Vec::new();
    for _ in 0..alive {
        let mut pid = [0; 4];
        socket.write_all(&[IDLE])?;
        socket.read_exact(&mut pid)?;
        pids.push(i32::from_le_bytes(pid));
    }
    let mut total = 0.0;
    for &pid in &pids {
        total += idle_memory(pid.unsigned_abs(), share)?;
    }
    for &pid in &pids {
        // SAFETY: a plain system call; the zygote has not reaped the child yet, so the number is still its.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        socket.write_all(&[REAP])?;
        socket.read_exact(&mut [0])?;
    }
    Ok(total / alive as f64)
}
