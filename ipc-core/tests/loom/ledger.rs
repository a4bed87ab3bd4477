//! The ledger of one child: handle against handle, sweep, foreign `wait` and death.

use std::sync::Arc;

use ipc_core::modelled::{Mail, MailSource, Receipt, status};
use ipc_core::primitive::sync::Mutex;
use ipc_core::primitive::{mutant, thread};
use loom::model;

use crate::kernel::{Child, FAILURE, Found, Packet, exited, killed};

fn child() -> Arc<Child> {
    Arc::new(Child::new())
}

fn with<T: 'static>(child: &Arc<Child>, f: impl FnOnce(&Child) -> T + 'static) -> thread::JoinHandle<T> {
    let child = child.clone();
    thread::spawn(move || f(&child))
}

/// Mail: here, taken. Status: none, known.
fn two_joiners() {
    let child = child();
    let other = with(&child, Child::join);
    // The code it announces is not how it ends: so a status that is made up shows.
    let life = with(&child, |child| {
        child.process.send(Packet::Value(7, 0));
        child.process.end(killed());
    });
    let mine = child.join();
    let other = other.join().unwrap();
    life.join().unwrap();
    let found = [mine.0, other.0];
    assert!(found.contains(&Found::Value(7)) && found.contains(&Found::Taken), "taken: {found:?}");
    assert!(mine.1 == killed() && other.1 == killed(), "status: {} and {}", mine.1, other.1);
    assert_eq!(child.process.given(), 1, "the kernel is asked once");
}

#[test]
fn of_two_joiners_one_has_the_value_and_both_the_status() {
    model(two_joiners);
}

#[test]
#[should_panic(expected = "status")]
fn mutant_a_status_is_not_kept() {
    mutant::with("a status is not kept", || model(two_joiners));
}

/// Mail: here, and here for everybody: a failure.
fn two_joiners_of_a_failure() {
    let child = child();
    let other = with(&child, Child::join);
    let life = with(&child, |child| {
        child.process.send(Packet::Value(FAILURE, 101));
        child.process.end(exited(101));
    });
    let both = [child.join(), other.join().unwrap()];
    life.join().unwrap();
    assert_eq!(both, [(Found::Value(FAILURE), exited(101)); 2], "what went wrong");
}

#[test]
fn of_two_joiners_both_are_told_what_went_wrong() {
    model(two_joiners_of_a_failure);
}

#[test]
#[should_panic(expected = "what went wrong")]
fn mutant_a_failure_is_given_once() {
    mutant::with("a failure is given once", || model(two_joiners_of_a_failure));
}

/// Mail: awaited, here; with the sweep of `active_children`, which takes the status before anyone asks for the mail.
fn mail_before_death() {
    let child = child();
    let life = with(&child, |child| {
        child.process.send(Packet::Value(7, 0));
        child.process.end(exited(0));
    });
    let sweep = with(&child, Child::status);
    assert_eq!(child.join(), (Found::Value(7), exited(0)));
    sweep.join().unwrap();
    life.join().unwrap();
    assert_eq!(child.process.given(), 1);
}

#[test]
fn mail_sent_before_death_is_found() {
    model(mail_before_death);
}

#[test]
#[should_panic(expected = "Nothing")]
fn mutant_the_mail_of_the_dead_is_not_looked_for() {
    mutant::with("the mail of the dead is not looked for", || model(mail_before_death));
}

/// Mail: awaited, here or none, as the killer comes before or after a step.
fn killed_anywhere() {
    let child = child();
    let life = with(&child, |child| {
        child.process.send(Packet::Entered);
        let sent = child.process.send(Packet::Value(7, 0));
        child.process.end(exited(0));
        sent
    });
    let killer = with(&child, |child| child.process.end(killed()));
    let (found, status) = child.join();
    killer.join().unwrap();
    let sent = life.join().unwrap();
    assert_eq!(found, if sent { Found::Value(7) } else { Found::Nothing }, "what was sent");
    assert!(status == killed() || sent && status == exited(0), "{status}");
}

