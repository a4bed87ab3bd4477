//! Descriptors that a forked copy of this process must not keep.
//!
//! A copy has every descriptor of the original. If it kept the parent's end of a sibling's lifeline, that sibling would
//! outlive the parent; if it kept control sockets or the ends of pipes, nobody would see the end of them. So each such descriptor is
//! listed from its making until it is closed, and a fork by this crate holds the list still, and puts `/dev/null` in the place of
//! each in the copy: the numbers stay valid for the values that own them there. A number that a child is to have something else at
//! ([`give_up`]) is no longer such a value's: which entry is whose is told by a mark, for the number may be listed again.
//!
//! Crates above have such descriptors as well, by which the other side of a queue learns that nobody is left: [`Tie`]. A copy that runs a
//! named function has what is in its arguments, and keeps none of its parent's. One that runs a closure has what that captured; and what that
//! is, shows when the parent drops the original of it, after the fork: values with ties say so then, and the copy is told before it runs ([`keep_only`]).
//!
//! None of them stands on 0 to 2, where a program that has closed its standard streams would have it: what is printed would go into
//! it, and children would inherit it as theirs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::descriptor::move_off;
use super::incarnation::Incarnation;

static OPEN: Mutex<Open> = Mutex::new(Open { marks: BTreeMap::new(), last: 0 });

struct Open {
    /// The mark of whoever owns each number.
    marks: BTreeMap<RawFd, Mark>,
    last: u64,
}

struct Mark {
    mark: u64,
    /// Whether a copy that runs a closure may have it by that.
    captured: bool,
    /// Whose it is: that of who made it, or of the copy whose closure captured it.
    of: Incarnation,
}

impl Open {
    fn enter(&mut self, descriptor: OwnedFd, captured: bool) -> Private {
        self.last += 1;
        self.marks
            .insert(descriptor.as_raw_fd(), Mark { mark: self.last, captured, of: Incarnation::this() });
        Private(Some((descriptor, self.last)))
    }

    /// Takes the entry out; whether it was still this one's.
    fn remove(&mut self, number: RawFd, mark: u64) -> bool {
        let still = self.marks.get(&number).is_some_and(|entry| entry.mark == mark);
        if still {
            self.marks.remove(&number);
        }
        still
    }
}

fn open() -> MutexGuard<'static, Open> {
    // A panic cannot leave the list half changed.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Private(Option<(OwnedFd, u64)>);

/// Makes descriptors: no fork by this crate comes between their making and their entry in the list.
pub(crate) fn make<const N: usize>(
    make: impl FnOnce() -> io::Result<[OwnedFd; N]>,
) -> io::Result<[Private; N]> {
    make_as(false, make)
}

fn make_as<const N: usize>(
    captured: bool,
    make: impl FnOnce() -> io::Result<[OwnedFd; N]>,
) -> io::Result<[Private; N]> {
    let mut open = open();
    let mut made = make()?.map(Some);
    for place in &mut made {
        *place = place.take().map(|fresh| move_off(fresh, &[]).map_err(|(_, e)| e)).transpose()?;
    }
    Ok(made.map(|made| made.map_or(Private(None), |made| open.enter(made, captured))))
}

impl From<OwnedFd> for Private {
    /// One that was made elsewhere: until now, forked copies have it. It stays on 0 to 2 where there is no other number for it.
    fn from(descriptor: OwnedFd) -> Private {
        enter(descriptor, false)
    }
}

fn enter(descriptor: OwnedFd, captured: bool) -> Private {
    let mut open = open();
    let descriptor = move_off(descriptor, &[]).unwrap_or_else(|(descriptor, _)| descriptor);
    open.enter(descriptor, captured)
}

/// A descriptor whose last closing is to be noticed, by the other end of a pair of sockets say: a forked copy of this process must not keep it
/// open by chance.
///
/// The child of a `Context::fork` has `/dev/null` in its place, for it has what came in its arguments; that of a `Builder::fork`, too, but for what its
/// closure captured. So the value that has it asks, in its `drop`, whether this is [its end](Tie::ends_here).
#[derive(Debug)]
pub struct Tie(Private);

