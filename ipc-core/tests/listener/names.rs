//! Names of sockets: in use, retaken, removed.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Mutex;

use ipc_core::{Address, Connector, Context, Descriptor, Listener};
use ipc_testkit::{GENEROUS, leaks, wait_until};

use crate::support::{Gate, open};
use crate::{Place, families, meet, talk};

fn in_use(address: &Address, why: &str) {
    let error = Listener::bind(address).unwrap_err();
    assert_eq!(error.io_error().unwrap().kind(), ErrorKind::AddrInUse, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

#[test]
fn an_address_of_a_living_listener_is_in_use() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let listener = Listener::bind(&address).unwrap();
        let why = if matches!(address, Address::Unix(_)) { "socket.lock" } else { "in use" };
        in_use(listener.address(), why);
        // The attempt has broken nothing.
        let (ours, theirs) = meet(&listener, &Connector::new());
        talk(&ours, &theirs);
    }
}

/// A child binds the address, somebody is connected, and it is killed.
#[test]
fn a_killed_listeners_address_is_free_at_once() {
    fn hold(address: Address, ready: ipc_core::Sender<Address>) {
        let listener = Listener::bind(address).unwrap();
        ready.send(listener.address().clone()).unwrap();
        let _first = listener.accept::<u8, u8>().unwrap();
        loop {
            std::thread::park();
        }
    }
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let (ready, bound) = ipc_core::pipe::<Address>().unwrap();
        let child = Context::exec().spawn(hold, (address, ready)).unwrap();
        let address = bound.recv().unwrap();
        let _connection = ipc_core::connect::<u8, u8>(&address).unwrap();
        in_use(&address, "");
        child.kill().unwrap();
        child.join().unwrap_err();
        let listener = Listener::bind(&address).unwrap();
        let (ours, theirs) = meet(&listener, &Connector::new());
        talk(&ours, &theirs);
    }
    assert!(!place.socket().exists() && !place.lock().exists());
}

#[test]
fn closing_removes_path_and_lock() {
    let place = Place::new();
    let listener = Listener::bind(place.socket()).unwrap();
    assert!(place.socket().exists() && place.lock().exists());
    listener.close();
    assert!(!place.socket().exists() && !place.lock().exists());
}

/// Exactly as it was said, whatever the umask is. In a child: that is the process's.
#[test]
fn the_mode_of_a_path() {
    fn modes(path: std::path::PathBuf) -> Vec<(u32, u32, u32)> {
        let mut seen = Vec::new();
        for umask in [0o000, 0o022, 0o777] {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
            for mode in [0o600, 0o660, 0o666, 0o222, 0o000] {
                let listener = Listener::builder().mode(mode).bind(&path).unwrap();
                let file = std::fs::symlink_metadata(&path).unwrap();
                seen.push((umask, mode, file.permissions().mode() & 0o7777));
                drop(listener);
            }
        }
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
        let _listener = Listener::bind(&path).unwrap();
        seen.push((0o027, 0o750, std::fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777));
        seen
    }
    let _leaks = leaks();
    let place = Place::new();
    let seen = Context::exec().spawn(modes, (place.socket(),)).unwrap().join().unwrap();
    for (umask, mode, is) in seen {
        assert_eq!(is, mode, "{is:o} and not {mode:o}, with the umask {umask:o}");
    }
}

/// Others can connect to a path where its mode lets them, and not otherwise.
#[test]
fn a_mode_keeps_out() {
    const NOBODY: u32 = 65534;
    fn visit(path: std::path::PathBuf) -> ipc_core::Result<u8> {
        Connector::new().without_authentication().connect::<u8, u8>(&path)?.recv()
    }
    if !rustix::process::geteuid().is_root() {
        return ipc_testkit::not_run("only root can become another user");
    }
    let _leaks = leaks();
    let place = Place::new();
    std::fs::set_permissions(&place.0, std::fs::Permissions::from_mode(0o755)).unwrap();
    let stranger =
        || Context::exec().builder().uid(NOBODY).gid(NOBODY).spawn(visit, (place.socket(),)).unwrap();
    for mode in [0o600, 0o604] {
        let _listener = Listener::builder().without_authentication().mode(mode).bind(place.socket()).unwrap();
        let error = stranger().join().unwrap().unwrap_err();
        assert_eq!(error.io_error().unwrap().kind(), ErrorKind::PermissionDenied, "{error}");
    }
    let listener = Listener::builder().without_authentication().mode(0o602).bind(place.socket()).unwrap();
    let child = stranger();
    let client = listener.accept_timeout::<u8, u8>(GENEROUS).unwrap().unwrap();
    assert_eq!(client.credentials().unwrap().unwrap().uid, NOBODY);
    client.send(7).unwrap();
    assert_eq!(child.join().unwrap().unwrap(), 7);
}

