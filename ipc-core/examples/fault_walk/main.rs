//! The operations of this crate, walked through while `cargo xtask fault` makes system calls fail.
//!
//! Whatever fails, and in whichever process, a scenario ends with the right value or with an error in words. Beyond what the
//! runner looks for (hanging, crashes, descriptors and processes that stay), each scenario checks that the error does not
//! lie: where it says that the function did not run, it did not. For that each function writes a byte into a pipe, the
//! [`Witness`].

use std::io::{PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use ipc_core::{
    Builder, Bytes, Child, Context, Descriptor, Error, Ran, Resource, Signal, SpawnError, Stdio,
    active_children,
};
use ipc_testkit::fault::{Region, walk};
use ipc_testkit::{Allowed, process_gone, wait_until};

mod connection;

use connection::{
    connection, connection_awaited, connection_in_memory, ends_in_values, listen_stale, long_over_tcp,
    strangers,
};

type Answer = Result<(), String>;

/// Longer than anything here takes, shorter than the runner's patience.
const LONG: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    walk(&[
        ("exec", exec),
        ("exec_without_close_range", exec_without_close_range),
        ("exec_setup", |region| setup(region, Context::exec())),
        ("exec_setup_fails", |region| setup_fails(region, Context::exec())),
        ("exec_pipes", exec_pipes),
        ("exec_family", exec_family),
        ("server_first", server_first),
        ("server_preload", server_preload),
        ("server_spare", |region| later(region, Child::join)),
        ("server_value", |region| later(region, Child::value)),
        ("server_burst", server_burst),
        ("server_lost", server_lost),
        ("server_setup", |region| setup(region, server()?)),
        ("server_setup_fails", |region| setup_fails(region, server()?)),
        ("server_relay", server_relay),
        ("server_large", server_large),
        ("server_descriptors", server_descriptors),
        ("server_detach", |region| detach(region, server()?.builder())),
        ("server_signals", server_signals),
        ("server_parent", server_parent),
        ("exec_detached", |region| detach(region, Context::exec().builder().detached(true))),
        ("fork", fork),
        ("fork_closure", fork_closure),
        ("threads", threads),
        ("connection", connection),
        ("connection_awaited", connection_awaited),
        ("connection_in_memory", connection_in_memory),
        ("ends_in_values", ends_in_values),
        ("listen_path", |region| strangers(region, &format!("/tmp/ipc-core-fault-{}", std::process::id()))),
        ("listen_abstract", |region| strangers(region, &format!("@ipc-core-fault-{}", std::process::id()))),
        ("listen_tcp", |region| strangers(region, "127.0.0.1:0")),
        ("listen_tcp_long", long_over_tcp),
        ("listen_stale", listen_stale),
        ("exec_awaited", |region| job(region, || Context::exec().builder(), awaited)),
    ])
}

/// Who saw whether a function ran.
struct Witness {
    seen: PipeReader,
    theirs: Descriptor,
}

impl Witness {
    fn new() -> Result<Witness, String> {
        let (seen, theirs) = std::io::pipe().map_err(|error| format!("a pipe for the scenario: {error}"))?;
        Ok(Witness { seen, theirs: OwnedFd::from(theirs).into() })
    }
}

/// The function that most scenarios run.
fn add(witness: Descriptor, a: u32, b: u32) -> u32 {
    saw(witness);
    a + b
}

fn saw(witness: Descriptor) {
    if let Err(error) = std::fs::File::from(OwnedFd::from(witness)).write_all(b"x") {
        panic!("the witness is gone: {error}");
    }
}

fn park(witness: Descriptor) {
    saw(witness);
    rest();
}

/// Never returns.
fn rest() {
    loop {
        std::thread::park();
    }
}

/// Ends what a scenario that failed half way has left, as a program would that goes on.
fn tidy() {
    wait_until(LONG, || {
        let children = active_children();
        for child in &children {
            let _ = child.kill();
            let _ = child.wait_timeout(Duration::from_millis(50));
        }
        children.is_empty()
    });
}

/// Ends a scenario: nobody runs any more, and then the witness is heard.
fn hear<T>(seen: PipeReader, result: Result<T, Error>) -> Result<T, String> {
    listen(seen, result, true)
}

