//! Descriptors that are no segment, and messages that say something else than their descriptor.

use super::*;

/// What a segment is in a message, to be forged.
#[derive(Serialize, Deserialize)]
struct Forged {
    len: u64,
    reserved: bool,
    file: Descriptor,
}

fn memfd(len: u64, seals: SealFlags) -> OwnedFd {
    let file =
        rustix::fs::memfd_create(c"ipc-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&file, len).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file
}

const SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

#[track_caller]
fn refused_in_a_message(len: u64, reserved: bool, file: OwnedFd, why: &str) {
    let message = || {
        let file = Descriptor::from(file.try_clone().unwrap());
        Packed::new(&Forged { len, reserved, file }).unwrap()
    };
    for error in [message().open::<Segment>().unwrap_err(), message().open::<Frozen>().unwrap_err()] {
        let error = error.to_string();
        assert!(error.contains("a descriptor cannot be used as shared memory: "), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn forged_messages_are_errors() {
    let _leaks = leaks();
    let foreign = "it is no memory file";
    refused_in_a_message(1, false, fs::File::open("/dev/null").unwrap().into(), foreign);
    refused_in_a_message(1, false, std::io::pipe().unwrap().0.into(), foreign);
    refused_in_a_message(1, false, fs::File::open("/proc/self/exe").unwrap().into(), foreign);
    refused_in_a_message(100, false, memfd(100, SealFlags::empty()), "it is not sealed against shrinking");
    refused_in_a_message(
        100,
        false,
        memfd(100, SealFlags::GROW | SealFlags::WRITE),
        "it is not sealed against shr",
    );
    let size = |say: u64, reserved, why: &str| {
        let live = Descriptor::from(memfd(100, SIZE));
        let error = Packed::new(&Forged { len: say, reserved, file: live }).unwrap().open::<Segment>();
        assert!(error.as_ref().unwrap_err().to_string().contains(why), "{error:?}");
        let frozen = Descriptor::from(memfd(100, SIZE | SealFlags::WRITE));
        let error = Packed::new(&Forged { len: say, reserved, file: frozen }).unwrap().open::<Frozen>();
        assert!(error.as_ref().unwrap_err().to_string().contains(why), "{error:?}");
    };
    size(99, false, "it has 100 bytes, and its message says 99");
    size(1 << 40, false, "it has 100 bytes, and its message says 1099511627776");
    size(100, true, "it has holes");
    // And as it should be.
    let good = Forged { len: 100, reserved: false, file: memfd(100, SIZE).into() };
    assert_eq!(Packed::new(&good).unwrap().open::<Segment>().unwrap().len(), 100);
}

#[test]
fn a_truncated_file_reaches_no_child() {
    let _leaks = leaks();
    let file = memfd(8192, SealFlags::empty());
    rustix::fs::ftruncate(&file, 1).unwrap();
    rustix::fs::fcntl_add_seals(&file, SIZE).unwrap();
    // The child takes a forged value for a segment, as the wire has no types.
    let child = |packed: Packed| -> String { packed.open::<Segment>().unwrap_err().to_string() };
    let packed = Packed::new(&Forged { len: 8192, reserved: true, file: file.into() }).unwrap();
    let error = joined(exec(), child, (packed,));
    assert!(error.contains("it has 1 bytes, and its message says 8192"), "{error}");
}

#[test]
fn foreign_descriptors_are_no_segments() {
    let _leaks = leaks();
    let no = |fd: OwnedFd, why: &str| {
        let frozen = Frozen::from_fd(fd.try_clone().unwrap()).unwrap_err();
        let live = Segment::from_fd(fd).unwrap_err();
        for error in [live, frozen] {
            assert!(matches!(&error, Error::NotASegment { why: told } if told.contains(why)), "{error}");
        }
    };
    no(std::io::pipe().unwrap().1.into(), "it is no memory file");
    no(fs::File::open("/dev/null").unwrap().into(), "it is no memory file");
    no(memfd(1, SealFlags::SHRINK), "it is not sealed against shrinking and growing");
    no(memfd(0, SIZE | SealFlags::FUTURE_WRITE), "writing");
    assert!(Frozen::from_fd(Segment::new(1).unwrap().into_fd().unwrap()).is_err());
    let frozen = Segment::new(1).unwrap().freeze().unwrap();
    let error = Segment::from_fd(frozen.as_fd().try_clone_to_owned().unwrap()).unwrap_err();
    assert!(error.to_string().contains("frozen data, and no live segment"), "{error}");
    assert_eq!(*Frozen::from_fd(memfd(2, SIZE | SealFlags::WRITE)).unwrap(), [0, 0]);
}

#[test]
fn bytes_alone_carry_none() {
    let _leaks = leaks();
    let segment = Segment::new(1).unwrap();
    let bytes = Packed::new(&(1_u64, true, 0_u32)).unwrap();
    let error = bytes.open::<Segment>().unwrap_err().to_string();
    assert!(error.contains("came with 0"), "{error}");
    drop(segment);
}
