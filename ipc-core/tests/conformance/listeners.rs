//! Listeners, clients, and what they send each other.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use ipc_core::{
    Address, AuthKey, Connection, Connector, Descriptor, Error, Listener, Receiver, Sender, connect, pipe,
};

use crate::support::Method;

struct Path(PathBuf);

impl Path {
    fn new(what: &str) -> Path {
        Path(std::env::temp_dir().join(format!("ipc-core-conformance-{}-{what}", std::process::id())))
    }
}

fn families(what: &str) -> [Address; 3] {
    [Path::new(what).0.into(), Address::private().unwrap(), ("localhost", 0).into()]
}

pub(crate) fn multiple_bind() {
    for address in families("multiple_bind") {
        let listener = Listener::bind(&address).unwrap();
        let error = Listener::bind(listener.address()).unwrap_err();
        assert_eq!(error.io_error().unwrap().kind(), std::io::ErrorKind::AddrInUse, "{error}");
    }
}

pub(crate) fn context() {
    let closed = {
        let listener = Listener::private().unwrap();
        std::thread::scope(|scope| {
            let client = scope.spawn(|| connect::<u32, u32>(listener.address()).unwrap());
            let server = listener.accept::<u32, u32>().unwrap();
            client.join().unwrap().send(1729).unwrap();
            assert_eq!(server.recv().unwrap(), 1729);
        });
        listener.address().clone()
    };
    connect::<u32, u32>(closed).unwrap_err();
}

/// An empty key authenticates really.
pub(crate) fn empty_authkey() {
    let empty = || AuthKey::from_bytes(Vec::new());
    let listener = Listener::builder().authkey(empty()).report_refused(true).bind(("localhost", 0)).unwrap();
    for (key, right) in [(Some("abc"), false), (None, false), (Some(""), true)] {
        let client = match key {
            Some(text) => Connector::new().authkey(AuthKey::from_bytes(text)),
            None => Connector::new().without_authentication(),
        };
        std::thread::scope(|scope| {
            let theirs = scope.spawn(|| client.connect::<u8, u8>(listener.address()).map(drop));
            let ours = listener.accept::<u8, u8>().map(drop);
            let theirs = theirs.join().unwrap();
            assert_eq!((ours.is_ok(), theirs.is_ok()), (right, right));
            for failed in [ours, theirs] {
                assert!(matches!(failed, Ok(()) | Err(Error::Unauthenticated { .. })), "{failed:?}");
            }
        });
    }
}

pub(crate) fn abstract_socket() {
    let listener = Listener::bind(Address::private().unwrap()).unwrap();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| connect::<u32, u32>(listener.address()).unwrap());
        let server = listener.accept::<u32, u32>().unwrap();
        assert_eq!(listener.last_accepted().unwrap().address, None);
        client.join().unwrap().send(1).unwrap();
        assert_eq!(server.recv().unwrap(), 1);
    });
}

// _TestListenerClient

fn say_hello(address: Address) {
    connect::<String, String>(address).unwrap().send("hello".into()).unwrap();
}

pub(crate) fn listener_client(m: Method) {
    for address in families("listener_client") {
        let listener = Listener::bind(&address).unwrap();
        let child =
            m.context().builder().daemon(true).spawn(say_hello, (listener.address().clone(),)).unwrap();
        let server = listener.accept::<String, String>().unwrap();
        assert_eq!(server.recv().unwrap(), "hello");
        child.join().unwrap();
    }
}

/// The client has connected, said something and gone when it is accepted. (Here it must be let in first, so it is gone
/// before anybody receives.)
pub(crate) fn issue14725(m: Method) {
    for address in families("issue14725") {
        let listener = Listener::bind(&address).unwrap();
        let child =
            m.context().builder().daemon(true).spawn(say_hello, (listener.address().clone(),)).unwrap();
        let server = listener.accept::<String, String>().unwrap();
        child.join().unwrap();
        assert_eq!(server.recv().unwrap(), "hello");
        assert!(server.recv().unwrap_err().is_disconnected());
    }
}

