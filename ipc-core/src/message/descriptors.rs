//! File descriptors inside values.
//!
//! A handle that serialises (a file, a socket, and in the crates above locks, queues, proxies) has two halves: bytes, and a
//! descriptor that cannot be written as bytes. serde has no channel for the second half, so there is one beside it: while a
//! value is being encoded, a *frame* on a thread-local stack collects the descriptors and the bytes hold their places; while
//! it is decoded, a frame hands them out again.
//!
//! Why a stack of frames and not one list: a `Serialize` may itself send a message, and an encode may fail half way, by an
//! error or a panic. With a list the descriptors of the failed message leak into the next one (ipc-channel has that bug).
//! Here each encode and decode opens its own frame, and the guard that closes it runs on every way out.
//!
//! | what happens | outcome |
//! |---|---|
//! | a handle is serialised inside a frame | its descriptor is duplicated; the value keeps its own |
//! | a handle is serialised or deserialised elsewhere, with serde_json, say | an error that says so |
//! | bytes name a place twice, or one that does not exist | an error |
//! | many handles of one value share a file ([`Shared`]) | it travels once; whoever comes first makes something of it, and the others have that |
//! | a descriptor arrives and nobody takes it | it is closed with the frame |
//! | encode or decode fails or panics | the frame's descriptors are closed |

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{self, Serialize, Serializer};

use super::Error;
use super::codec::{Codec, Postcard};

/// A value on its way: bytes, and the descriptors they mention.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The value as bytes; a descriptor is its place in `descriptors`.
    pub body: Vec<u8>,
    /// Duplicates of the value's descriptors.
    pub descriptors: Vec<OwnedFd>,
    /// What the value's handles were to whoever had them, and are no more: see [`give`].
    given: Vec<Arc<AtomicBool>>,
}

impl Encoded {
    /// The value was not sent: its handles are again what they were.
    pub fn take_back(&mut self) {
        for flag in self.given.drain(..) {
            flag.store(true, Ordering::Relaxed);
        }
    }
}

/// Encodes `value` with its descriptors.
///
/// # Errors
/// [`Error::Encode`]: what its `Serialize` said; [`Error::Os`]: a descriptor could not be duplicated. Nothing stays behind.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, Error> {
    encode_by(&Postcard, value)
}

/// As [`encode`], in a format of the caller's choice.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_by<T: Serialize + ?Sized>(codec: &impl Codec, value: &T) -> Result<Encoded, Error> {
    encode_into(codec, value, Vec::new())
}

/// As [`encode_by`], with an empty vector for the bytes that may have room already.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    codec: &impl Codec,
    value: &T,
    mut body: Vec<u8>,
) -> Result<Encoded, Error> {
    let frame = Open::new(Frame::Collect {
        descriptors: Vec::new(),
        shared: BTreeMap::new(),
        given: Vec::new(),
        refused: None,
    });
    let encoded = codec.encode(value, &mut body);
    // Taken off before the result is looked at; on a panic the guard does it.
    let frame = frame.close();
    match (encoded, frame) {
        (Ok(()), Some(Frame::Collect { descriptors, given, .. })) => {
            given.iter().for_each(|flag| flag.store(false, Ordering::Relaxed));
            Ok(Encoded { body, descriptors, given })
        }
        (Err(_), Some(Frame::Collect { refused: Some(error), .. })) => Err(Error::os(NO_DUPLICATE, error)),
        (Ok(()), _) => Err(encode_error::<T>(NO_STACK.to_owned())),
        (Err(error), _) => Err(encode_error::<T>(error.into_reason())),
    }
}

fn encode_error<T: ?Sized>(reason: String) -> Error {
    Error::Encode { type_name: std::any::type_name::<T>(), reason }
}

/// Decodes a value from `body` and `descriptors`; those that it does not take are closed.
///
/// # Errors
/// [`Error::Decode`]: the bytes are no `T`, or name descriptors that are not there or were taken already.
pub fn decode<T: DeserializeOwned>(body: &[u8], descriptors: Vec<OwnedFd>) -> Result<T, Error> {
    decode_by(&Postcard, body, descriptors)
}

