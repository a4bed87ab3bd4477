//! Hostile bytes under a name, which any process of this user may write: no record, an owner that is gone, an error, or memory that is what the
//! record says and keeps a segment's promises. Nothing that is no memory file is used, no descriptor stays, and no file is made.
#![no_main]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::OnceLock;

use arbitrary::Arbitrary;
use ipc_shm::modelled::record;
use ipc_shm::{Error, Segment};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{FileType, MemfdFlags, Mode, OFlags, SealFlags};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    begin: Option<Target>,
    patches: Vec<Patch<'a>>,
    /// Nothing of ours, from the first byte on.
    bytes: &'a [u8],
}

/// What the record is said to be of: it is this process's, and its number, device and inode are right.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Target {
    Segment,
    /// Of no length.
    Empty,
    /// That may be cut off.
    Unsealed,
    /// That may grow.
    Growing,
    /// That cannot be written.
    Frozen,
    /// A file without a name that is no memory.
    File,
    Pipe,
    Directory,
    Null,
}

#[derive(Debug, Arbitrary)]
enum Patch<'a> {
    Anywhere { at: u8, bytes: &'a [u8] },
    Near { word: u8, add: i8 },
    Flip { bit: u16 },
    Pid(Process),
    Length(u64),
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Process {
    Init,
    Parent,
    Kernel,
    Nobody,
    Number(u32),
}

const LENGTH: usize = 96;

struct Things {
    segment: Segment,
    record: [u8; LENGTH],
    others: Vec<OwnedFd>,
}

fn things() -> &'static Things {
    static THINGS: OnceLock<Things> = OnceLock::new();
    THINGS.get_or_init(|| {
        let segment = Segment::new(100).unwrap();
        let record = record::of(&segment).unwrap();
        let memory = |seals: SealFlags, len| {
            let file =
                rustix::fs::memfd_create(c"fuzz", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
            rustix::fs::ftruncate(&file, len).unwrap();
            rustix::fs::fcntl_add_seals(&file, seals).unwrap();
            file
        };
        let path = |path: &str, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RWXU).unwrap();
        let all = SealFlags::SHRINK | SealFlags::GROW;
        let others = vec![
            memory(all, 0),
            memory(SealFlags::empty(), 100),
            memory(SealFlags::SHRINK, 100),
            memory(all | SealFlags::WRITE | SealFlags::SEAL, 100),
            path("/dev/shm", OFlags::TMPFILE | OFlags::RDWR),
            rustix::pipe::pipe().unwrap().0,
            path("/", OFlags::RDONLY),
            path("/dev/null", OFlags::RDWR),
        ];
        Things { segment, record, others }
    })
}

fn begin(things: &Things, target: Target) -> [u8; LENGTH] {
    let mut record = things.record;
    let number = target as usize;
    if number > 0 {
        let file = &things.others[number - 1];
        let stat = rustix::fs::fstat(file).unwrap();
        record[12..16].copy_from_slice(&file.as_raw_fd().to_ne_bytes());
        record[56..64].copy_from_slice(&stat.st_dev.to_ne_bytes());
        record[64..72].copy_from_slice(&stat.st_ino.to_ne_bytes());
        record[72..80].copy_from_slice(&stat.st_size.to_ne_bytes());
    }
    record
}

fn patch(record: &mut [u8; LENGTH], patch: &Patch<'_>) {
    match patch {
        Patch::Anywhere { at, bytes } => {
            let at = usize::from(*at) % LENGTH;
            let len = bytes.len().min(LENGTH - at);
            record[at..at + len].copy_from_slice(&bytes[..len]);
        }
        Patch::Near { word, add } => {
            let at = usize::from(word % 24) * 4;
            let word = u32::from_ne_bytes(record[at..at + 4].try_into().unwrap());
            record[at..at + 4].copy_from_slice(&word.wrapping_add_signed((*add).into()).to_ne_bytes());
        }
        Patch::Flip { bit } => record[usize::from(bit / 8) % LENGTH] ^= 1 << (bit % 8),
        Patch::Pid(process) => {
            let pid = match process {
                Process::Init => 1,
                Process::Parent => std::os::unix::process::parent_id(),
                Process::Kernel => 0,
                Process::Nobody => u32::MAX,
                Process::Number(pid) => *pid,
            };
            record[16..20].copy_from_slice(&pid.to_ne_bytes());
        }
        Patch::Length(len) => record[72..80].copy_from_slice(&len.to_ne_bytes()),
    }
}

fn word(record: &[u8; LENGTH], at: usize) -> u64 {
    u64::from_ne_bytes(record[at..at + 8].try_into().unwrap())
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fuzz_target!(|input: Input<'_>| {
    let things = things();
    let before = descriptors();
    let mut bytes = input.begin.map_or([0; LENGTH], |target| begin(things, target));
    let own = input.bytes.len().min(LENGTH);
    bytes[..own].copy_from_slice(&input.bytes[..own]);
    input.patches.iter().take(8).for_each(|one| patch(&mut bytes, one));
    match record::found(&bytes) {
        Err(why) => assert!(!why.is_empty() && bytes[..12] != things.record[..12]),
        Ok(found) => {
            assert_eq!(bytes[..12], things.record[..12]);
            // There is a /proc.
            let lives = found.lives.unwrap();
            assert!(lives || !found.watched);
            // This process's are judged by what they say.
            let who = [12..20, 24..72].into_iter().all(|part| bytes[part.clone()] == things.record[part]);
            assert!(lives || !who);
            match found.memory {
                Ok(Some(segment)) => {
                    let stat = rustix::fs::fstat(segment.as_fd()).unwrap();
                    assert!(FileType::from_raw_mode(stat.st_mode).is_file());
                    let is = [stat.st_dev, stat.st_ino, segment.len() as u64];
                    assert_eq!([56, 64, 72].map(|at| word(&bytes, at)), is);
                    let seals = rustix::fs::fcntl_get_seals(segment.as_fd()).unwrap();
                    assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW));
                    let mut all = vec![0; segment.len()];
                    segment.read(0, &mut all).unwrap();
                    segment.write(0, &all).unwrap();
                }
                Ok(None) => assert!(!who),
                Err(Error::NotASegment { why }) => assert!(!why.is_empty()),
                Err(error) => assert!(!error.to_string().is_empty() && !who, "{error}"),
            }
        }
    }
    assert_eq!(descriptors(), before, "a descriptor stays");
    assert_eq!(things.segment.len(), 100);
});
