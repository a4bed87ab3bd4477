//! What an attacker's review of this crate found, each under the name of what broke.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Seek, Write};
use std::os::fd::BorrowedFd;
use std::panic::{catch_unwind, resume_unwind, set_hook};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ipc_core::{Builder, Context, Descriptor, Error, Panic, Signal, spawn};
use ipc_testkit::GENEROUS;

mod support;

fn file(text: &str) -> std::fs::File {
    let memory = rustix::fs::memfd_create("attack", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = std::fs::File::from(memory);
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

/// A descriptor at a chosen number took the place of one that had arrived inside the arguments.
#[test]
fn a_descriptor_by_number_leaves_the_arguments_alone() {
    for context in [Context::exec(), Context::fork_server()] {
        for number in 3..20 {
            let builder = context.builder().descriptor(number, file("PLACED"));
            let read = |argument: Descriptor| {
                let mut text = String::new();
                let mut file: std::fs::File = argument.into_inner();
                file.read_to_string(&mut text).map(|_| text).unwrap_or_default()
            };
            let child = builder.spawn(read, (file("ARGUMENT").into(),)).unwrap();
            assert_eq!(child.join().unwrap(), "ARGUMENT", "{number}");
        }
    }
}

/// The handler that names stack overflows took a signal that somebody had sent for a fault.
#[test]
fn a_segv_that_was_sent_ends_an_executed_child() {
    let raise = || {
        // SAFETY: raising a signal in this process.
        unsafe { libc::raise(libc::SIGSEGV) };
    };
    let error = Context::exec().spawn(raise, ()).unwrap().join().unwrap_err();
    assert_eq!(error.signal(), Some(Signal::SEGV), "{error}");
}

/// The panic hook panicked over a stderr that cannot be written, which aborts.
#[test]
fn a_panic_is_reported_where_stderr_is_full() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let child =
        Builder::new().stderr(full).spawn(|say: String| assert!(say.is_empty(), "{say}"), ("said".into(),));
    let error = child.unwrap().join().unwrap_err();
    assert_eq!(error.panic().unwrap().message, "said");
}

/// A name with a zero byte panicked where a thread was to be named.
#[test]
fn a_name_with_a_zero_byte_is_refused() {
    for context in [Context::threads(), Context::fork_server()] {
        let refused = context.builder().name("a\0b").spawn(|| (), ()).unwrap_err();
        assert!(matches!(refused.error(), Error::Invalid { .. }), "{refused}");
    }
}

/// A value that nobody joined for was dropped under the registry's lock, and its `Drop` took the lock again.
#[test]
fn a_drop_that_looks_at_the_family_does_not_deadlock() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Looks;
    impl Drop for Looks {
        fn drop(&mut self) {
            ipc_core::active_children();
        }
    }
    let child = Context::threads().spawn(|| Looks, ()).unwrap();
    child.wait().unwrap();
    drop(child);
    ipc_core::active_children();
}

/// `exit`, called in a child that is a thread, waited for all children: for the thread that called it.
#[test]
fn a_thread_that_calls_exit_ends_the_process() {
    fn leave() {
        std::process::exit(3);
    }
    fn have_another_leave() {
        std::thread::spawn(leave).join().unwrap();
    }
    let thread = |through_another: bool| {
        let f = Context::threads();
        let child = if through_another { f.spawn(have_another_leave, ()) } else { f.spawn(leave, ()) };
        child.unwrap().join().unwrap();
    };
    for through_another in [false, true] {
        let child = Context::exec().spawn(thread, (through_another,)).unwrap();
        let ended = child.wait_timeout(GENEROUS).unwrap();
        child.kill().unwrap();
        assert_eq!(ended.and_then(|status| status.code()), Some(3), "{through_another}");
    }
}

/// What `f` panicked with.
fn panic_of<F: ipc_core::Function<(), Output = ()>>(f: F) -> Panic {
    spawn(f, ()).unwrap().join().unwrap_err().panic().unwrap().clone()
}

/// The place of a panic that was over was told for one whose place nobody knew.
#[test]
fn an_old_panics_place_is_not_told_for_a_new_one() {
    let new = panic_of(|| {
        let _ = catch_unwind(|| panic!("old {}", 1));
        resume_unwind(Box::new("new".to_string()));
    });
    assert_eq!((new.message.as_str(), new.location), ("new", None));
    assert_eq!(new.backtrace, "");
    // No hook of ours hears the second.
    let new = panic_of(|| {
        let _ = catch_unwind(|| panic!("old"));
        set_hook(Box::new(|_| {}));
        panic!("new");
    });
    assert_eq!((new.message.as_str(), new.location), ("new", None));
    // The same panic, taken up again, keeps its place.
    let line = line!() + 2;
    let same = panic_of(|| {
        let caught = catch_unwind(|| panic!("the {}", "same"));
        resume_unwind(caught.unwrap_err());
    });
    assert_eq!((same.message.as_str(), same.location.unwrap().line), ("the same", line));
    let line = line!() + 1;
    let any = panic_of(|| std::panic::panic_any(7));
    assert_eq!(any.location.unwrap().line, line);
}

