//! `Spawn`: the program executed again.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use super::{Cradle, Newborn, as_this_process};
use crate::entry::hook;
use crate::entry::image::Image;
use crate::error::{Call, Error, Ran, Result};
use crate::process::environment::Environment;
use crate::process::setup::Setup;
use crate::{lifeline, sys};

/// A child in a fresh copy of the image, with this environment or the process's own.
pub(crate) fn newborn(environment: Option<&Environment>) -> Result<(Newborn, Setup)> {
    hook::check()?;
    Image::this().verify()?;
    let mut setup = as_this_process()?;
    setup.command = command();
    let Cradle { ours, theirs } = Cradle::new()?;
    let keep = [theirs.control.as_fd().as_raw_fd(), theirs.lifeline.as_fd().as_raw_fd()];

    let argv: Vec<CString> =
        std::env::args_os().filter_map(|arg| CString::new(arg.into_vec()).ok()).collect();
    let own;
    let environment = match environment {
        Some(environment) => environment,
        None => {
            own = Environment::capture();
            &own
        }
    };
    let mut envp: Vec<CString> = environment.entries().filter_map(|entry| CString::new(entry).ok()).collect();
    // The last word: whatever the environment holds, the marker is the child's own.
    envp.retain(|pair| !pair.as_bytes().starts_with(MARKER_PREFIX.as_bytes()));
    envp.extend(CString::new(hook::marker(keep[0], keep[1])));

    let pointers =
        |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>();
    let born = sys::clone::exec(&sys::clone::Exec {
        program: c"/proc/self/exe",
        argv: &pointers(&argv),
        envp: &pointers(&envp),
        keep,
        close_range: !sys::switch::is_off("close_range"),
    })
    .map_err(|(step, e)| {
        Error::os_in(Call::Process, format!("could not start a child: {step}"), e).with_ran(Ran::DidNotRun)
    })?;
    crash_point!("parent: child executed");
    lifeline::arm_newborn(theirs.lifeline.as_fd(), born.pid);
    Ok((ours.into_newborn(born, true), setup))
}

/// What this process is called; where that cannot be read the child keeps the name that the kernel makes of its path.
fn command() -> Option<CString> {
    let mut name = std::fs::read("/proc/self/comm").ok()?;
    name.pop_if(|last| *last == b'\n');
    CString::new(name).ok()
}

const MARKER_PREFIX: &str = "IPC_CORE_CHILD=";
