//! Descriptors of all kinds, handed over as segments and as frozen data: what is accepted keeps the promise, by what the kernel says of
//! it, and everything else is an error; no descriptor stays.
#![no_main]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use arbitrary::Arbitrary;
use ipc_shm::{Error, Frozen, Segment};
use libfuzzer_sys::fuzz_target;
use rustix::event::EventfdFlags;
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

#[derive(Debug, Arbitrary)]
struct Input {
    kind: Kind,
    /// It is opened once more, so.
    again: Option<Again>,
    frozen: bool,
}

#[derive(Debug, Arbitrary)]
enum Kind {
    Memory { flags: u8, size: Size, seals: u8, reserved: bool, content: [u8; 4] },
    Ours { frozen: bool, view: bool, len: u16 },
    Pipe { writer: bool },
    Socket,
    Eventfd,
    Epoll,
    Directory,
    Null,
    Zero,
    File,
    SharedFile,
    Process,
}

#[derive(Debug, Arbitrary)]
enum Size {
    None,
    Small(u16),
    Any(u64),
    Huge,
}

#[derive(Debug, Arbitrary)]
enum Again {
    Reading,
    Writing,
    Both,
    Append,
    Path,
}

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// `None`: the kernel has none of it.
fn descriptor(kind: &Kind) -> Option<OwnedFd> {
    let path = |path: &str, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).ok();
    match kind {
        Kind::Memory { flags, size, seals, reserved, content } => {
            let mut how = MemfdFlags::CLOEXEC;
            how.set(MemfdFlags::ALLOW_SEALING, flags & 3 != 3);
            how.set(MemfdFlags::NOEXEC_SEAL, flags & 4 != 0);
            how.set(MemfdFlags::HUGETLB, flags & 0x38 == 0x38);
            let file = rustix::fs::memfd_create(c"fuzz", how).ok()?;
            let size = match size {
                Size::None => 0,
                Size::Small(size) => (*size).into(),
                Size::Any(size) => *size,
                Size::Huge => 1 << 40,
            };
            // Whatever cannot be done is left out.
            let _ = rustix::fs::ftruncate(&file, size);
            if *reserved && size <= 1 << 16 {
                let _ = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size);
            }
            let _ = rustix::io::pwrite(&file, content, 0);
            let _ = rustix::fs::fcntl_add_seals(&file, SealFlags::from_bits_truncate((*seals).into()));
            Some(file)
        }
        Kind::Ours { frozen, view, len } => {
            let segment = Segment::lazy(usize::from(*len) + 1).unwrap();
            match (frozen, view) {
                (true, _) => segment.freeze().unwrap().as_fd().try_clone_to_owned().ok(),
                (_, true) => segment.view().unwrap().as_fd().try_clone_to_owned().ok(),
                _ => Some(segment.into_fd().unwrap()),
            }
        }
        Kind::Pipe { writer } => {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).ok()?;
            Some(if *writer { write } else { read })
        }
        Kind::Socket => {
            use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).ok()
        }
        Kind::Eventfd => rustix::event::eventfd(0, EventfdFlags::CLOEXEC).ok(),
        Kind::Epoll => rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).ok(),
        Kind::Directory => path("/", OFlags::RDONLY | OFlags::DIRECTORY),
        Kind::Null => path("/dev/null", OFlags::RDWR),
        Kind::Zero => path("/dev/zero", OFlags::RDWR),
        Kind::File => path("/proc/self/exe", OFlags::RDONLY),
        Kind::SharedFile => {
            let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
            rustix::fs::open("/dev/shm", flags, Mode::RUSR | Mode::WUSR).ok()
        }
        Kind::Process => path("/proc/self/status", OFlags::RDONLY),
    }
}

fn again(file: OwnedFd, how: &Option<Again>) -> Option<OwnedFd> {
    let flags = match how {
        None => return Some(file),
        Some(Again::Reading) => OFlags::RDONLY,
        Some(Again::Writing) => OFlags::WRONLY,
        Some(Again::Both) => OFlags::RDWR,
        Some(Again::Append) => OFlags::RDWR | OFlags::APPEND,
        Some(Again::Path) => OFlags::PATH,
    };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Of a pipe with one end the other would be waited for.
    rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).ok()
}

fn refused(error: &Error) {
    let known = matches!(error, Error::NotASegment { .. } | Error::NoMemory { .. } | Error::Os { .. });
    assert!(known && !error.to_string().is_empty(), "{error:?}");
}

fn segment(file: OwnedFd) {
    let other = file.try_clone().unwrap();
    let size = rustix::fs::fstat(&file).unwrap().st_size as u64;
    match Segment::from_fd(file) {
        Ok(segment) => {
            let len = segment.len();
            assert_eq!(len as u64, size);
            // It can be neither shortened nor lengthened, and is there from the first byte to the last.
            assert_eq!(rustix::fs::ftruncate(&other, size / 2), Err(Errno::PERM));
            assert_eq!(rustix::fs::ftruncate(&other, size + 1), Err(Errno::PERM));
            let mut byte = [0];
            for at in [0, len / 2, len - 1] {
                segment.read(at, &mut byte).unwrap();
                segment.write(at, &[byte[0] ^ 1]).unwrap();
            }
            assert!(segment.read(len, &mut byte).is_err());
            assert_eq!(Segment::from_fd(other).unwrap().as_ptr(), segment.as_ptr(), "mapped twice");
            match segment.view() {
                Ok(view) => assert_eq!(view.len(), len),
                // The addresses of a process end somewhere: a second mapping of so much may not fit.
                Err(error) => {
                    assert!(len > 1 << 40, "{error}");
                    refused(&error);
                }
            }
        }
        Err(error) => refused(&error),
    }
}

fn frozen(file: OwnedFd) {
    let other = file.try_clone().unwrap();
    let size = rustix::fs::fstat(&file).unwrap().st_size as u64;
    match Frozen::from_fd(file) {
        Ok(frozen) => {
            assert_eq!(frozen.len() as u64, size);
            let sum = frozen.iter().step_by(4096).map(|byte| u64::from(*byte)).take(100).sum::<u64>();
            let last = frozen.last().copied();
            // The kernel keeps everybody from changing it.
            assert!(matches!(rustix::io::pwrite(&other, b"x", 0), Err(Errno::PERM | Errno::BADF)));
            assert!(rustix::fs::ftruncate(&other, 0).is_err());
            assert!(
                rustix::fs::fallocate(&other, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 1)
                    .is_err()
            );
            let again = frozen.iter().step_by(4096).map(|byte| u64::from(*byte)).take(100).sum::<u64>();
            assert_eq!((sum, last), (again, frozen.last().copied()));
        }
        Err(error) => refused(&error),
    }
}

fuzz_target!(|input: Input| {
    let before = open();
    if let Some(file) = descriptor(&input.kind).and_then(|file| again(file, &input.again)) {
        if input.frozen {
            frozen(file);
        } else {
            segment(file);
        }
    }
    assert_eq!(open(), before);
});
