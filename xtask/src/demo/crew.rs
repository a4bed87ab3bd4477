//! Running the batches: a worker process for each, as many at once as there are CPUs, one thread that
//! waits for all of them.
//!
//! The thread sleeps in one poll over the pipes of the workers (what each has in hand), their sentinels
//! (who is dead), and the wish to stop. A batch's way:
//!
//! | state | goes on when | to |
//! |---|---|---|
//! | waiting | fewer workers run than may | running: a child with this batch |
//! | running | its child's value is there | counted |
//! | running | its child died, killed or not | waiting, first in line |
//! | running | its child died by itself [`TRIES`] times in this pass, or returned an error | the pass fails |

use std::collections::VecDeque;
use std::time::Duration;

use ipc_core::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::display::{Display, View};
use super::killer::{Kill, Killer};
use super::piece::Piece;
use super::stop::Stop;
use super::totals::Totals;
use super::worker::Found;
use member::{Worker, is_death};

mod member;

/// So often a batch may lose its worker to something else than our killer.
const TRIES: u32 = 3;

/// Why there is no result.
pub(super) enum Failure {
    /// This signal asked to stop.
    Stopped(i32),
    Failed(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Failed(why)
    }
}

/// One pass over the batches.
pub(super) struct Crew<'a> {
    batches: &'a [Vec<Piece>],
    size: usize,
    stop: &'a Stop,
    display: &'a mut Display,
    killer: Option<&'a mut Killer>,
    /// Its number, from 1, for the report of kills.
    pass: u32,
    waiting: VecDeque<usize>,
    running: Vec<Worker>,
    killed: Vec<u32>,
    died: Vec<u32>,
    /// Values that have come and are not yet added up.
    values: Vec<(usize, Found)>,
    done: u64,
    totals: Totals,
}

