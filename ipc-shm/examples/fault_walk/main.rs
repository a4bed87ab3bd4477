//! The operations of this crate, walked through while `cargo xtask fault` makes system calls fail.
//!
//! Whatever fails, and in whichever process, a scenario ends with the right data or with an error in words. Beyond what the runner looks for
//! (hanging, crashes, descriptors, segments and processes that stay), each scenario looks at what is there after an error: a segment
//! that could not be frozen comes back as it was, and a lock that was not taken is free for the next.

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ipc_core::{Child, Connection, Context, Message, duplex};
use ipc_shm::{
    Array, Atomic, Error, Frozen, HugePage, LockError, RLock, RawArray, RawValue, Segment, Synchronized,
    Value,
};
use ipc_testkit::fault::{Region, walk};
use ipc_testkit::{GENEROUS, wait_until};

mod named;

type Answer = Result<(), String>;

/// Longer than anything here takes, shorter than the runner's patience.
const LONG: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    walk(&[
        ("create", create),
        ("create_without_noexec_seal", create_without_noexec_seal),
        ("create_large", create_large),
        ("create_lazy", create_lazy),
        ("create_huge", create_huge),
        ("from_fd", from_fd),
        ("freeze", freeze),
        ("freeze_shared", freeze_shared),
        ("view", view),
        ("value", value),
        ("array", array),
        ("lock_first", lock_first),
        ("lock_threads", lock_threads),
        ("lock_recursive", lock_recursive),
        ("lock_timeout", lock_timeout),
        ("lock_timeout_without_baton", lock_timeout_without_baton),
        ("lock_processes", lock_processes),
        ("lock_processes_without_baton", lock_processes_without_baton),
        ("lock_owner_dies", lock_owner_dies),
        ("raw_objects", raw_objects),
        ("atomic", atomic),
        ("atomic_threads", atomic_threads),
        ("atomic_wait", atomic_wait),
        ("atomic_wait_without_baton", atomic_wait_without_baton),
        ("send_segment", send_segment),
        ("send_frozen", send_frozen),
        ("send_value", send_value),
        ("list", named::list),
        ("name", named::name),
        ("name_first", named::name_first),
        ("name_owner_dies", named::name_owner_dies),
    ])
}

fn said(error: impl Into<Error>) -> String {
    error.into().to_string()
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Switches a facility off, for a scenario on an older kernel.
fn without(facility: &str) {
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("IPC_SHM_WITHOUT", facility) };
}

/// A segment is zero, can be written, and is what it says.
fn is_good(segment: &Segment, len: usize) -> Answer {
    assert_eq!(segment.len(), len);
    let mut bytes = [1; 4];
    for at in [0, len / 2, len - 4] {
        segment.read(at, &mut bytes).map_err(said)?;
        assert_eq!(bytes, [0; 4]);
    }
    segment.write(len - 4, b"last").map_err(said)
}

fn create(region: &mut Region) -> Answer {
    region.begin();
    is_good(&Segment::new(10_000).map_err(said)?, 10_000)
}

fn create_without_noexec_seal(region: &mut Region) -> Answer {
    without("noexec_seal");
    create(region)
}

/// Reserved in more than one step.
fn create_large(region: &mut Region) -> Answer {
    const LEN: usize = 70 << 20;
    region.begin();
    is_good(&Segment::new(LEN).map_err(said)?, LEN)
}

fn create_lazy(region: &mut Region) -> Answer {
    region.begin();
    is_good(&Segment::lazy(1 << 32).map_err(said)?, 1 << 32)
}

/// Most machines have none, and say so.
fn create_huge(region: &mut Region) -> Answer {
    region.begin();
    match Segment::huge(1, HugePage::Mib2) {
        Ok(segment) => is_good(&segment, 2 << 20),
        Err(Error::NoMemory { needed, .. }) if needed == 2 << 20 => Ok(()),
        Err(Error::Invalid { why, .. }) if why.contains("none of that size") => Ok(()),
        Err(error) => Err(said(error)),
    }
}

fn from_fd(region: &mut Region) -> Answer {
    let segment = Segment::new(100).map_err(said)?;
    segment.write(0, b"same").map_err(said)?;
    let frozen = Segment::new(3).and_then(|segment| Ok(segment.freeze()?)).map_err(said)?;
    region.begin();
    let fd = segment.clone().into_fd().map_err(said)?;
    let other = Segment::from_fd(fd).map_err(said)?;
    assert_eq!(other.as_ptr(), segment.as_ptr(), "mapped twice");
    let fd = frozen.as_fd().try_clone_to_owned().map_err(words)?;
    assert_eq!(*Frozen::from_fd(fd).map_err(said)?, [0; 3]);
    Ok(())
}