/// As [`decode`], in a format of the caller's choice.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_by<T: DeserializeOwned>(
    codec: &impl Codec,
    body: &[u8],
    descriptors: Vec<OwnedFd>,
) -> Result<T, Error> {
    let frame = Open::new(Frame::HandOut(descriptors.into_iter().map(Slot::Descriptor).collect()));
    let decoded = codec.decode(body);
    drop(frame);
    decoded
        .map_err(|error| Error::Decode { type_name: std::any::type_name::<T>(), reason: error.into_reason() })
}

/// The descriptors of one value.
enum Frame {
    /// It is being encoded. What the kernel refused is kept beside serde, whose errors are text.
    Collect {
        descriptors: Vec<OwnedFd>,
        /// Where the shared ones stand, by their keys.
        shared: BTreeMap<Key, u32>,
        given: Vec<Arc<AtomicBool>>,
        refused: Option<Errno>,
    },
    /// It is being decoded.
    HandOut(Vec<Slot>),
}

/// A descriptor that has come.
enum Slot {
    Descriptor(OwnedFd),
    /// What the first of those who share it has made of it.
    Shared(Box<dyn Any>),
    Taken,
}

thread_local! {
    /// The frames that are open in this thread, the innermost last.
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

const NO_DUPLICATE: &str = "cannot duplicate a file descriptor";

const NO_STACK: &str = "values with file descriptors cannot be sent or received while a thread is ending";

/// Keeps a frame open; closes it and all that was opened inside it on drop.
struct Open {
    /// How many frames were open before.
    below: Option<usize>,
}

impl Open {
    fn new(frame: Frame) -> Self {
        let push = |frames: &RefCell<Vec<Frame>>| {
            let mut frames = frames.borrow_mut();
            frames.push(frame);
            frames.len() - 1
        };
        Self { below: FRAMES.try_with(push).ok() }
    }

    /// Closes the frame and returns it.
    fn close(self) -> Option<Frame> {
        let frame = self.take();
        std::mem::forget(self);
        frame
    }

    fn take(&self) -> Option<Frame> {
        let below = self.below?;
        let taken = FRAMES.try_with(|frames| {
            let mut frames = frames.borrow_mut();
            frames.truncate(below + 1);
            frames.pop()
        });
        taken.ok().flatten()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // The descriptors are closed here, outside the borrow of the stack.
        drop(self.take());
    }
}

/// Calls `f` with the innermost frame.
fn innermost<R>(f: impl FnOnce(Option<&mut Frame>) -> Result<R, String>) -> Result<R, String> {
    FRAMES.try_with(|frames| f(frames.borrow_mut().last_mut())).unwrap_or_else(|_| Err(NO_STACK.to_owned()))
}

/// Puts a duplicate of `descriptor` into the innermost frame and returns its place; one that is shared only once.
fn put(descriptor: BorrowedFd<'_>, key: Option<Key>) -> Result<u32, String> {
    innermost(|frame| match frame {
        Some(Frame::Collect { descriptors, shared, refused, .. }) => {
            if let Some(place) = key.and_then(|key| shared.get(&key)) {
                return Ok(*place);
            }
            let duplicate = rustix::io::fcntl_dupfd_cloexec(descriptor, 3).map_err(|error| {
                *refused = Some(error);
                format!("{NO_DUPLICATE}: {error}")
            })?;
            let place = u32::try_from(descriptors.len()).map_err(|_| "too many descriptors".to_owned())?;
            descriptors.push(duplicate);
            shared.extend(key.map(|key| (key, place)));
            Ok(place)
        }
        _ => Err("a file descriptor can be serialised only as part of a message of this crate; \
                  bytes alone cannot carry it"
            .to_owned()),
    })
}

/// A handle gives something away with the value that is being encoded: when all of that is, `flag` becomes `false`, and `true` again
/// if it is not sent after all.
pub fn give(flag: &Arc<AtomicBool>) {
    // Without a frame the descriptor was refused before.
    let _ = innermost(|frame| {
        if let Some(Frame::Collect { given, .. }) = frame
            && flag.load(Ordering::Relaxed)
        {
            given.push(flag.clone());
        }
        Ok(())
    });
}

/// Takes what stands at `place` out of the innermost frame; `Taken` stands there then.
fn take_slot(place: u32) -> Result<Slot, String> {
    innermost(|frame| match frame {
        Some(Frame::HandOut(slots)) => {
            let count = slots.len();
            let slot = slots.get_mut(place as usize);
            slot.map(|slot| std::mem::replace(slot, Slot::Taken)).ok_or_else(|| {
                format!("the message mentions its file descriptor {place}, but came with {count}")
            })
        }
        _ => Err("a file descriptor can be deserialised only as part of a message of this crate; \
                  bytes alone cannot carry it"
            .to_owned()),
    })
}

fn twice(place: u32) -> String {
    format!("the message uses its file descriptor {place} twice")
}

/// Takes the descriptor at `place` out of the innermost frame.
fn take(place: u32) -> Result<OwnedFd, String> {
    match take_slot(place)? {
        Slot::Descriptor(descriptor) => Ok(descriptor),
        Slot::Shared(_) | Slot::Taken => Err(twice(place)),
    }
}

/// What tells a shared file from all others, as long as somebody has it: device, inode, and in which of several ways it is open.
pub type Key = (u64, u64, u8);

/// The place of a file that several handles of a value may share: for the crates above, of whose handles many can stand in one segment.
///
/// ```
/// use ipc_core::primitive::message::{Shared, share};
/// # use std::os::fd::{AsFd, OwnedFd};
/// # use std::{fs::File, sync::Arc};
/// use serde::{Deserialize, Deserializer, Serialize, Serializer};
///
/// struct Handle(Arc<File>);
///
/// impl Serialize for Handle {
///     fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
///         share(self.0.as_fd(), (0, 1, 0), serializer)
///     }
/// }
///
/// impl<'de> Deserialize<'de> for Handle {
///     fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Handle, D::Error> {
///         let made = Shared::deserialize(deserializer)?.take(|file| Ok::<_, String>(Arc::new(File::from(file))));
///         made.map(Handle).map_err(serde::de::Error::custom)
///     }
/// }
/// # let file = Arc::new(File::open("/dev/null").unwrap());
/// # let (tx, rx) = ipc_core::pipe::<(Handle, Handle)>()?;
/// tx.send((Handle(file.clone()), Handle(file)))?;
/// let (one, other) = rx.recv()?;
/// assert!(Arc::ptr_eq(&one.0, &other.0));
/// # Ok::<(), ipc_core::Error>(())
/// ```
pub struct Shared(u32);

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u32(Place).map(Shared)
    }
}

