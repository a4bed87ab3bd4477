//! The program's own image: where it is mapped, which of it nobody can write, and whether `/proc/self/exe` is it.
//!
//! The linker puts `__ehdr_start` at the first byte of whatever it links, so this module sees the ELF
//! header of the program, or of the shared library that this crate was linked into. Which of the two, the
//! kernel tells: `AT_PHDR` in the auxiliary vector is the program's (read from `/proc/self/auxv`, because under
//! `ld.so program` the loader rewrites its own copy, and then `/proc/self/exe` is the loader).
//!
//! A child is made by executing `/proc/self/exe`. The link stays right when the file on disk is renamed,
//! removed or replaced, but not under a loader, and not without `/proc`; so before the first `exec` the ELF
//! header, the program headers and the build id are read through it and compared with the bytes in memory.
//! (Device and inode would not do: they differ between `stat` and `maps` on btrfs and overlayfs.)

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use super::fnv::Fnv;
use crate::error::Error;
use crate::sys::elf::{self, ProgramHeader};

/// The image that this code is part of.
pub(crate) struct Image {
    headers: &'static [ProgramHeader],
    start: usize,
    /// What is added to an address in the file to get one in memory.
    bias: usize,
    fingerprint: u64,
}

impl Image {
    /// The image that this crate is linked into.
    pub(crate) fn this() -> &'static Image {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| {
            let start = elf::start();
            let headers = elf::program_headers();
            let first = headers.iter().find(|h| h.kind == elf::LOAD && h.offset == 0);
            let bias = start.wrapping_sub(first.map_or(0, |h| h.address as usize));
            let mut image = Image { headers, start, bias, fingerprint: 0 };
            let mut hash = Fnv::new();
            hash.write(elf::header_bytes());
            hash.write(image.build_id().unwrap_or_default());
            image.fingerprint = hash.finish();
            image
        })
    }

    /// Where the image's first byte is mapped.
    pub(crate) fn base(&self) -> usize {
        self.start
    }

    /// How many bytes from the first to the last that is mapped.
    #[cfg(test)]
    pub(crate) fn extent(&self) -> usize {
        let loaded = self.headers.iter().filter(|h| h.kind == elf::LOAD);
        let end = loaded.map(|h| self.bias.wrapping_add((h.address + h.memory_size) as usize)).max();
        end.unwrap_or(self.start) - self.start
    }

    /// A number that tells this image from another build of it: a hash of its ELF header, program headers and build id.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The `N` words at `offset` from the image's first byte, if they can be a constant: aligned and inside memory that holds
    /// nothing but constants. Words are all that is known of what lies there.
    pub(crate) fn words<const N: usize>(&self, offset: usize) -> Option<[u64; N]> {
        let address = self.start.wrapping_add(offset);
        if !address.is_multiple_of(align_of::<u64>()) || !self.is_constant(address, size_of::<[u64; N]>()) {
            return None;
        }
        Some(elf::words(address))
    }

    /// Whether these bytes of the image are mapped, and never written after the program's start.
    fn is_constant(&self, address: usize, len: usize) -> bool {
        let inside = |h: &&ProgramHeader| {
            let from = self.bias.wrapping_add(h.address as usize);
            address >= from
                && address
                    .checked_add(len)
                    .is_some_and(|end| end <= from.saturating_add(h.memory_size as usize))
        };
        let loaded = self.headers.iter().filter(|h| h.kind == elf::LOAD).find(inside);
        let relro = || self.headers.iter().filter(|h| h.kind == elf::RELRO).find(inside).is_some();
        // Constants with addresses inside are relocated at start; without RELRO (a linker flag) they stay writable.
        let no_relro = || !self.headers.iter().any(|h| h.kind == elf::RELRO);
        loaded.is_some_and(|h| h.flags & elf::WRITE == 0 || relro() || no_relro())
    }

    /// The note that the linker made from the program's contents, if it was asked to.
    fn build_id(&self) -> Option<&'static [u8]> {
        self.headers
            .iter()
            .filter(|h| h.kind == elf::NOTE)
            .find_map(|h| find_build_id(elf::segment(self.bias, h)))
    }

    /// Whether this crate is linked into the program itself, and not into a shared library that the program loaded.
    ///
    /// Asks the C library's copy of the auxiliary vector, so it is cheap, and right under `ld.so program` too.
    pub(crate) fn is_program(&self) -> bool {
        elf::program_headers_of_the_program() == self.headers.as_ptr() as usize
    }

    /// Checks that executing `/proc/self/exe` would start this image. Once it is known to, it is not checked again; the reason
    /// of a refusal may pass (no descriptor was free).
    ///
    /// # Errors
    /// [`Error::Image`], when it would start something else, or cannot be known.
    pub(crate) fn verify(&self) -> Result<(), Error> {
        static VERIFIED: OnceLock<()> = OnceLock::new();
        if VERIFIED.get().is_none() {
            self.check("/proc/self/auxv", "/proc/self/exe").map_err(|why| Error::Image { why })?;
            VERIFIED.get_or_init(|| ());
        }
        Ok(())
    }

    fn check(&self, vector: &str, exe: &str) -> Result<(), String> {
        if !self.is_program() {
            return Err(
                "ipc-core is linked into a shared library, and a child would not run that: spawn from \
                        the program itself"
                    .into(),
            );
        }
        let started = match std::fs::read(vector) {
            Ok(vector) => {
                let mut pairs = vector.chunks_exact(16).map(|pair| pair.split_at(8));
                let at_phdr = pairs.find(|(key, _)| *key == elf::AT_PHDR.to_ne_bytes());
                let at_phdr =
                    at_phdr.map(|(_, value)| usize::from_ne_bytes(value.try_into().unwrap_or_default()));
                at_phdr == Some(self.headers.as_ptr() as usize)
            }
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => is_in_the_programs_code()?,
            Err(e) => return Err(format!("{vector} cannot be read ({e}): is /proc mounted?")),
        };
        if !started {
            return Err(
                "the kernel started another image than this one (a loader, as in `ld.so program`, or an \
                        emulator), and a child would run that"
                    .into(),
            );
        }
        let file = File::open(exe).map_err(|e| format!("{exe} cannot be opened: {e}"))?;
        let notes = self.headers.iter().filter(|h| h.kind == elf::NOTE);
        let notes = notes.map(|h| (elf::segment(self.bias, h), h.offset));
        for (mapped, offset) in std::iter::once((elf::header_bytes(), 0)).chain(notes) {
            let mut read = vec![0; mapped.len()];
            match file.read_exact_at(&mut read, offset) {
                Ok(()) if read == mapped => {}
                Err(e) if e.kind() != ErrorKind::UnexpectedEof => {
                    return Err(format!("{exe} cannot be read: {e}"));
                }
                _ => return Err(format!("{exe} is another program than the one that runs here")),
            }
        }
        Ok(())
    }
}

