//! The server's side: one thread that makes copies of itself on request.
//!
//! It blocks all signals (a Ctrl-C at the terminal reaches the whole foreground group, and the server must outlive it;
//! its children set the mask they are told), its standard streams are `/dev/null`, and until a preload it
//! never makes a hash map or a random generator: std and most generators keep their keys per thread, and all
//! children would share them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{FORK, FORKED, PRELOAD_FAILED, READY, REFUSED, UNFIT};
use crate::entry::bootstrap::{self, Inherited};
use crate::entry::identity::Name;
use crate::entry::panics;
use crate::message::descriptors::Descriptor;
use crate::message::packet::{self, Received};
use crate::sys::clone::Copier;
use crate::{lifeline, sys};

static PRELOADED: AtomicBool = AtomicBool::new(false);

/// Whether this process, or the server it is a copy of, has run a preload function.
pub(crate) fn preloaded() -> bool {
    PRELOADED.load(Ordering::Relaxed)
}

/// The function that a server process runs.
pub(crate) fn serve(socket: Descriptor, preload: Option<Name>) {
    let socket: OwnedFd = socket.into_inner();
    let say = |kind, text: &str| packet::send(socket.as_fd(), kind, &[text.as_bytes()], &[]).is_ok();
    let copier = match Copier::new() {
        Ok(copier) => copier,
        Err(e) => {
            say(UNFIT, &format!("the kernel does not tell what a clone needs (PR_GET_TID_ADDRESS): {e}"));
            return;
        }
    };
    if let Some(function) = preload
        && let Err(why) = run_preload(function)
    {
        say(PRELOAD_FAILED, &why);
        return;
    }
    if !say(READY, "") {
        return;
    }
    let refuse = |errno: i32| packet::send(socket.as_fd(), REFUSED, &[&errno.to_le_bytes()], &[]);
    loop {
        let frame = match packet::recv(socket.as_fd()) {
            Ok(Received::Frame(frame)) => frame,
            // No room for the newborn's descriptors; the request itself has been read.
            Err(crate::message::Error::DescriptorsLost { .. }) => match refuse(libc::EMFILE) {
                Ok(()) => continue,
                Err(_) => return,
            },
            _ => return,
        };
        let Ok([control, childs_end]) = <[OwnedFd; 2]>::try_from(frame.descriptors) else { return };
        if frame.kind != FORK {
            return;
        }
        crash_point!("server: request received");
        // What the preload has buffered must not be written by every child.
        let stdout = sys::runtime::flush_before_copy();
        // Of this process's own there is something if the preload has started children: they are not the copy's.
        let copied = sys::private::fork_without(
            sys::private::Keeps::default(),
            || copier.copy_as_sibling(),
            |e| bootstrap::refuse(control.as_fd(), "taking the fork server's descriptors away", e),
        );
        drop(stdout);
        let answered = match copied {
            Ok(Some(born)) => {
                crash_point!("server: child cloned");
                lifeline::arm_newborn(childs_end.as_fd(), born.pid);
                let pid = born.pid.to_le_bytes();
                // Too many descriptors are under way, say: the newborn is its client's child, who can open its own. What
                // must not happen is that nobody knows of it.
                packet::send(socket.as_fd(), FORKED, &[&pid], &[born.pidfd.as_fd()])
                    .or_else(|_| packet::send(socket.as_fd(), FORKED, &[&pid], &[]))
            }
            Ok(None) => {
                drop(socket);
                bootstrap::close_own();
                if preloaded() {
                    panics::install_anew();
                }
                bootstrap::enter(Inherited { control, lifeline: childs_end })
            }
            Err(e) => refuse(e.raw_os_error().unwrap_or(libc::EAGAIN)),
        };
        crash_point!("server: answered");
        if answered.is_err() {
            return;
        }
    }
}

fn run_preload(function: Name) -> Result<(), String> {
    PRELOADED.store(true, Ordering::Relaxed);
    let unit = crate::message::descriptors::encode(&()).map_err(|e| e.to_string())?;
    match function.resolve()?.call(&unit.body, unit.descriptors) {
        Ok(_) => {}
        Err(crate::entry::wire::Failure::Panicked(panic)) => return Err(format!("it {panic}")),
        Err(other) => return Err(format!("{other:?}")),
    }
    let threads = std::fs::read_dir("/proc/self/task").map_err(|e| format!("/proc/self/task: {e}"))?.count();
    match threads {
        2 => Err("it left a thread behind, and a process with threads cannot be copied".into()),
        0 => Err("whether it left threads behind is unknown: /proc/self/task lists none".into()),
        1 => Ok(()),
        _ => Err(format!(
            "it left {} threads behind, and a process with threads cannot be copied",
            threads - 1
        )),
    }
}
