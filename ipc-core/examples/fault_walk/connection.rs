//! Connections and listeners, walked through.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ipc_core::{Bytes, Connection, Context, Descriptor, Error, Listener, Receiver, Sender};
use ipc_testkit::Allowed;
use ipc_testkit::fault::Region;

use super::{Answer, LONG, block_on, said};

/// Messages of one packet, of several, and with more descriptors than one packet takes, by all ways to wait. A message that is lost
/// is an error on one side, and the connection goes on: what comes after it is received.
pub(crate) fn connection(region: &mut Region) -> Answer {
    const LONG_ONE: usize = 300_000;
    let null = std::fs::File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    region.begin();
    let (sender, receiver) = ipc_core::pipe::<(Bytes, Vec<Descriptor>)>().map_err(said)?;
    let message = |len: usize, count: usize| -> Result<_, String> {
        let all = (0..count).map(|_| null.try_clone().map(Descriptor::from)).collect::<Result<Vec<_>, _>>();
        Ok((Bytes::from(vec![7; len]), all.map_err(|error| error.to_string())?))
    };
    let mut answer = Ok(());
    for (len, count) in [(3, 0), (3, 2), (LONG_ONE, 0), (3, 300)] {
        let message = message(len, count)?;
        let received = std::thread::scope(|scope| {
            let sending = std::thread::Builder::new()
                .spawn_scoped(scope, || sender.send_timeout(message, LONG).map_err(Error::from))
                .map_err(|error| format!("a thread for the scenario: {error}"))?;
            let received = match receiver.poll(Some(Duration::from_millis(500))) {
                // What failed on the other side never comes.
                Ok(false) => Ok(None),
                Ok(true) => receiver.recv_timeout(Duration::from_millis(500)),
                Err(error) => Err(error),
            };
            match (sending.join(), received) {
                (Ok(Ok(())), Ok(Some(message))) => Ok(message),
                (Ok(Err(error)), _) | (_, Err(error)) => Err(said(error)),
                (Ok(Ok(())), Ok(None)) => receiver.recv_timeout(LONG).map_err(said)?.ok_or("lost".to_owned()),
                (Err(_), _) => Err("the sender panicked".to_owned()),
            }
        });
        answer = answer.and(received.map(|(bytes, all)| {
            assert!(bytes == vec![7; len] && all.len() == count, "another message");
        }));
        // Whatever of it is still to come, comes before the next.
        while let Ok(Some(_)) | Err(_) = receiver.recv_timeout(Duration::ZERO) {}
    }
    let sent = sender.try_send_bytes(b"bytes").map_err(said);
    let mut buffer = [0; 8];
    let received = receiver.recv_into_timeout(&mut buffer, Duration::from_millis(500)).map_err(said);
    drop(receiver);
    assert!(sender.send_bytes(b"nobody").is_err());
    sent?;
    assert_eq!(received?, Some(5), "what was sent last arrives");
    answer
}

/// A long message by futures: whatever fails on one side, the other one is not left waiting.
pub(crate) fn connection_awaited(region: &mut Region) -> Answer {
    const LENGTH: usize = 1_000_000;
    region.begin();
    // The epoll of the futures' helper, which lasts as long as the process.
    region.allow(Allowed { descriptors: 1, ..Allowed::default() });
    let (sender, receiver) = ipc_core::pipe::<Bytes>().map_err(said)?;
    let received = {
        let (mut sends, mut receives) =
            (pin!(sender.send_async(vec![7; LENGTH].into())), pin!(receiver.recv_async()));
        let mut sent = false;
        block_on(poll_fn(|task| {
            if !sent && let Poll::Ready(ended) = sends.as_mut().poll(task) {
                sent = true;
                if let Err(failed) = ended {
                    return Poll::Ready(Err(failed.into()));
                }
            }
            receives.as_mut().poll(task)
        }))
    };
    let received: Bytes = received.map_err(said)?;
    assert!(received == vec![7; LENGTH], "another message");
    Ok(())
}