impl Tie {
    /// For the `drop` of what has it: whether it comes to its end by that. Not the original of what a forked child's closure captured, which is the child's now;
    /// nor a copy in a process that was forked otherwise, by fork(2) say, which has it beside its parent.
    pub fn ends_here(&self) -> bool {
        let number = self.as_fd().as_raw_fd();
        let note = |left: &RefCell<Option<Vec<RawFd>>>| {
            left.borrow_mut().as_mut().map(|left| left.push(number)).is_some()
        };
        // A thread that ends leaves nothing to copies.
        let is_left = LEFT.try_with(note).unwrap_or(false);
        !is_left && open().marks.get(&number).is_some_and(|entry| entry.of.is_this())
    }
}

thread_local! {
    /// The ties in what this thread leaves to a copy, while it drops that.
    static LEFT: RefCell<Option<Vec<RawFd>>> = const { RefCell::new(None) };
}

/// Drops what a copy of this process has now; gives the ties that it has by that.
pub(crate) fn leave_to_a_copy<T>(original: T) -> Vec<RawFd> {
    // What is dropped may itself leave something to another copy.
    let outer = LEFT.replace(Some(Vec::new()));
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(original)));
    let left = LEFT.replace(outer);
    match dropped {
        Ok(()) => left.unwrap_or_default(),
        Err(panic) => resume_unwind(panic),
    }
}

/// In a copy that runs a closure: it has these ties, and no others.
pub(crate) fn keep_only(kept: &[RawFd]) -> io::Result<()> {
    let mut open = open();
    for number in kept {
        if let Some(entry) = open.marks.get_mut(number) {
            entry.of = Incarnation::this();
        }
    }
    let ties = open.marks.iter().filter(|(number, entry)| entry.captured && !kept.contains(number));
    replace(ties.map(|(number, _)| *number))
}

impl Tie {
    /// Makes descriptors: no fork by `ipc-core` comes between their making and this.
    ///
    /// # Errors
    /// What `make` says; no descriptor is left.
    pub fn make<const N: usize>(make: impl FnOnce() -> io::Result<[OwnedFd; N]>) -> io::Result<[Tie; N]> {
        Ok(self::make_as(true, make)?.map(Tie))
    }
}

impl From<OwnedFd> for Tie {
    /// Until now, forked copies have it.
    fn from(descriptor: OwnedFd) -> Tie {
        Tie(enter(descriptor, true))
    }
}

impl AsFd for Tie {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Private> for OwnedFd {
    /// From now on it is like any other.
    fn from(mut private: Private) -> OwnedFd {
        let mut open = open();
        match private.0.take() {
            Some((descriptor, mark)) => {
                open.remove(descriptor.as_raw_fd(), mark);
                descriptor
            }
            None => unreachable!("taken only by this and by drop"),
        }
    }
}

impl AsFd for Private {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Some((descriptor, _)) => descriptor.as_fd(),
            None => unreachable!("taken only by what consumes it"),
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // Closed under the lock: a number is listed exactly as long as it is this descriptor's.
        if let Some((descriptor, mark)) = self.0.take() {
            let mut open = open();
            if open.remove(descriptor.as_raw_fd(), mark) {
                drop(descriptor);
            } else {
                // Something else stands there, which is not this one's to close.
                let _ = descriptor.into_raw_fd();
            }
        }
    }
}

/// From now on this number is somebody else's, for whom something else is put there by `put`: what owned it closes nothing.
pub(crate) fn give_up<T>(number: RawFd, put: impl FnOnce() -> T) -> T {
    let mut open = open();
    open.marks.remove(&number);
    put()
}

/// What a copy has of the descriptors that this process had.
#[derive(Clone, Copy, Default)]
pub(crate) struct Keeps<'a> {
    /// Private ones that are the copy's own.
    pub(crate) own: &'a [BorrowedFd<'a>],
    /// Whether it runs a closure, and keeps those that this may have captured until it is told which.
    pub(crate) captured: bool,
    /// Others that are taken away from it, too: duplicates that are on their way to it, or to others.
    pub(crate) not: &'a [OwnedFd],
}