fn listen<T>(mut seen: PipeReader, result: Result<T, Error>, returned: bool) -> Result<T, String> {
    tidy();
    let mut ran = String::new();
    let heard = seen.read_to_string(&mut ran).is_ok();
    match &result {
        Err(error) if error.ran() == Ran::DidNotRun && !ran.is_empty() => {
            panic!("it ran {} times, but: {error}", ran.len())
        }
        Ok(_) if returned && heard && ran.is_empty() => panic!("a value without a call"),
        _ if ran.len() > 1 => panic!("it ran {} times", ran.len()),
        _ => result.map_err(said),
    }
}

fn said(error: Error) -> String {
    error.to_string()
}

/// Spawns [`add`] and takes its value in some way.
fn job(
    region: &mut Region,
    make: impl FnOnce() -> Builder,
    take: impl FnOnce(Child<u32>) -> Result<u32, Error>,
) -> Answer {
    let Witness { seen, theirs } = Witness::new()?;
    region.begin();
    sum(seen, spawn_add(make(), theirs).and_then(take))
}

/// Joins as a future.
fn awaited(child: Child<u32>) -> Result<u32, Error> {
    block_on(child.join_async())
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

fn spawn_add(builder: Builder, witness: Descriptor) -> Result<Child<u32>, Error> {
    builder.spawn(add, (witness, 2, 3)).map_err(|failed: SpawnError<_>| {
        let ((_, a, b), error) = failed.into_parts();
        assert_eq!((a, b), (2, 3), "the arguments come back");
        error
    })
}

fn sum(seen: PipeReader, result: Result<u32, Error>) -> Answer {
    let value = hear(seen, result)?;
    assert_eq!(value, 5);
    Ok(())
}

/// A fork server that has served before, and has a spare.
fn server() -> Result<Context, String> {
    let context = Context::fork_server();
    let first = context.spawn(|| 1, ()).map_err(|failed| said(failed.into()))?;
    assert_eq!(first.join().map_err(said)?, 1);
    Ok(context)
}

fn exec(region: &mut Region) -> Answer {
    job(region, || Context::exec().builder(), Child::join)
}

/// Linux before 5.11, whose descriptors are marked one by one.
fn exec_without_close_range(region: &mut Region) -> Answer {
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("IPC_CORE_WITHOUT", "close_range") };
    exec(region)
}

fn server_first(region: &mut Region) -> Answer {
    let context = Context::fork_server();
    job(region, || context.builder(), Child::join)
}

fn server_preload(region: &mut Region) -> Answer {
    let context = Context::fork_server().preload(|| ());
    job(region, || context.builder(), Child::join)
}

fn later(region: &mut Region, take: fn(Child<u32>) -> Result<u32, Error>) -> Answer {
    let context = server()?;
    job(region, || context.builder(), take)
}

/// More at once than there are spares.
fn server_burst(region: &mut Region) -> Answer {
    let context = server()?;
    let witnesses: Vec<Witness> = (0..3).map(|_| Witness::new()).collect::<Result<_, _>>()?;
    region.begin();
    let spawned: Vec<_> = witnesses
        .into_iter()
        .map(|Witness { seen, theirs }| (seen, spawn_add(context.builder(), theirs)))
        .collect();
    let joined: Vec<_> =
        spawned.into_iter().map(|(seen, child)| (seen, child.and_then(Child::join))).collect();
    // One error is one too many, but the others are not in vain: each is judged.
    let mut answer = Ok(());
    for (seen, result) in joined {
        answer = answer.and(sum(seen, result));
    }
    answer.and_then(|()| again(&context))
}

/// After whatever happened, the next child starts: a context is not spoilt by a failure.
fn again(context: &Context) -> Answer {
    let child = context.spawn(|| 1, ()).map_err(|failed| said(failed.into()))?;
    assert_eq!(child.join().map_err(said)?, 1);
    Ok(())
}

/// The server is killed between two spawns.
fn server_lost(region: &mut Region) -> Answer {
    let context = server()?;
    let pid = context.server_pid().ok_or("no server")?;
    let witnesses = [Witness::new()?, Witness::new()?];
    region.begin();
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).ok_or("no pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)
        .map_err(|error| format!("killing the server: {error}"))?;
    let mut answer = Ok(());
    for Witness { seen, theirs } in witnesses {
        answer = answer.and(sum(seen, spawn_add(context.builder(), theirs).and_then(Child::join)));
    }
    answer
}