/// Every kind of end, and a listener, in one value: all arrive and work, or the value is an error and nothing stays open.
pub(crate) fn ends_in_values(region: &mut Region) -> Answer {
    type Ends = (Sender<u32>, Receiver<u32>, Connection<u32>, Listener);
    region.begin();
    let (carrier, carried) = ipc_core::pipe::<Ends>().map_err(said)?;
    let (sender, receiver) = ipc_core::pipe().map_err(said)?;
    let (ours, theirs) = ipc_core::duplex::<u32, u32>().map_err(said)?;
    let listener = Listener::private().map_err(said)?;
    let sent = carrier.send_timeout((sender, receiver, theirs, listener), LONG);
    sent.map_err(|failed| said(failed.into()))?;
    let came = carried.recv_timeout(LONG).map_err(said)?;
    let (sender, receiver, theirs, listener) = came.ok_or("lost")?;
    sender.send(1).map_err(|failed| said(failed.into()))?;
    assert_eq!(receiver.recv_timeout(LONG).map_err(said)?, Some(1));
    theirs.send(2).map_err(|failed| said(failed.into()))?;
    assert_eq!(ours.recv_timeout(LONG).map_err(said)?, Some(2));
    assert!(listener.try_accept::<u32, u32>().map_err(said)?.is_none());
    Ok(())
}

pub(crate) fn connection_in_memory(region: &mut Region) -> Answer {
    region.begin();
    let (ours, theirs) = Context::threads().duplex::<u32, u32>().map_err(said)?;
    let child = Context::threads().spawn(
        |peer: ipc_core::Connection<u32>| {
            while let Ok(n) = peer.recv() {
                let _ = peer.send(n + 1);
            }
        },
        (theirs,),
    );
    let child = child.map_err(|failed| said(failed.into()))?;
    ours.send(1).map_err(|failed| said(failed.into()))?;
    assert_eq!(ours.recv_timeout(LONG).map_err(said)?, Some(2));
    drop(ours);
    child.join().map_err(said)
}

/// A listener and its client, in one process and two threads; each says what failed on its side.
pub(crate) fn strangers(region: &mut Region, address: &str) -> Answer {
    region.begin();
    meet(address, "hello")
}

/// A message that no socket takes at once, there and back over TCP.
pub(crate) fn long_over_tcp(region: &mut Region) -> Answer {
    let word = "hello ".repeat(2_000_000);
    region.begin();
    meet("127.0.0.1:0", &word)
}

/// Over the socket of a listener that is gone.
pub(crate) fn listen_stale(region: &mut Region) -> Answer {
    let path = format!("/tmp/ipc-core-fault-{}", std::process::id());
    let stale =
        std::os::unix::net::UnixListener::bind(&path).map_err(|error| format!("a stale socket: {error}"))?;
    drop(stale);
    region.begin();
    let answer = meet(&path, "hello");
    // Where it could not be bound, it is still there.
    let _ = std::fs::remove_file(&path);
    answer
}

fn meet(address: &str, text: &str) -> Answer {
    let listener = ipc_core::Listener::builder().report_refused(true).bind(address).map_err(said)?;
    let ask = || {
        let client =
            ipc_core::Connector::new().timeout(LONG).connect::<String, String>(listener.address())?;
        client.send(text.to_owned())?;
        client.recv()
    };
    let answer = || {
        if ipc_core::wait(&[&listener], Some(LONG))?.is_empty() {
            return Ok(());
        }
        let Some(server) = listener.accept_timeout::<String, String>(LONG)? else { return Ok(()) };
        let _ = server.credentials()?;
        let _ = server.peer_pidfd()?;
        server.send(server.recv()?)?;
        Ok::<(), Error>(())
    };
    std::thread::scope(|scope| {
        let asked = match std::thread::Builder::new().spawn_scoped(scope, ask) {
            Ok(asked) => asked,
            Err(error) => return Err(format!("a thread for the scenario: {error}")),
        };
        let answered = answer();
        // A client that waits in the backlog learns that nobody takes it any more.
        listener.close();
        match (asked.join(), answered) {
            (Ok(Ok(word)), Ok(())) => {
                assert!(word == text, "another word");
                Ok(())
            }
            (_, Err(error)) => Err(said(error)),
            (Ok(Err(error)), Ok(())) => Err(said(error)),
            (Err(_), Ok(())) => panic!("the client panicked"),
        }
    })
}