/// Poll sees what is there before anything else was received.
pub(crate) fn issue16955() {
    for address in families("issue16955") {
        let listener = Listener::bind(&address).unwrap();
        std::thread::scope(|scope| {
            let client = scope.spawn(|| connect::<String, String>(listener.address()).unwrap());
            let server = listener.accept::<String, String>().unwrap();
            let client = client.join().unwrap();
            server.send_bytes(b"hello").unwrap();
            assert!(client.poll(Some(Duration::from_secs(60))).unwrap());
        });
    }
}

// _TestPicklingConnections

/// A child that binds an address of each family, tells it, and sends what it accepts back through a connection.
fn serve(
    families: Vec<Address>,
    to: Sender<(Address, bool)>,
    connections: Sender<Connection<String, String>>,
) {
    for address in families {
        let listener = Listener::bind(address).unwrap();
        to.send((listener.address().clone(), listener.address().is_unix())).unwrap();
        connections.send(listener.accept::<String, String>().unwrap()).unwrap();
    }
    let std_listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    to.send((std_listener.local_addr().unwrap().into(), false)).unwrap();
    let (stream, _) = std_listener.accept().unwrap();
    std::io::Write::write_all(&mut &stream, b"plain").unwrap();
}

pub(crate) fn pickling(m: Method) {
    let context = m.context();
    let (to, addresses) = pipe().unwrap();
    let (connections, accepted) = pipe::<Connection<String, String>>().unwrap();
    let child = context.spawn(serve, (families("pickling").to_vec(), to, connections)).unwrap();
    for _ in 0..3 {
        let (address, _) = addresses.recv().unwrap();
        let client = connect::<String, String>(address).unwrap();
        let server = accepted.recv().unwrap();
        client.send("hello".into()).unwrap();
        server.send(server.recv().unwrap().to_uppercase()).unwrap();
        assert_eq!(client.recv().unwrap(), "HELLO");
    }
    // A socket of std's, through a connection as well.
    let (Address::Tcp(host, port), _) = addresses.recv().unwrap() else { panic!() };
    let stream = std::net::TcpStream::connect((host.as_str(), port)).unwrap();
    let (ours, theirs) = pipe::<Descriptor>().unwrap();
    ours.send(stream.into()).unwrap();
    let mut back: std::net::TcpStream = theirs.recv().unwrap().into();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut back, &mut text).unwrap();
    assert_eq!(text, "plain");
    child.join().unwrap();
}

fn use_ends(ends: Receiver<(Sender<String>, Receiver<String>)>) {
    let (sender, receiver) = ends.recv().unwrap();
    sender.send(receiver.recv().unwrap().repeat(2)).unwrap();
}

/// One-way ends keep their direction on the way.
pub(crate) fn access(m: Method) {
    let context = m.context();
    let (ends, theirs) = pipe().unwrap();
    let child = context.spawn(use_ends, (theirs,)).unwrap();
    let (answer, answers) = pipe::<String>().unwrap();
    let (question, questions) = pipe::<String>().unwrap();
    ends.send((answer, questions)).unwrap();
    question.send("foobar".into()).unwrap();
    assert_eq!(answers.recv().unwrap(), "foobarfoobar");
    child.join().unwrap();
}

// TestInvalidFamily

/// A pipe of Windows is no address here, and says so.
pub(crate) fn invalid_family() {
    let error = Listener::bind(r"\\.\test").unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    let error = connect::<u8, u8>(r"\\.\test").unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

// TestTimeouts

fn late(sender: Sender<u32>, address: Address) {
    std::thread::sleep(Duration::from_millis(300));
    sender.send(123).unwrap();
    connect::<u32, u32>(address).unwrap().send(456).unwrap();
}

/// Time-outs of sockets are nobody's but their setter's.
pub(crate) fn timeout(m: Method) {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    let context = m.context();
    let listener = Listener::bind(("localhost", 0)).unwrap();
    let (sender, receiver) = pipe::<u32>().unwrap();
    set_socket_timeout(&receiver, Timeout::Recv, Some(Duration::from_millis(20))).unwrap();
    let child = context.spawn(late, (sender, listener.address().clone())).unwrap();
    assert_eq!(receiver.recv().unwrap(), 123);
    assert_eq!(listener.accept::<u32, u32>().unwrap().recv().unwrap(), 456);
    child.join().unwrap();
}

// TestIgnoreEINTR

extern "C" fn nothing(_: i32) {}

fn catch_signals() {
    // SAFETY: the handler does nothing; without SA_RESTART, so that calls are interrupted.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
}

fn interrupted(connection: Connection<String, String>) {
    catch_signals();
    connection.send("ready".into()).unwrap();
    let word = connection.recv().unwrap();
    connection.send(word).unwrap();
    connection.send_bytes(&vec![b'x'; 1 << 20]).unwrap();
}

fn interrupt(child: &ipc_core::Child<()>) {
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(20));
        child.signal(ipc_core::Signal::from_raw(libc::SIGUSR1).unwrap()).unwrap();
    }
}

