//! Very many children, at once and one after the other: nothing is left behind, and a limit is named.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::PipeReader;

use ipc_core::{Child, Context, Descriptor, Resource};
use ipc_testkit::{GENEROUS, leaks, quick, wait_until};

mod programs;
use programs::{METHODS, context, joined, not_run, status_field};

/// Waits until the pipe is closed at the other end.
fn until_closed(number: u64, pipe: Descriptor) -> u64 {
    let mut pipe: PipeReader = pipe.into_inner();
    std::io::copy(&mut pipe, &mut std::io::sink()).unwrap();
    number
}

fn soft_limit(limit: u64) {
    let now = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = rustix::process::Rlimit { current: Some(limit), maximum: now.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
}

#[test]
fn a_thousand_children_alive_at_once() {
    let _leaks = leaks();
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    if hard.is_some_and(|hard| hard < 4096) {
        return not_run("the hard limit of descriptors is below 4096");
    }
    for method in METHODS {
        let thousand = |method: String| {
            // Three descriptors a child, and some.
            soft_limit(4096);
            let (reader, writer) = std::io::pipe().unwrap();
            let reader = Descriptor::from(reader);
            let context = context(&method);
            let start = |n| {
                let pipe = std::os::fd::AsFd::as_fd(&reader).try_clone_to_owned().unwrap();
                context.spawn(until_closed, (n, pipe.into())).unwrap()
            };
            let children: Vec<Child<u64>> = (0..1000).map(start).collect();
            assert!(children.iter().all(Child::is_alive));
            assert_eq!(ipc_core::active_children().len(), 1000);
            drop(writer);
            children.into_iter().map(joined).sum::<u64>()
        };
        // The child begins with the usual limit.
        let builder = Context::exec().builder().rlimit(Resource::Nofile, Some(1024), hard);
        assert_eq!(joined(builder.spawn(thousand, (method.to_owned(),)).unwrap()), 999 * 500, "by {method}");
    }
}

#[test]
fn under_a_limit_of_1024_the_error_names_it() {
    let _leaks = leaks();
    for method in METHODS {
        let crowd = |method: String| {
            let context = context(&method);
            let mut children = Vec::new();
            let failed = loop {
                match context.spawn(std::thread::park, ()) {
                    Ok(child) => children.push(child),
                    Err(failed) => break failed,
                }
            };
            assert!(failed.to_string().contains("RLIMIT_NOFILE of this process is 1024"), "{failed}");
            let count = children.len();
            children.iter().for_each(|child| child.kill().unwrap());
            children.iter().for_each(|child| assert!(child.wait().unwrap().signal().is_some()));
            count
        };
        let builder = Context::exec().builder().rlimit(Resource::Nofile, Some(1024), Some(1024));
        let count = joined(builder.spawn(crowd, (method.to_owned(),)).unwrap());
        assert!((330..342).contains(&count), "{count} children fit");
    }
}

/// What a process and its fork server have, that must not grow.
#[derive(Debug)]
struct Footprint {
    descriptors: usize,
    children: usize,
    /// Bytes in use on the heap.
    heap: usize,
    /// Memory of the process's own and of its server's, in kilobytes. (Not what is resident: of the program's file that is what the
    /// kernel happens to have mapped.)
    memory: usize,
    server: usize,
    server_descriptors: usize,
}

impl Footprint {
    fn take(context: &Context) -> Footprint {
        let now = ipc_testkit::Snapshot::take().unwrap();
        let memory = |pid: u32| -> usize {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
            let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
            line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
        };
        let server = context.server_pid();
        let of_server = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        // SAFETY: reads the allocator's counters.
        let heap = unsafe { libc::mallinfo2() }.uordblks;
        Footprint {
            descriptors: now.descriptors.len(),
            children: now.children.len(),
            heap,
            memory: memory(std::process::id()),
            server: server.map_or(0, memory),
            server_descriptors: server.map_or(0, of_server),
        }
    }
}

/// So many children one after the other, in a process of its own; a tenth of them first, to warm up.
fn in_sequence(method: String, count: u64) {
    let context = context(&method);
    let run = |count: u64| {
        for n in 0..count {
            assert_eq!(joined(context.spawn(|n: u64| n, (n,)).unwrap()), n);
        }
    };
    run(count / 10);
    let server = context.server_pid();
    // The second look finds what the first has brought along.
    Footprint::take(&context);
    let before = Footprint::take(&context);
    run(count);
    let mut after = Footprint::take(&context);
    // Whether the next spare is made already, or just being made, differs from moment to moment.
    let settled = wait_until(GENEROUS, || {
        after = Footprint::take(&context);
        after.descriptors <= before.descriptors + 3
            && after.children <= before.children + 1
            && after.server_descriptors <= before.server_descriptors
    });
    let both = format!("{method}: {count} children\nbefore {before:?}\nafter  {after:?}");
    println!("{both}");
    assert!(settled, "{both}");
    assert_eq!(context.server_pid(), server, "the server is the same one");
    // The heap in use varies by one spare that is there or not; memory by how the kernel counts.
    assert!(after.heap <= before.heap + 1024, "{both}");
    assert!(after.memory <= before.memory + 1024, "{both}");
    assert!(after.server <= before.server + 512, "{both}");
    assert_eq!(status_field("Threads"), "1");
}

/// Runs it in an executed child whose allocator keeps no freed blocks aside, which its counters would show as in use.
fn counted(method: &str, count: u64) {
    let _leaks = leaks();
    let exact = Context::exec().builder().env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");
    joined(exact.spawn(in_sequence, (method.to_owned(), count)).unwrap());
}

#[test]
fn a_hundred_thousand_over_the_fork_server() {
    counted("fork_server", if quick() { 10_000 } else { 100_000 });
}

#[test]
fn ten_thousand_by_exec() {
    counted("exec", if quick() { 1_000 } else { 10_000 });
}
