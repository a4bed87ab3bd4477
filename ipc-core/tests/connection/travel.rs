//! Handles inside values.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use ipc_core::{Connection, Descriptor, Receiver, Result, Sender, duplex, pipe, spawn};
use ipc_testkit::leaks;
use serde::{Deserialize, Serialize};

use crate::SOON;

/// Handles wherever serde goes.
#[derive(Debug, Serialize, Deserialize)]
enum Job {
    Nothing,
    Count { answers: Vec<Sender<usize>>, text: String },
    Named(BTreeMap<String, (Option<Receiver<u8>>, Descriptor)>),
    Nested(Box<Job>),
}

fn work(jobs: Receiver<Job>) -> Result<usize> {
    fn one(job: Job) -> Result<()> {
        match job {
            Job::Nothing => {}
            Job::Count { answers, text } => {
                for answer in answers {
                    answer.send(text.len())?;
                }
            }
            Job::Named(named) => {
                for (name, (receiver, descriptor)) in named {
                    let mut text = format!("{name}: ");
                    for byte in receiver.iter().flat_map(Receiver::iter) {
                        text.push(char::from(byte?));
                    }
                    descriptor.into_inner::<std::fs::File>().write_all(text.as_bytes()).unwrap();
                }
            }
            Job::Nested(job) => one(*job)?,
        }
        Ok(())
    }
    let mut done = 0;
    for job in jobs {
        one(job?)?;
        done += 1;
    }
    Ok(done)
}

#[test]
fn in_collections_and_enums_to_a_child() {
    let _leaks = crate::with_server();
    let (sender, jobs) = pipe().unwrap();
    let child = spawn(work, (jobs,)).unwrap();
    let (answer, answers) = pipe().unwrap();
    sender.send(Job::Nothing).unwrap();
    sender.send(Job::Count { answers: vec![answer.clone(), answer], text: "four".into() }).unwrap();
    assert_eq!(answers.iter().collect::<Result<Vec<_>>>().unwrap(), [4, 4]);
    let (letters, read) = pipe().unwrap();
    for letter in *b"abc" {
        letters.send(letter).unwrap();
    }
    drop(letters);
    let (mut output, writer) = std::io::pipe().unwrap();
    let named = [("x".to_owned(), (Some(read), writer.into()))].into();
    sender.send(Job::Nested(Box::new(Job::Named(named)))).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "x: abc");
    drop(sender);
    assert_eq!(child.join().unwrap().unwrap(), 3);
}

#[test]
fn ends_as_results() {
    let _leaks = crate::with_server();
    fn make() -> (Connection<u8>, Receiver<String>) {
        let (one, other) = duplex().unwrap();
        other.send(1).unwrap();
        let (sender, receiver) = pipe().unwrap();
        sender.send("left behind".into()).unwrap();
        (one, receiver)
    }
    let (one, receiver) = spawn(make, ()).unwrap().join().unwrap();
    assert_eq!(one.recv().unwrap(), 1);
    assert!(one.recv().unwrap_err().is_disconnected());
    assert_eq!(receiver.recv().unwrap(), "left behind");
}

#[test]
fn a_connection_through_a_connection() {
    let _leaks = crate::with_server();
    fn serve(requests: Receiver<Connection<u32, u32>>) {
        for peer in requests {
            let peer = peer.unwrap();
            let n = peer.recv().unwrap();
            peer.send(n + 1).unwrap();
        }
    }
    let (sender, requests) = pipe().unwrap();
    let child = spawn(serve, (requests,)).unwrap();
    for n in 0..50 {
        let (ours, theirs) = duplex().unwrap();
        sender.send(theirs).unwrap();
        ours.send(n).unwrap();
        assert_eq!(ours.recv().unwrap(), n + 1);
        assert!(ours.recv().unwrap_err().is_disconnected());
    }
    drop(sender);
    child.join().unwrap();
}

