//! The fork server as a process.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;

use ipc_core::{Child, Context, Descriptor, Signal, active_children};
use ipc_testkit::{GENEROUS, Snapshot, wait_until};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::support::{Gate, Method, descriptors, is_child, kill, number_after, state_and_parent, wait_at};

fn twenty(context: &Context) {
    let children = [(); 20].map(|()| context.spawn(|| 1, ()).unwrap());
    assert_eq!(children.map(|child| child.join().unwrap()), [1; 20]);
}

pub(crate) fn one_fork_server_serves_a_program() {
    let servers = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| {
            scope.spawn(|| {
                [(); 5].map(|()| {
                    assert_eq!(ipc_core::spawn(|| 1, ()).unwrap().join().unwrap(), 1);
                    Context::default().server_pid().unwrap()
                })
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    let different: HashSet<u32> = servers.into_iter().flatten().collect();
    assert_eq!(different.len(), 1, "{different:?}");
}

pub(crate) fn the_fork_server_has_one_thread() {
    let context = Context::fork_server();
    let mut server = None;
    for _ in 0..2 {
        twenty(&context);
        let pid = *server.get_or_insert(context.server_pid().unwrap());
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
        assert_eq!(threads.trim(), "1");
    }
}

pub(crate) fn the_fork_server_starts_with_the_first_use() {
    let children = || Snapshot::take().unwrap().children.len();
    let context = Context::fork_server();
    let clone = context.clone();
    let _builder = context.builder().name("unused");
    assert_eq!((children(), context.server_pid()), (0, None));
    assert_eq!(clone.spawn(|| 1, ()).unwrap().join().unwrap(), 1);
    assert!(children() > 0 && context.server_pid().is_some());
}

/// More than one packet's worth.
const MANY: i32 = 300;
/// The first number they get.
const FIRST: i32 = 1000;

fn targets(numbers: Vec<i32>) -> Vec<String> {
    let target = |number| fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    numbers.into_iter().map(|number| target(number).to_string_lossy().into_owned()).collect()
}

pub(crate) fn the_fork_server_carries_more_than_253_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    assert!(limit.maximum.is_none_or(|most| most > 2000), "the hard limit is too low for this test");
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: Some(2000), ..limit }).unwrap();
    for context in [Context::exec(), Context::fork_server()] {
        assert_eq!(context.spawn(|| 1, ()).unwrap().join().unwrap(), 1);
        let before = descriptors().len();
        let of_server =
            || context.server_pid().map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count());
        let server_before = of_server();

        let mut builder = context.builder();
        let mut expected = Vec::new();
        for number in FIRST..FIRST + MANY {
            let (reader, _) = std::io::pipe().unwrap();
            let reader = OwnedFd::from(reader);
            expected.push(
                fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader))).unwrap(),
            );
            builder = builder.descriptor(number, reader);
        }
        let child = builder.spawn(targets, ((FIRST..FIRST + MANY).collect::<Vec<_>>(),)).unwrap();
        let seen = child.join().unwrap();
        assert_eq!(expected.len(), MANY as usize);
        assert!(expected.iter().map(|path| path.to_string_lossy()).eq(seen.iter().map(String::as_str)));
        // A spare may be asked for or not, which is a few; what was sent is three hundred.
        assert!(descriptors().len() < before + 10);
        // Then, it may have been at work on a spare, with a few more; in the end it is not.
        let as_before = || of_server() <= server_before;
        assert!(wait_until(GENEROUS, as_before), "{:?}, {server_before:?}", of_server());
    }
}

pub(crate) fn children_of_the_fork_server_are_the_callers() {
    let end = |gate: Descriptor, code: i32| -> u32 {
        wait_at(gate);
        match code {
            0 => std::os::unix::process::parent_id(),
            code => std::process::exit(code),
        }
    };
    let context = Method::ForkServer.context();
    let gate = Gate::new();
    let ask = |code: i32| -> Child<u32> {
        // The thread that asked has ended before the child does.
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| context.spawn(end, (gate.entrance(), code)).unwrap());
            asked.join().unwrap()
        })
    };
    let (returns, exits, killed) = (ask(0), ask(7), ask(0));
    for child in [&returns, &exits, &killed] {
        assert!(is_child(child.pid()), "waitid sees it");
        assert_ne!(Some(child.pid()), context.server_pid());
    }
    killed.kill().unwrap();
    assert_eq!(killed.join().unwrap_err().signal(), Some(Signal::KILL));
    gate.open();
    gate.open();
    assert_eq!(returns.wait().unwrap().code(), Some(0));
    assert_eq!(returns.join().unwrap(), std::process::id());
    assert_eq!(exits.wait().unwrap().code(), Some(7));
    assert_eq!(exits.join().unwrap_err().code(), Some(7));
}

/// It would not answer before somebody lets it go on.
pub(crate) fn a_stopped_fork_server_is_replaced() {
    let context = Context::fork_server();
    assert_eq!(context.spawn(|| 1, ()).unwrap().join().unwrap(), 1);
    let server = context.server_pid().unwrap();
    kill(server, Signal::STOP);
    let stopped = || state_and_parent(server).is_some_and(|(state, _)| state == 'T');
    assert!(wait_until(GENEROUS, stopped));
    // The first may be a spare that it has made before.
    twenty(&context);
    assert_ne!(context.server_pid(), Some(server));
    assert!(wait_until(GENEROUS, || !is_child(server)), "{:?}", state_and_parent(server));
}

pub(crate) fn the_fork_server_is_nobodys_child_in_the_list() {
    let context = Context::fork_server();
    assert_eq!(context.spawn(|| active_children().len(), ()).unwrap().join().unwrap(), 0);
    assert!(is_child(context.server_pid().unwrap()));
    assert!(active_children().is_empty());
    let gate = Gate::new();
    let child = context.spawn(number_after, (gate.entrance(), 1)).unwrap();
    let listed: Vec<u32> = active_children().iter().map(|active| active.pid()).collect();
    assert_eq!(listed, [child.pid()]);
    gate.open();
    assert_eq!(child.join().unwrap(), 1);
}