/// Everything that can be asked of a child and needs no rights.
fn setup(region: &mut Region, context: Context) -> Answer {
    let null = std::fs::File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let make = || {
        context
            .builder()
            .name("wishes")
            .env("IPC_FAULT_WALK", "1")
            .current_dir("/")
            .umask(0o077)
            .nice(1)
            .rlimit(Resource::Core, Some(0), Some(0))
            .affinity(0..1024)
            .groups([])
            .gid(gid)
            .uid(uid)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .descriptor(7, null)
    };
    if rustix::process::getuid().is_root() {
        return job(region, make, Child::join);
    }
    // Without root the groups are refused, and this is said.
    match job(region, make, Child::join) {
        Err(error) if error.contains("set the supplementary groups") => Ok(()),
        other => other,
    }
}

fn setup_fails(region: &mut Region, context: Context) -> Answer {
    let refused = job(region, || context.builder().current_dir("/nowhere"), Child::join);
    match refused {
        Err(error) if error.contains("\"/nowhere\": No such file") => Ok(()),
        Err(error) => Err(error),
        Ok(()) => panic!("a child in /nowhere"),
    }
}

fn exec_pipes(region: &mut Region) -> Answer {
    fn shout(witness: Descriptor) {
        saw(witness);
        let mut text = String::new();
        if let Err(error) = std::io::stdin().read_to_string(&mut text) {
            panic!("standard input: {error}");
        }
        print!("{}", text.to_uppercase());
    }
    let Witness { seen, theirs } = Witness::new()?;
    region.begin();
    let builder = Context::exec().builder().stdin(Stdio::piped()).stdout(Stdio::piped());
    let result = builder.spawn(shout, (theirs,)).map_err(Error::from).and_then(|child| {
        let (stdin, stdout) = (child.take_stdin(), child.take_stdout());
        let mut text = String::new();
        // The child may be gone; its own end says why, better than a broken pipe.
        let written = stdin.map(|mut stdin| stdin.write_all(b"abc"));
        let read = stdout.map(|mut stdout| stdout.read_to_string(&mut text));
        child.join()?;
        Ok((written, read, text))
    });
    match hear(seen, result)? {
        (Some(Ok(())), Some(Ok(_)), text) => assert_eq!(text, "ABC"),
        (written, read, _) => return Err(format!("the pipes of a child: {written:?}, {read:?}")),
    }
    Ok(())
}

/// A child with children of its own, whose end they share: one is terminated, the other joined.
fn exec_family(region: &mut Region) -> Answer {
    fn parent_of_two(witness: Descriptor) -> Result<Vec<u32>, Error> {
        saw(witness);
        let _ = ipc_core::at_exit(0, || ());
        let context = Context::exec();
        let daemon = context.builder().daemon(true).spawn(rest, ())?;
        let joined = context.spawn(|| (), ())?;
        Ok(vec![daemon.pid(), joined.pid()])
    }
    let Witness { seen, theirs } = Witness::new()?;
    region.begin();
    let result = Context::exec().spawn(parent_of_two, (theirs,)).map_err(Error::from).and_then(Child::join);
    for pid in hear(seen, result)?.map_err(said)? {
        assert!(wait_until(LONG, || process_gone(pid)), "grandchild {pid} outlives its parent");
    }
    Ok(())
}

fn server_relay(region: &mut Region) -> Answer {
    fn chat(witness: Descriptor) {
        saw(witness);
        println!("one");
        eprintln!("two");
        print!("three");
    }
    let context = server()?;
    let Witness { seen, theirs } = Witness::new()?;
    region.begin();
    // The relay's bell, which lasts as long as the process.
    region.allow(Allowed { descriptors: 1, ..Allowed::default() });
    let lines = Arc::new(Mutex::new(Vec::new()));
    let listen = || {
        let lines = lines.clone();
        Stdio::lines(move |line| lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.text))
    };
    let builder = context.builder().stdout(listen()).stderr(listen());
    let result = builder.spawn(chat, (theirs,)).map_err(Error::from).and_then(Child::join);
    hear(seen, result)?;
    let mut lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
    lines.sort();
    assert_eq!(lines, ["one", "three", "two"], "a line is lost");
    Ok(())
}

/// Through memory files, one mapped and one copied.
fn server_large(region: &mut Region) -> Answer {
    fn halve(witness: Descriptor, bytes: Bytes) -> Bytes {
        saw(witness);
        bytes[..bytes.len() / 8].into()
    }
    let context = server()?;
    let bytes = Bytes::from(vec![7; 1 << 20]);
    let Witness { seen, theirs } = Witness::new()?;
    region.begin();
    let result = context.spawn(halve, (theirs, bytes)).map_err(Error::from).and_then(Child::join);
    assert!(hear(seen, result)? == vec![7; 1 << 17]);
    Ok(())
}