fn freeze(region: &mut Region) -> Answer {
    let segment = Segment::new(5000).map_err(said)?;
    segment.write(4995, b"built").map_err(said)?;
    region.begin();
    match segment.freeze() {
        Ok(frozen) => {
            assert_eq!(&frozen[4995..], b"built");
            Ok(())
        }
        Err(failed) => {
            let (segment, error) = failed.into_parts();
            if let Some(segment) = segment {
                let mut bytes = [0; 5];
                segment.read(4995, &mut bytes).map_err(said)?;
                assert_eq!(&bytes, b"built", "it comes back as it was");
                segment.write(0, b"more").map_err(said)?;
            }
            Err(said(error))
        }
    }
}

/// What another process can write stays what it is.
fn freeze_shared(region: &mut Region) -> Answer {
    let segment = Segment::new(5000).map_err(said)?;
    let other = segment.clone();
    region.begin();
    let back = match segment.freeze() {
        Ok(_) => panic!("frozen, with another handle there"),
        Err(failed) => failed.into_segment(),
    };
    let Some(back) = back else { panic!("it was not touched") };
    assert_eq!(back.as_ptr(), other.as_ptr());
    back.write(0, b"more").map_err(said)
}

fn view(region: &mut Region) -> Answer {
    let segment = Segment::new(100).map_err(said)?;
    region.begin();
    let view = segment.view().map_err(said)?;
    segment.write(50, b"seen").map_err(said)?;
    let mut bytes = [0; 4];
    view.read(50, &mut bytes).map_err(said)?;
    assert_eq!(&bytes, b"seen");
    Ok(())
}

fn value(region: &mut Region) -> Answer {
    region.begin();
    let value = Value::new([1_u64, 2]).map_err(said)?;
    value.update(|value| value[0] += 4).map_err(said)?;
    assert_eq!(value.get().map_err(said)?, [5, 2]);
    Ok(())
}

fn array(region: &mut Region) -> Answer {
    region.begin();
    let array = Array::from_iter(0..5000_u32).map_err(said)?;
    array.set(4999, 1).map_err(said)?;
    assert_eq!(array.update(|all| all.iter().sum::<u32>()).map_err(said)?, 4999 * 4998 / 2 + 1);
    Ok(())
}

/// The thread's first: its list is looked for.
fn lock_first(region: &mut Region) -> Answer {
    let value = Value::new(1_u64).map_err(said)?;
    region.begin();
    let first = value.try_lock().map(drop).map_err(said);
    // Whatever failed, the lock is free.
    assert!(!value.is_locked());
    first
}

/// Several that wait for each other, and one that is told of none.
fn lock_threads(region: &mut Region) -> Answer {
    const TIMES: u64 = 200;
    let value = Value::new(0_u64).map_err(said)?;
    region.begin();
    let count = || -> Answer {
        for _ in 0..TIMES {
            let mut guard = value.lock_timeout(LONG).map_err(said)?;
            // Long enough that the others go to sleep.
            for _ in 0..200 {
                std::hint::spin_loop();
            }
            *guard += 1;
        }
        Ok(())
    };
    let counted: Vec<Answer> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..3).map(|_| std::thread::Builder::new().spawn_scoped(scope, count).map_err(words)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Answer>| {
            thread.join().unwrap_or_else(|_| panic!("a thread panicked"))
        };
        threads.into_iter().map(|thread| thread.and_then(join)).collect()
    });
    let whole = counted.iter().filter(|counted| counted.is_ok()).count() as u64;
    let all = value.get().map_err(said)?;
    assert!(all >= whole * TIMES, "additions are lost");
    counted.into_iter().collect()
}

fn lock_recursive(region: &mut Region) -> Answer {
    region.begin();
    let lock = RLock::new().map_err(said)?;
    let guards = [lock.lock().map_err(said)?, lock.try_lock().map_err(said)?];
    assert_eq!(lock.depth(), 2);
    drop(guards);
    assert!(!lock.is_locked());
    Ok(())
}

/// Another process has it for good.
fn lock_timeout(region: &mut Region) -> Answer {
    let value = Value::new(0_u64).map_err(said)?;
    let (ours, theirs) = duplex().map_err(words)?;
    let child = spawn(hold, (value.clone(), theirs))?;
    heard(&ours)?;
    region.begin();
    let refused = match value.lock_timeout(Duration::from_millis(20)) {
        Err(LockError::TimedOut) => Ok(()),
        Err(error) => Err(said(error)),
        Ok(_) => panic!("two owners"),
    };
    drop(ours);
    let joined = child.join().map_err(words)?;
    refused.and(joined)
}