#[test]
fn a_child_killed_anywhere_leaves_its_mail_or_nothing() {
    model(killed_anywhere);
}

#[test]
#[should_panic(expected = "what was sent")]
fn mutant_the_mail_of_the_killed_is_not_looked_for() {
    mutant::with("the mail of the dead is not looked for", || model(killed_anywhere));
}

/// Mail: none while the child runs.
fn closed_socket() {
    let child = child();
    let life = with(&child, |child| {
        child.process.close();
        child.process.end(exited(3));
    });
    let sweep = with(&child, |child| child.status());
    assert_eq!(child.join(), (Found::Nothing, exited(3)), "its own status");
    assert!(sweep.join().unwrap().is_none_or(|status| status == exited(3)), "its own status");
    life.join().unwrap();
}

#[test]
fn a_closed_socket_is_no_death() {
    model(closed_socket);
}

#[test]
#[should_panic(expected = "its own status")]
fn mutant_a_closed_socket_is_a_death() {
    mutant::with("a closed socket is a death", || model(closed_socket));
}

/// Waits with a deadline and waits that end for no reason: none of them loses anything, and the last look is after the deadline.
fn late_and_interrupted() {
    let child = child();
    let life = with(&child, |child| {
        child.process.send(Packet::Value(7, 0));
        child.process.end(exited(0));
    });
    let clock = with(&child, |child| {
        child.process.interrupt();
        child.process.be_late();
    });
    let in_time = child.value_in_time();
    clock.join().unwrap();
    life.join().unwrap();
    let later = child.join();
    let found = [in_time.unwrap_or(Found::Taken), later.0];
    assert!(found.contains(&Found::Value(7)) && found.contains(&Found::Taken), "in time or later: {found:?}");
    assert_eq!((later.1, child.process.given()), (exited(0), 1));
}

#[test]
fn a_wait_that_ends_early_loses_nothing() {
    model(late_and_interrupted);
}

#[test]
#[should_panic(expected = "in time or later")]
fn mutant_the_mail_of_the_dead_is_not_looked_for_in_time() {
    mutant::with("the mail of the dead is not looked for", || model(late_and_interrupted));
}

/// Status: known, though the kernel has given it to somebody else.
fn stolen_status() {
    let child = child();
    let life = with(&child, |child| {
        child.process.send(Packet::Value(7, 101));
        child.process.end(exited(101));
    });
    let thief = with(&child, |child| child.process.foreign_wait());
    let other = with(&child, Child::wait);
    assert_eq!(child.wait(), exited(101), "announced");
    assert_eq!(other.join().unwrap(), exited(101), "announced");
    thief.join().unwrap();
    life.join().unwrap();
    assert_eq!(child.value(), Found::Value(7));
}

#[test]
fn a_stolen_status_is_the_announced_code() {
    model(stolen_status);
}

#[test]
#[should_panic(expected = "announced")]
fn mutant_an_announced_code_is_ignored() {
    mutant::with("an announced code is ignored", || model(stolen_status));
}

/// Status: known as unknown, for all alike, where nothing was announced.
fn stolen_and_silent() {
    let child = child();
    let life = with(&child, |child| child.process.end(killed()));
    let thief = with(&child, |child| child.process.foreign_wait());
    let other = with(&child, Child::wait);
    let mine = child.wait();
    assert!(mine == killed() || mine == status(None));
    assert_eq!(other.join().unwrap(), mine, "the same for all");
    thief.join().unwrap();
    life.join().unwrap();
    assert_eq!(child.value(), Found::Nothing);
}

#[test]
fn a_stolen_status_of_a_silent_child_is_unknown_or_its_own_for_all() {
    model(stolen_and_silent);
}

#[test]
#[should_panic(expected = "the same for all")]
fn mutant_a_status_of_a_silent_child_is_not_kept() {
    mutant::with("a status is not kept", || model(stolen_and_silent));
}

