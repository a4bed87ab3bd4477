//! Properties of the message layer: what goes in comes out, for any value, any frame, any order of sends and receives.
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipc_core::codec::{Codec, Postcard};
use ipc_core::fuzzing::packet::{Begun, Frame, INLINE, Received, recv, send, try_recv};
use ipc_core::fuzzing::{decode, encode};
use ipc_core::{Bytes, Descriptor};
use proptest::collection::{btree_map, hash_map, vec};
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, fstat, memfd_create};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};

/// A recursive type with one of each of serde's shapes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Flag(bool),
    Numbers(i8, u16, i64, u128),
    Text(String),
    Letter(char),
    Blob(Bytes),
    Maybe(Option<Box<Tree>>),
    List(Vec<Tree>),
    Table(BTreeMap<String, Tree>),
    Named { left: Box<Tree>, right: Wrapped },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wrapped(Box<Tree>);

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Leaf),
        any::<bool>().prop_map(Tree::Flag),
        any::<(i8, u16, i64, u128)>().prop_map(|(a, b, c, d)| Tree::Numbers(a, b, c, d)),
        ".*".prop_map(Tree::Text),
        any::<char>().prop_map(Tree::Letter),
        bytes(300).prop_map(Tree::Blob),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            proptest::option::of(boxed()).prop_map(Tree::Maybe),
            vec(inner.clone(), 0..6).prop_map(Tree::List),
            btree_map(".{0,5}", inner.clone(), 0..6).prop_map(Tree::Table),
            (boxed(), boxed()).prop_map(|(left, right)| Tree::Named { left, right: Wrapped(right) }),
        ]
    })
}

/// Something with descriptors in many places; generic, so that the same shape can hold what identifies them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Handles<D> {
    one: D,
    list: Vec<Option<D>>,
    table: BTreeMap<u16, (String, D)>,
    variants: Vec<Variant<D>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Variant<D> {
    None,
    One(D),
    Two(D, D),
    Named { text: String, inside: Option<Box<Variant<D>>>, handle: D },
}

impl<D> Handles<D> {
    fn map<E>(self, f: &mut impl FnMut(D) -> E) -> Handles<E> {
        Handles {
            one: f(self.one),
            list: self.list.into_iter().map(|entry| entry.map(&mut *f)).collect(),
            table: self.table.into_iter().map(|(key, (text, d))| (key, (text, f(d)))).collect(),
            variants: self.variants.into_iter().map(|variant| variant.map(f)).collect(),
        }
    }
}

impl<D> Variant<D> {
    fn map<E>(self, f: &mut impl FnMut(D) -> E) -> Variant<E> {
        match self {
            Variant::None => Variant::None,
            Variant::One(d) => Variant::One(f(d)),
            Variant::Two(a, b) => Variant::Two(f(a), f(b)),
            Variant::Named { text, inside, handle } => Variant::Named {
                text,
                inside: inside.map(|variant| Box::new(variant.map(f))),
                handle: f(handle),
            },
        }
    }
}

fn variant() -> impl Strategy<Value = Variant<()>> {
    let leaf = prop_oneof![Just(Variant::None), Just(Variant::One(())), Just(Variant::Two((), ()))];
    leaf.prop_recursive(3, 4, 1, |inner| {
        (".{0,3}", proptest::option::of(inner.prop_map(Box::new))).prop_map(|(text, inside)| Variant::Named {
            text,
            inside,
            handle: (),
        })
    })
}

fn handles() -> impl Strategy<Value = Handles<()>> {
    (
        vec(proptest::option::of(Just(())), 0..8),
        btree_map(any::<u16>(), (".{0,3}", Just(())), 0..5),
        vec(variant(), 0..5),
    )
        .prop_map(|(list, table, variants)| Handles { one: (), list, table, variants })
}

/// A new file; its number identifies it wherever it is opened.
fn file() -> OwnedFd {
    memfd_create(c"prop", MemfdFlags::CLOEXEC).unwrap()
}

fn number(file: &impl AsFd) -> u64 {
    fstat(file).unwrap().st_ino
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn frame(received: Received) -> Frame {
    match received {
        Received::Frame(frame) => frame,
        other => panic!("a frame was to arrive, not {other:?}"),
    }
}

/// Sizes around everything that matters, and anything between.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..300usize,
        2 => 0..INLINE + 1,
        2 => INLINE - 2..INLINE + 3,
        1 => INLINE..300_000,
    ]
}

fn content(size: usize, seed: u8) -> Vec<u8> {
    (0..size).map(|n| (n as u8).wrapping_mul(31) ^ (n >> 8) as u8 ^ seed).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Send { kind: u16, size: usize, descriptors: usize },
    Receive,
    TryReceive,
}

