//! Robust mutexes of the C library beside the locks of this crate: `robust.c`, compiled by `cc` into a library of its own, as a C
//! library in a program would bring them, and loaded.
//!
//! A thread has one robust list, in which both kinds stand.

#![allow(dead_code, reason = "each test file uses its part")]

use std::ffi::{CStr, CString, c_int, c_uint, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Room for one mutex; all zero before it is made.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Mutex(std::cell::UnsafeCell<[u8; 64]>);

// SAFETY: a mutex is for several threads, and touched by the functions of the C library alone.
unsafe impl Sync for Mutex {}
// SAFETY: as above; tests leave it where it is.
unsafe impl Send for Mutex {}

struct Library {
    size: unsafe extern "C" fn() -> usize,
    init: unsafe extern "C" fn(*mut c_void) -> c_int,
    try_lock: unsafe extern "C" fn(*mut c_void) -> c_int,
    lock: unsafe extern "C" fn(*mut c_void, c_uint) -> c_int,
    unlock: unsafe extern "C" fn(*mut c_void) -> c_int,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("libneighbour.so")
}

/// Compiles the library; the children of a test find it there.
pub(crate) fn build() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/neighbour/robust.c");
        // Renamed into place: the processes of another test may have it mapped.
        let fresh = path().with_extension(std::process::id().to_string());
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-Wall", "-shared", "-fPIC", "-pthread", source, "-o"]).arg(&fresh);
        let status = cc.status().unwrap_or_else(|error| panic!("{cc:?}: {error}"));
        assert!(status.success(), "{cc:?}: {status}");
        std::fs::rename(fresh, path()).unwrap();
    });
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let path = CString::new(path().into_os_string().into_encoded_bytes()).unwrap();
        // SAFETY: a library without constructors, which is never closed; its functions are of these types.
        unsafe {
            let found = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
            assert!(!found.is_null(), "{path:?} is not there: build() makes it");
            let library = Library {
                size: function(found, c"neighbour_size"),
                init: function(found, c"neighbour_init"),
                try_lock: function(found, c"neighbour_try"),
                lock: function(found, c"neighbour_lock"),
                unlock: function(found, c"neighbour_unlock"),
            };
            assert!((library.size)() <= size_of::<Mutex>());
            library
        }
    })
}

/// A function of the library.
///
/// # Safety
/// It is of this type.
unsafe fn function<F: Copy>(library: *mut c_void, name: &CStr) -> F {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: an open library; and an address is what a pointer to a function is.
    unsafe {
        let found = libc::dlsym(library, name.as_ptr());
        assert!(!found.is_null(), "{name:?}");
        std::mem::transmute_copy(&found)
    }
}

/// How a mutex was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Whole,
    /// `EOWNERDEAD`; it counts as repaired.
    OwnerDied,
    /// Somebody has it still; it was not taken.
    Busy,
}

fn found(error: c_int) -> Found {
    match error {
        0 => Found::Whole,
        libc::EOWNERDEAD => Found::OwnerDied,
        libc::EBUSY | libc::ETIMEDOUT => Found::Busy,
        other => panic!("{}", std::io::Error::from_raw_os_error(other)),
    }
}

impl Mutex {
    pub(crate) fn new() -> Mutex {
        let mutex = Mutex(std::cell::UnsafeCell::new([0; 64]));
        mutex.init();
        mutex
    }

    fn at(&self) -> *mut c_void {
        self.0.get().cast()
    }

    /// Makes a mutex of zeroed memory.
    pub(crate) fn init(&self) {
        // SAFETY: memory of the right size, that nobody uses yet.
        assert_eq!(unsafe { (library().init)(self.at()) }, 0);
    }

    pub(crate) fn try_lock(&self) -> Found {
        // SAFETY: a mutex, which stays where it is while it is held.
        found(unsafe { (library().try_lock)(self.at()) })
    }

    /// Waits a generous time.
    pub(crate) fn lock(&self) -> Found {
        // SAFETY: as above.
        found(unsafe { (library().lock)(self.at(), ipc_testkit::GENEROUS.as_secs() as c_uint) })
    }

    pub(crate) fn unlock(&self) {
        // SAFETY: as above; the caller has it.
        assert_eq!(unsafe { (library().unlock)(self.at()) }, 0);
    }
}