/// A child that goes through the second door as well, or whose program calls it late, is not entered twice.
#[test]
fn a_child_is_entered_once() {
    let again = |number: u32| {
        assert!(std::env::var_os("IPC_CORE_CHILD").is_none());
        ipc_core::init();
        ipc_core::init();
        number + 1
    };
    for context in [Context::exec(), Context::fork_server()] {
        assert_eq!(context.spawn(again, (1,)).unwrap().join().unwrap(), 2);
    }
    ipc_core::init();
}

/// The first 24 bytes of a frame, which is all of it where it has no body.
fn head(kind: u16, descriptors: [u16; 2]) -> Vec<u8> {
    let [here, total] = descriptors;
    let mut head = Vec::from(*b"ipcF");
    head.extend([1, kind, 0, here].into_iter().flat_map(u16::to_le_bytes));
    head.extend(u32::from(total).to_le_bytes().into_iter().chain([0; 8]));
    head
}

/// The sockets of this process but its standard streams, for as long as it lives.
fn sockets() -> Vec<BorrowedFd<'static>> {
    let is_socket = |(number, target): &(i32, String)| *number > 2 && target.starts_with("socket:");
    let sockets = support::descriptors().into_iter().filter(is_socket);
    // SAFETY: open, and nobody closes them in the children that call this.
    sockets.map(|(number, _)| unsafe { BorrowedFd::borrow_raw(number) }).collect()
}

/// A child's function: half of a frame (one descriptor of two), to whichever socket it has.
fn say_half(ready: Descriptor) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let half = head(ipc_core::fuzzing::KINDS[3], [1, 2]);
    for socket in sockets() {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [socket];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(socket, &[std::io::IoSlice::new(&half)], &mut control, SendFlags::empty()).unwrap();
    }
    support::open(ready);
}

/// Half of a message held everybody who looked at the sender's end, and with it the list of all children.
#[test]
fn half_a_message_holds_nobody() {
    let body = |method: support::Method| {
        let context = method.context();
        let ready = support::Gate::new();
        let stays = |ready: Descriptor| {
            say_half(ready);
            support::stay(support::Gate::new().key());
        };
        let child = context.spawn(stays, (ready.key(),)).unwrap();
        ready.wait();
        // Other tests may have children here.
        assert!(ipc_core::active_children().iter().any(|active| active.pid() == child.pid()));
        assert!(child.is_alive() && child.try_join().unwrap().is_none());
        assert_eq!(context.spawn(|| 3, ()).unwrap().join().unwrap(), 3);
        child.kill().unwrap();
        assert_eq!(child.join().unwrap_err().signal(), Some(Signal::KILL));
    };
    support::each_method(body);
}

/// The same of a child that is dead, while its child holds the socket.
#[test]
fn half_a_message_of_the_dead_holds_nobody() {
    let body = || {
        let (ready, gate) = (support::Gate::new(), support::Gate::new());
        let dies = |ready: Descriptor, gate: Descriptor| -> () {
            // SAFETY: the copy makes two system calls.
            if unsafe { libc::fork() } == 0 {
                support::wait_at(gate);
                // SAFETY: nothing of the copy is used after it.
                unsafe { libc::_exit(0) };
            }
            say_half(ready);
            std::process::abort();
        };
        let child = Context::exec().spawn(dies, (ready.key(), gate.entrance())).unwrap();
        ready.wait();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::ABORT));
        assert!(ipc_core::active_children().is_empty());
        assert_eq!(child.join().unwrap_err().signal(), Some(Signal::ABORT));
        gate.open();
    };
    let child = Context::exec().spawn(body, ()).unwrap();
    assert!(child.join_timeout(GENEROUS).unwrap().is_some(), "somebody is held");
}

/// Sends frames that say that the child begins, until there is no room for one more. Gives how many.
fn say_entered() -> usize {
    use rustix::net::{SendFlags, send};
    let entered = head(ipc_core::fuzzing::KINDS[2], [0, 0]);
    let [control] = sockets()[..] else { panic!("a child has one socket") };
    (0..).take_while(|_| send(control, &entered, SendFlags::DONTWAIT).is_ok()).count()
}