/// More than one packet holds, there and back.
fn server_descriptors(region: &mut Region) -> Answer {
    const MANY: usize = 260;
    fn echo(witness: Descriptor, all: Vec<Descriptor>) -> Vec<Descriptor> {
        saw(witness);
        all
    }
    let context = server()?;
    let null = std::fs::File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    let all = (0..MANY).map(|_| null.try_clone().map(Descriptor::from)).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| format!("/dev/null: {error}"))?;
    let Witness { seen, theirs } = Witness::new()?;
    region.begin();
    let result = context.spawn(echo, (theirs, all)).map_err(Error::from).and_then(Child::join);
    let back = hear(seen, result)?;
    assert!(back.len() == MANY && back.iter().all(|one| rustix::fs::fstat(one.as_fd()).is_ok()));
    Ok(())
}

/// The child ends when its standard input does, which is after its handle.
fn detach(region: &mut Region, builder: Builder) -> Answer {
    fn linger(witness: Descriptor) {
        saw(witness);
        // Ends either way.
        let _ = std::io::stdin().read_to_string(&mut String::new());
    }
    let Witness { seen, theirs } = Witness::new()?;
    region.begin();
    let mut pid = 0;
    let result =
        builder.stdin(Stdio::piped()).spawn(linger, (theirs,)).map_err(Error::from).and_then(|child| {
            pid = child.pid();
            let stdin = child.take_stdin();
            let detached = child.detach();
            drop(stdin);
            detached
        });
    // Asking for the children is what takes the zombie away.
    let gone = || match i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        Some(pid) => active_children().is_empty() && rustix::process::test_kill_process(pid).is_err(),
        None => true,
    };
    assert!(wait_until(LONG, gone), "the detached child does not end");
    // If it could not become what it should, nobody is told: that is what being detached means.
    listen(seen, result, false)
}

fn server_signals(region: &mut Region) -> Answer {
    let context = server()?;
    let witnesses = [Witness::new()?, Witness::new()?];
    region.begin();
    let mut answer = Ok(());
    for (Witness { mut seen, theirs }, signal) in witnesses.into_iter().zip([Signal::TERM, Signal::KILL]) {
        let result = context.spawn(park, (theirs,)).map_err(Error::from).and_then(|child| {
            // It runs, and goes on doing so.
            let _ = seen.read(&mut [0]);
            let early = (child.try_join()?, child.join_timeout(Duration::from_millis(1))?);
            assert!(early == (None, None) || !child.is_alive());
            assert_eq!(active_children().len(), usize::from(child.is_alive()));
            child.signal(signal)?;
            let status = child.wait()?;
            child.close().map_err(Error::from)?;
            Ok(status)
        });
        tidy();
        answer = answer.and(result.map_err(said).and_then(|status| match status.signal() {
            Some(killed) if killed == signal => Ok(()),
            _ => Err(format!("the child ended before the signal: {status}")),
        }));
    }
    answer
}

/// What a child may ask of its parent.
fn server_parent(region: &mut Region) -> Answer {
    fn look(witness: Descriptor) -> Result<bool, Error> {
        saw(witness);
        match ipc_core::parent() {
            Some(parent) => Ok(parent.is_alive() && !parent.join_timeout(Duration::ZERO)?),
            None => Ok(false),
        }
    }
    let context = server()?;
    let Witness { seen, theirs } = Witness::new()?;
    region.begin();
    let result = context.spawn(look, (theirs,)).map_err(Error::from).and_then(Child::join);
    assert!(hear(seen, result)?.map_err(said)?, "the parent lives");
    Ok(())
}

fn fork(region: &mut Region) -> Answer {
    // SAFETY: this process has one thread.
    let context = unsafe { Context::fork() };
    job(region, || context.builder(), Child::join)
}

/// With a sibling, whose descriptors the copy must not keep.
fn fork_closure(region: &mut Region) -> Answer {
    let sibling = Context::exec().spawn(rest, ());
    let sibling = sibling.map_err(|failed| said(failed.into()))?;
    let Witness { seen, theirs } = Witness::new()?;
    region.begin();
    // SAFETY: this process has one thread.
    let forked = unsafe { Builder::new().fork(move || add(theirs, 2, 3)) };
    let result = forked.and_then(Child::join);
    drop(sibling);
    sum(seen, result)
}

fn threads(region: &mut Region) -> Answer {
    job(region, || Context::threads().builder(), Child::join)
}
