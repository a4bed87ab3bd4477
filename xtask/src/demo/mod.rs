//! Counts the words of real text files with worker processes: a real job, done with the crates.
//!
//! ```text
//! cargo xtask demo [words] [PATH] [--kill] [--seed N] [--counts FILE]
//! ```
//!
//! All text files under PATH are counted, but for hidden directories in it (names that begin with a dot) and
//! for binary files (in the first 8 KiB a NUL, or no UTF-8 in more than a quarter); without one, the sources that cargo has brought (at most
//! 256 MiB of them), else the workspace's. At the end stand the most frequent words, what was seen, the
//! throughput, and the speed-up over one process, measured in the same run: this process counts the
//! same files in one thread, and its counts must be the same, too. Of an input of more than 512 MiB it counts only
//! so much: the speed-up is against that part's, and nothing is compared, which the report says.
//!
//! --kill         then does the job again while workers are killed at random instants, as often as it
//!                takes to kill 50 with a file in hand, names each of these, and compares every count
//!                of every pass with the undisturbed one's
//! --seed N       the random instants of another run
//! --counts FILE  writes every count, `count<TAB>word` a line, the most frequent first
//!
//! A word is a run of letters, marks and numbers of any script, in lower case; an apostrophe inside
//! belongs to it (xtask/src/demo/words.rs has the definition, xtask/tests/words.py an independent
//! count by it). Exit code 1: counts differ, or the job could not be done.

mod crew;
mod display;
mod input;
mod killer;
mod options;
mod piece;
mod report;
mod stop;
mod totals;
mod words;
mod worker;

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::time::{Duration, Instant};

use crate::Result;
use crew::{Crew, Failure};
use display::{Display, View};
use input::{Input, Root};
use killer::Killer;
use options::Options;
use piece::Piece;
use report::{Report, Speed, UnderFire};
use stop::Stop;
use totals::Totals;

/// As much of the input is read beforehand, and counted by one process for comparison.
const SAMPLE: u64 = 512 << 20;

/// Names the pass that counts one word too many: 0 is the undisturbed one, the others are under fire. For the demo's own
/// tests: a comparison that nobody has seen fail shows nothing.
const MISCOUNT: &str = "IPC_DEMO_MISCOUNT";

/// `cargo xtask demo ARGS`.
pub(crate) fn run(args: &[String]) -> Result {
    let options = Options::parse(args)?;
    match Demo::prepare(options)?.run() {
        Ok(()) => Ok(()),
        Err(Failure::Failed(why)) => Err(why),
        Err(Failure::Stopped(signal)) => {
            eprintln!("xtask: stopped by signal {signal}; nothing is left running");
            std::process::exit(128 + signal)
        }
    }
}

struct Demo {
    options: Options,
    root: Root,
    input: Input,
    workers: usize,
    batches: Vec<Vec<Piece>>,
    stop: Stop,
    display: Display,
}

impl Demo {
    fn prepare(options: Options) -> Result<Demo> {
        let root = options.path.clone().map_or_else(Root::default_input, Root::given);
        let input = Input::find(&root)?;
        if input.files.is_empty() && options.kill {
            return Err(format!("{}: no file in which to kill a worker", root.path.display()));
        }
        let workers = ipc_core::available_parallelism().map_err(|error| error.to_string())?.get();
        let batches = input.batches(workers);
        let stop = Stop::on_signals().map_err(|error| format!("cannot watch for Ctrl-C: {error}"))?;
        let display = Display::new(workers, &root.path);
        Ok(Demo { options, root, input, workers, batches, stop, display })
    }