/// A spawn waits for the entry, others sweep and list.
fn entry() {
    let child = child();
    let life = with(&child, |child| child.process.send(Packet::Entered));
    let others: Vec<_> = (0..2).map(|_| with(&child, Child::status)).collect();
    child.wait_entered();
    others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), None));
    assert!(life.join().unwrap());
}

#[test]
fn an_entry_ends_the_wait_for_it() {
    model(entry);
}

#[test]
#[should_panic(expected = "deadlock")]
fn mutant_an_entry_is_not_kept() {
    mutant::with("an entry is not kept", || model(entry));
}

/// A spawn that waits for the entry gets a failure, or a death, instead; the failure is the spawn's, never a joiner's twice.
fn failure_instead_of_entry() {
    let child = child();
    let life = with(&child, |child| {
        child.process.send(Packet::Value(1, 1));
        child.process.end(exited(1));
    });
    let killer = with(&child, |child| child.process.end(killed()));
    let spawn = with(&child, |child| {
        child.wait_entered();
        child.ledger.take_if(|value| *value == 1)
    });
    let list = child.status();
    let failure = spawn.join().unwrap();
    killer.join().unwrap();
    life.join().unwrap();
    let status = child.wait();
    assert!(list.is_none_or(|listed| listed == status));
    assert!(failure == Some(1) || status == killed(), "failure or death: {failure:?} {status}");
    let left = if failure.is_some() { Found::Taken } else { Found::Nothing };
    assert_eq!(child.value(), left);
}

#[test]
fn a_wait_for_the_entry_ends_with_failure_or_death() {
    model(failure_instead_of_entry);
}

#[test]
#[should_panic(expected = "failure or death")]
fn mutant_the_failure_of_the_dead_is_not_looked_for() {
    mutant::with("the mail of the dead is not looked for", || model(failure_instead_of_entry));
}

/// A thread that stands for a child: it puts its value, then says that it has ended.
struct Thread {
    ended: Mutex<bool>,
}

impl MailSource for Thread {
    type Mail = u32;

    fn reap(&self) -> Option<ipc_core::modelled::ExitStatus> {
        self.ended.lock().then_some(status(None))
    }

    fn receive(&self) -> Receipt<u32> {
        Receipt::Empty
    }
}

/// The step of `process/thread.rs` that matters is the ledger's: put, then tell the end.
fn thread_child() {
    let child = Arc::new((ipc_core::modelled::Ledger::new(), Thread { ended: Mutex::new(false) }));
    let theirs = child.clone();
    let life = thread::spawn(move || {
        let (ledger, thread) = &*theirs;
        ledger.put(7, 0, || *thread.ended.lock() = true);
    });
    let sweep = thread::spawn({
        let child = child.clone();
        move || child.0.status(&child.1)
    });
    let (ledger, thread) = &*child;
    match ledger.take(thread) {
        Mail::Here(7) => {}
        Mail::Awaited => {
            // The joiner's poll: over when the thread has ended.
            life.join().unwrap();
            assert_eq!(ledger.take(thread), Mail::Here(7), "of a thread");
            assert_eq!(ledger.status(thread), Some(exited(0)), "of a thread");
            assert!(sweep.join().unwrap().is_none_or(|status| status == exited(0)), "of a thread");
            return;
        }
        other => panic!("of a thread: {other:?}"),
    }
    life.join().unwrap();
    assert_eq!(ledger.status(thread), Some(exited(0)), "of a thread");
    assert!(sweep.join().unwrap().is_none_or(|status| status == exited(0)), "of a thread");
}

#[test]
fn a_threads_value_is_there_when_its_end_is() {
    model(thread_child);
}

#[test]
#[should_panic(expected = "of a thread")]
fn mutant_a_thread_ends_before_it_puts() {
    mutant::with("a thread ends before it puts", || model(thread_child));
}
