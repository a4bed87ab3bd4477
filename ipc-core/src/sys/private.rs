//! Descriptors that a forked copy of this process must not keep.
//!
//! A copy has every descriptor of the original. If it kept the parent's end of a sibling's lifeline, that sibling would
//! outlive the parent; if it kept control sockets or the ends of pipes, nobody would see the end of them. So each such descriptor is
//! listed from its making until it is closed, and a fork by this crate holds the list still, and puts `/dev/null` in the place of
//! each in the copy: the numbers stay valid for the values that own them there. A number that a child is to have something else at
//! ([`give_up`]) is no longer such a value's: which entry is whose is told by a mark, for the number may be listed again.
//!
//! None of them stands on 0 to 2, where a program that has closed its standard streams would have it: what is printed would go into
//! it, and children would inherit it as theirs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::descriptor::move_off;

static OPEN: Mutex<Open> = Mutex::new(Open { marks: BTreeMap::new(), last: 0 });

struct Open {
    /// The mark of whoever owns each number.
    marks: BTreeMap<RawFd, u64>,
    last: u64,
}

impl Open {
    fn enter(&mut self, descriptor: OwnedFd) -> Private {
        self.last += 1;
        self.marks.insert(descriptor.as_raw_fd(), self.last);
        Private(Some((descriptor, self.last)))
    }

    /// Takes the entry out; whether it was still this one's.
    fn remove(&mut self, number: RawFd, mark: u64) -> bool {
        let still = self.marks.get(&number) == Some(&mark);
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
    let mut open = open();
    let mut made = make()?.map(Some);
    for place in &mut made {
        *place = place.take().map(|fresh| move_off(fresh, &[]).map_err(|(_, e)| e)).transpose()?;
    }
    Ok(made.map(|made| made.map_or(Private(None), |made| open.enter(made))))
}

impl From<OwnedFd> for Private {
    /// One that was made elsewhere: until now, forked copies have it. It stays on 0 to 2 where there is no other number for it.
    fn from(descriptor: OwnedFd) -> Private {
        let mut open = open();
        let descriptor = move_off(descriptor, &[]).unwrap_or_else(|(descriptor, _)| descriptor);
        open.enter(descriptor)
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

/// Forks by `fork`, which returns `Ok(None)` in the copy, and takes the private descriptors away from the copy, but for those that are
/// its own.
///
/// A copy from which they cannot be taken ends here, after `tell`: an error would be the *caller's*, who would go on with its
/// own work a second time.
pub(crate) fn fork_without<T, E>(
    own: &[BorrowedFd<'_>],
    fork: impl FnOnce() -> Result<Option<T>, E>,
    tell: impl FnOnce(&io::Error),
) -> Result<Option<T>, E> {
    let open = open();
    let forked = fork();
    if let Ok(None) = forked
        && let Err(e) = replace(
            open.marks.keys().copied().filter(|number| own.iter().all(|own| own.as_raw_fd() != *number)),
        )
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
        // so during the fork. The owners go on owning the numbers, now of `/dev/null`.
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