fn lock_timeout_without_baton(region: &mut Region) -> Answer {
    without("baton");
    lock_timeout(region)
}

fn spawn<A: Message, R: Message>(
    f: impl ipc_core::Function<A, Output = R>,
    args: A,
) -> Result<Child<R>, String> {
    Context::exec().spawn(f, args).map_err(|failed| failed.to_string())
}

fn heard(ours: &Connection<(), ()>) -> Answer {
    match ours.recv_timeout(GENEROUS) {
        Ok(Some(())) => Ok(()),
        Ok(None) => Err("the other process says nothing".to_owned()),
        Err(error) => Err(words(error)),
    }
}

/// A child's function: takes the lock, says so, and holds it until the other side is gone.
fn hold(value: Value<u64>, theirs: Connection<(), ()>) -> Answer {
    let guard = value.lock_timeout(LONG).map_err(said)?;
    theirs.send(()).map_err(words)?;
    // The end of the other side is what it waits for.
    let _ = theirs.recv();
    drop(guard);
    Ok(())
}

/// Two processes on one lock; the child's whole life lies in the region.
fn lock_processes(region: &mut Region) -> Answer {
    const TIMES: u64 = 300;
    fn count(value: &Value<u64>) -> Answer {
        for _ in 0..TIMES {
            let mut guard = value.lock_timeout(LONG).map_err(said)?;
            for _ in 0..500 {
                std::hint::spin_loop();
            }
            *guard += 1;
        }
        Ok(())
    }
    fn other(value: Value<u64>, theirs: Connection<(), ()>) -> Answer {
        theirs.send(()).map_err(words)?;
        // It begins when the other side does.
        let _ = theirs.recv();
        count(&value)
    }
    let value = Value::new(0_u64).map_err(said)?;
    let (ours, theirs) = duplex().map_err(words)?;
    let child = spawn(other, (value.clone(), theirs))?;
    heard(&ours)?;
    region.begin();
    let told = ours.send(()).map_err(words);
    let here = count(&value);
    drop(ours);
    let there = child.join().map_err(words)?;
    let all = value.get().map_err(said)?;
    let whole = [&here, &there].iter().filter(|counted| counted.is_ok()).count() as u64;
    assert!(all >= whole * TIMES && all <= 2 * TIMES, "{all} additions");
    told.and(here).and(there)
}

fn lock_processes_without_baton(region: &mut Region) -> Answer {
    without("baton");
    lock_processes(region)
}

/// An owner is killed while this process waits: it is told.
fn lock_owner_dies(region: &mut Region) -> Answer {
    let value = Value::new(0_u64).map_err(said)?;
    let (ours, theirs) = duplex().map_err(words)?;
    let child = spawn(hold, (value.clone(), theirs))?;
    heard(&ours)?;
    region.begin();
    let waited = std::thread::scope(|scope| {
        let waiter = std::thread::Builder::new()
            .spawn_scoped(scope, || match value.lock_timeout(LONG) {
                Err(LockError::OwnerDied(died)) => {
                    let pid = died.pid();
                    drop(died.recover());
                    Ok(pid)
                }
                Err(error) => Err(said(error)),
                Ok(_) => panic!("nobody was told"),
            })
            .map_err(words);
        // It need not be asleep; where it is, it is woken.
        wait_until(Duration::from_millis(20), || false);
        let killed = child.kill().map_err(words);
        let waited = waiter.map(|waiter| waiter.join().unwrap_or_else(|_| panic!("the waiter panicked")));
        killed.and(waited.and_then(|waited| waited))
    });
    let pid = child.pid();
    // However it went, the child is gone, and what it had is free.
    let _ = child.kill();
    let _ = child.join();
    assert_eq!(waited?, pid);
    value.set(3).map_err(said)
}

fn raw_objects(region: &mut Region) -> Answer {
    region.begin();
    let value = RawValue::new([1_u32, 2, 3]).map_err(said)?;
    let array = RawArray::from_iter(0..5000_u32).map_err(said)?;
    let array = Synchronized::new(array).map_err(said)?;
    array.update(4999, |n| *n += 1).map_err(said)?;
    assert_eq!((value.get(), array.get(4999).map_err(said)?), ([1, 2, 3], 5000));
    Ok(())
}