impl Shared {
    /// What `make` makes of the descriptor, or what it made of it for another handle of this value.
    ///
    /// # Errors
    /// What `make` says; and that the message has no such descriptor, or has used it otherwise.
    pub fn take<T: Clone + 'static, E: fmt::Display>(
        self,
        make: impl FnOnce(OwnedFd) -> Result<T, E>,
    ) -> Result<T, String> {
        let Shared(place) = self;
        // `make` runs outside the borrow of the stack: it may decode something itself.
        let made = match take_slot(place)? {
            Slot::Descriptor(descriptor) => make(descriptor).map_err(|error| error.to_string())?,
            Slot::Shared(made) => *made.downcast::<T>().map_err(|_| twice(place))?,
            Slot::Taken => return Err(twice(place)),
        };
        let kept: Box<dyn Any> = Box::new(made.clone());
        innermost(|frame| {
            if let Some(Frame::HandOut(slots)) = frame {
                slots[place as usize] = Slot::Shared(kept);
            }
            Ok(())
        })?;
        Ok(made)
    }
}

/// Puts a duplicate of `file` into the message being encoded, unless one with this key is there already.
///
/// # Errors
/// Outside such a message, and where no descriptor is left (`EMFILE`).
pub fn share<S: Serializer>(file: BorrowedFd<'_>, key: Key, serializer: S) -> Result<S::Ok, S::Error> {
    let place = put(file, Some(key)).map_err(ser::Error::custom)?;
    serializer.serialize_u32(place)
}

