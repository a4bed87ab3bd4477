//! What is seen while it runs: bars on a terminal that can draw them, a plain line every other second otherwise.
//!
//! All of it goes to stderr, so that stdout holds the report and nothing else. Whoever works asks for
//! a draw as often as it likes; one is made when it is due.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::{bytes, number};

const ON_TERMINAL: Duration = Duration::from_millis(80);
const ELSEWHERE: Duration = Duration::from_secs(2);

/// The moment to be drawn.
pub(super) struct View<'a> {
    /// Bytes done with.
    pub(super) done: u64,
    /// Seat and process id of each worker, and the file it has in hand.
    pub(super) workers: Vec<(usize, u32, Option<&'a OsStr>)>,
    /// Under fire: the number of this pass, and how many were killed with a file in hand.
    pub(super) killed: Option<(u32, usize)>,
}

pub(super) struct Display {
    bars: Option<Bars>,
    title: String,
    total: u64,
    next: Instant,
}

struct Bars {
    all: MultiProgress,
    overall: ProgressBar,
    workers: Vec<ProgressBar>,
    /// What the names of files are shown relative to.
    root: PathBuf,
}

impl Display {
    /// For so many workers on files under this path.
    pub(super) fn new(workers: usize, root: &Path) -> Display {
        let bars = std::io::stderr().is_terminal().then(|| Bars::new(workers, root));
        // Bars that a dumb terminal hides would be nothing at all.
        let bars = bars.filter(|bars| !bars.all.is_hidden());
        Display { bars, title: String::new(), total: 0, next: Instant::now() }
    }

    /// A new pass over so many bytes.
    pub(super) fn begin(&mut self, title: &str, total: u64) {
        (self.title, self.total) = (title.to_owned(), total);
        if let Some(bars) = &self.bars {
            bars.overall.reset();
            bars.overall.set_length(total);
        } else if self.next <= Instant::now() {
            eprintln!("{title}: {}", bytes(total));
            self.next = Instant::now() + ELSEWHERE;
        }
    }

    /// How long until something is to be drawn.
    pub(super) fn due_in(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Draws, if it is time to.
    pub(super) fn show<'v>(&mut self, view: impl FnOnce() -> View<'v>) {
        if !self.due_in().is_zero() {
            return;
        }
        let View { done, workers, killed } = view();
        let killed = killed.map(|(pass, hits)| format!(", pass {pass}, {hits} killed with a file in hand"));
        let title = format!("{}{}", self.title, killed.unwrap_or_default());
        let every = match &self.bars {
            Some(bars) => {
                bars.draw(title, done, &workers);
                ON_TERMINAL
            }
            None => {
                eprintln!(
                    "{title}: {} of {}, {} at work",
                    bytes(done),
                    bytes(self.total),
                    number(workers.len() as u64)
                );
                ELSEWHERE
            }
        };
        self.next = Instant::now() + every;
    }

    /// A line that stays.
    pub(super) fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.all.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(bars) = &self.bars {
            bars.overall.finish_and_clear();
            bars.workers.iter().for_each(ProgressBar::finish_and_clear);
        }
    }
}

impl Bars {
    fn new(workers: usize, root: &Path) -> Bars {
        let style = |template| {
            let style = ProgressStyle::with_template(template);
            style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
        };
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let overall = all.add(ProgressBar::new(0));
        overall.set_style(style(
            "{msg}\n{wide_bar} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}",
        ));
        let workers = (0..workers)
            .map(|_| {
                let line = all.add(ProgressBar::new_spinner());
                line.set_style(style("{spinner} {wide_msg}"));
                line
            })
            .collect();
        Bars { all, overall, workers, root: root.to_owned() }
    }

    fn draw(&self, title: String, done: u64, workers: &[(usize, u32, Option<&OsStr>)]) {
        self.overall.set_message(title);
        self.overall.set_position(done);
        for (seat, line) in self.workers.iter().enumerate() {
            line.tick();
            line.set_message(match workers.iter().find(|worker| worker.0 == seat) {
                Some((_, pid, Some(file))) => {
                    let file = Path::new(file);
                    format!("worker {pid}  {}", file.strip_prefix(&self.root).unwrap_or(file).display())
                }
                Some((_, pid, None)) => format!("worker {pid}"),
                None => String::new(),
            });
        }
    }
}
