//! Sending and receiving as futures over TCP, where a frame that has begun must be sent to its end, by whomever.
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use ipc_core::{Address, Bytes, Connection, Listener, connect, duplex};
use ipc_testkit::{GENEROUS, leaks, wait_until};

/// Far more than both sockets' buffers.
const LONG: usize = 32 << 20;

/// The helper's epoll and a runtime's parts may stay.
fn tidy() -> ipc_testkit::LeakGuard {
    leaks().allow(2, 8, 0)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn connected() -> (Connection<Bytes>, Connection<Bytes>) {
    let listener = Listener::bind(("127.0.0.1", 0)).unwrap();
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| connect(listener.address()).unwrap());
        (listener.accept().unwrap(), theirs.join().unwrap())
    })
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Task::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// A message of one byte, many times.
fn message(byte: u8, len: usize) -> Bytes {
    vec![byte; len].into()
}

/// What came, which must be whole.
fn byte(came: &Bytes, len: usize) -> u8 {
    assert!(*came == vec![came[0]; len], "torn");
    came[0]
}

#[test]
fn many_tasks_share_the_ends() {
    const EACH: usize = 3_000_000;
    let _tidy = tidy();
    runtime().block_on(async {
        let (ours, theirs) = connected();
        let (ours, theirs) = (Arc::new(ours), Arc::new(theirs));
        let sends: Vec<_> = (0..4)
            .map(|task| {
                let ours = ours.clone();
                tokio::spawn(async move {
                    for n in 0..5 {
                        ours.send_async(message(task * 5 + n, EACH)).await.unwrap();
                    }
                })
            })
            .collect();
        let receives: Vec<_> = (0..2)
            .map(|_| {
                let theirs = theirs.clone();
                tokio::spawn(async move {
                    let mut came = Vec::new();
                    for _ in 0..10 {
                        came.push(byte(&theirs.recv_async().await.unwrap(), EACH));
                    }
                    came
                })
            })
            .collect();
        for send in sends {
            send.await.unwrap();
        }
        let mut came = Vec::new();
        for receive in receives {
            came.extend(receive.await.unwrap());
        }
        came.sort_unstable();
        assert_eq!(came, (0..20).collect::<Vec<_>>());
    });
}

/// Clients are accepted by one task, answered by others, in values and in bytes, whatever carries them.
#[test]
fn a_listener_of_tasks() {
    const CLIENTS: u8 = 8;
    let _tidy = tidy();
    for address in [Address::private().unwrap(), ("127.0.0.1", 0).into()] {
        runtime().block_on(async {
            let listener = Listener::bind(&address).unwrap();
            let clients: Vec<_> = (0..CLIENTS)
                .map(|n| {
                    let address = listener.address().clone();
                    let asks = move || {
                        let server = connect::<Bytes, Bytes>(address).unwrap();
                        server.send(message(n, 1_000_000)).unwrap();
                        byte(&server.recv_bytes().unwrap(), 1_000_000)
                    };
                    tokio::task::spawn_blocking(asks)
                })
                .collect();
            let mut answers = Vec::new();
            for _ in 0..CLIENTS {
                let client = listener.accept_async::<Bytes, Bytes>().await.unwrap();
                answers.push(tokio::spawn(async move {
                    let asked = client.recv_async().await.unwrap();
                    client.send_bytes_async(&asked).await.unwrap();
                    client.recv_bytes_async().await.unwrap_err()
                }));
            }
            for (n, client) in (0..).zip(clients) {
                assert_eq!(client.await.unwrap(), n);
            }
            for answer in answers {
                assert!(answer.await.unwrap().is_disconnected());
            }
            listener.close();
            assert!(listener.accept_async::<u8, u8>().await.unwrap_err().is_disconnected());
        });
    }
}

/// Nobody comes, and nothing but the clock wakes the task.
#[test]
fn a_silent_client_is_closed_in_time_where_a_task_accepts() {
    let _tidy = tidy();
    runtime().block_on(async {
        let options = Listener::builder().handshake_timeout(Duration::from_millis(100));
        let listener = options.bind(("127.0.0.1", 0)).unwrap();
        let Address::Tcp(host, port) = listener.address() else { panic!() };
        let _silent = [(); 3].map(|()| TcpStream::connect((host.as_str(), *port)).unwrap());
        let refused = async {
            while listener.refused() < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            came = listener.accept_async::<u8, u8>() => panic!("{came:?}"),
            in_time = tokio::time::timeout(GENEROUS, refused) => in_time.unwrap(),
        }
    });
}

