//! The table of who waits for which descriptor: registering, waking, another waker, and dropping, against events.
//!
//! The kernel is a model with epoll's one-shot rule: an armed descriptor that is ready gives one event and is not armed any more. The
//! helper thread is the crate's loop in small, a future is polled as executors do: when its waker was called, and never else.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::{Wake, Waker};

use ipc_core::modelled::{Kernel, Place, ReadyTable};
use ipc_core::primitive::sync::{Condvar, Mutex};
use ipc_core::primitive::{mutant, thread};
use loom::model;

const READ: u8 = 1;
const WRITE: u8 = 2;
const SOCKET: RawFd = 7;

/// One descriptor, as the kernel has it.
#[derive(Default)]
struct Socket {
    ready: u8,
    armed: u8,
    /// The helper is to end once nothing is due.
    over: bool,
}

struct World {
    socket: Mutex<Socket>,
    due: Condvar,
    table: ReadyTable,
}

impl Kernel for World {
    fn arm(&self, _: RawFd, interest: u8) -> io::Result<()> {
        self.socket.lock().armed = interest;
        self.due.notify_all();
        Ok(())
    }

    fn disarm(&self, _: RawFd) {
        self.socket.lock().armed = 0;
    }
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            socket: Mutex::new(Socket::default()),
            due: Condvar::new(),
            table: ReadyTable::default(),
        })
    }

    fn helper(self: &Arc<World>) -> thread::JoinHandle<()> {
        let world = self.clone();
        thread::spawn(move || {
            loop {
                let mut socket = world.socket.lock();
                while socket.ready & socket.armed == 0 {
                    if socket.over {
                        return;
                    }
                    socket = world.due.wait(socket);
                }
                let ready = socket.ready & socket.armed;
                socket.armed = 0;
                drop(socket);
                world.table.fired(&*world, SOCKET, ready);
            }
        })
    }

    /// Data arrives, or room.
    fn becomes(&self, ready: u8) {
        self.socket.lock().ready |= ready;
        self.due.notify_all();
    }

    fn ends(&self, helper: thread::JoinHandle<()>) {
        self.socket.lock().over = true;
        self.due.notify_all();
        helper.join().unwrap();
        assert!(self.table.is_empty(), "nobody is left");
    }
}

/// A task's waker, and the executor that sleeps until it is called.
struct Task {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        *self.woken.lock() = true;
        self.changed.notify_all();
    }
}

impl Task {
    fn new() -> Arc<Task> {
        Arc::new(Task { woken: Mutex::new(false), changed: Condvar::new() })
    }

    fn sleep(&self) {
        let mut woken = self.woken.lock();
        while !*woken {
            woken = self.changed.wait(woken);
        }
        *woken = false;
    }
}

/// A future of [`ipc_core::ready`].
#[derive(Default)]
struct Future(Place);

impl Future {
    /// Whether it is ready; else `task` is called when it is.
    fn poll(&mut self, world: &World, interest: u8, task: &Arc<Task>) -> bool {
        if world.socket.lock().ready & interest != 0 {
            self.0.leave(&world.table, world);
            return true;
        }
        let waker = Waker::from(task.clone());
        self.0.wait(&world.table, world, SOCKET, interest, &waker).unwrap();
        false
    }
}

fn waits_for(world: &Arc<World>, interest: u8) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || {
        let (task, mut future) = (Task::new(), Future::default());
        while !future.poll(&world, interest, &task) {
            task.sleep();
        }
    })
}

/// A future waits, its descriptor becomes ready, in any order.
fn one() {
    let world = World::new();
    let (helper, waits) = (world.helper(), waits_for(&world, READ));
    world.becomes(READ);
    waits.join().unwrap();
    world.ends(helper);
}

#[test]
fn no_readiness_is_missed() {
    model(one);
}

#[test]
#[should_panic(expected = "deadlock")]
fn mutant_armed_before_the_waker_is_there() {
    mutant::with("armed before the waker is there", || model(one));
}

/// A reader and a writer of one socket, which becomes ready for the one and then for the other.
fn reader_and_writer() {
    let world = World::new();
    let helper = world.helper();
    let (reads, writes) = (waits_for(&world, READ), waits_for(&world, WRITE));
    world.becomes(READ);
    reads.join().unwrap();
    world.becomes(WRITE);
    writes.join().unwrap();
    world.ends(helper);
}

#[test]
fn what_does_not_concern_a_waiter_leaves_it_waiting() {
    model(reader_and_writer);
}

#[test]
#[should_panic(expected = "deadlock")]
fn mutant_the_rest_is_forgotten() {
    mutant::with("the rest is forgotten", || model(reader_and_writer));
}

/// A future that has waited in one task goes on in another.
fn moves() {
    let world = World::new();
    let helper = world.helper();
    let waits = {
        let world = world.clone();
        thread::spawn(move || {
            let (one, two, mut future) = (Task::new(), Task::new(), Future::default());
            if future.poll(&world, READ, &one) {
                return;
            }
            while !future.poll(&world, READ, &two) {
                two.sleep();
            }
        })
    };
    world.becomes(READ);
    waits.join().unwrap();
    world.ends(helper);
}

#[test]
fn the_last_waker_is_the_one_that_is_called() {
    model(moves);
}

#[test]
#[should_panic(expected = "deadlock")]
fn mutant_the_first_waker_stays() {
    mutant::with("the first waker stays", || model(moves));
}

/// A future is dropped while another waits, and while the event comes.
fn dropped() {
    let world = World::new();
    let (helper, waits) = (world.helper(), waits_for(&world, READ));
    let drops = {
        let world = world.clone();
        thread::spawn(move || {
            let (task, mut future) = (Task::new(), Future::default());
            future.poll(&world, READ, &task);
            future.0.leave(&world.table, &*world);
            // Its waker may be called once more, by an event under way, and is kept by nobody afterwards.
            task
        })
    };
    world.becomes(READ);
    waits.join().unwrap();
    let task = drops.join().unwrap();
    world.ends(helper);
    assert_eq!(Arc::strong_count(&task), 1, "the waker is dropped");
}

#[test]
fn a_dropped_future_leaves_nothing_and_takes_nothing_from_others() {
    model(dropped);
}

/// A future that nobody wakes is dropped.
fn dropped_in_silence() {
    let world = World::new();
    let helper = world.helper();
    let (task, mut future) = (Task::new(), Future::default());
    assert!(!future.poll(&world, READ, &task));
    future.0.leave(&world.table, &*world);
    world.ends(helper);
    assert_eq!(world.socket.lock().armed, 0, "the kernel waits for nobody");
}

#[test]
fn the_kernel_is_told_of_the_last_drop() {
    model(dropped_in_silence);
}

#[test]
#[should_panic(expected = "nobody is left")]
fn mutant_a_dropped_future_stays() {
    mutant::with("a dropped future stays", || model(dropped_in_silence));
}
