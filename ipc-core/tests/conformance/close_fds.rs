//! A child that was not forked from its parent has the descriptors it was given, and no others.

use std::collections::HashSet;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use ipc_core::Descriptor;

use crate::support::{Gate, Method, descriptors, open, program, wait_at};

pub(crate) fn child_fd_inflation(m: Method) {
    let (context, ready, gate) = (m.context(), Gate::new(), Gate::new());
    let count = |ready: Descriptor, gate: Descriptor| {
        let count = descriptors().len();
        open(ready);
        wait_at(gate);
        count
    };
    let children: Vec<_> =
        (0..5).map(|_| context.spawn(count, (ready.key(), gate.entrance())).unwrap()).collect();
    children.iter().for_each(|_| ready.wait());
    children.iter().for_each(|_| gate.open());
    let counts: HashSet<_> = children.into_iter().map(|child| child.join().unwrap()).collect();
    assert_eq!(counts.len(), 1, "{counts:?}");
}

pub(crate) fn closefd(m: Method) {
    program(high_descriptors, (m,));
}

fn high_descriptors(m: Method) {
    let (reader, _writer) = std::io::pipe().unwrap();
    let high = [(libc::F_DUPFD_CLOEXEC, 700), (libc::F_DUPFD, 800)].map(|(how, least)| {
        // SAFETY: the descriptor is open; the new one belongs to nobody yet.
        unsafe { OwnedFd::from_raw_fd(libc::fcntl(reader.as_raw_fd(), how, least)) }
    });
    assert!(high[0].as_raw_fd() >= 700 && high[1].as_raw_fd() >= 800);
    let ours: Vec<_> = descriptors().into_iter().filter(|(number, _)| *number >= 700).collect();
    assert_eq!(ours.len(), 2);

    let context = m.context();
    let seen = || context.spawn(descriptors, ()).unwrap().join().unwrap();
    let (first, second) = (seen(), seen());
    assert!(!first.iter().any(|(_, target)| *target == ours[0].1), "{first:?}");
    // The standard streams, the control socket, the lifeline.
    assert_eq!(first.len(), 5, "{first:?}");
    assert_eq!(second.len(), first.len(), "{second:?}");
    let mut numbers: Vec<_> = first.into_iter().map(|(number, _)| number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers[..3], [0, 1, 2]);
}
