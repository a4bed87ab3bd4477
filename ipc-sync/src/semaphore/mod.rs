//! Semaphores: so many may, and who else wants to waits.
//!
//! A permit belongs to somebody, or it does not; and that decides what a death means. Python has one kind for both uses, and a worker that is
//! killed takes its permits along for ever. Here there are two:
//!
//! | | [`Semaphore`], [`BoundedSemaphore`] | [`CountingSemaphore`] |
//! |---|---|---|
//! | is for | so many at once: connections, licences, memory | signals: so many things have happened, or are there |
//! | a permit belongs to | the process that acquired it | nobody |
//! | its death | gives it back | changes nothing |
//! | who releases | who acquired, as a rule | anybody |
//! | acquiring and releasing costs | as much as a lock, and more | as `sem_t` |
//!
//! `permits` is the word that both wait for, [`crate::futures`] what their futures are woken by; `raw_counting` and `raw_owned` are what is placed in memory,
//! `counting` and `owned` the handles, and `permit` what an owner holds.

mod counting;
mod owned;
mod permit;
mod permits;
pub(crate) mod raw_counting;
pub(crate) mod raw_owned;

pub use counting::CountingSemaphore;
pub use owned::{BoundedSemaphore, Semaphore};
pub use permit::{OwnedPermit, Permit};
pub use permits::MAX_PERMITS;

use crate::{Error, Result};

fn check(permits: u32, most: u32) -> Result<()> {
    if most == 0 || most > MAX_PERMITS {
        return Err(Error::invalid("the most permits", format!("{most}: there may be 1 to {MAX_PERMITS}")));
    }
    if permits > most {
        return Err(Error::invalid("the number of permits", format!("{permits}, and there may be {most}")));
    }
    Ok(())
}

/// What nobody can ever acquire.
fn check_many(permits: u32, most: u32) -> Result<()> {
    if permits > most {
        return Err(Error::invalid(
            "the number of permits",
            format!("{permits}, and there are never more than {most}"),
        ));
    }
    Ok(())
}
