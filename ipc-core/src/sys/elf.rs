//! The bytes of this image in memory: its ELF header, program headers and constants (elf(5)).

use std::ffi::c_void;

/// `Elf64_Phdr`.
#[repr(C)]
pub(crate) struct ProgramHeader {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    physical_address: u64,
    file_size: u64,
    pub(crate) memory_size: u64,
    align: u64,
}

/// `PT_LOAD`: a segment that is mapped.
pub(crate) const LOAD: u32 = 1;
/// `PT_NOTE`: a segment of notes, the build id among them.
pub(crate) const NOTE: u32 = 4;
/// `PT_GNU_RELRO`: what is read-only once relocations are done.
pub(crate) const RELRO: u32 = 0x6474_e552;
/// `PF_W`.
pub(crate) const WRITE: u32 = 2;
/// `AT_PHDR` in the auxiliary vector.
pub(crate) const AT_PHDR: usize = 3;

const HEADER_SIZE: usize = 64;

unsafe extern "C" {
    /// The first byte of the image that this object is linked into; the linker defines it, hidden.
    static __ehdr_start: c_void;
}

/// Where the image begins.
pub(crate) fn start() -> usize {
    (&raw const __ehdr_start) as usize
}

fn header_field<T: Copy>(at: usize) -> T {
    assert!(at + size_of::<T>() <= HEADER_SIZE);
    // SAFETY: the linker maps the 64-byte ELF header at `__ehdr_start` for as long as the image is
    // loaded, this code being part of it; nobody writes it. `T` is an integer at all callers here, and
    // the offset was checked against the header's size.
    unsafe { std::ptr::read_unaligned((start() + at) as *const T) }
}

/// The image's program headers.
pub(crate) fn program_headers() -> &'static [ProgramHeader] {
    let (offset, count) = (header_field::<u64>(32) as usize, header_field::<u16>(56) as usize);
    // SAFETY: e_phoff and e_phnum describe the table of program headers; linkers put it into the first
    // loaded segment right behind the ELF header (the kernel itself relies on it for AT_PHDR), 8-aligned.
    unsafe { std::slice::from_raw_parts((start() + offset) as *const ProgramHeader, count) }
}

/// The ELF header and the program headers, as they stand in memory and at the beginning of the file.
pub(crate) fn header_bytes() -> &'static [u8] {
    let end = header_field::<u64>(32) as usize + std::mem::size_of_val(program_headers());
    // SAFETY: from the ELF header to the end of the program headers is one run of mapped, constant bytes, as above.
    unsafe { std::slice::from_raw_parts(start() as *const u8, end) }
}

/// A segment of this image that is never written, as it is mapped.
pub(crate) fn segment(bias: usize, header: &ProgramHeader) -> &'static [u8] {
    if header.kind != NOTE {
        return &[];
    }
    // SAFETY: a note segment of the image's own program headers lies inside a loaded segment (linkers
    // give it an address only then) and holds nothing but constants.
    unsafe {
        std::slice::from_raw_parts(
            bias.wrapping_add(header.address as usize) as *const u8,
            header.file_size as usize,
        )
    }
}

/// The words at an address that `Image::words` has found to lie inside constants of this image.
pub(crate) fn words<const N: usize>(address: usize) -> [u64; N] {
    // SAFETY: the only caller, `Image::words`, has checked that all these bytes lie in a segment of this image that is mapped and
    // not written any more. Whatever they are, they are integers.
    unsafe { std::ptr::read(address as *const [u64; N]) }
}

/// The record at an address whose words were read there and found to be such a one's.
pub(crate) fn constant<T>(address: usize) -> &'static T {
    // SAFETY: the only caller, `Name::resolve`, has had the words of a whole record (`Entry`) read here, so all of it is aligned and
    // lies inside constants; and the first and the last of them are those that mark a record of this type and of no other.
    unsafe { &*(address as *const T) }
}

/// Where the program headers of the *program* are mapped, whichever image this code is part of.
pub(crate) fn program_headers_of_the_program() -> usize {
    // SAFETY: getauxval takes a number and only reads the C library's copy of the vector.
    (unsafe { libc::getauxval(libc::AT_PHDR) }) as usize
}

/// Whether the program was started with privileges that its caller does not have (set-uid and the like).
pub(crate) fn is_secure() -> bool {
    // SAFETY: as above.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
