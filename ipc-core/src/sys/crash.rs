//! Crash points: named places where a test can have a process kill itself. Only with the feature `crash-points`.
//!
//! A process that is killed from outside dies wherever it happens to be; the windows that matter are a few instructions wide.
//! So each has a name in [`POINTS`] and a `crash_point!` in the code, and a page of memory that all processes of a test share says
//! which of them is armed, and the how many-th process to come by shall die there, by SIGKILL as if from outside. The
//! page is a memfd, found by the environment variable [`ENV`]: children that were executed have it from their
//! environment, clones have the mapping.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use rustix::fs::{MemfdFlags, Mode, OFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// All points; the part before the colon says who dies there.
pub const POINTS: [&str; 30] = [
    "parent: socket pair made",
    "parent: child executed",
    "parent: request sent",
    "parent: newborn taken",
    "parent: start sent",
    "parent: before the registry",
    "detacher: lifeline given",
    "detacher: child told",
    "server: request received",
    "server: child cloned",
    "server: answered",
    "newborn: asked",
    "child: born",
    "child: tied",
    "child: told",
    "child: set up",
    "child: about to call",
    "child: returned",
    "child: reported",
    "listener: client admitted",
    "listener: client through",
    "client: connected",
    "client: greeted",
    "client: through",
    "sender: value encoded",
    "sender: part sent",
    "sender: message sent",
    "stream sender: bytes sent",
    "receiver: packet taken",
    "receiver: message taken",
];

/// Names the page, as a path.
const ENV: &str = "IPC_CORE_CRASH";

#[repr(C)]
struct Page {
    /// The armed point's place in [`POINTS`] plus one; 0 for none.
    armed: AtomicU32,
    /// The how many-th to come by dies.
    left: AtomicU32,
    /// What is armed by that death, for the first to come by; 0 for none.
    next: AtomicU32,
    kills: [AtomicU32; POINTS.len()],
}

/// This process's mapping of the page that its environment names.
static PAGE: AtomicPtr<Page> = AtomicPtr::new(ptr::null_mut());

/// It names none; looked up once.
static NONE: AtomicBool = AtomicBool::new(false);

/// The place of a point in [`POINTS`].
pub(crate) const fn place(name: &str) -> usize {
    let mut at = 0;
    while at < POINTS.len() {
        if equal(POINTS[at].as_bytes(), name.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("no crash point of this name")
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Kills this process, if it is to die here.
pub(crate) fn reached(point: usize) {
    let Some(page) = page() else { return };
    let armed = point as u32 + 1;
    if page.armed.load(Ordering::SeqCst) != armed {
        return;
    }
    let left = page.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if left == Ok(1) {
        page.left.store(1, Ordering::SeqCst);
        page.armed.store(page.next.swap(0, Ordering::SeqCst), Ordering::SeqCst);
        page.kills[point].fetch_add(1, Ordering::SeqCst);
        loop {
            // SAFETY: numbers only. Another thread may be the one that takes the signal; this one goes no further.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
    }
}

fn page() -> Option<&'static Page> {
    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        if NONE.load(Ordering::Relaxed) {
            return None;
        }
        let Some(path) = std::env::var_os(ENV) else {
            NONE.store(true, Ordering::Relaxed);
            return None;
        };
        let file = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mapped = map(&file).ok()?.as_ptr();
        page = match PAGE.compare_exchange(ptr::null_mut(), mapped, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => mapped,
            // Another thread was first. One page more stays mapped in a test's process.
            Err(first) => first,
        };
    }
    // SAFETY: mapped by this function or in the process that this one is a clone of, and never unmapped; atomics only.
    unsafe { page.as_ref() }
}

fn map(file: &OwnedFd) -> io::Result<NonNull<Page>> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let mapped = unsafe { mmap(ptr::null_mut(), size_of::<Page>(), access, MapFlags::SHARED, file, 0)? };
    NonNull::new(mapped.cast()).ok_or_else(|| io::ErrorKind::Other.into())
}

/// The test's side: the page of the processes that it starts with [`env`](CrashPoints::env) in their environment.
#[derive(Debug)]
pub struct CrashPoints {
    page: NonNull<Page>,
    /// Of the one who made it; `None` in the processes of the test.
    file: Option<OwnedFd>,
}

impl CrashPoints {
    /// A new page; nothing is armed.
    ///
    /// # Errors
    /// The system's, as of memfd_create(2) and mmap(2).
    pub fn create() -> io::Result<CrashPoints> {
        let file = memfd_create(c"crash points", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size_of::<Page>() as u64)?;
        Ok(CrashPoints { page: map(&file)?, file: Some(file) })
    }

    /// The page that this process's environment names.
    pub fn of_this_process() -> Option<CrashPoints> {
        page().map(|page| CrashPoints { page: page.into(), file: None })
    }

    /// What must stand in the environment of the processes that are to obey.
    pub fn env(&self) -> Option<(&'static str, String)> {
        let file = self.file.as_ref()?;
        Some((ENV, format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())))
    }

    fn page(&self) -> &Page {
        // SAFETY: mapped as long as `self` is (`drop`), or for ever (`of_this_process`); atomics only, and new memory is zero.
        unsafe { self.page.as_ref() }
    }

    /// From now on the `nth` process to come to the point dies there, if `nth` is not 0, and with that nothing is armed any
    /// more.
    ///
    /// # Panics
    /// Where there is no such point.
    pub fn arm(&self, point: &str, nth: u32) {
        self.disarm();
        self.page().left.store(nth, Ordering::SeqCst);
        self.page().armed.store(place(point) as u32 + 1, Ordering::SeqCst);
    }

    /// As [`arm`](CrashPoints::arm) for the next process to come to `point`, and when that has died the next to come to `then`.
    ///
    /// # Panics
    /// Where there are no such points.
    pub fn arm_both(&self, point: &str, then: &str) {
        self.disarm();
        self.page().next.store(place(then) as u32 + 1, Ordering::SeqCst);
        self.page().left.store(1, Ordering::SeqCst);
        self.page().armed.store(place(point) as u32 + 1, Ordering::SeqCst);
    }

    /// Nobody dies from now on.
    pub fn disarm(&self) {
        self.page().next.store(0, Ordering::SeqCst);
        self.page().armed.store(0, Ordering::SeqCst);
    }

    /// How many have died at the point.
    ///
    /// # Panics
    /// Where there is no such point.
    pub fn kills(&self, point: &str) -> u32 {
        self.page().kills[place(point)].load(Ordering::SeqCst)
    }
}

impl Drop for CrashPoints {
    fn drop(&mut self) {
        if self.file.is_some() {
            // SAFETY: mapped by `create`, and this was its only user.
            let _ = unsafe { munmap(self.page.as_ptr().cast(), size_of::<Page>()) };
        }
    }
}
