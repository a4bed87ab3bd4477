//! `Fork`: a copy of the calling process.
//!
//! The copy has every descriptor of the original, those of its siblings' lifelines included, and would keep its siblings
//! alive with them; so what belongs to this crate is taken away from it ([`sys::private`]).

use std::os::fd::AsFd;

use super::{Cradle, Newborn, as_this_process};
use crate::entry::bootstrap::{self, InMemory, Inherited};
use crate::entry::hook;
use crate::error::{Error, Ran, Result};
use crate::process::relay;
use crate::process::setup::Setup;
use crate::{lifeline, sys};

/// A child that is a copy of this process, and waits for its start message.
pub(crate) fn newborn() -> Result<(Newborn, Setup)> {
    copy(None)
}

/// A child that is a copy of this process, and runs `function` once it is told what else to be.
pub(crate) fn newborn_with(function: InMemory) -> Result<(Newborn, Setup)> {
    copy(Some(function))
}

fn copy(function: Option<InMemory>) -> Result<(Newborn, Setup)> {
    if function.is_none() {
        hook::check()?;
    }
    let setup = as_this_process()?;
    let Cradle { ours, theirs } = Cradle::new()?;
    sys::runtime::flush_before_copy();
    let forked = sys::private::fork_without(
        // SAFETY: whoever made the `Context` or called `Builder::fork` has vouched for what the child runs. What this crate
        // itself runs there takes only locks that this thread holds now, or that are made anew in every process.
        || unsafe { sys::clone::fork() },
        |e| bootstrap::refuse(theirs.control.as_fd(), "taking its parent's descriptors away", e),
    );
    match forked {
        Ok(Some(born)) => {
            lifeline::arm_newborn(theirs.lifeline.as_fd(), born.pid);
            Ok((ours.into_newborn(born, true), setup))
        }
        Ok(None) => {
            sys::process::set_cloned();
            drop(ours);
            relay::close_inherited_pipes();
            bootstrap::close_own();
            let inherited = Inherited { control: theirs.control, lifeline: theirs.lifeline };
            match function {
                Some(function) => bootstrap::enter_with(inherited, function),
                None => bootstrap::enter(inherited),
            }
        }
        Err((call, e)) => {
            Err(Error::os(format!("could not start a child: {call}"), e).with_ran(Ran::DidNotRun))
        }
    }
}
