//! The stock of a fork server's client: takers, renewals, servers that are lost, replaced, or refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipc_core::modelled::Supply;
use ipc_core::primitive::{mutant, thread};
use loom::model;

use crate::server::{Link, Newborn, Temper, Trouble, World};

/// A client, as `start/fork_server/client.rs` is one.
struct Client {
    supply: Supply<Link>,
    world: Arc<World>,
    /// The servers there were; not part of what is modelled.
    servers: AtomicUsize,
    first: Temper,
}

impl Client {
    fn new(first: Temper) -> Arc<Client> {
        let (supply, world) = (Supply::new(), Arc::default());
        Arc::new(Client { supply, world, servers: AtomicUsize::new(0), first })
    }

    /// Starts a server: the first has its temper, its successors none.
    fn start(&self) -> Link {
        let number = self.servers.fetch_add(1, Ordering::Relaxed);
        let temper = if number == 0 { self.first } else { Temper::default() };
        Link::new(&self.world, number, temper)
    }

    /// One attempt; the server serves if `fits` says so.
    fn attempt(&self, fits: impl Fn(&Link) -> bool) -> Result<Newborn, Trouble> {
        let taken = self.supply.take::<Trouble, _>(
            |link| Ok(link.is_none_or(|link| link.lost || !fits(link)).then(|| self.start())),
            Newborn::is_alive,
            Newborn::discard,
            Link::number,
        );
        let (newborn, server) = taken?;
        assert_eq!(newborn.server, server, "a newborn and what is said of its server belong together");
        newborn.hand_out();
        Ok(newborn)
    }

    /// As often as a server is lost, which is once here.
    fn take(&self) -> Result<Newborn, Trouble> {
        match self.attempt(|_| true) {
            Err(Trouble::Lost) => self.attempt(|_| true),
            other => other,
        }
    }

    /// The end: what is in stock is given up, and everybody is accounted for.
    fn check(&self) {
        self.supply.clear(Newborn::discard);
        self.world.check();
    }
}

fn with<T: 'static>(client: &Arc<Client>, f: impl FnOnce(&Client) -> T + 'static) -> thread::JoinHandle<T> {
    let client = client.clone();
    thread::spawn(move || f(&client))
}

/// Asked 0 and asked n: two takers and a renewal.
fn takers_and_renewal() {
    let client = Client::new(Temper::default());
    let other = with(&client, |client| client.take().is_ok());
    let renewal = with(&client, |client| client.supply.renew());
    assert!(client.take().is_ok());
    client.supply.renew();
    assert!(other.join().unwrap());
    renewal.join().unwrap();
    client.check();
}

#[test]
fn every_newborn_is_handed_out_once() {
    model(takers_and_renewal);
}

#[test]
#[should_panic(expected = "in one pair of hands")]
fn mutant_a_renewal_is_not_counted() {
    mutant::with("a renewal is not counted", || model(takers_and_renewal));
}

/// Lost: the first server dies after so many steps, wherever its clients are then.
fn lost_server(dies_after: usize) {
    let client = Client::new(Temper { dies_after: Some(dies_after), refuses: 0 });
    let other = with(&client, |client| client.take().is_ok());
    assert!(client.take().is_ok(), "a lost server is replaced");
    assert!(other.join().unwrap(), "a lost server is replaced");
    client.supply.renew();
    assert!(client.servers.load(Ordering::Relaxed) <= 2, "one loss, one replacement");
    client.check();
}

/// Three steps make a newborn. Two are handed out, a third is the spare that nobody takes.
#[test]
fn a_lost_server_is_replaced_and_no_newborn_of_it_is_lost() {
    (0..=9).for_each(|dies_after| model(move || lost_server(dies_after)));
}

/// Killed between the birth of a spare and its answer: only giving the stock up finds it.
#[test]
#[should_panic(expected = "in one pair of hands")]
fn mutant_old_stock_is_forgotten() {
    mutant::with("old stock is forgotten", || model(|| lost_server(8)));
}

/// No source again: a server that its client's process has become unlike is replaced, with its stock.
fn replaced_server() {
    let client = Client::new(Temper::default());
    let other = with(&client, |client| client.attempt(|link| link.number() > 0).is_ok());
    assert!(client.attempt(|_| true).is_ok());
    assert!(other.join().unwrap());
    client.check();
}

#[test]
fn a_replaced_server_takes_its_stock_with_it() {
    model(replaced_server);
}

#[test]
#[should_panic(expected = "in one pair of hands")]
fn mutant_the_stock_of_a_replaced_server_is_forgotten() {
    mutant::with("old stock is forgotten", || model(replaced_server));
}

/// Asked n, and the answer is no: it is told to one caller, or to none where it was about a spare.
fn refusals(refuses: usize) {
    let client = Client::new(Temper { dies_after: None, refuses });
    let other = with(&client, |client| client.take().err());
    let mine = client.take().err();
    let told = [mine, other.join().unwrap()].into_iter().flatten().count();
    assert!(told <= refuses, "a refusal is told once");
    // What was refused then says nothing about now.
    assert!(client.take().is_ok() && client.take().is_ok(), "the server works again");
    client.check();
}

#[test]
fn a_refusal_is_told_once_at_most() {
    (1..=2).for_each(|refuses| model(move || refusals(refuses)));
}

#[test]
#[should_panic(expected = "more answers are read than were asked for")]
fn mutant_a_refusal_is_not_counted() {
    mutant::with("a refusal is not counted", || model(|| refusals(1)));
}

/// Asked n, and the spare dies while others take it: it is passed over, or theirs, and waited for.
#[test]
fn a_spare_that_dies_is_in_one_pair_of_hands() {
    model(|| {
        let client = Client::new(Temper::default());
        assert!(client.take().is_ok());
        let killer = with(&client, |client| client.world.kill(1));
        let other = with(&client, |client| client.take().is_ok());
        assert!(client.take().is_ok());
        assert!(other.join().unwrap());
        killer.join().unwrap();
        client.check();
    });
}

/// The same, and it has died before anybody wanted it: then it is passed over.
fn dead_spare() {
    let client = Client::new(Temper::default());
    assert!(client.take().is_ok());
    let died = client.world.kill(1);
    let other = with(&client, |client| client.take().is_ok());
    assert!(client.take().is_ok());
    assert!(other.join().unwrap());
    assert!(!(died && client.world.was_handed_out(1)), "the dead are of no use");
    client.check();
}

#[test]
fn a_dead_spare_is_discarded() {
    model(dead_spare);
}

#[test]
#[should_panic(expected = "of no use")]
fn mutant_a_dead_spare_is_handed_out() {
    mutant::with("a dead spare is handed out", || model(dead_spare));
}
