//! Crash points: named places where a test can have a process kill itself. Only with the feature `crash-points`.
//!
//! A process that is killed from outside dies wherever it happens to be; the windows that matter are a few instructions wide.
//! So each has a name in a list of its crate ([`POINTS`] is this one's) and a place in the code, and a page of memory that all
//! processes of a test share says
//! which of them is armed, and the how many-th process to come by shall die there, by SIGKILL as if from outside. The
//! page is a memfd, found by the environment variable [`ENV`]: children that were executed have it from their
//! environment, clones have the mapping.
//!
//! The crates above bring lists of their own (`primitive::crash`). In the page a point is a hash of its name, so that whoever comes by need know
//! no list but its own crate's; the test, which names the points, gets an error for a name that is in none of them.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{MemfdFlags, Mode, OFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::entry::fnv::Fnv;

/// All points of this crate; the part before the colon says who dies there.
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

/// What a stalled process gives the others time with.
const STALL: Duration = Duration::from_micros(200);

/// Names the page, as a path.
const ENV: &str = "IPC_CORE_CRASH";

/// As many points as a test can have.
const MOST: usize = 128;

/// A point, as it stands in the page: a hash of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point(u64);

impl Point {
    /// The point of this name.
    ///
    /// # Panics
    /// The list does not have it: where this is a constant, it is not compiled.
    pub const fn of(name: &str, list: &[&str]) -> Point {
        let mut at = 0;
        while at < list.len() {
            if equal(list[at].as_bytes(), name.as_bytes()) {
                return Point::named(name);
            }
            at += 1;
        }
        panic!("no crash point of this name")
    }

    const fn named(name: &str) -> Point {
        let mut hash = Fnv::new();
        hash.write(name.as_bytes());
        Point(hash.finish())
    }
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

#[repr(C)]
struct Page {
    /// The armed point; 0 for none.
    armed: AtomicU64,
    /// What is armed by that death, for the first to come by; 0 for none.
    next: AtomicU64,
    /// Who comes by there takes its time; 0 for nowhere.
    stalled: AtomicU64,
    /// The how many-th to come by dies.
    left: AtomicU32,
    /// The test's points, in the order of its list.
    slots: [Slot; MOST],
}

#[repr(C)]
struct Slot {
    point: AtomicU64,
    kills: AtomicU32,
}

impl Page {
    /// # Panics
    /// The test has no such point.
    fn slot(&self, point: Point) -> &Slot {
        match self.slots.iter().find(|slot| slot.point.load(Ordering::Relaxed) == point.0) {
            Some(slot) => slot,
            None => panic!("no crash point of this name"),
        }
    }
}

/// This process's mapping of the page that its environment names.
static PAGE: AtomicPtr<Page> = AtomicPtr::new(ptr::null_mut());

/// It names none; looked up once.
static NONE: AtomicBool = AtomicBool::new(false);

/// Kills this process, if it is to die here.
pub fn reached(point: Point) {
    if let Some(page) = page() {
        at(page, point, || ());
    }
}

/// As [`reached`], for a place that is given its name when it is reached; `last` is what who dies there does before. (A name that is in no list is
/// armed by no test; one in a list that no place has is never hit, which fails its test.)
pub fn reached_by_name(name: &str, last: impl FnOnce()) {
    if let Some(page) = page() {
        at(page, Point::named(name), last);
    }
}

fn at(page: &Page, point: Point, last: impl FnOnce()) {
    if page.stalled.load(Ordering::Relaxed) == point.0 {
        std::thread::sleep(STALL);
    }
    if page.armed.load(Ordering::SeqCst) != point.0 {
        return;
    }
    let left = page.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if left != Ok(1) {
        return;
    }
    if page.armed.compare_exchange(point.0, 0, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        // It has happened meanwhile, and this process was counted for what is armed by now.
        page.left.fetch_add(1, Ordering::SeqCst);
        return;
    }
    page.left.store(1, Ordering::SeqCst);
    page.armed.store(page.next.swap(0, Ordering::SeqCst), Ordering::SeqCst);
    page.slot(point).kills.fetch_add(1, Ordering::SeqCst);
    last();
    loop {
        // SAFETY: numbers only. Another thread may be the one that takes the signal; this one goes no further.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
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
    /// A new page for these points; nothing is armed.
    ///
    /// # Errors
    /// The system's, as of memfd_create(2) and mmap(2).
    ///
    /// # Panics
    /// There are more points than a page has room for, or two of one name.
    pub fn create(points: &[&str]) -> io::Result<CrashPoints> {
        let file = memfd_create(c"crash points", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size_of::<Page>() as u64)?;
        let crash = CrashPoints { page: map(&file)?, file: Some(file) };
        assert!(points.len() <= MOST, "{} crash points, {MOST} are the most", points.len());
        for (at, name) in points.iter().enumerate() {
            assert!(!points[..at].contains(name), "two crash points are called `{name}`");
            crash.page().slots[at].point.store(Point::named(name).0, Ordering::Relaxed);
        }
        Ok(crash)
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
        self.page().armed.store(self.point(point), Ordering::SeqCst);
    }

    /// As [`arm`](CrashPoints::arm) for the next process to come to `point`, and when that has died the next to come to `then`.
    ///
    /// # Panics
    /// Where there are no such points.
    pub fn arm_both(&self, point: &str, then: &str) {
        self.disarm();
        self.page().next.store(self.point(then), Ordering::SeqCst);
        self.page().left.store(1, Ordering::SeqCst);
        self.page().armed.store(self.point(point), Ordering::SeqCst);
    }

    /// From now on everybody who comes to the point stays there for a moment, so that others come to what is possible only meanwhile.
    ///
    /// # Panics
    /// Where there is no such point.
    pub fn stall(&self, point: &str) {
        self.page().stalled.store(self.point(point), Ordering::SeqCst);
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
        self.page().slot(Point::named(point)).kills.load(Ordering::SeqCst)
    }

    /// As it is armed.
    fn point(&self, name: &str) -> u64 {
        let point = Point::named(name);
        self.page().slot(point);
        point.0
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_point_or_none() {
        const ASKED: Point = Point::of("newborn: asked", &POINTS);
        assert_eq!(ASKED, Point::named("newborn: asked"));
        assert!(std::panic::catch_unwind(|| Point::of("newborn: aske", &POINTS)).is_err());
        let crash = CrashPoints::create(&["one: a", "one: b"]).unwrap();
        assert_eq!(crash.kills("one: a"), 0);
        crash.arm("one: b", 1);
        assert!(std::panic::catch_unwind(|| crash.arm("one: c", 1)).is_err());
        assert!(std::panic::catch_unwind(|| CrashPoints::create(&["one: a", "one: a"])).is_err());
        // This process obeys no page, so it may come by.
        reached_by_name("one: b", || ());
    }
}
