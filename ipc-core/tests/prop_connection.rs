//! Properties of connections: any sequence of operations against a model queue, and handles anywhere in a value.
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ipc_core::{Bytes, Connection, Descriptor, Error, Receiver, Sender, duplex, pipe};
use ipc_testkit::leaks;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rustix::net::SendFlags;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A value or bytes, by a sender of this crate.
    Send {
        value: bool,
        len: usize,
    },
    /// The next part, so long, of one of four messages that are sent by hand.
    Part {
        message: usize,
        len: usize,
    },
    /// One of them is given up.
    GiveUp {
        message: usize,
    },
    Receive {
        how: How,
    },
}

#[derive(Debug, Clone, Copy)]
enum How {
    Value,
    Bytes,
    Into(usize),
    Poll,
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![0..300usize, Just(256), Just(4096), 60_000..70_000usize, Just(65_536), 0..500_000usize]
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        Just(How::Value),
        Just(How::Bytes),
        length().prop_map(How::Into),
        Just(How::Into(1 << 20)),
        Just(How::Poll)
    ];
    prop_oneof![
        2 => (any::<bool>(), length()).prop_map(|(value, len)| Step::Send { value, len }),
        3 => (0..4usize, 1..9000usize).prop_map(|(message, len)| Step::Part { message, len }),
        1 => (0..4usize).prop_map(|message| Step::GiveUp { message }),
        4 => how.prop_map(|how| Step::Receive { how }),
    ]
}

/// A message of the model: is it a value, how long, and what makes its bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sent {
    value: bool,
    len: usize,
    seed: u8,
}

fn content(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed).collect()
}

/// A message that is sent by hand.
#[derive(Default, Clone, Copy)]
struct Begun {
    id: u64,
    sent: usize,
}

const BY_HAND: usize = 20_000;

