//! A fork server and its client's end, as `start/fork_server/` has them: requests in order, answers in order, a process
//! that may die between any two steps, newborns that can be asked who they are.

use std::collections::VecDeque;
use std::sync::Arc;

use ipc_core::modelled::Source;
use ipc_core::primitive::sync::{Condvar, Mutex};
use ipc_core::primitive::thread;

/// What became of every newborn there ever was.
#[derive(Default)]
pub(crate) struct World(Mutex<Vec<Fate>>);

#[derive(Clone, Copy, Default)]
struct Fate {
    born: bool,
    dead: bool,
    handed_out: usize,
    discarded: usize,
}

#[derive(Debug)]
pub(crate) struct Newborn {
    id: usize,
    /// Which of the servers made it.
    pub(crate) server: usize,
    world: Arc<World>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

impl World {
    fn conceive(&self) -> usize {
        let mut fates = self.0.lock();
        fates.push(Fate::default());
        fates.len() - 1
    }

    fn with<T>(&self, id: usize, f: impl FnOnce(&mut Fate) -> T) -> T {
        f(&mut self.0.lock()[id])
    }

    /// Kills a newborn, if it was born.
    pub(crate) fn kill(&self, id: usize) -> bool {
        self.0.lock().get_mut(id).is_some_and(|fate| {
            fate.dead = fate.born;
            fate.dead
        })
    }

    /// Whether somebody has, or had, this newborn.
    pub(crate) fn was_handed_out(&self, id: usize) -> bool {
        self.with(id, |fate| fate.handed_out > 0)
    }

    /// After the end: of each that was born somebody has, or had, charge.
    pub(crate) fn check(&self) {
        for (id, fate) in self.0.lock().iter().enumerate() {
            let Fate { born, handed_out, discarded, .. } = *fate;
            assert_eq!(handed_out + discarded, usize::from(born), "newborn {id} is in one pair of hands");
        }
    }
}

impl Newborn {
    pub(crate) fn is_alive(&self) -> bool {
        self.world.with(self.id, |fate| !fate.dead)
    }

    pub(crate) fn discard(self) {
        self.world.with(self.id, |fate| fate.discarded += 1);
    }

    pub(crate) fn hand_out(&self) {
        self.world.with(self.id, |fate| fate.handed_out += 1);
    }
}

/// How a server behaves.
#[derive(Clone, Copy, Default)]
pub(crate) struct Temper {
    /// The number of steps after which it is killed; three make a newborn.
    pub(crate) dies_after: Option<usize>,
    /// It refuses so many requests first.
    pub(crate) refuses: usize,
}

/// A server process and its socket.
struct Server {
    kept: Mutex<Kept>,
    changed: Condvar,
}

struct Kept {
    requests: VecDeque<usize>,
    answers: VecDeque<Option<usize>>,
    dead: bool,
    /// The client has dropped its end.
    left: bool,
    steps: Option<usize>,
}

impl Kept {
    /// Whether the server is alive for one more step.
    fn step(&mut self) -> bool {
        match &mut self.steps {
            Some(0) => self.dead = true,
            Some(left) => *left -= 1,
            None => {}
        }
        !self.dead
    }
}

impl Server {
    /// A server's life.
    fn serve(&self, world: &World, mut refuses: usize) {
        loop {
            let mut kept = self.kept.lock();
            while kept.requests.is_empty() && !kept.left {
                kept = self.changed.wait(kept);
            }
            if kept.left || !kept.step() {
                break;
            }
            let request = kept.requests.pop_front();
            drop(kept);

            let mut kept = self.kept.lock();
            if !kept.step() {
                break;
            }
            let born = request.filter(|_| refuses == 0);
            refuses = refuses.saturating_sub(1);
            if let Some(id) = born {
                world.with(id, |fate| fate.born = true);
            }
            drop(kept);

            let mut kept = self.kept.lock();
            if !kept.step() {
                break;
            }
            kept.answers.push_back(born);
            self.changed.notify_all();
        }
        self.changed.notify_all();
    }
}

/// The client's end.
pub(crate) struct Link {
    server: Arc<Server>,
    number: usize,
    world: Arc<World>,
    asked: VecDeque<usize>,
    pub(crate) lost: bool,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Trouble {
    Lost,
    Refused,
}

impl Link {
    pub(crate) fn new(world: &Arc<World>, number: usize, temper: Temper) -> Link {
        let kept = Kept {
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            dead: false,
            left: false,
            steps: temper.dies_after,
        };
        let server = Arc::new(Server { kept: Mutex::new(kept), changed: Condvar::new() });
        let (theirs, their_world) = (server.clone(), world.clone());
        let thread = thread::spawn(move || theirs.serve(&their_world, temper.refuses));
        Link {
            server,
            number,
            world: world.clone(),
            asked: VecDeque::new(),
            lost: false,
            thread: Some(thread),
        }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    fn newborn(&self, id: usize) -> Newborn {
        Newborn { id, server: self.number, world: self.world.clone() }
    }
}

impl Source for Link {
    type Newborn = Newborn;
    type Error = Trouble;

    fn ask(&mut self) -> Result<(), Trouble> {
        let mut kept = self.server.kept.lock();
        if kept.dead {
            self.lost = true;
            return Err(Trouble::Lost);
        }
        let id = self.world.conceive();
        kept.requests.push_back(id);
        self.asked.push_back(id);
        self.server.changed.notify_all();
        Ok(())
    }

    fn answer(&mut self) -> Result<Newborn, Trouble> {
        let Some(id) = self.asked.pop_front() else { panic!("more answers are read than were asked for") };
        let mut kept = self.server.kept.lock();
        loop {
            match kept.answers.pop_front() {
                Some(Some(answered)) => {
                    assert_eq!(answered, id, "answers come in the order of requests");
                    return Ok(self.newborn(id));
                }
                Some(None) => return Err(Trouble::Refused),
                None if kept.dead => break,
                None => kept = self.server.changed.wait(kept),
            }
        }
        self.lost = true;
        // Perhaps it was born and only the answer is missing: it is asked itself.
        let born = self.world.with(id, |fate| fate.born && !fate.dead);
        if born { Ok(self.newborn(id)) } else { Err(Trouble::Lost) }
    }

    fn is_lost(&self) -> bool {
        self.lost
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.server.kept.lock().left = true;
        self.server.changed.notify_all();
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }
}
