//! Unit tests of `descriptors`.

use super::*;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use serde::de::Visitor;
use serde::{Deserialize, Serialize};

/// What a descriptor refers to, so that a leak is seen even while other tests open and close theirs.
fn identity(descriptor: &impl AsFd) -> (u64, u64) {
    let stat = rustix::fs::fstat(descriptor).unwrap();
    (stat.st_dev, stat.st_ino)
}

/// How many descriptors of this process refer to the same as `identity`.
fn references(identity: (u64, u64)) -> usize {
    use std::os::unix::fs::MetadataExt;
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::metadata(entry.unwrap().path()).ok())
        .filter(|meta| (meta.dev(), meta.ino()) == identity)
        .count()
}

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    name: String,
    #[serde(with = "as_descriptor")]
    stream: UnixStream,
    files: Vec<Option<Descriptor>>,
    by_name: BTreeMap<String, Descriptor>,
    either: Either,
}

#[derive(Debug, Serialize, Deserialize)]
enum Either {
    Nothing,
    One(Descriptor),
    Two { left: Descriptor, right: Box<Either> },
}

fn null() -> Descriptor {
    File::open("/dev/null").unwrap().into()
}

#[test]
fn nested_everywhere() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let job = Job {
        name: "job".into(),
        stream: theirs,
        files: vec![None, Some(null()), None, Some(null())],
        by_name: [("a".to_owned(), null())].into(),
        either: Either::Two { left: null(), right: Box::new(Either::One(null())) },
    };
    let encoded = encode(&job).unwrap();
    drop(job);
    assert_eq!(encoded.descriptors.len(), 6);
    let job: Job = decode(&encoded.body, encoded.descriptors).unwrap();
    assert_eq!(job.name, "job");
    assert_eq!(job.files.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, true]);
    assert_eq!(identity(&job.by_name["a"]), identity(&null()));
    assert!(matches!(job.either, Either::Two { right, .. } if matches!(*right, Either::One(_))));
    (&ours).write_all(b"x").unwrap();
    drop(ours);
    let mut text = String::new();
    (&job.stream).read_to_string(&mut text).unwrap();
    assert_eq!(text, "x");
}

#[test]
fn duplicates_are_close_on_exec_and_the_senders_stay_open() {
    let file = null();
    let encoded = encode(&file).unwrap();
    assert_ne!(encoded.descriptors[0].as_raw_fd(), file.as_fd().as_raw_fd());
    assert!(rustix::io::fcntl_getfd(&encoded.descriptors[0]).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    identity(&file);
}

#[test]
fn outside_a_message_there_is_a_clear_error() {
    #[derive(Debug)]
    struct Words(String);
    impl fmt::Display for Words {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }
    impl std::error::Error for Words {}
    impl de::Error for Words {
        fn custom<T: fmt::Display>(words: T) -> Self {
            Self(words.to_string())
        }
    }
    let error = Postcard.encode(&null(), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("only as part of a message"), "{error}");
    let error = Postcard.decode::<Descriptor>(&[0]).unwrap_err();
    assert!(error.to_string().contains("only as part of a message"), "{error}");
    let error = Descriptor::deserialize(de::value::U32Deserializer::<Words>::new(0)).unwrap_err();
    assert!(error.to_string().contains("only as part of a message"), "{error}");
}

#[test]
fn places_are_checked_and_taken_once() {
    let (reader, writer) = pipe().unwrap();
    let identity = identity(&reader);
    let reader = OwnedFd::from(reader);
    let duplicates = |count: usize| (0..count).map(|_| reader.try_clone().unwrap()).collect::<Vec<_>>();
    for (places, reason) in [
        (vec![0u32, 0], "descriptor 0 twice"),
        (vec![1, 2], "its file descriptor 2, but came with 2"),
        (vec![u32::MAX], "4294967295, but came with 2"),
    ] {
        let body = postcard::to_allocvec(&places).unwrap();
        let error = decode::<Vec<Descriptor>>(&body, duplicates(2)).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    // In any order, and what nobody takes is closed.
    let body = postcard::to_allocvec(&vec![2u32, 0]).unwrap();
    assert_eq!(decode::<Vec<Descriptor>>(&body, duplicates(5)).unwrap().len(), 2);
    assert_eq!(references(identity), 1 + 1, "only our own two ends, which share an inode");
    drop(writer);
}

/// Whatever integer a format has for the place, it is the same place, or an error.
#[test]
fn places_of_any_width() {
    let words = |result: Result<u32, de::value::Error>| result.map_err(|error| error.to_string());
    type Error = de::value::Error;
    assert_eq!(words(Place.visit_u32(7)), Ok(7));
    assert_eq!(words(Place.visit_u8(7)), Ok(7));
    assert_eq!(words(Place.visit_u64(7)), Ok(7));
    assert_eq!(words(Place.visit_i64(7)), Ok(7));
    assert_eq!(words(Place.visit_i8(7)), Ok(7));
    for error in [Place.visit_u64::<Error>(1 << 32), Place.visit_i64(-1), Place.visit_i64(1 << 32)] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("the place of a file descriptor in its message"), "{error}");
    }
}

/// Serialises some descriptors and then does as told.
struct Then<'a>(Vec<Descriptor>, &'a dyn Fn() -> Result<(), String>);

impl Serialize for Then<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(&self.0)?;
        (self.1)().map_err(ser::Error::custom)?;
        tuple.serialize_element(&1u8)?;
        tuple.end()
    }
}