#[test]
fn only_a_path_has_a_mode() {
    for address in [Address::private().unwrap(), ("127.0.0.1", 0).into()] {
        let error = Listener::builder().mode(0o600).bind(&address).unwrap_err();
        assert!(matches!(error, ipc_core::Error::Invalid { .. }), "{error}");
        assert!(error.to_string().contains("it is no path"), "{error}");
        // Nothing was bound.
        Listener::bind(&address).unwrap();
    }
}

/// Files that nobody has locked, and that are no sockets, are not touched.
#[test]
fn what_is_no_socket_stays() {
    let place = Place::new();
    std::fs::write(place.socket(), "precious").unwrap();
    in_use(&place.socket().into(), "no socket");
    assert_eq!(std::fs::read_to_string(place.socket()).unwrap(), "precious");
    assert!(!place.lock().exists());
    // Neither is what a link points to.
    std::fs::remove_file(place.socket()).unwrap();
    std::os::unix::fs::symlink("/dev/null", place.socket()).unwrap();
    in_use(&place.socket().into(), "no socket");
}

/// Other programs do not know the lock; whoever answers lives.
#[test]
fn a_foreign_listener_that_lives_keeps_its_path() {
    let place = Place::new();
    let foreign = UnixListener::bind(place.socket()).unwrap();
    in_use(&place.socket().into(), "another program");
    drop(foreign);
    // It left its socket there, as they do.
    assert!(place.socket().exists());
    Listener::bind(place.socket()).unwrap();
}

/// Somebody else has bound the path meanwhile, without asking: what is theirs is not removed.
#[test]
fn what_is_not_ours_any_more_stays() {
    let place = Place::new();
    let listener = Listener::bind(place.socket()).unwrap();
    std::fs::remove_file(place.socket()).unwrap();
    let _foreign = UnixListener::bind(place.socket()).unwrap();
    drop(listener);
    assert!(place.socket().exists());
}

/// Many bind one dead path at the same moment: one gets it.
#[test]
fn one_of_many_gets_a_dead_path() {
    let place = Place::new();
    for _ in 0..20 {
        drop(UnixListener::bind(place.socket()).unwrap());
        let bound: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(|| Listener::bind(place.socket()))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let (winners, losers): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
        assert_eq!(winners.len(), 1);
        for error in losers {
            assert_eq!(error.unwrap_err().io_error().unwrap().kind(), ErrorKind::AddrInUse);
        }
        let listener = winners.into_iter().next().unwrap().unwrap();
        let (ours, theirs) = meet(&listener, &Connector::new());
        talk(&ours, &theirs);
    }
}

/// A copy of the process holds no lock, and removes nothing.
#[test]
fn a_forked_copy_does_not_keep_the_name() {
    fn body() {
        fn copy(path: std::path::PathBuf, gate: Descriptor) {
            static LISTENER: Mutex<Option<Listener>> = Mutex::new(None);
            *LISTENER.lock().unwrap() = Some(Listener::bind(path.as_path()).unwrap());
            let here = Gate::new();
            let entrance = here.entrance();
            // SAFETY: this program has one thread.
            let child = unsafe {
                ipc_core::Builder::new().fork(move || {
                    open(gate);
                    crate::support::wait_at(entrance);
                    drop(LISTENER.lock().unwrap().take());
                })
            };
            let child = child.unwrap();
            here.open();
            child.join().unwrap();
            assert!(path.exists(), "a copy removes nothing");
            std::process::exit(0);
        }
        let place = Place::new();
        let gate = Gate::new();
        let child = Context::exec().spawn(copy, (place.socket(), gate.key())).unwrap();
        gate.wait();
        assert_eq!(child.join().unwrap_err().code(), Some(0));
        // It left without closing: the name is there, and nobody's.
        assert!(place.socket().exists());
        Listener::bind(place.socket()).unwrap();
    }
    let _leaks = leaks();
    body();
}

#[test]
fn a_listener_that_travelled_keeps_the_name_until_it_ends() {
    fn serve(listener: Listener, gate: Descriptor) -> String {
        open(gate);
        listener.accept::<String, String>().unwrap().recv().unwrap()
    }
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        let listener = Listener::bind(&address).unwrap();
        let address = listener.address().clone();
        let gate = Gate::new();
        let child = Context::exec().builder().spawn(serve, (listener, gate.key())).unwrap();
        gate.wait();
        if matches!(address, Address::Unix(_)) {
            // The one who bound it has closed it, and with that the name is gone.
            assert!(!place.socket().exists());
            child.kill().unwrap();
            child.join().unwrap_err();
            continue;
        }
        in_use(&address, "");
        ipc_core::connect::<String, String>(&address).unwrap().send("by another".into()).unwrap();
        assert_eq!(child.join().unwrap(), "by another");
        assert!(wait_until(GENEROUS, || Listener::bind(&address).is_ok()));
    }
}
