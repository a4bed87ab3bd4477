//! Any sequence of operations on a ring gives what a `VecDeque` gives, wherever the ring stands, and ends that travel go on where they were.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::time::Duration;

use ipc_core::Packed;
use ipc_sync::{RingReceiver, RingSender, ring};
use proptest::collection::vec;
use proptest::prelude::*;

/// The smallest ring there is, in lines, and what the longest message takes of it.
const LINES: usize = 64;
const LONGEST: usize = LINES / 2 * 64;

#[derive(Clone, Debug)]
enum Step {
    /// A value of so many letters.
    Value(usize),
    /// Several values together.
    Many(Vec<usize>),
    Bytes(usize),
    /// Room for so many, of which the message takes so many; perhaps it is dropped.
    Loan {
        len: usize,
        truncate: usize,
        commit: bool,
    },
    Recv,
    RecvBytes,
    RecvInto(usize),
    RecvLoan,
    TravelSender,
    TravelReceiver,
    /// The descriptors are looked at.
    Poll,
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..200_usize, 2 => 0..LONGEST - 2, 1 => Just(LONGEST - 2), 1 => Just(64_usize)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => len().prop_map(Step::Value),
        1 => vec(len(), 0..6).prop_map(Step::Many),
        4 => len().prop_map(Step::Bytes),
        2 => (len(), 0..2 * LONGEST, any::<bool>())
            .prop_map(|(len, truncate, commit)| Step::Loan { len, truncate, commit }),
        4 => Just(Step::Recv),
        4 => Just(Step::RecvBytes),
        2 => len().prop_map(Step::RecvInto),
        2 => Just(Step::RecvLoan),
        1 => Just(Step::TravelSender),
        1 => Just(Step::TravelReceiver),
        1 => Just(Step::Poll),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum Message {
    Value(String),
    Bytes(Vec<u8>),
}

/// What a ring should be.
#[derive(Default)]
struct Model {
    /// With the lines that each takes, and those skipped before it.
    messages: VecDeque<(Message, usize)>,
    /// The line at which the next begins.
    at: usize,
    count: usize,
}

impl Model {
    /// Whether there is room for so many bytes; then they take it.
    fn add(&mut self, message: Message, room: usize, len: usize) -> bool {
        let lines = |len: usize| len.div_ceil(64).max(1);
        let left = LINES - self.at;
        let skipped = if left < lines(room) { left } else { 0 };
        let used: usize = self.messages.iter().map(|(_, lines)| lines).sum();
        if used + skipped + lines(room) > LINES {
            return false;
        }
        self.at = (self.at + skipped + lines(len)) % LINES;
        self.messages.push_back((message, skipped + lines(len)));
        true
    }

    fn value(&mut self, len: usize) -> (String, bool) {
        self.count += 1;
        let value: String = (0..len).map(|at| char::from(b'a' + ((at + self.count) % 26) as u8)).collect();
        let encoded = len + if len < 128 { 1 } else { 2 };
        let fits = self.add(Message::Value(value.clone()), encoded, encoded);
        (value, fits)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.count += 1;
        (0..len).map(|at| (at + self.count) as u8).collect()
    }

