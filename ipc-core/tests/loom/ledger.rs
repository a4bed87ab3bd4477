//! One child asked by many: its status is drawn once and the same for all, its value goes to one, and neither is missed.

use ipc_core::modelled::{ExitStatus, Ledger, Mail, Receipt, Source, exited as status, unknown};
use ipc_core::primitive::sync::{Arc, Mutex};
use ipc_core::primitive::thread;

const SENT: u32 = 7;

/// A child as the kernel shows it to its parent; what it does under one lock is one step.
struct Child {
    kernel: Mutex<Kernel>,
    /// Somebody else's `wait` takes the status.
    stolen: bool,
}

#[derive(Default)]
struct Kernel {
    /// A message lies in the socket.
    mail: bool,
    died: bool,
    /// How often the status was taken; the second time the kernel says that it knows no such child.
    reaped: u32,
}

impl Child {
    fn new(stolen: bool) -> Arc<Child> {
        Arc::new(Child { kernel: Mutex::new(Kernel::default()), stolen })
    }

    /// What the child does: it sends its value, if it is not killed before, and dies.
    fn live(&self, killed_first: bool) {
        if !killed_first {
            self.kernel.lock().mail = true;
        }
        self.kernel.lock().died = true;
    }
}

impl Source for Child {
    type Mail = u32;

    fn reap(&self) -> Option<ExitStatus> {
        let mut kernel = self.kernel.lock();
        if !kernel.died {
            return None;
        }
        kernel.reaped += 1;
        Some(if kernel.reaped == 1 && !self.stolen { status(0) } else { unknown() })
    }

    fn receive(&self) -> Receipt<u32> {
        if std::mem::take(&mut self.kernel.lock().mail) { Receipt::Mail(SENT, 0) } else { Receipt::Empty }
    }
}

/// What a joiner does, as `Life::take_mail` does it; where that would poll, the model yields.
fn join(ledger: &Ledger<u32>, child: &Child) -> Mail<u32> {
    loop {
        match ledger.take(child) {
            Mail::Awaited => thread::yield_now(),
            other => return other,
        }
    }
}

/// As `Life::wait`.
fn wait(ledger: &Ledger<u32>, child: &Child) -> ExitStatus {
    loop {
        match ledger.status(child) {
            Some(status) => return status,
            None => thread::yield_now(),
        }
    }
}

fn model(body: impl Fn() + Sync + Send + 'static) {
    loom::model(body);
}

/// Row "awaited": a value sent before the death is there when the death is, whoever looks when.
#[test]
fn a_value_sent_before_the_death_is_not_missed() {
    model(|| {
        let (ledger, child) = (Arc::new(Ledger::new()), Child::new(false));
        let lives = thread::spawn({
            let child = child.clone();
            move || child.live(false)
        });
        assert_eq!(join(&ledger, &child), Mail::Here(SENT));
        assert_eq!(wait(&ledger, &child), status(0));
        lives.join().unwrap();
    });
}

/// The mutant: mail is looked for first and the status after, so that what comes in between is missed.
#[test]
#[should_panic]
fn mutant_mail_before_status() {
    fn take(ledger: &Ledger<u32>, child: &Child) -> Mail<u32> {
        let mail = match child.receive() {
            Receipt::Mail(mail, _) => Mail::Here(mail),
            _ => Mail::Awaited,
        };
        match (mail, ledger.status(child)) {
            (Mail::Awaited, Some(_)) => Mail::None,
            (mail, _) => mail,
        }
    }
    model(|| {
        let (ledger, child) = (Arc::new(Ledger::new()), Child::new(false));
        let lives = thread::spawn({
            let child = child.clone();
            move || child.live(false)
        });
        let mail = loop {
            match take(&ledger, &child) {
                Mail::Awaited => thread::yield_now(),
                other => break other,
            }
        };
        assert_eq!(mail, Mail::Here(SENT));
        lives.join().unwrap();
    });
}

/// Row "here": two joins of one handle. One gets the value, the other is told that it was taken.
#[test]
fn a_value_goes_to_exactly_one() {
    model(|| {
        let (ledger, child) = (Arc::new(Ledger::new()), Child::new(false));
        child.live(false);
        let other = thread::spawn({
            let (ledger, child) = (ledger.clone(), child.clone());
            move || join(&ledger, &child)
        });
        let mine = join(&ledger, &child);
        let theirs = other.join().unwrap();
        match (&mine, &theirs) {
            (Mail::Here(SENT), Mail::Taken) | (Mail::Taken, Mail::Here(SENT)) => {}
            both => panic!("{both:?}"),
        }
    });
}

/// Row "none": a child killed before it sent anything. Every join ends, by the status.
#[test]
fn a_child_killed_first_leaves_no_value() {
    model(|| {
        let (ledger, child) = (Arc::new(Ledger::new()), Child::new(false));
        let lives = thread::spawn({
            let child = child.clone();
            move || child.live(true)
        });
        assert_eq!(join(&ledger, &child), Mail::None);
        assert_eq!(join(&ledger, &child), Mail::None);
        lives.join().unwrap();
    });
}

/// Rows "none" and "known" of the status: a join and a sweep ask at once, and hear the same.
#[test]
fn all_hear_the_same_status() {
    model(|| {
        let (ledger, child) = (Arc::new(Ledger::new()), Child::new(false));
        let other = thread::spawn({
            let (ledger, child) = (ledger.clone(), child.clone());
            move || wait(&ledger, &child)
        });
        child.live(true);
        assert_eq!(wait(&ledger, &child), status(0));
        assert_eq!(other.join().unwrap(), status(0));
        assert_eq!(child.kernel.lock().reaped, 1);
    });
}

/// The mutant: the status is taken and not kept.
#[test]
#[should_panic]
fn mutant_status_not_kept() {
    model(|| {
        let child = Child::new(false);
        let other = thread::spawn({
            let child = child.clone();
            move || loop {
                match child.reap() {
                    Some(status) => break status,
                    None => thread::yield_now(),
                }
            }
        });
        child.live(true);
        assert_eq!(child.reap(), Some(status(0)));
        assert_eq!(other.join().unwrap(), status(0));
    });
}

/// A foreign `wait` took the status: what the child announced counts, as soon as anybody asks.
#[test]
fn a_stolen_status_is_the_announced_one() {
    model(|| {
        let (ledger, child) = (Arc::new(Ledger::new()), Child::new(true));
        let lives = thread::spawn({
            let child = child.clone();
            move || child.live(false)
        });
        assert_eq!(wait(&ledger, &child), status(0));
        assert_eq!(join(&ledger, &child), Mail::Here(SENT));
        lives.join().unwrap();
    });
}

/// And where it was killed before it could announce anything, nobody knows, and nobody hangs.
#[test]
fn a_stolen_status_without_a_value_is_unknown() {
    model(|| {
        let (ledger, child) = (Arc::new(Ledger::new()), Child::new(true));
        let lives = thread::spawn({
            let child = child.clone();
            move || child.live(true)
        });
        assert!(wait(&ledger, &child).is_unknown());
        assert_eq!(join(&ledger, &child), Mail::None);
        lives.join().unwrap();
    });
}