impl<'a> Crew<'a> {
    pub(super) fn new(
        batches: &'a [Vec<Piece>],
        size: usize,
        stop: &'a Stop,
        display: &'a mut Display,
    ) -> Crew<'a> {
        Crew {
            batches,
            size,
            stop,
            display,
            killer: None,
            pass: 1,
            waiting: (0..batches.len()).collect(),
            running: Vec::new(),
            killed: vec![0; batches.len()],
            died: vec![0; batches.len()],
            values: Vec::new(),
            done: 0,
            totals: Totals::default(),
        }
    }

    /// Lets the killer loose on this pass.
    pub(super) fn under_fire(mut self, killer: &'a mut Killer, pass: u32) -> Crew<'a> {
        (self.killer, self.pass) = (Some(killer), pass);
        self
    }

    /// Runs every batch to its end.
    pub(super) fn run(mut self) -> Result<Totals, Failure> {
        let result = self.work_off();
        // On success nobody is left. Otherwise no worker outlives its pass.
        for worker in &self.running {
            let _ = worker.child.kill();
        }
        for worker in self.running.drain(..) {
            let _ = worker.child.join();
        }
        result.map(|()| self.totals)
    }

    fn work_off(&mut self) -> Result<(), Failure> {
        loop {
            while self.running.len() < self.size
                && let Some(batch) = self.waiting.pop_front()
            {
                self.start(batch)?;
            }
            // Only now, when the next ones are at work.
            for (batch, found) in std::mem::take(&mut self.values) {
                self.totals.add(&self.batches[batch], found.outcomes);
                self.totals.tally.add(&found.counted);
            }
            if self.running.is_empty() {
                return Ok(());
            }
            let dead = self.wait()?;
            if let Some(signal) = self.stop.wanted() {
                return Err(Failure::Stopped(signal));
            }
            // From the last on: the places of the others stay.
            for index in dead.into_iter().rev() {
                let worker = self.running.swap_remove(index);
                self.reap(worker)?;
            }
            self.shoot()?;
            self.show();
        }
    }

    fn start(&mut self, batch: usize) -> Result<(), Failure> {
        let taken = |seat: &usize| self.running.iter().any(|worker| worker.seat == *seat);
        let seat = (0..self.size).find(|seat| !taken(seat)).unwrap_or_default();
        let worker = Worker::start(seat, batch, &self.batches[batch])
            .map_err(|error| format!("a worker for batch {batch}: {error}"))?;
        self.running.push(worker);
        Ok(())
    }

    /// Sleeps until something happens; reads the pipes, and returns the places of the dead.
    fn wait(&mut self) -> Result<Vec<usize>, Failure> {
        let kill_in = self.killer.as_ref().and_then(|killer| killer.due_in()).unwrap_or(Duration::MAX);
        let timeout = Timespec::try_from(kill_in.min(self.display.due_in())).ok();
        let mut watched = vec![PollFd::new(self.stop, PollFlags::IN)];
        for worker in &self.running {
            watched.extend(worker.descriptors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        }
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(format!("waiting for the workers: {error}").into()),
        }
        let ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut dead = Vec::new();
        for (index, worker) in self.running.iter_mut().enumerate() {
            if ready[1 + 2 * index] {
                dead.push(index);
            } else if ready[2 + 2 * index] {
                worker.read_log(&self.batches[worker.batch])?;
            }
        }
        Ok(dead)
    }

    /// A worker has ended: its value is counted, or its batch is run again.
    fn reap(&mut self, mut worker: Worker) -> Result<(), Failure> {
        let batch = &self.batches[worker.batch];
        // All that it ever wrote is in the pipe now.
        worker.read_log(batch)?;
        let pid = worker.child.pid();
        match (worker.child.join(), &mut self.killer) {
            (Ok(found), killer) => {
                if let (true, Some(killer)) = (worker.shot, killer) {
                    killer.too_late += 1;
                }
                if found.outcomes.len() != batch.len() {
                    return Err(format!("worker {pid} returned something else than its batch").into());
                }
                self.done += batch.iter().map(Piece::len).sum::<u64>();
                self.values.push((worker.batch, found));
            }
            (Err(error), Some(killer)) if worker.shot && is_death(&error) => {
                match worker.in_hand.and_then(|index| batch.get(index)) {
                    Some(piece) => killer.hit(Kill {
                        pid,
                        pass: self.pass,
                        batch: worker.batch,
                        file: piece.path.clone().into(),
                    }),
                    None => killer.misses += 1,
                }
                self.killed[worker.batch] += 1;
                self.waiting.push_front(worker.batch);
            }
            (Err(error), _) => {
                // Ctrl-C goes to the whole foreground, and the worker may be first to hear of it.
                if error.signal() == Some(Signal::INT) {
                    return Err(Failure::Stopped(Signal::INT.as_raw()));
                }
                self.died[worker.batch] += 1;
                if !is_death(&error) || self.died[worker.batch] == TRIES {
                    return Err(format!("batch {}: {error}", worker.batch).into());
                }
                self.display.say(&format!("{error}; its batch is run again"));
                self.waiting.push_front(worker.batch);
            }
        }
        Ok(())
    }

    fn shoot(&mut self) -> Result<(), Failure> {
        let Some(killer) = &mut self.killer else { return Ok(()) };
        if killer.is_hopeless() {
            return Err(format!(
                "{} workers were killed, but for a long time none with a file in hand (seed {}): is the input too small?",
                killer.hits.len() + killer.misses as usize,
                killer.seed
            )
            .into());
        }
        let alive = self.running.iter().enumerate().filter(|(_, worker)| !worker.shot);
        let victims: Vec<_> = alive.map(|(index, worker)| (index, self.killed[worker.batch])).collect();
        if let Some(index) = killer.choose(&victims) {
            let victim = &mut self.running[index];
            victim.child.kill().map_err(|error| format!("killing a worker: {error}"))?;
            victim.shot = true;
        }
        Ok(())
    }

    fn show(&mut self) {
        let workers = self.running.iter().map(|worker| {
            let piece = worker.in_hand.and_then(|index| self.batches[worker.batch].get(index));
            (worker.seat, worker.child.pid(), piece.map(|piece| piece.path.as_os_str()))
        });
        let done = self.done + self.running.iter().map(|worker| worker.done).sum::<u64>();
        let killed = self.killer.as_ref().map(|killer| (self.pass, killer.hits.len()));
        self.display.show(|| View { done, workers: workers.collect(), killed });
    }
}

#[cfg(test)]
mod tests;