    fn take(&mut self) -> Option<Message> {
        self.messages.pop_front().map(|(message, _)| message)
    }
}

/// Nothing, the message, or an error because it is of the other kind.
fn agree(found: ipc_sync::Result<Option<Message>>, expected: Option<Message>, values: bool) {
    match (found, expected) {
        (Ok(found), expected) => assert_eq!(found, expected),
        (Err(_), Some(Message::Value(_))) if !values => {}
        (Err(_), Some(Message::Bytes(_))) if values => {}
        (Err(error), expected) => panic!("{error}, not {expected:?}"),
    }
}

fn run(steps: Vec<Step>) {
    let (mut sender, mut receiver) = ring::<String>(LINES * 64).unwrap();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Value(len) => {
                let (value, fits) = model.value(len);
                let sent = sender.try_send(value.clone());
                assert_eq!(sent.is_ok(), fits);
                if let Err(refused) = sent {
                    assert!(refused.error().is_timed_out());
                    assert_eq!(refused.into_value(), value);
                }
            }
            Step::Many(lens) => {
                let mut values = Vec::new();
                let mut all = true;
                for len in &lens {
                    let (value, fits) = model.value(*len);
                    values.push(value);
                    if !fits {
                        all = false;
                        break;
                    }
                }
                match sender.try_send_many(values.clone()) {
                    Ok(count) => assert!(all && count == lens.len()),
                    Err(refused) => {
                        assert!(!all && refused.error().is_timed_out());
                        assert_eq!(Some(&refused.into_value()), values.last());
                    }
                }
            }
            Step::Bytes(len) => {
                let bytes = model.bytes(len);
                let fits = model.add(Message::Bytes(bytes.clone()), len, len);
                assert_eq!(sender.try_send_bytes(&bytes).is_ok(), fits);
            }
            Step::Loan { len, truncate, commit } => {
                let bytes = model.bytes(len);
                let kept = bytes[..truncate.min(len)].to_vec();
                let loan = sender.try_loan(len).unwrap();
                let (at, kept_len) = (model.at, kept.len());
                let fits = model.add(Message::Bytes(kept), len, kept_len);
                assert_eq!(loan.is_some(), fits);
                if let Some(mut loan) = loan {
                    loan.copy_from_slice(&bytes);
                    loan.truncate(truncate);
                    if commit {
                        loan.commit().unwrap();
                    } else {
                        model.messages.pop_back();
                        model.at = at;
                    }
                }
            }
            Step::Recv => {
                let found = receiver.try_recv().map(|found| found.map(Message::Value));
                agree(found, model.take(), true);
            }
            Step::RecvBytes => {
                let found = receiver.try_recv_bytes().map(|found| found.map(Message::Bytes));
                agree(found, model.take(), false);
            }
            Step::RecvInto(len) => {
                let mut buffer = vec![0; len];
                match (receiver.try_recv_into(&mut buffer), model.take()) {
                    (Ok(Some(len)), Some(Message::Bytes(bytes))) => assert_eq!(buffer[..len], bytes),
                    (
                        Err(ipc_sync::Error::Message(ipc_core::Error::BufferTooShort { message, room })),
                        Some(Message::Bytes(bytes)),
                    ) => assert!(*message == bytes[..] && room < bytes.len()),
                    (Err(_), Some(Message::Value(_))) | (Ok(None), None) => {}
                    other => panic!("{other:?}"),
                }
            }
            Step::RecvLoan => {
                let found = receiver.try_recv_loan();
                agree(found.map(|found| found.map(|m| Message::Bytes(m.to_vec()))), model.take(), false);
            }
            Step::TravelSender => {
                let packed = Packed::new(&sender).unwrap();
                sender = packed.open::<RingSender<String>>().unwrap();
            }
            Step::TravelReceiver => {
                let packed = Packed::new(&receiver).unwrap();
                receiver = packed.open::<RingReceiver<String>>().unwrap();
            }
            Step::Poll => {
                let ready = ipc_core::wait(&[&receiver], Some(Duration::ZERO)).unwrap();
                assert!(!ready.is_empty() || model.messages.is_empty(), "there is something to be received");
                let ready = ipc_core::wait(&[&sender], Some(Duration::ZERO)).unwrap();
                assert!(!ready.is_empty() || !model.messages.is_empty(), "there is room");
            }
        }
    }
    drop(sender);
    while let Some(message) = model.take() {
        let found = match &message {
            Message::Value(_) => receiver.recv().map(Message::Value),
            Message::Bytes(_) => receiver.recv_bytes().map(Message::Bytes),
        };
        assert_eq!(found.unwrap(), message);
    }
    assert!(receiver.try_recv().unwrap_err().is_disconnected());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_is_a_queue(steps in vec(step(), 0..200)) {
        run(steps);
    }
}
