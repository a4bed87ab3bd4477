//! What an attacker's review found about descriptors that belong to nobody but this crate: in forked copies, in the copies of a fork
//! server, and in the places of closed standard streams.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ipc_core::{Builder, Context, Descriptor, Signal, Stdio};
use ipc_testkit::{GENEROUS, leaks, process_gone, wait_until};

mod support;
use support::{Gate, Method, descriptors, kill, program, stay, wait_at};

/// The pipes and sockets that are open in this process.
fn connections() -> Vec<String> {
    let all = descriptors().into_iter().map(|(_, target)| target);
    all.filter(|target| target.starts_with("pipe:") || target.starts_with("socket:")).collect()
}

/// Between its making and its entry in the list of those that forked copies must not have, a lifeline went to a copy.
#[test]
fn a_fork_beside_a_spawn_has_nothing_of_it() {
    let _leaks = leaks();
    let body = || {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let child = Context::exec().builder().stdout(Stdio::piped()).spawn(|| 1, ()).unwrap();
                    assert_eq!(child.join().unwrap(), 1);
                }
            });
            let mut seen = Vec::new();
            for _ in 0..300 {
                // SAFETY: the copy allocates and reads a directory; glibc keeps its allocator usable after a fork.
                let child = unsafe { Builder::new().fork(connections) }.unwrap();
                seen.push(child.join().unwrap().len());
            }
            done.store(true, Ordering::Relaxed);
            seen
        })
    };
    let seen = program(body, ());
    // Its own socket and lifeline, and what the program was started with.
    let own = seen.iter().min().unwrap();
    assert!(seen.iter().all(|number| number == own), "{seen:?}");
}

static STAYS: AtomicU32 = AtomicU32::new(0);

/// The children that a preload function has started lived as long as any child of the server.
#[test]
fn the_children_of_a_preload_end_with_the_server() {
    let _leaks = leaks();
    let preload = || {
        let child = Context::exec().spawn(std::thread::park, ()).unwrap();
        STAYS.store(child.pid(), Ordering::Relaxed);
        std::mem::forget(child);
    };
    let look = || (STAYS.load(Ordering::Relaxed), connections().len());
    let (context, plain) = (Context::fork_server().preload(preload), Context::fork_server());
    let (stays, open) = context.spawn(look, ()).unwrap().join().unwrap();
    assert!(!process_gone(stays));
    assert_eq!(open, plain.spawn(look, ()).unwrap().join().unwrap().1);
    let ready = Gate::new();
    let child = context.spawn(stay, (ready.key(),)).unwrap();
    ready.wait();
    kill(context.server_pid().unwrap(), Signal::KILL);
    assert!(wait_until(GENEROUS, || process_gone(stays)));
    assert!(child.is_alive());
    child.kill().unwrap();
    assert_eq!(child.join().unwrap_err().signal(), Some(Signal::KILL));
}

/// In a process without standard streams, sockets and lifelines took their places; and were inherited as such.
#[test]
fn nothing_stands_in_the_place_of_a_closed_stream() {
    let _leaks = leaks();
    fn low() -> Vec<(i32, String)> {
        descriptors().into_iter().filter(|(number, _)| *number <= 2).collect()
    }
    let body = |method: Method| {
        let gate = Gate::new();
        for number in 0..=2 {
            // SAFETY: nothing in this process owns its standard streams, and nobody uses them from here on.
            unsafe { libc::close(number) };
        }
        let context = method.context();
        for stdio in [Stdio::inherit, Stdio::null] {
            let look = |gate: Descriptor| {
                wait_at(gate);
                low()
            };
            let builder = context.builder().stdin(stdio()).stdout(stdio()).stderr(stdio());
            let child = builder.spawn(look, (gate.entrance(),)).unwrap();
            assert_eq!(low(), [], "{method:?}");
            gate.open();
            let seen = child.join().unwrap();
            let null = |(_, target): &(i32, String)| target == "/dev/null";
            assert!(seen.iter().all(null), "{method:?}, {:?}: {seen:?}", stdio());
            assert!(method == Method::Fork || seen.len() == 3, "{method:?}: {seen:?}");
            // As it was asked: streams that lead elsewhere.
            let piped = context.builder().stdout(Stdio::piped()).spawn(|| println!("out"), ()).unwrap();
            let mut said = String::new();
            piped.take_stdout().unwrap().read_to_string(&mut said).unwrap();
            assert_eq!(said, "out\n", "{method:?}");
            piped.join().unwrap();
        }
        assert_eq!(low(), [], "{method:?}");
    };
    for method in Method::PROCESSES {
        program(body, (method,));
    }
}

/// A forked sibling had the parent's ends of a child's streams, and kept their end from being seen.
#[test]
fn a_forked_sibling_has_no_end_of_a_childs_streams() {
    let body = |method: Method| {
        let echo = || std::io::read_to_string(std::io::stdin()).unwrap();
        let builder = method.context().builder().stdin(Stdio::piped()).stdout(Stdio::lines(drop));
        let child = Arc::new(builder.spawn(echo, ()).unwrap());
        let of_child = |number| {
            let target = std::fs::read_link(format!("/proc/{}/fd/{number}", child.pid())).unwrap();
            target.to_string_lossy().into_owned()
        };
        assert!(wait_until(GENEROUS, || of_child(0).starts_with("pipe:") && of_child(1).starts_with("pipe:")));
        let streams = [of_child(0), of_child(1)];
        // SAFETY: the copies allocate, which glibc allows after a fork, and read a directory.
        let seen = unsafe { Builder::new().fork(connections) }.unwrap().join().unwrap();
        assert!(streams.iter().all(|stream| !seen.contains(stream)), "{streams:?} in {seen:?}");
        let (ready, mine) = (Gate::new(), Arc::clone(&child));
        let key = ready.key();
        let stays = move || {
            assert!(mine.take_stdin().is_none(), "not its child");
            stay(key);
        };
        // SAFETY: as above.
        let sibling = unsafe { Builder::new().fork(stays) }.unwrap();
        ready.wait();
        let mut stdin = child.take_stdin().unwrap();
        stdin.write_all(b"all").unwrap();
        drop(stdin);
        assert_eq!(child.join_timeout(GENEROUS).unwrap().as_deref(), Some("all"));
        sibling.kill().unwrap();
        sibling.wait().unwrap();
    };
    // The relay's thread is one that stays.
    for method in Method::PROCESSES {
        program(body, (method,));
    }
}

/// What a forked child was given at a number was taken from *its* forked children, where a handle of the first process had that number.
#[test]
fn a_descriptor_by_number_stays_where_a_handle_had_its_own() {
    let body = || {
        let ready = Gate::new();
        let other = Context::exec().spawn(stay, (ready.key(),)).unwrap();
        ready.wait();
        let number = other.as_fd().as_raw_fd();
        let placed = rustix::fs::memfd_create("placed", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let look = move || descriptors().into_iter().find(|(open, _)| *open == number);
        let both = move || {
            // SAFETY: the copy allocates, which glibc allows after a fork, and reads a directory.
            let grandchild = unsafe { Builder::new().fork(look) }.unwrap();
            [look(), grandchild.join().unwrap()]
        };
        // SAFETY: as above.
        let child = unsafe { Builder::new().descriptor(number, placed).fork(both) }.unwrap();
        for seen in child.join().unwrap() {
            assert!(seen.as_ref().is_some_and(|(_, target)| target.contains("placed")), "{seen:?}");
        }
        other.kill().unwrap();
        other.wait().unwrap();
    };
    program(body, ());
}