fn step() -> impl Strategy<Value = Step> {
    let descriptors = prop_oneof![4 => 0..4usize, 1 => 250..260usize, 1 => 0..600usize];
    prop_oneof![
        3 => (any::<u16>(), size(), descriptors)
            .prop_map(|(kind, size, descriptors)| Step::Send { kind, size, descriptors }),
        1 => Just(Step::Receive),
        1 => Just(Step::TryReceive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_round_trip(tree in tree(), map in hash_map(any::<u32>(), any::<f64>(), 0..20)) {
        let mut wire = vec![9];
        let value = (tree, map);
        Postcard.encode(&value, &mut wire).unwrap();
        prop_assert_eq!(wire[0], 9, "encoding appends");
        let back: (Tree, HashMap<u32, f64>) = Postcard.decode(&wire[1..]).unwrap();
        prop_assert_eq!(&back.0, &value.0);
        // As bits: NaN differs from itself.
        let bits = |map: &HashMap<u32, f64>| map.iter().map(|(k, v)| (*k, v.to_bits())).collect::<BTreeMap<_, _>>();
        prop_assert_eq!(bits(&back.1), bits(&value.1));
        // The guard writes what postcard writes.
        prop_assert_eq!(&wire[1..], postcard::to_allocvec(&value).unwrap());
    }

    #[test]
    fn a_value_cut_short_or_extended_is_refused(tree in tree(), cut: prop::sample::Index, more: u8) {
        let mut wire = Vec::new();
        Postcard.encode(&tree, &mut wire).unwrap();
        prop_assert!(Postcard.decode::<Tree>(&wire[..cut.index(wire.len())]).is_err());
        wire.push(more);
        prop_assert!(Postcard.decode::<Tree>(&wire).is_err());
    }

    #[test]
    fn any_bytes_end_in_a_value_or_an_error(wire in vec(any::<u8>(), 0..200)) {
        if let Ok(tree) = Postcard.decode::<Tree>(&wire) {
            // Not every encoding is the shortest, but what was read can be written and read again.
            let mut again = Vec::new();
            Postcard.encode(&tree, &mut again).unwrap();
            prop_assert_eq!(Postcard.decode::<Tree>(&again).unwrap(), tree);
        }
    }

    #[test]
    fn descriptors_come_out_where_they_went_in(handles in handles()) {
        let mut numbers = Vec::new();
        let sent = handles.map(&mut |()| {
            let file = file();
            numbers.push(number(&file));
            Descriptor::from(file)
        });
        let encoded = encode(&sent).unwrap();
        prop_assert_eq!(encoded.descriptors.len(), numbers.len());
        let (ours, theirs) = pair();
        let borrowed: Vec<BorrowedFd<'_>> = encoded.descriptors.iter().map(AsFd::as_fd).collect();
        send(ours.as_fd(), 0, &[&encoded.body], &borrowed).unwrap();
        let expected = sent.map(&mut |handle: Descriptor| number(&handle));
        drop(encoded.descriptors);
        let frame = frame(recv(theirs.as_fd()).unwrap());
        let received: Handles<Descriptor> = decode(&frame.body, frame.descriptors).unwrap();
        prop_assert_eq!(received.map(&mut |handle| number(&handle)), expected);
    }

    #[test]
    fn frames_of_any_size_and_count(kind: u16, size in size(), cuts in vec(any::<prop::sample::Index>(), 0..20), count in 0..=600usize) {
        let (ours, theirs) = pair();
        let body = content(size, kind as u8);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(size + 1)).collect();
        cuts.extend([0, size]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|ends| &body[ends[0]..ends[1]]).collect();
        let files = [file(), file(), file()];
        let descriptors: Vec<_> = (0..count).map(|n| files[n * n % 3].as_fd()).collect();
        send(ours.as_fd(), kind, &parts, &descriptors).unwrap();
        let frame = frame(try_recv(theirs.as_fd(), &mut Begun::default()).unwrap());
        prop_assert_eq!(frame.kind, kind);
        prop_assert!(*frame.body == *body);
        let numbers = |fds: &[BorrowedFd<'_>]| fds.iter().map(number).collect::<Vec<_>>();
        let received: Vec<_> = frame.descriptors.iter().map(AsFd::as_fd).collect();
        prop_assert_eq!(numbers(&received), numbers(&descriptors));
    }

    /// Against the naive model: a queue, and a flag that says whether the sender is still there.
    #[test]
    fn any_sequence_of_sends_and_receives(steps in vec(step(), 0..40)) {
        /// So many frames that even the longest fit the socket's buffer: the test has one thread.
        const UNDER_WAY: usize = 3;
        let (ours, theirs) = pair();
        let mut begun = Begun::default();
        let file = file();
        let file_number = number(&file);
        let mut model: VecDeque<(u16, usize, usize)> = VecDeque::new();
        let check = |received: Received, expected: (u16, usize, usize)| {
            let frame = frame(received);
            prop_assert_eq!((frame.kind, frame.body.len(), frame.descriptors.len()), expected);
            prop_assert!(*frame.body == *content(expected.1, expected.0 as u8));
            prop_assert!(frame.descriptors.iter().all(|descriptor| number(descriptor) == file_number));
            Ok(())
        };
        for step in steps {
            match step {
                Step::Send { kind, size, descriptors } if model.len() < UNDER_WAY => {
                    let body = content(size, kind as u8);
                    send(ours.as_fd(), kind, &[&body], &vec![file.as_fd(); descriptors]).unwrap();
                    model.push_back((kind, size, descriptors));
                }
                Step::Receive if !model.is_empty() => {
                    check(recv(theirs.as_fd()).unwrap(), model.pop_front().unwrap())?;
                }
                _ => match (try_recv(theirs.as_fd(), &mut begun).unwrap(), model.pop_front()) {
                    (Received::Empty, None) => {}
                    (received, Some(expected)) => check(received, expected)?,
                    (received, None) => prop_assert!(false, "{:?} from nowhere", received),
                },
            }
        }
        drop(ours);
        for expected in model {
            check(recv(theirs.as_fd()).unwrap(), expected)?;
        }
        prop_assert!(matches!(recv(theirs.as_fd()).unwrap(), Received::Closed));
    }
}