/// A file descriptor that can be sent to another process inside a value.
///
/// The receiver gets a descriptor of its own for the same open file. Sending duplicates it: the sender's stays open until
/// dropped. For a field that should keep its type (`File`, `UnixStream`, …) see [`as_descriptor`].
///
/// ```
/// use ipc_core::Descriptor;
/// use std::fs::File;
///
/// let descriptor = Descriptor::from(File::open("/dev/null")?);
/// let file: File = descriptor.into();
/// # drop(file);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Serialising or deserialising it anywhere but in a message of these crates is an error: JSON cannot carry it.
#[derive(Debug)]
pub struct Descriptor(OwnedFd);

impl Descriptor {
    /// The descriptor as what it is: `descriptor.into_inner::<UnixStream>()`.
    pub fn into_inner<T: From<OwnedFd>>(self) -> T {
        self.0.into()
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The conversions that `std` has for `OwnedFd`. (One blanket `impl` would collide with `From<Descriptor> for Descriptor`.)
macro_rules! conversions {
    (both: $($both:ty),*; from: $($from:ty),*) => {
        $(
            impl From<$both> for Descriptor {
                fn from(handle: $both) -> Self {
                    Self(handle.into())
                }
            }

            impl From<Descriptor> for $both {
                fn from(descriptor: Descriptor) -> Self {
                    descriptor.0.into()
                }
            }
        )*
        $(
            impl From<$from> for Descriptor {
                fn from(handle: $from) -> Self {
                    Self(handle.into())
                }
            }
        )*
    };
}

conversions! {
    both:
        OwnedFd, std::fs::File, std::net::TcpListener, std::net::TcpStream, std::net::UdpSocket,
        std::os::unix::net::UnixDatagram, std::os::unix::net::UnixListener, std::os::unix::net::UnixStream,
        std::io::PipeReader, std::io::PipeWriter;
    from: std::process::ChildStdin, std::process::ChildStdout, std::process::ChildStderr
}

impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        as_descriptor::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        as_descriptor::deserialize(deserializer).map(Self)
    }
}

/// For `#[serde(with = "ipc_core::as_descriptor")]`: a field of `std`'s types that travels as a descriptor.
///
/// It serves every type that has a descriptor and can be made from one: `File`, `TcpStream`, `UnixListener`, `OwnedFd`, and
/// those of other crates. For `Option<File>`, `Vec<TcpStream>` and the like use [`Descriptor`] inside them: it serialises by itself.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use std::fs::File;
/// use std::os::unix::net::UnixStream;
///
/// #[derive(Serialize, Deserialize)]
/// struct Job {
///     name: String,
///     #[serde(with = "ipc_core::as_descriptor")]
///     input: File,
///     #[serde(with = "ipc_core::as_descriptor")]
///     answers: UnixStream,
/// }
/// ```
pub mod as_descriptor {
    use super::*;

    /// Puts a duplicate of `handle`'s descriptor into the message being encoded.
    ///
    /// # Errors
    /// Outside such a message, and where no descriptor is left (`EMFILE`).
    pub fn serialize<T: AsFd, S: Serializer>(handle: &T, serializer: S) -> Result<S::Ok, S::Error> {
        let place = put(handle.as_fd(), None).map_err(ser::Error::custom)?;
        serializer.serialize_u32(place)
    }

    /// Takes the descriptor out of the message being decoded.
    ///
    /// # Errors
    /// Outside such a message, and where the message has no such descriptor.
    pub fn deserialize<'de, T: From<OwnedFd>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let place = deserializer.deserialize_u32(Place)?;
        take(place).map(T::from).map_err(de::Error::custom)
    }
}

/// A descriptor's place in its message.
struct Place;

impl de::Visitor<'_> for Place {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place of a file descriptor in its message")
    }

    fn visit_u32<E: de::Error>(self, place: u32) -> Result<u32, E> {
        Ok(place)
    }

    /// Formats that tell numbers by themselves, JSON for one, have but the widest.
    fn visit_u64<E: de::Error>(self, place: u64) -> Result<u32, E> {
        u32::try_from(place).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(place), &self))
    }

    fn visit_i64<E: de::Error>(self, place: i64) -> Result<u32, E> {
        u32::try_from(place).map_err(|_| E::invalid_value(de::Unexpected::Signed(place), &self))
    }
}

#[cfg(test)]
mod tests;