    fn run(mut self) -> std::result::Result<(), Failure> {
        self.warm()?;
        self.display.begin(&format!("{} worker processes", self.workers), self.input.bytes);
        let begun = Instant::now();
        let mut totals = Crew::new(&self.batches, self.workers, &self.stop, &mut self.display).run()?;
        miscount(&mut totals, 0);
        let together = Speed { bytes: self.input.bytes, took: begun.elapsed() };
        let (alone, compared) = self.one_process(&totals)?;
        let fire = if self.options.kill { Some(self.under_fire(&totals, together.took)?) } else { None };
        self.write_counts(&totals)?;
        let report = Report {
            root: &self.root.path,
            input: &self.input,
            totals: &totals,
            workers: self.workers,
            batches: self.batches.len(),
            method: method(),
            together,
            alone,
            compared,
            fire,
        };
        let text = report.to_string();
        drop(self.display);
        std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| Failure::Failed(format!("writing the report: {error}")))
    }

    /// The part of the batches that is looked at before and beside the job.
    fn sample(&self) -> &[Vec<Piece>] {
        let mut bytes = 0;
        let within = self.batches.iter().take_while(|batch| {
            let fits = bytes < SAMPLE;
            bytes += batch.iter().map(Piece::len).sum::<u64>();
            fits
        });
        &self.batches[..within.count()]
    }

    /// Reads the input once, so that whichever way of counting comes first does not pay for the disk.
    fn warm(&self) -> std::result::Result<(), Failure> {
        let mut buffer = Vec::new();
        for batch in self.sample() {
            batch.iter().for_each(|piece| piece.warm(&mut buffer));
            self.go_on()?;
        }
        Ok(())
    }

    fn go_on(&self) -> std::result::Result<(), Failure> {
        self.stop.wanted().map_or(Ok(()), |signal| Err(Failure::Stopped(signal)))
    }

    /// The same job in this process and one thread: how fast, and whether it was the whole, whose counts are then the same.
    fn one_process(&mut self, workers: &Totals) -> std::result::Result<(Speed, bool), Failure> {
        let bytes = self.sample().iter().flatten().map(Piece::len).sum();
        self.display.begin("one process, for comparison", bytes);
        let (mut totals, mut done) = (Totals::default(), 0);
        let begun = Instant::now();
        for index in 0..self.sample().len() {
            let batch = &self.batches[index];
            let outcomes = worker::count_batch(batch, &mut totals.tally, |_| {});
            totals.add(batch, outcomes);
            done += batch.iter().map(Piece::len).sum::<u64>();
            self.display.show(|| View { done, workers: Vec::new(), killed: None });
            self.go_on()?;
        }
        let took = begun.elapsed();
        let whole = self.sample().len() == self.batches.len();
        match workers.differences(&totals) {
            Some(found) if whole => {
                Err(format!("the workers did not count what one process counts:\n{found}").into())
            }
            _ => Ok((Speed { bytes, took }, whole)),
        }
    }

    /// The job again and again, until enough workers were killed.
    fn under_fire(
        &mut self,
        undisturbed: &Totals,
        took: Duration,
    ) -> std::result::Result<UnderFire, Failure> {
        let seed = self.options.seed.unwrap_or_else(|| RandomState::new().hash_one("seed"));
        let life = took.mul_f64(self.workers as f64 / self.batches.len().max(1) as f64);
        let mut killer = Killer::new(seed, life);
        let mut pass = 0;
        while !killer.has_enough() {
            pass += 1;
            self.display.begin("under fire", self.input.bytes);
            let crew = Crew::new(&self.batches, self.workers, &self.stop, &mut self.display);
            let mut totals = crew.under_fire(&mut killer, pass).run()?;
            miscount(&mut totals, pass);
            if let Some(found) = totals.differences(undisturbed) {
                return Err(
                    format!("pass {pass} under fire (seed {seed}) counted something else:\n{found}").into()
                );
            }
        }
        Ok(UnderFire { killer, passes: pass })
    }

    fn write_counts(&self, totals: &Totals) -> Result {
        let Some(path) = &self.options.counts else { return Ok(()) };
        let lines = totals.tally.sorted().into_iter().map(|(word, count)| format!("{count}\t{word}\n"));
        std::fs::write(path, lines.collect::<String>())
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}

fn miscount(totals: &mut Totals, pass: u32) {
    if std::env::var(MISCOUNT).is_ok_and(|wanted| wanted == pass.to_string()) {
        totals.tally.count(b"the");
    }
}

/// How the workers were started.
fn method() -> String {
    match ipc_core::Context::default().method() {
        ipc_core::StartMethod::ForkServer => "over the fork server".to_owned(),
        other => format!("by {other:?}"),
    }
}
