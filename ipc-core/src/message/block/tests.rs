//! Unit tests of `message::block`.

use bytemuck::{Pod, Zeroable};
use serde::de::IntoDeserializer;
use serde::de::value::{Error as DeError, SeqDeserializer};
use serde::{Deserialize, Serialize};

use super::*;
use crate::codec::{Codec, Postcard};
use crate::{Bytes, Packed};

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Point {
    x: f64,
    y: f32,
    layer: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Mixed {
    before: u8,
    #[serde(with = "as_block")]
    points: Vec<Point>,
    #[serde(with = "as_block")]
    wide: Box<[u128]>,
    bytes: Block<u8>,
    after: String,
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    Postcard.encode(value, &mut out).unwrap();
    out
}

#[test]
fn blocks_come_out_as_they_went_in() {
    for length in [0, 1, 3, 1000] {
        let point = |n: usize| Point { x: n as f64 / 3.0, y: f32::NEG_INFINITY, layer: n as u32 };
        let mixed = Mixed {
            before: 7,
            points: (0..length).map(point).collect(),
            wide: (0..length as u128).map(|n| n << 100 | 5).collect(),
            bytes: (0..length).map(|n| n as u8).collect(),
            after: "end".into(),
        };
        assert_eq!(Postcard.decode::<Mixed>(&encoded(&mixed)).unwrap(), mixed);
    }
}

#[test]
fn the_encoding_is_the_memory() {
    let block = Block::from(vec![1_u32, 0x0102_0304]);
    let mut expected = vec![8];
    expected.extend_from_slice(&1_u32.to_ne_bytes());
    expected.extend_from_slice(&0x0102_0304_u32.to_ne_bytes());
    assert_eq!(encoded(&block), expected);
    // So a block of bytes is `Bytes`.
    assert_eq!(Postcard.decode::<Bytes>(&expected).unwrap().len(), 8);
    assert!(matches!(Postcard.decode::<Block<f32>>(&expected).unwrap()[..], [_, _]));
}

#[test]
fn wherever_the_bytes_stand() {
    let block: Block<u64> = (0..9).collect();
    let wire = encoded(&block);
    let mut shifted = vec![0; wire.len() + 8];
    for offset in 0..8 {
        shifted[offset..offset + wire.len()].copy_from_slice(&wire);
        let back: Block<u64> = Postcard.decode(&shifted[offset..offset + wire.len()]).unwrap();
        assert_eq!(back, block);
    }
}

#[test]
fn a_length_that_is_no_multiple_is_an_error() {
    for (length, whole) in [(0, true), (1, false), (7, false), (8, true), (9, false), (16, true)] {
        let wire = encoded(&Bytes::from(vec![1; length]));
        match Postcard.decode::<Block<u64>>(&wire) {
            Ok(block) => assert!(whole && block.len() == length / 8),
            Err(error) => {
                assert!(!whole);
                let text = error.to_string();
                assert!(text.contains(&format!("{length}")) && text.contains("8 for each u64"), "{text}");
            }
        }
    }
}

#[test]
fn hostile_lengths_reserve_little() {
    for length in [9_u64, 1 << 20, 1 << 40, u64::MAX - 7, u64::MAX] {
        let mut wire = encoded(&length);
        wire.extend_from_slice(&[0; 8]);
        Postcard.decode::<Block<u64>>(&wire).unwrap_err();
        Postcard.decode::<Block<[u64; 32]>>(&wire).unwrap_err();
    }
}

#[test]
fn from_a_format_that_has_no_byte_strings() {
    let bytes = 5_u16.to_ne_bytes().repeat(3);
    let sequence: SeqDeserializer<_, DeError> = bytes.clone().into_deserializer();
    assert_eq!(Block::<u16>::deserialize(sequence).unwrap(), Block::from(vec![5; 3]));
    let sequence: SeqDeserializer<_, DeError> = bytes[..5].to_vec().into_deserializer();
    Block::<u16>::deserialize(sequence).unwrap_err();
}

#[test]
fn a_block_is_a_vector() {
    let mut block: Block<u16> = vec![3, 1].into();
    block.push(2);
    block.sort_unstable();
    assert_eq!(Vec::from(block.clone()), [1, 2, 3]);
    assert_eq!(block.into_iter().sum::<u16>(), 6);
    assert!(Packed::new(&Block::<f64>::default()).unwrap().open::<Block<f64>>().unwrap().is_empty());
}