#[test]
fn a_half_that_was_given_away_ends_nothing_here() {
    let _leaks = leaks();
    let (ours, theirs) = duplex::<u8, u8>().unwrap();
    let (sender, receiver) = ours.split();
    let (carrier, carried) = pipe::<Sender<u8>>().unwrap();
    carrier.send(sender).unwrap();
    // The one that was sent is gone here, and the direction is open.
    assert_eq!(theirs.try_recv().unwrap(), None);
    let sender = carried.recv().unwrap();
    sender.send(1).unwrap();
    assert_eq!(theirs.recv().unwrap(), 1);
    drop(sender);
    assert!(theirs.recv_timeout(SOON).unwrap_err().is_disconnected(), "the received one is a half");
    theirs.send(2).unwrap();
    assert_eq!(receiver.recv().unwrap(), 2);
}

#[test]
fn a_half_that_comes_back_is_what_it_was() {
    let _leaks = leaks();
    let (ours, theirs) = duplex::<u8, u8>().unwrap();
    let (sender, _receiver) = ours.split();
    let (carrier, carried) = pipe::<Sender<u8>>().unwrap();
    drop(carried);
    let sender = carrier.send(sender).unwrap_err().into_value();
    sender.send(1).unwrap();
    assert_eq!(theirs.recv().unwrap(), 1);
    drop(sender);
    assert!(theirs.recv_timeout(SOON).unwrap_err().is_disconnected());
}

#[test]
fn a_limit_travels_with_its_receiver() {
    let _leaks = leaks();
    let (_sender, receiver) = pipe::<u8>().unwrap();
    receiver.set_max_message(77);
    let (carrier, carried) = pipe().unwrap();
    carrier.send(receiver).unwrap();
    assert_eq!(carried.recv().unwrap().max_message(), 77);
}

#[test]
fn a_receiver_in_the_middle_of_a_message_stays() {
    let _leaks = leaks();
    use crate::raw::{self, Header};
    let (sender, receiver) = pipe::<u8>().unwrap();
    raw::send(&sender, Header::part(1, 0, 10), b"x");
    assert_eq!(receiver.try_recv().unwrap(), None);
    let (carrier, _carried) = pipe().unwrap();
    let failed = carrier.send(receiver).unwrap_err();
    assert!(failed.to_string().contains("in the middle of a message"), "{failed}");
    raw::send(&sender, Header::part(1, 1, 10), &[0; 9]);
    let error = failed.into_value().recv_bytes().map(|bytes| bytes.len());
    assert_eq!(error.unwrap(), 10);
}

/// The new holder knew nothing of the error that was told, and was told another one.
#[test]
fn a_receiver_that_reads_a_refused_message_away_stays() {
    use crate::raw::{self, Header};
    let (sender, receiver) = pipe::<u8>().unwrap();
    receiver.set_max_message(5);
    raw::send(&sender, Header::part(1, 0, 10), b"x");
    receiver.recv_bytes().unwrap_err();
    let (carrier, carried) = pipe().unwrap();
    let failed = carrier.send(receiver).unwrap_err();
    assert!(failed.to_string().contains("in the middle of a message"), "{failed}");
    let receiver = failed.into_value();
    raw::send(&sender, Header::part(1, 1, 10), &[0; 9]);
    assert_eq!(receiver.try_recv_bytes().unwrap(), None);
    carrier.send(receiver).unwrap();
    sender.send(1).unwrap();
    assert_eq!(carried.recv().unwrap().recv().unwrap(), 1);
}

#[test]
fn elsewhere_than_in_a_message_it_is_an_error() {
    let _leaks = leaks();
    let (sender, _receiver) = pipe::<u8>().unwrap();
    let error = postcard_error(&sender);
    assert!(error.contains("can be serialised only as part of a message"), "{error}");
}

fn postcard_error(value: &impl Serialize) -> String {
    use ipc_core::codec::{Codec, Postcard};
    Postcard.encode(value, &mut Vec::new()).unwrap_err().to_string()
}
