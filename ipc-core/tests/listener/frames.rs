//! What is no frame or too long a one, over TCP: nothing of its inside is ever taken for a message.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use ipc_core::{Connection, Error, Listener, pipe};
use ipc_testkit::leaks;

use crate::tcp::strange_client;

type Ours = Connection<String, String>;

/// An end, and the bare socket of its peer.
fn connected() -> (Ours, TcpStream) {
    let listener =
        Listener::builder().without_authentication().max_message(1000).bind(("127.0.0.1", 0)).unwrap();
    std::thread::scope(|scope| {
        let raw = scope.spawn(|| strange_client(&listener));
        (listener.accept().unwrap(), raw.join().unwrap())
    })
}

/// A value as it stands on the wire.
fn frame(text: &str) -> Vec<u8> {
    let length = text.len() as u64 + 2;
    [&length.to_le_bytes()[..], &[text.len() as u8], text.as_bytes(), &[1]].concat()
}

/// Sends an end that has to stay, and takes it back.
fn stays(end: Ours) -> Ours {
    let (carrier, _carried) = pipe().unwrap();
    let failed = carrier.send(end).unwrap_err();
    assert!(failed.to_string().contains("in the middle of a message"), "{failed}");
    failed.into_value()
}

/// An end could be sent on while it skipped a refused frame: the new holder received a value from inside of it.
#[test]
fn an_end_that_skips_a_refused_frame_stays_until_it_is_over() {
    let _leaks = leaks();
    let (ours, mut raw) = connected();
    let evil = frame("evil");
    let length = 2000 + evil.len() as u64;
    raw.write_all(&length.to_le_bytes()).unwrap();
    // Found by a look, and not told yet.
    assert!(ours.poll(None).unwrap());
    let ours = stays(ours);
    let error = ours.recv().unwrap_err();
    assert!(matches!(error, Error::TooLong { limit: 1000, .. }), "{error}");
    let ours = stays(ours);
    raw.write_all(&[7; 1000]).unwrap();
    assert_eq!(ours.try_recv().unwrap(), None);
    let ours = stays(ours);
    raw.write_all(&[7; 1000]).unwrap();
    raw.write_all(&evil).unwrap();
    raw.write_all(&frame("good")).unwrap();
    // Only the skipped frame: the other one is left for the new holder.
    assert!(ours.poll(None).unwrap());
    // All but the kind, its last byte, is taken in by the look.
    let ours = stays(ours);
    assert_eq!(ours.recv().unwrap(), "good");
    raw.write_all(&frame("better")).unwrap();
    let (carrier, carried) = pipe().unwrap();
    carrier.send(ours).unwrap();
    assert_eq!(carried.recv().unwrap().recv().unwrap(), "better");
}

/// The same error came for ever, and nothing said that it would: a loop over the values had no end.
#[test]
fn what_is_no_frame_is_told_once_and_then_the_end() {
    let _leaks = leaks();
    for looks in [false, true] {
        let (ours, mut raw) = connected();
        raw.write_all(&frame("first")).unwrap();
        raw.write_all(&[0; 16]).unwrap();
        let mut values = ours.iter();
        assert_eq!(values.next().unwrap().unwrap(), "first");
        if looks {
            assert!(ours.poll(None).unwrap());
        }
        let error = values.next().unwrap().unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error}");
        let error = values.next().unwrap().unwrap_err();
        assert!(error.is_disconnected() && error.to_string().contains("no message"), "{error}");
        assert!(values.next().is_none());
        // However one asks, and whatever follows.
        raw.write_all(&frame("late")).unwrap();
        assert!(ours.poll(Some(Duration::ZERO)).unwrap());
        assert!(ours.try_recv().unwrap_err().is_disconnected());
        assert!(ours.iter().next().unwrap().unwrap_err().is_disconnected());
        // And it is nobody else's to misunderstand.
        let ours = stays(ours);
        // The other direction is what it was.
        ours.send("hello".into()).unwrap();
        let mut came = vec![0; frame("hello").len()];
        std::io::Read::read_exact(&mut raw, &mut came).unwrap();
        assert_eq!(came, frame("hello"));
    }
}