pub(crate) fn ignore(m: Method) {
    let context = m.context();
    let (ours, theirs) = context.duplex::<String, String>().unwrap();
    let child = context.builder().daemon(true).spawn(interrupted, (theirs,)).unwrap();
    assert_eq!(ours.recv().unwrap(), "ready");
    interrupt(&child);
    ours.send("1234".into()).unwrap();
    assert_eq!(ours.recv().unwrap(), "1234");
    interrupt(&child);
    assert_eq!(ours.recv_bytes().unwrap().len(), 1 << 20);
    child.join().unwrap();
}

fn interrupted_listener(sender: Sender<Address>) {
    catch_signals();
    let listener = Listener::private().unwrap();
    sender.send(listener.address().clone()).unwrap();
    listener.accept::<String, String>().unwrap().send("welcome".into()).unwrap();
}

pub(crate) fn ignore_listener(m: Method) {
    let context = m.context();
    let (sender, receiver) = pipe().unwrap();
    let child = context.builder().daemon(true).spawn(interrupted_listener, (sender,)).unwrap();
    let address = receiver.recv().unwrap();
    interrupt(&child);
    assert_eq!(connect::<String, String>(address).unwrap().recv().unwrap(), "welcome");
    child.join().unwrap();
}

// OtherTest

const HELLO: u8 = 1;
const WELCOME: u8 = 3;

/// A challenge that is answered with garbage lets nobody in.
pub(crate) fn deliver_challenge_auth_failure() {
    let listener = Listener::builder()
        .authkey(AuthKey::from_bytes("some key"))
        .report_refused(true)
        .bind(("127.0.0.1", 0))
        .unwrap();
    let Address::Tcp(host, port) = listener.address() else { panic!("{}", listener.address()) };
    let mut client = TcpStream::connect((host.as_str(), *port)).unwrap();
    client.write_all(b"something bogus").unwrap();
    let error = listener.accept::<u8, u8>().unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
}

/// As a client, one answers a challenge rightly, and the listener's own proof is garbage.
pub(crate) fn answer_challenge_auth_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut client, _) = listener.accept().unwrap();
            client.write_all(&[&[39, HELLO][..], b"ipcA", &[1, 1], &[7; 32]].concat()).unwrap();
            // Its answer, with its own random number and its proof.
            client.read_exact(&mut [0; 72]).unwrap();
            client
                .write_all(&[&[33, WELCOME][..], b"something bogus, of the right length"].concat()[..34])
                .unwrap();
            let _ = client.read_to_end(&mut Vec::new());
        });
        let client = Connector::new().authkey(AuthKey::from_bytes("some key"));
        let error = client.connect::<u8, u8>(&address).unwrap_err();
        assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
        assert!(error.to_string().contains("digest received was wrong"), "{error}");
    });
}

// ChallengeResponseTest

/// Challenge and response of one key verify, and those of another do not. There is one digest and no prefix that names it.
pub(crate) fn challengeresponse() {
    let key = || AuthKey::from_bytes("supadupasecretkey");
    for address in families("challengeresponse") {
        let listener = Listener::builder().authkey(key()).report_refused(true).bind(&address).unwrap();
        for (theirs, right) in [(key(), true), (AuthKey::from_bytes("supadupasecretkey\0"), false)] {
            let client = Connector::new().authkey(theirs);
            std::thread::scope(|scope| {
                let theirs = scope.spawn(|| client.connect::<u8, u8>(listener.address()).map(drop));
                let ours = listener.accept::<u8, u8>().map(drop);
                assert_eq!((ours.is_ok(), theirs.join().unwrap().is_ok()), (right, right));
            });
        }
    }
}