/// Forks by `fork`, which returns `Ok(None)` in the copy, and takes the private descriptors away from the copy, but for those that it
/// keeps.
///
/// A copy from which they cannot be taken ends here, after `tell`: an error would be the *caller's*, who would go on with its
/// own work a second time.
pub(crate) fn fork_without<T, E>(
    keeps: Keeps<'_>,
    fork: impl FnOnce() -> Result<Option<T>, E>,
    tell: impl FnOnce(&io::Error),
) -> Result<Option<T>, E> {
    let open = open();
    let forked = fork();
    let is_own = |number: &RawFd| keeps.own.iter().any(|own| own.as_raw_fd() == *number);
    let listed = open.marks.iter().filter(|(_, entry)| !(keeps.captured && entry.captured));
    let taken = listed.map(|(number, _)| *number).filter(|number| !is_own(number));
    if let Ok(None) = forked
        && let Err(e) = replace(taken.chain(keeps.not.iter().map(AsRawFd::as_raw_fd)))
    {
        tell(&e);
        super::process::exit_now(1);
    }
    forked
}

/// Puts `/dev/null` in the place of each of these.
fn replace(numbers: impl Iterator<Item = RawFd>) -> io::Result<()> {
    let mut numbers = numbers.peekable();
    if numbers.peek().is_none() {
        return Ok(());
    }
    let null = super::descriptor::open_null()?;
    for number in numbers {
        // SAFETY: the list holds only numbers of descriptors that are open and owned by a `Private`, and the lock kept it
        // so during the fork; the others were lent for it. The owners go on owning the numbers, now of `/dev/null`.
        if unsafe { libc::dup3(null.as_raw_fd(), number, libc::O_CLOEXEC) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd;

    use super::*;
    use crate::sys::descriptor::open_null;

    fn pair() -> [Private; 2] {
        make(|| Ok([open_null()?, open_null()?])).unwrap()
    }

    fn target(number: RawFd) -> Option<String> {
        let link = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
        Some(link.to_string_lossy().into_owned())
    }

    /// Puts a memory file at a number.
    fn put(number: RawFd) {
        let file = rustix::fs::memfd_create("given", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        // SAFETY: the number is a private descriptor's of this test, which gives it up.
        assert_eq!(unsafe { libc::dup3(file.as_raw_fd(), number, libc::O_CLOEXEC) }, number);
    }

    /// Only what is dropped as the original of a closure is left to the copy, and noted.
    #[test]
    fn ties_say_what_a_closure_has_captured() {
        let tie = || Tie::from(open_null().unwrap());
        struct End(Tie, bool);
        impl Drop for End {
            fn drop(&mut self) {
                assert_eq!(self.0.ends_here(), self.1);
            }
        }
        let (captured, other) = (End(tie(), false), End(tie(), true));
        let number = captured.0.as_fd().as_raw_fd();
        let function = move || drop(captured);
        assert_eq!(leave_to_a_copy(function), [number]);
        drop(other);
        assert_eq!(leave_to_a_copy(()), []);
    }

    /// A handle that a forked child has a copy of closed what the child was given at its descriptor's number.
    #[test]
    fn what_was_put_at_the_number_is_not_closed_by_its_former_owner() {
        let [one, other] = pair();
        let numbers = [&one, &other].map(|private| private.as_fd().as_raw_fd());
        numbers.into_iter().for_each(|number| give_up(number, || put(number)));
        drop(one);
        assert!(target(numbers[0]).is_some_and(|target| target.contains("given")), "closed");
        // SAFETY: put there above, and owned by nothing else.
        let [given, again] = numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) });
        drop(given);
        // The number is listed once more, for somebody else.
        let again = Private::from(again);
        drop(other);
        assert!(target(numbers[1]).is_some_and(|target| target.contains("given")), "closed");
        drop(again);
        assert!(!open().marks.contains_key(&numbers[1]));
    }
}