/// Whether this code is that of the program that the kernel started.
///
/// A process that has changed its user may not read its auxiliary vector any more (the file belongs to root then). Where
/// the code of the program that was started begins and ends, it may still know (proc_pid_stat(5)).
fn is_in_the_programs_code() -> Result<bool, String> {
    const STAT: &str = "/proc/self/stat";
    let stat = std::fs::read_to_string(STAT).map_err(|e| format!("{STAT} cannot be read: {e}"))?;
    // The fields after the name, which may hold anything, begin with number 3; start_code is number 26.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let mut code = fields.skip(26 - 3).map(|field| field.parse::<usize>().unwrap_or(0));
    let (Some(start), Some(end)) = (code.next(), code.next()) else {
        return Err(format!("{STAT} has too few fields"));
    };
    let here = is_in_the_programs_code as *const () as usize;
    Ok((start..end).contains(&here))
}

/// Finds the description of the GNU build id in a note segment (see elf(5), "Notes").
fn find_build_id(mut notes: &[u8]) -> Option<&[u8]> {
    const BUILD_ID: u32 = 3;
    loop {
        let word = |at: usize| Some(u32::from_ne_bytes(notes.get(at..at + 4)?.try_into().ok()?));
        let (name, description, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let begin = 12_usize.checked_add(name.checked_next_multiple_of(4)?)?;
        let end = begin.checked_add(description)?;
        if kind == BUILD_ID && notes.get(12..12 + name)? == b"GNU\0" {
            return notes.get(begin..end);
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_its_own_image() {
        assert!(Image::this().is_program());
        Image::this().verify().unwrap();
    }

    #[test]
    fn another_program_is_told_apart() {
        let why = Image::this().check("/proc/self/auxv", "/bin/sh").unwrap_err();
        assert!(why.contains("another program"), "{why}");
    }

    #[test]
    fn a_loader_is_told_apart() {
        // The auxiliary vector as the kernel writes it for `ld.so program`: AT_PHDR is the loader's.
        let vector = std::env::temp_dir().join(format!("ipc-core-auxv-{}", std::process::id()));
        let mut bytes = elf::AT_PHDR.to_ne_bytes().to_vec();
        bytes.extend(0x1000_usize.to_ne_bytes());
        std::fs::write(&vector, bytes).unwrap();
        let why = Image::this().check(vector.to_str().unwrap(), "/proc/self/exe").unwrap_err();
        std::fs::remove_file(&vector).unwrap();
        assert!(why.contains("loader"), "{why}");
    }

    #[test]
    fn missing_proc_is_named() {
        let why = Image::this().check("/proc/none/auxv", "/proc/self/exe").unwrap_err();
        assert!(why.contains("is /proc mounted"), "{why}");
    }

    #[test]
    fn broken_notes_end_the_search() {
        assert_eq!(find_build_id(&[]), None);
        assert_eq!(find_build_id(&[0xff; 64]), None);
        assert_eq!(find_build_id(&[0; 64]), None);
        let mut note = Vec::new();
        for word in [4_u32, 2, 3] {
            note.extend(word.to_ne_bytes());
        }
        note.extend(b"GNU\0ab");
        assert_eq!(find_build_id(&note), Some(&b"ab"[..]));
    }

    #[test]
    fn only_constants_count_as_constants() {
        static CONSTANT: u64 = 7;
        static VARIABLE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(7);
        let image = Image::this();
        let offset = |at: usize| at.wrapping_sub(image.base());
        assert_eq!(image.words(offset(&raw const CONSTANT as usize)), Some([7]));
        assert!(image.words::<1>(offset(VARIABLE.as_ptr() as usize)).is_none());
        assert!(image.words::<1>(offset(&raw const *Box::new(7_u64) as usize)).is_none());
    }
}
