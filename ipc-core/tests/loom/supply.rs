//! The client of a fork server: each newborn goes to one caller, none is forgotten, a server that is lost is replaced.

use ipc_core::modelled::{Server, Supply};
use ipc_core::primitive::sync::Arc;
use ipc_core::primitive::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use ipc_core::primitive::thread;

/// What all servers of one model have done together.
#[derive(Default)]
struct World {
    asked: AtomicUsize,
    answered: AtomicUsize,
    discarded: AtomicUsize,
    servers: AtomicUsize,
    /// The next request or answer finds the server dead.
    killed: AtomicBool,
}

struct Link {
    world: Arc<World>,
    lost: bool,
}

#[derive(Debug)]
struct Lost;

impl World {
    fn discard(&self, _newborn: usize) {
        self.discarded.fetch_add(1, Ordering::Relaxed);
    }
}

impl Link {
    fn meet(&mut self) -> Result<(), Lost> {
        self.lost |= self.world.killed.swap(false, Ordering::AcqRel);
        if self.lost { Err(Lost) } else { Ok(()) }
    }
}

impl Server for Link {
    type Newborn = usize;
    type Error = Lost;

    fn ask(&mut self) -> Result<(), Lost> {
        self.meet()?;
        self.world.asked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn answer(&mut self) -> Result<usize, Lost> {
        self.meet()?;
        Ok(self.world.answered.fetch_add(1, Ordering::Relaxed))
    }

    fn is_lost(&self) -> bool {
        self.lost
    }
}

fn start(world: &Arc<World>) -> Link {
    world.servers.fetch_add(1, Ordering::Relaxed);
    Link { world: world.clone(), lost: false }
}

/// As `ForkServer::newborn`: a server where there is none or a lost one, and another try where it is lost meanwhile.
fn take(supply: &Supply<Link>, world: &Arc<World>) -> usize {
    loop {
        let taken: Result<usize, Lost> = supply.take(
            |link| Ok(if link.is_none_or(|link| link.lost) { Some(start(world)) } else { None }),
            |_| true,
            |newborn| world.discard(newborn),
        );
        if let Ok(newborn) = taken {
            return newborn;
        }
    }
}

/// Rows "asked" and "ready": two callers and a renewal. Every newborn goes to one caller, and what was asked for is handed out,
/// discarded, or awaited: at the end everything is accounted for.
#[test]
fn each_newborn_goes_to_one_caller() {
    loom::model(|| {
        let (supply, world) = (Arc::new(Supply::new()), Arc::new(World::default()));
        let other = thread::spawn({
            let (supply, world) = (supply.clone(), world.clone());
            move || take(&supply, &world)
        });
        let renews = thread::spawn({
            let supply = supply.clone();
            move || supply.renew()
        });
        let mine = take(&supply, &world);
        let theirs = other.join().unwrap();
        renews.join().unwrap();
        assert_ne!(mine, theirs);
        assert_eq!(world.servers.load(Ordering::Relaxed), 1);
        supply.clear(|newborn| world.discard(newborn));
        let asked = world.asked.load(Ordering::Relaxed);
        assert_eq!(asked, world.answered.load(Ordering::Relaxed));
        assert_eq!(asked, 2 + world.discarded.load(Ordering::Relaxed));
    });
}

/// Row "no source": the server is killed at any instant. Whoever takes gets one all the same, from another.
#[test]
fn a_lost_server_is_replaced() {
    loom::model(|| {
        let (supply, world) = (Arc::new(Supply::new()), Arc::new(World::default()));
        let kills = thread::spawn({
            let world = world.clone();
            move || world.killed.store(true, Ordering::Release)
        });
        let first = take(&supply, &world);
        let second = take(&supply, &world);
        assert_ne!(first, second);
        kills.join().unwrap();
        assert!(world.servers.load(Ordering::Relaxed) <= 2);
    });
}

/// Two callers meet a dead server: one of them replaces it, not both.
#[test]
fn a_lost_server_is_replaced_once() {
    loom::model(|| {
        let (supply, world) = (Arc::new(Supply::new()), Arc::new(World::default()));
        take(&supply, &world);
        world.killed.store(true, Ordering::Release);
        let other = thread::spawn({
            let (supply, world) = (supply.clone(), world.clone());
            move || take(&supply, &world)
        });
        let mine = take(&supply, &world);
        assert_ne!(mine, other.join().unwrap());
        assert_eq!(world.servers.load(Ordering::Relaxed), 2);
    });
}

/// Dropping the context while another thread renews: what was asked for is given up, by one of the two.
#[test]
fn nothing_is_left_when_all_is_given_up() {
    loom::model(|| {
        let (supply, world) = (Arc::new(Supply::new()), Arc::new(World::default()));
        take(&supply, &world);
        let renews = thread::spawn({
            let supply = supply.clone();
            move || supply.renew()
        });
        supply.clear(|newborn| world.discard(newborn));
        renews.join().unwrap();
        let discarded = world.discarded.load(Ordering::Relaxed);
        assert_eq!(world.asked.load(Ordering::Relaxed), 1 + discarded);
    });
}

/// The mutant: a renewal that is not counted under the lock, so that the next answer is taken for another request's.
#[test]
#[should_panic]
fn mutant_renewal_not_counted() {
    loom::model(|| {
        let (supply, world) = (Arc::new(Supply::new()), Arc::new(World::default()));
        let renews = thread::spawn({
            let (supply, world) = (supply.clone(), world.clone());
            move || {
                take(&supply, &world);
                supply.with(|stock| stock.map(|stock| stock.source.ask()));
            }
        });
        take(&supply, &world);
        renews.join().unwrap();
        supply.clear(|newborn| world.discard(newborn));
        assert_eq!(world.asked.load(Ordering::Relaxed), world.answered.load(Ordering::Relaxed));
    });
}