#[test]
fn bytes_that_are_dropped_in_the_middle_end_the_direction() {
    let _tidy = tidy();
    let (ours, theirs) = connected();
    let bytes = vec![1; LONG];
    assert!(poll(pin!(ours.send_bytes_async(&bytes))).is_none());
    assert!(ours.send_bytes(b"next").unwrap_err().is_disconnected());
    assert!(theirs.recv_bytes().unwrap_err().is_disconnected());
    // Over a Unix socket they are taken back.
    let (ours, theirs) = duplex::<u8, u8>().unwrap();
    assert!(poll(pin!(ours.send_bytes_async(&bytes))).is_none());
    std::thread::scope(|scope| {
        let came = scope.spawn(|| theirs.recv_bytes().unwrap());
        ours.send_bytes(b"next").unwrap();
        assert_eq!(came.join().unwrap(), b"next"[..]);
    });
}

/// It cannot be taken back, so both sides are told.
#[test]
fn a_send_that_is_dropped_in_the_middle_ends_the_direction() {
    let _tidy = tidy();
    let (ours, theirs) = connected();
    assert!(poll(pin!(ours.send_async(message(1, LONG)))).is_none());
    let error = ours.send(message(2, 10)).unwrap_err();
    assert!(error.error().is_disconnected() && error.to_string().contains("sent in part"), "{error}");
    let error = theirs.recv().unwrap_err();
    assert!(error.is_disconnected() && error.to_string().contains("in the middle of a message"), "{error}");
    // The other direction is what it was.
    theirs.send(message(3, 10)).unwrap();
    assert_eq!(byte(&ours.recv().unwrap(), 10), 3);
}

/// One that has sent nothing yet leaves nothing: it waited behind another.
#[test]
fn a_send_that_is_dropped_before_its_first_byte_ends_nothing() {
    let _tidy = tidy();
    let (ours, theirs) = connected();
    let mut first = pin!(ours.send_async(message(1, LONG)));
    assert!(poll(first.as_mut()).is_none());
    assert!(poll(pin!(ours.send_async(message(2, 10)))).is_none());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(byte(&theirs.recv().unwrap(), LONG), 1);
            assert_eq!(byte(&theirs.recv().unwrap(), 10), 3);
        });
        assert!(wait_until(GENEROUS, || poll(first.as_mut()).is_some_and(|sent| sent.is_ok())));
        ours.send(message(3, 10)).unwrap();
    });
}

/// Whoever sends next sends the rest first, and the future finds itself done, or may be dropped.
#[test]
fn a_blocking_sender_sees_to_the_rest_of_a_frame_that_has_begun() {
    let _tidy = tidy();
    for dropped in [false, true] {
        let (ours, theirs) = connected();
        let mut first = Box::pin(ours.send_async(message(1, LONG)));
        assert!(poll(first.as_mut()).is_none());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(byte(&theirs.recv().unwrap(), LONG), 1);
                assert_eq!(byte(&theirs.recv().unwrap(), LONG), 2);
                assert_eq!(byte(&theirs.recv().unwrap(), 10), 3);
            });
            ours.send(message(2, LONG)).unwrap();
            if dropped {
                drop(first);
            } else {
                poll(first.as_mut()).unwrap().unwrap();
            }
            ours.send(message(3, 10)).unwrap();
        });
    }
}

/// As long as another one is at it, the future that began has nothing to end.
#[test]
fn a_future_that_is_dropped_while_another_sends_its_rest_ends_nothing() {
    let _tidy = tidy();
    let (ours, theirs) = connected();
    let mut first = Box::pin(ours.send_async(message(1, LONG)));
    assert!(poll(first.as_mut()).is_none());
    let mut raw = TcpStream::from(theirs.as_fd().try_clone_to_owned().unwrap());
    let all = std::thread::scope(|scope| {
        let sender = scope.spawn(|| ours.send(message(2, 10)).unwrap());
        // More than all buffers hold: it can only come from the one who has taken over, and is not done.
        let mut all = vec![0; LONG / 2];
        raw.read_exact(&mut all).unwrap();
        drop(first);
        let mut rest = vec![0; LONG / 2 + 10];
        raw.read_exact(&mut rest).unwrap();
        all.extend(rest);
        sender.join().unwrap();
        all
    });
    drop(ours);
    let mut end = Vec::new();
    raw.read_to_end(&mut end).unwrap();
    let all = [all, end].concat();
    let length = |at: usize| u64::from_le_bytes(all[at..at + 8].try_into().unwrap()) as usize;
    let second = 8 + length(0);
    assert_eq!(second + 8 + length(second), all.len(), "two frames and nothing else");
}