fn atomic(region: &mut Region) -> Answer {
    region.begin();
    let atomic = Atomic::new(1_u16).map_err(said)?;
    assert_eq!(atomic.fetch_add(2, SeqCst), 1);
    assert_eq!(atomic.wait(1), 3);
    assert_eq!(atomic.wait_timeout(3, Duration::from_millis(1)), None);
    Ok(())
}

/// Threads that are not told of their robust list change and wait all the same.
fn atomic_threads(region: &mut Region) -> Answer {
    let atomic = Atomic::new(0_u64).map_err(said)?;
    region.begin();
    std::thread::scope(|scope| {
        let changer = || {
            for _ in 0..50 {
                atomic.fetch_add(1 << 20, SeqCst);
            }
        };
        let waiter = || {
            let mut seen = 0;
            while seen < 50 << 20 {
                seen = atomic.wait_timeout(seen, LONG).ok_or("nobody wakes it")?;
            }
            Ok(())
        };
        let waiter = std::thread::Builder::new().spawn_scoped(scope, waiter).map_err(words);
        let changer = std::thread::Builder::new().spawn_scoped(scope, changer).map_err(words);
        if changer.is_err() {
            atomic.store(50 << 20, SeqCst);
        }
        let waited =
            waiter.and_then(|waiter| waiter.join().unwrap_or_else(|_| panic!("the waiter panicked")));
        changer.map(drop).and(waited)
    })
}

/// This process waits for what another one does.
fn atomic_wait(region: &mut Region) -> Answer {
    fn change(atomic: Atomic<u64>) {
        for turn in 1..=20 {
            atomic.wait(2 * turn - 2);
            atomic.fetch_add(1, SeqCst);
        }
    }
    let atomic = Atomic::new(0_u64).map_err(said)?;
    let child = spawn(change, (atomic.clone(),))?;
    region.begin();
    for turn in 1..=20 {
        atomic.store(2 * turn - 1, SeqCst);
        assert_eq!(atomic.wait_timeout(2 * turn - 1, LONG), Some(2 * turn), "nobody wakes it");
    }
    child.join().map_err(words)
}

fn atomic_wait_without_baton(region: &mut Region) -> Answer {
    without("baton");
    atomic_wait(region)
}

/// To a child and back, twice the same: what arrives is what was sent, or its sender or receiver says why not.
fn send<T: Message + Clone>(region: &mut Region, sent: T, check: fn(&T) -> bool) -> Answer {
    region.begin();
    let (sender, receiver) = ipc_core::pipe::<(T, Vec<T>)>().map_err(words)?;
    sender.send((sent.clone(), vec![sent.clone()])).map_err(|failed| failed.to_string())?;
    let (one, all) = receiver.recv_timeout(LONG).map_err(words)?.ok_or("it does not arrive")?;
    assert!(check(&one) && all.iter().all(check) && check(&sent));
    Ok(())
}

fn send_segment(region: &mut Region) -> Answer {
    let segment = Segment::new(5000).map_err(said)?;
    segment.write(0, b"sent").map_err(said)?;
    send(region, segment, |segment| {
        let mut bytes = [0; 4];
        segment.read(0, &mut bytes).is_ok() && bytes == *b"sent"
    })
}

fn send_frozen(region: &mut Region) -> Answer {
    let frozen = Segment::new(5000).and_then(|segment| Ok(segment.freeze()?)).map_err(said)?;
    send(region, frozen, |frozen| frozen.len() == 5000 && frozen.iter().all(|byte| *byte == 0))
}

/// To another process, which changes it under its lock.
fn send_value(region: &mut Region) -> Answer {
    fn change(value: Value<u64>, theirs: Connection<(), Value<u64>>) -> Answer {
        let more = theirs.recv_timeout(LONG).map_err(words)?.ok_or("it does not arrive")?;
        more.update(|n| *n += 1).map_err(said)?;
        value.update(|n| *n += 1).map_err(said)
    }
    let (value, more) = (Value::new(1_u64).map_err(said)?, Value::new(2_u64).map_err(said)?);
    let (ours, theirs) = duplex::<Value<u64>, ()>().map_err(words)?;
    let child = spawn(change, (value.clone(), theirs))?;
    region.begin();
    let sent = ours.send(more.clone()).map_err(|failed| failed.to_string());
    drop(ours);
    let changed = child.join().map_err(words)?;
    if sent.is_ok() && changed.is_ok() {
        assert_eq!((value.get().map_err(said)?, more.get().map_err(said)?), (2, 3));
    }
    sent.and(changed)
}