/// A child that said for ever that it begins held whoever looked for its value, whatever the deadline was: all that it had said was
/// read first.
#[test]
fn a_child_that_says_one_thing_for_ever_holds_nobody() {
    let gate = support::Gate::new();
    let (mut told, tell) = std::io::pipe().unwrap();
    let says = |tell: Descriptor, gate: Descriptor| {
        let mut tell: std::io::PipeWriter = tell.into();
        tell.write_all(&say_entered().to_ne_bytes()).unwrap();
        support::wait_at(gate);
        tell.write_all(&say_entered().to_ne_bytes()).unwrap();
    };
    let child = Context::exec().spawn(says, (tell.into(), gate.entrance())).unwrap();
    let mut count = || {
        let mut count = [0; size_of::<usize>()];
        told.read_exact(&mut count).unwrap();
        usize::from_ne_bytes(count)
    };
    let first = count();
    assert!(child.try_value().unwrap().is_none());
    gate.open();
    let again = count();
    assert!(again < 10 && first > 10 * again, "room for {again} of {first} again");
    // There is no room for its value.
    child.kill().unwrap();
    child.wait().unwrap();
}

const MOMENT: Duration = Duration::from_millis(20);

/// A child's function: traces a process until it is let go, and says the system's answer.
fn trace(pid: u32, seized: Descriptor, gate: Descriptor) -> i32 {
    // SAFETY: numbers only.
    let done = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid as libc::pid_t, 0, 0) };
    let error = std::io::Error::last_os_error().raw_os_error();
    support::open(seized);
    support::wait_at(gate);
    if done == 0 { 0 } else { error.unwrap() }
}

/// How long this process has had a processor.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Of a child that is traced the end is known before its status can be had: whoever waited for that forgot the deadline and burnt a
/// processor, and the future did as well.
#[test]
fn the_dead_that_a_tracer_keeps_hold_nobody() {
    let body = || {
        let (ready, seized, gate) = (support::Gate::new(), support::Gate::new(), support::Gate::new());
        let stays = |ready: Descriptor| {
            // SAFETY: numbers only. Where a process may trace none but its own, this one may be traced by all; elsewhere it fails.
            unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
            support::stay(ready);
        };
        let child = Context::exec().spawn(stays, (ready.key(),)).unwrap();
        ready.wait();
        let tracer = Context::exec().spawn(trace, (child.pid(), seized.key(), gate.entrance())).unwrap();
        seized.wait();
        child.kill().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid())).unwrap();
        if status.contains("TracerPid:\t0\n") {
            gate.open();
            return tracer.join().unwrap();
        }
        support::await_end(child.pid());
        let before = processor_time();
        assert_eq!(child.wait_timeout(10 * MOMENT).unwrap(), None);
        assert!(processor_time() - before < 5 * MOMENT, "it turns in a circle");
        assert!(child.join_timeout(MOMENT).unwrap().is_none());
        assert!(child.value_timeout(MOMENT).unwrap().is_none());
        assert!(child.try_join().unwrap().is_none());
        let begun = Instant::now();
        let (polls, error) = polled(child.join_async(), 10, || gate.open());
        assert_eq!(error.unwrap_err().signal(), Some(Signal::KILL));
        assert!(u128::from(polls) <= 20 + begun.elapsed().as_millis(), "{polls} in {:?}", begun.elapsed());
        tracer.join().unwrap()
    };
    let child = Context::exec().spawn(body, ()).unwrap();
    let refused = child.join_timeout(GENEROUS).unwrap().expect("somebody is held");
    if refused != 0 {
        ipc_testkit::not_run(&format!("a tracer: {}", std::io::Error::from_raw_os_error(refused)));
    }
}

/// Polls a future to its end, each time that it wakes; says after some times that it did so. Gives how many times there were.
fn polled<F: Future>(future: F, some: u32, say: impl FnOnce()) -> (u32, F::Output) {
    struct Unpark(std::thread::Thread, AtomicBool);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.1.store(true, Ordering::Release);
            self.0.unpark();
        }
    }
    let woken = Arc::new(Unpark(std::thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let (mut future, mut say) = (std::pin::pin!(future), Some(say));
    for polls in 1.. {
        if let Poll::Ready(value) = future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            return (polls, value);
        }
        if polls == some
            && let Some(say) = say.take()
        {
            say();
        }
        while !woken.1.swap(false, Ordering::Acquire) {
            std::thread::park();
        }
    }
    unreachable!()
}