fn packet(flags: u16, id: u64, offset: usize, length: usize, content: &[u8]) -> Vec<u8> {
    let mut bytes = b"ipcM\x01\0\x02\0".to_vec();
    bytes.extend(flags.to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend((length as u64).to_le_bytes());
    bytes.extend(id.to_le_bytes());
    bytes.extend((offset as u64).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend_from_slice(content);
    bytes
}

/// Receives what the model says is next, or nothing where it says nothing.
fn receive(receiver: &Receiver<Bytes>, how: How, next: Option<Sent>) -> Result<bool, TestCaseError> {
    let same = |bytes: &[u8], sent: Sent| bytes == content(sent.len, sent.seed);
    match (how, next) {
        (How::Poll, next) => {
            prop_assert_eq!(receiver.poll(Some(Duration::ZERO)).unwrap(), next.is_some());
            return Ok(false);
        }
        (How::Value, None) => prop_assert!(receiver.try_recv().unwrap().is_none()),
        (How::Bytes, None) => prop_assert!(receiver.try_recv_bytes().unwrap().is_none()),
        (How::Into(len), None) => {
            prop_assert!(receiver.try_recv_into(&mut vec![0; len]).unwrap().is_none());
        }
        (How::Value, Some(sent)) if sent.value => prop_assert!(same(&receiver.recv().unwrap(), sent)),
        (How::Bytes, Some(sent)) if !sent.value => prop_assert!(same(&receiver.recv_bytes().unwrap(), sent)),
        (How::Into(len), Some(sent)) if !sent.value => {
            let mut buffer = vec![0; len];
            match receiver.recv_into(&mut buffer) {
                Ok(got) => prop_assert!(got == sent.len && same(&buffer[..got], sent)),
                Err(Error::BufferTooShort { message, room }) => {
                    prop_assert!(room == len && len < sent.len && same(&message, sent));
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
        // As the other: an error, and gone.
        (How::Value, Some(_)) => prop_assert!(refused(receiver.recv())),
        (_, Some(_)) => prop_assert!(refused(receiver.recv_bytes())),
    }
    Ok(next.is_some())
}

fn refused<T>(received: Result<T, Error>) -> bool {
    matches!(received, Err(Error::Decode { .. }))
}

/// Handles anywhere in a value.
#[derive(Debug, Serialize, Deserialize)]
enum Tree<H> {
    Leaf,
    Handle(H),
    Maybe(Option<Box<Tree<H>>>),
    List(Vec<Tree<H>>),
    Table(BTreeMap<String, Tree<H>>),
    Beside { text: String, left: Box<Tree<H>>, right: (u64, Box<Tree<H>>) },
}

impl<H> Tree<H> {
    fn map<G>(self, f: &mut dyn FnMut(H) -> G) -> Tree<G> {
        match self {
            Tree::Leaf => Tree::Leaf,
            Tree::Handle(handle) => Tree::Handle(f(handle)),
            Tree::Maybe(inner) => Tree::Maybe(inner.map(|inner| Box::new(inner.map(f)))),
            Tree::List(inner) => Tree::List(inner.into_iter().map(|inner| inner.map(f)).collect()),
            Tree::Table(inner) => {
                Tree::Table(inner.into_iter().map(|(key, inner)| (key, inner.map(f))).collect())
            }
            Tree::Beside { text, left, right: (n, right) } => {
                let left = Box::new(left.map(f));
                Tree::Beside { text, left, right: (n, Box::new(right.map(f))) }
            }
        }
    }
}

/// A handle of each kind there is.
#[derive(Debug, Serialize, Deserialize)]
enum Handle {
    Sender(Sender<usize>),
    Receiver(Receiver<usize>),
    Connection(Connection<usize>),
    Descriptor(Descriptor),
}

fn tree() -> impl Strategy<Value = Tree<u8>> {
    let leaf = prop_oneof![Just(()).prop_map(|()| Ok(())), (0..4u8).prop_map(Err)];
    // Made of what can be cloned, and turned into a tree of handles afterwards.
    let leaf = leaf.prop_map(|leaf: Result<(), u8>| leaf.map_or_else(Shape::Handle, |()| Shape::Leaf));
    let shape = leaf.prop_recursive(5, 60, 5, |inner| {
        prop_oneof![
            proptest::option::of(inner.clone()).prop_map(|inner| Shape::Maybe(inner.map(Box::new))),
            vec(inner.clone(), 0..5).prop_map(Shape::List),
            btree_map(".{0,3}", inner.clone(), 0..5).prop_map(Shape::Table),
            (inner.clone(), inner).prop_map(|(left, right)| Shape::Two(Box::new(left), Box::new(right))),
        ]
    });
    shape.prop_map(Shape::into_tree)
}

#[derive(Debug, Clone)]
enum Shape {
    Leaf,
    Handle(u8),
    Maybe(Option<Box<Shape>>),
    List(Vec<Shape>),
    Table(BTreeMap<String, Shape>),
    Two(Box<Shape>, Box<Shape>),
}

impl Shape {
    fn into_tree(self) -> Tree<u8> {
        match self {
            Shape::Leaf => Tree::Leaf,
            Shape::Handle(kind) => Tree::Handle(kind),
            Shape::Maybe(inner) => Tree::Maybe(inner.map(|inner| Box::new(inner.into_tree()))),
            Shape::List(inner) => Tree::List(inner.into_iter().map(Shape::into_tree).collect()),
            Shape::Table(inner) => {
                Tree::Table(inner.into_iter().map(|(key, inner)| (key, inner.into_tree())).collect())
            }
            Shape::Two(left, right) => Tree::Beside {
                text: "beside".into(),
                left: Box::new(left.into_tree()),
                right: (7, Box::new(right.into_tree())),
            },
        }
    }
}

/// Our side of a handle that was sent away.
enum Other {
    Receives(Receiver<usize>),
    Sends(Sender<usize>),
    Both(Connection<usize>),
    Reads(std::io::PipeReader),
}

proptest! {
    /// Against the naive model: a queue of the messages that are complete.
    #[test]
    fn any_sequence_of_operations(steps in vec(step(), 0..80)) {
        let _leaks = leaks();
        let (sender, receiver) = pipe::<Bytes>().unwrap();
        let mut model: VecDeque<Sent> = VecDeque::new();
        let mut by_hand = [Begun::default(); 4];
        let mut next = 0;
        for step in steps {
            match step {
                Step::Send { value, len } => {
                    next += 1;
                    let sent = Sent { value, len, seed: next as u8 };
                    let bytes = content(len, sent.seed);
                    let result = if value {
                        sender.try_send(bytes.into()).map_err(Error::from)
                    } else {
                        sender.try_send_bytes(&bytes)
                    };
                    match result {
                        Ok(()) => model.push_back(sent),
                        Err(error) => prop_assert!(error.is_timed_out(), "{}", error),
                    }
                }
                Step::Part { message, len } => {
                    let begun = &mut by_hand[message];
                    if begun.sent == 0 {
                        next += 1;
                        begun.id = next;
                    }
                    // No message in one part.
                    let len = len.min(BY_HAND - begun.sent);
                    let bytes = content(BY_HAND, begun.id as u8);
                    let part = &bytes[begun.sent..begun.sent + len];
                    let packet = packet(1, begun.id, begun.sent, BY_HAND, part);
                    if rustix::net::send(&sender, &packet, SendFlags::DONTWAIT).is_ok() {
                        begun.sent += len;
                    }
                    if begun.sent == BY_HAND {
                        model.push_back(Sent { value: false, len: BY_HAND, seed: begun.id as u8 });
                        begun.sent = 0;
                    }
                }
                Step::GiveUp { message } => {
                    let word = packet(2, by_hand[message].id, 0, 0, b"");
                    if rustix::net::send(&sender, &word, SendFlags::DONTWAIT).is_ok() {
                        by_hand[message].sent = 0;
                    }
                }
                Step::Receive { how } => {
                    if receive(&receiver, how, model.front().copied())? {
                        model.pop_front();
                    }
                }
            }
        }
        while let Some(sent) = model.pop_front() {
            receive(&receiver, if sent.value { How::Value } else { How::Bytes }, Some(sent))?;
        }
        drop(sender);
        let end = receiver.recv().unwrap_err();
        prop_assert!(end.is_disconnected());
    }

    /// Every handle that arrives is connected with the one that was left behind for it.
    #[test]
    fn handles_anywhere_in_a_value(tree in tree()) {
        let _leaks = leaks();
        let mut others = Vec::new();
        let sent = tree.map(&mut |kind| match kind {
            0 => {
                let (sender, receiver) = pipe().unwrap();
                others.push(Other::Receives(receiver));
                Handle::Sender(sender)
            }
            1 => {
                let (sender, receiver) = pipe().unwrap();
                others.push(Other::Sends(sender));
                Handle::Receiver(receiver)
            }
            2 => {
                let (ours, theirs) = duplex().unwrap();
                others.push(Other::Both(ours));
                Handle::Connection(theirs)
            }
            _ => {
                let (reader, writer) = std::io::pipe().unwrap();
                others.push(Other::Reads(reader));
                Handle::Descriptor(writer.into())
            }
        });
        let (sender, receiver) = pipe().unwrap();
        sender.send(sent).unwrap();
        let mut at = 0;
        let mut wrong = None;
        receiver.recv().unwrap().map(&mut |handle: Handle| {
            let connected = match (handle, &others[at]) {
                (Handle::Sender(sender), Other::Receives(receiver)) => {
                    sender.send(at).unwrap();
                    drop(sender);
                    receiver.recv().unwrap() == at && receiver.recv().is_err()
                }
                (Handle::Receiver(receiver), Other::Sends(sender)) => {
                    sender.send(at).unwrap();
                    receiver.recv().unwrap() == at
                }
                (Handle::Connection(connection), Other::Both(other)) => {
                    connection.send(at).unwrap();
                    other.send(at + 1).unwrap();
                    other.recv().unwrap() == at && connection.recv().unwrap() == at + 1
                }
                (Handle::Descriptor(writer), Other::Reads(reader)) => {
                    use std::io::{Read, Write};
                    writer.into_inner::<std::fs::File>().write_all(b"x").unwrap();
                    let mut text = Vec::new();
                    let mut reader = reader;
                    reader.read_to_end(&mut text).unwrap();
                    text == b"x"
                }
                _ => false,
            };
            if !connected {
                wrong = Some(at);
            }
            at += 1;
        });
        prop_assert_eq!(wrong, None);
        prop_assert_eq!(at, others.len());
    }
}
