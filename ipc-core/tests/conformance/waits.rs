//! Waiting for many.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ipc_core::{Address, Receiver, Sender, pipe, wait};

use crate::support::{Gate, Method, wait_at};

fn send_ten(sender: Sender<(usize, u32)>, slow: bool) {
    for message in 0..10 {
        if slow {
            std::thread::sleep(Duration::from_millis(3));
        }
        sender.send((message, std::process::id())).unwrap();
    }
}

/// Four children, ten messages of each, and their ends.
fn wait_many(m: Method, slow: bool) {
    let context = m.context();
    let mut readers: Vec<Receiver<(usize, u32)>> = Vec::new();
    let mut children = Vec::new();
    for _ in 0..4 {
        let (sender, receiver) = pipe().unwrap();
        children.push(context.builder().daemon(true).spawn(send_ten, (sender, slow)).unwrap());
        readers.push(receiver);
    }
    let mut received = Vec::new();
    while !readers.is_empty() {
        let many: Vec<_> = readers.iter().map(|reader| reader as &dyn AsFd).collect();
        for place in wait(&many, None).unwrap().into_iter().rev() {
            match readers[place].recv() {
                Ok(message) => received.push(message),
                Err(error) => {
                    assert!(error.is_disconnected(), "{error}");
                    readers.remove(place);
                }
            }
        }
    }
    let mut expected: Vec<_> =
        children.iter().flat_map(|child| (0..10).map(|message| (message, child.pid()))).collect();
    received.sort_unstable();
    expected.sort_unstable();
    assert_eq!(received, expected);
    children.into_iter().for_each(|child| child.join().unwrap());
}

pub(crate) fn wait_fast(m: Method) {
    wait_many(m, false);
}

pub(crate) fn wait_slow(m: Method) {
    wait_many(m, true);
}

fn write_ten(address: Address, slow: bool) {
    let Address::Tcp(host, port) = address else { panic!() };
    let mut stream = TcpStream::connect((host.as_str(), port)).unwrap();
    for message in 0..10 {
        if slow {
            std::thread::sleep(Duration::from_millis(3));
        }
        stream.write_all(format!("{message}\n").as_bytes()).unwrap();
    }
}

/// The same with sockets of std's.
fn wait_sockets(m: Method, slow: bool) {
    use std::io::Read;
    let context = m.context();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    let children: Vec<_> = (0..4)
        .map(|_| context.builder().daemon(true).spawn(write_ten, (address.clone(), slow)).unwrap())
        .collect();
    let mut streams: Vec<_> = (0..4).map(|_| (listener.accept().unwrap().0, String::new())).collect();
    let mut done = Vec::new();
    while !streams.is_empty() {
        let many: Vec<_> = streams.iter().map(|(stream, _)| stream as &dyn AsFd).collect();
        for place in wait(&many, None).unwrap().into_iter().rev() {
            let mut buffer = [0; 32];
            match streams[place].0.read(&mut buffer).unwrap() {
                0 => done.push(streams.remove(place).1),
                count => streams[place].1.push_str(std::str::from_utf8(&buffer[..count]).unwrap()),
            }
        }
    }
    assert_eq!(done, ["0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"; 4]);
    children.into_iter().for_each(|child| child.join().unwrap());
}

pub(crate) fn wait_socket(m: Method) {
    wait_sockets(m, false);
}

pub(crate) fn wait_socket_slow(m: Method) {
    wait_sockets(m, true);
}

pub(crate) fn wait_timeout() {
    let (a, _b) = ipc_core::duplex::<u8, u8>().unwrap();
    let (c, d) = ipc_core::duplex::<u8, u8>().unwrap();
    let time = Duration::from_millis(100);
    let begin = Instant::now();
    assert!(wait(&[&a, &c], Some(time)).unwrap().is_empty());
    assert!(begin.elapsed() >= time);
    d.send(1).unwrap();
    assert_eq!(wait(&[&a, &c], Some(Duration::from_secs(60))).unwrap(), [1]);
}

/// Sentinels and connections together: all that are ready are given, not the first alone.
pub(crate) fn wait_integer(m: Method) {
    let gate = Gate::new();
    let child = m.context().spawn(wait_at, (gate.entrance(),)).unwrap();
    let (a, b) = ipc_core::duplex::<u8, u8>().unwrap();
    let many: [&dyn AsFd; 3] = [&a, &child, &b];
    assert!(wait(&many, Some(Duration::from_millis(50))).unwrap().is_empty());
    gate.open();
    assert_eq!(wait(&many, Some(Duration::from_secs(60))).unwrap(), [1]);
    b.send(1).unwrap();
    assert_eq!(wait(&many, Some(Duration::from_secs(60))).unwrap(), [0, 1]);
    a.send(1).unwrap();
    assert_eq!(wait(&many, None).unwrap(), [0, 1, 2]);
    child.join().unwrap();
}

/// A time that is over already, which is what a negative one means.
pub(crate) fn neg_timeout() {
    let (a, _b) = ipc_core::duplex::<u8, u8>().unwrap();
    let begin = Instant::now();
    assert!(ipc_core::wait_deadline(&[&a], begin - Duration::from_secs(1)).unwrap().is_empty());
    assert!(wait(&[&a], Some(Duration::ZERO)).unwrap().is_empty());
    assert!(begin.elapsed() < Duration::from_secs(30));
}