/// The name is the bug's: ipc-channel keeps one list per thread, so the descriptors of a send whose `Serialize` fails go out
/// with the next message, and its own places are off.
#[test]
fn ipc_channel_failed_send_leaks_descriptors_into_the_next() {
    let (reader, _writer) = pipe().unwrap();
    let identity = identity(&reader);
    let before = references(identity);
    let value = Then(vec![reader.into()], &|| Err("half way".to_owned()));
    let error = encode(&value).unwrap_err();
    assert!(error.to_string().contains("half way"), "{error}");
    assert_eq!(references(identity), before);
    let next = encode(&null()).unwrap();
    assert_eq!(next.descriptors.len(), 1);
    assert_eq!(next.body, [0]);
    assert_ne!(self::identity(&next.descriptors[0]), identity);
}

#[test]
fn a_panic_in_serialize_closes_the_frame() {
    let (reader, _writer) = pipe().unwrap();
    let identity = identity(&reader);
    let before = references(identity);
    let value = Then(vec![reader.into()], &|| panic!("half way"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| encode(&value).map(drop))).unwrap_err();
    assert_eq!(references(identity), before);
    // The stack is as before: outside a message again.
    Postcard.encode(&null(), &mut Vec::new()).unwrap_err();
}

#[test]
fn a_panic_in_deserialize_closes_the_frame() {
    struct Panics;
    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let _taken = <Descriptor as Deserialize>::deserialize(deserializer)?;
            panic!("half way")
        }
    }
    let (reader, _writer) = pipe().unwrap();
    let identity = identity(&reader);
    let before = references(identity);
    let descriptors = vec![OwnedFd::from(reader.try_clone().unwrap()), reader.into()];
    std::panic::catch_unwind(|| decode::<Panics>(&[0], descriptors).map(drop)).unwrap_err();
    assert_eq!(references(identity), before - 1);
    Postcard.decode::<Descriptor>(&[0]).unwrap_err();
}

#[test]
fn messages_inside_messages() {
    let inner = std::cell::RefCell::new(None);
    let send = || {
        *inner.borrow_mut() = Some(encode(&(null(), null())).map_err(|error| error.to_string())?);
        Ok(())
    };
    let outer = encode(&Then(vec![null()], &send)).unwrap();
    assert_eq!(outer.descriptors.len(), 1);
    assert_eq!(inner.borrow().as_ref().unwrap().descriptors.len(), 2);
}

/// A handle on a file that others of its message share.
struct Sharing<'a>(BorrowedFd<'a>, u64);

impl Serialize for Sharing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        share(self.0, (1, self.1, 0), serializer)
    }
}

/// What the first to come has made of it.
#[derive(Debug)]
struct Sharer(std::rc::Rc<File>);

impl<'de> Deserialize<'de> for Sharer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shared = <Shared as Deserialize>::deserialize(deserializer)?;
        shared.take(|file| Ok::<_, String>(File::from(file).into())).map(Sharer).map_err(de::Error::custom)
    }
}

#[test]
fn handles_of_one_message_share_a_file() {
    let (reader, _writer) = pipe().unwrap();
    let (other, _other_writer) = pipe().unwrap();
    let identity = identity(&reader);
    let before = references(identity);
    let (one, two) = (reader.as_fd(), other.as_fd());
    let value =
        (Sharing(one, 1), Sharing(two, 2), Descriptor::from(reader.try_clone().unwrap()), Sharing(one, 1));
    let sent = encode(&value).unwrap();
    drop(value);
    assert_eq!((sent.body.as_slice(), sent.descriptors.len()), ([0, 1, 2, 0].as_slice(), 3));
    let (a, b, plain, c): (Sharer, Sharer, Descriptor, Sharer) =
        decode(&sent.body, sent.descriptors).unwrap();
    assert!(std::rc::Rc::ptr_eq(&a.0, &c.0) && !std::rc::Rc::ptr_eq(&a.0, &b.0));
    assert_eq!(references(identity), before + 2);
    drop((a, b, c, plain));
    assert_eq!(references(identity), before);
}

#[test]
fn what_is_shared_is_used_in_one_way() {
    let file = || vec![OwnedFd::from(null())];
    for (error, said) in [
        (decode::<(Sharer, Descriptor)>(&[0, 0], file()).unwrap_err(), "file descriptor 0 twice"),
        (decode::<(Descriptor, Sharer)>(&[0, 0], file()).unwrap_err(), "file descriptor 0 twice"),
        (decode::<(Sharer, Other)>(&[0, 0], file()).unwrap_err(), "file descriptor 0 twice"),
        (decode::<(Sharer, Sharer)>(&[0, 1], file()).unwrap_err(), "file descriptor 1, but came with 1"),
        (decode::<Fails>(&[0], file()).map(drop).unwrap_err(), "not this one"),
    ] {
        assert!(error.to_string().contains(said), "{error}");
    }
    Postcard.decode::<Sharer>(&[0]).unwrap_err();
    Postcard.encode(&Sharing(null().as_fd(), 1), &mut Vec::new()).unwrap_err();
}

/// Makes something else of it than [`Sharer`].
#[derive(Debug)]
struct Other;

impl<'de> Deserialize<'de> for Other {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shared = <Shared as Deserialize>::deserialize(deserializer)?;
        shared.take(|_| Ok::<_, String>(())).map(|()| Other).map_err(de::Error::custom)
    }
}

struct Fails;

impl<'de> Deserialize<'de> for Fails {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shared = <Shared as Deserialize>::deserialize(deserializer)?;
        shared.take(|_| Err::<(), _>("not this one")).map(|()| Fails).map_err(de::Error::custom)
    }
}
