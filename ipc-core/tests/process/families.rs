//! Parents and children.

use std::time::Duration;

use ipc_core::{Ran, active_children, available_parallelism, current, parent};

use crate::support::{Gate, Method, await_end, is_child, number_after, program};

pub(crate) fn join_of_a_living_parent_times_out(m: Method) {
    let look = || {
        let parent = parent().unwrap();
        let ended = parent.join_timeout(Duration::from_millis(50)).unwrap();
        (ended, parent.is_alive())
    };
    assert_eq!(m.context().spawn(look, ()).unwrap().join().unwrap(), (false, true));
}

/// In a program of its own: another test's spawn would reap it just as well.
pub(crate) fn active_children_reaps_the_finished(m: Method) {
    program(look_among_the_finished, (m,));
}

fn look_among_the_finished(m: Method) {
    let child = m.context().spawn(|| 6, ()).unwrap();
    let pid = child.pid();
    await_end(pid);
    assert!(is_child(pid), "not yet waited for");
    assert!(!active_children().iter().any(|active| active.pid() == pid));
    assert!(!is_child(pid), "a zombie is left");
    assert_eq!(child.join().unwrap(), 6);
}

pub(crate) fn available_parallelism_follows_affinity(m: Method) {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first = list.trim().split([',', '-']).next().unwrap().parse::<usize>().unwrap();
    let child = m.context().builder().affinity([first]).spawn(|| available_parallelism().unwrap().get(), ());
    assert_eq!(child.unwrap().join().unwrap(), 1);
}

pub(crate) fn a_daemon_may_have_children(m: Method) {
    let in_daemon = |m: Method| {
        let is_daemon = || current().is_daemon();
        let default = m.context().spawn(is_daemon, ()).unwrap();
        let ordinary = m.context().builder().daemon(false).spawn(is_daemon, ()).unwrap();
        [default.join().unwrap(), ordinary.join().unwrap()]
    };
    let daemon = m.context().builder().daemon(true).spawn(in_daemon, (m,)).unwrap();
    assert_eq!(daemon.join().unwrap(), [true, false]);
}

/// In a program of its own: another test's spawn would reap them just as well.
pub(crate) fn a_spawn_reaps_finished_siblings(m: Method) {
    program(spawn_among_the_finished, (m,));
}

fn spawn_among_the_finished(m: Method) {
    let context = m.context();
    let gate = Gate::new();
    let children = [(); 20].map(|()| context.spawn(number_after, (gate.entrance(), 1)).unwrap());
    let pids = children.map(|child| child.pid());
    pids.iter().for_each(|_| gate.open());
    pids.iter().for_each(|pid| await_end(*pid));
    assert!(pids.iter().any(|pid| is_child(*pid)), "who has waited for them?");
    context.spawn(|| (), ()).unwrap().join().unwrap();
    assert!(!pids.iter().any(|pid| is_child(*pid)));
}

pub(crate) fn a_child_starts_with_no_children(m: Method) {
    let (context, gate) = (m.context(), Gate::new());
    let other = context.spawn(number_after, (gate.entrance(), 1)).unwrap();
    assert_eq!(context.spawn(|| active_children().len(), ()).unwrap().join().unwrap(), 0);
    assert!(active_children().iter().any(|active| active.pid() == other.pid()));
    gate.open();
    assert_eq!(other.join().unwrap(), 1);
}

pub(crate) fn a_failed_spawn_gives_the_arguments_back(m: Method) {
    program(without_descriptors, (m,));
}

fn without_descriptors(m: Method) {
    let context = m.context();
    let sum = |numbers: Vec<u32>, name: String| (name, numbers.iter().sum::<u32>());
    let args = || (vec![1, 2, 3], "six".to_string());
    let six = || ("six".to_string(), 6);
    assert_eq!(context.spawn(sum, args()).unwrap().join().unwrap(), six());

    let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let none = rustix::process::Rlimit { current: Some(0), ..before };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, none).unwrap();
    let refused = context.spawn(sum, args());
    rustix::process::setrlimit(rustix::process::Resource::Nofile, before).unwrap();
    let refused = refused.unwrap_err();
    assert_eq!(refused.error().ran(), Ran::DidNotRun, "{refused}");
    assert_eq!(refused.error().io_error().unwrap().raw_os_error(), Some(libc::EMFILE), "{refused}");
    let back = refused.into_args();
    assert_eq!(back, args());
    assert_eq!(context.spawn(sum, back).unwrap().join().unwrap(), six());
}
