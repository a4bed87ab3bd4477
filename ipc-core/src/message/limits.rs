//! How much a message may ask of its reader, whichever format it is in.

/// How deep a value may nest: sequences, maps, tuples, structs, enum contents, `Some` and newtypes count one each.
///
/// `Box`, `Arc` and references do not count: they are not on the wire. The limit is what a thread of 2 MiB, Rust's default,
/// bears in a debug build with values of moderate size.
pub const DEPTH_LIMIT: u16 = 256;

/// How many elements a message may hold beyond one for each of its bytes (elements such as `()` take none).
pub const BYTELESS_ELEMENTS: usize = 1 << 20;
