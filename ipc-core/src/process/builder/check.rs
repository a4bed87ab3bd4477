//! What a builder refuses before anything is made: wishes that nobody could fulfil, or that the system would take for others.

use super::Builder;
use crate::error::{Error, Result};
use crate::process::stdio::Stdio;

impl Builder {
    /// Refuses what no process can have.
    pub(super) fn check(&self) -> Result<()> {
        self.check_name()?;
        self.setup.check()?;
        let invalid = |what: String, why: &str| Err(Error::Invalid { what, why: why.into() });
        if self.stdin.as_ref().is_some_and(Stdio::is_relayed) {
            return invalid("relaying standard input".into(), "relay() and lines() are for output");
        }
        match self.descriptors.iter().find(|(number, _)| *number <= 2) {
            Some((number, _)) => invalid(
                format!("the descriptor number {number}"),
                "0 to 2 are the standard streams, and numbers are not negative",
            ),
            None => Ok(()),
        }
    }

    /// Refuses what only a process can have.
    pub(super) fn check_thread(&self) -> Result<()> {
        self.check_name()?;
        let asked = [
            (self.clear || !self.variables.is_empty(), "an environment"),
            (self.stdin.is_some() || self.stdout.is_some() || self.stderr.is_some(), "standard streams"),
            (!self.descriptors.is_empty(), "descriptors by number"),
            (self.detached, "being detached"),
            (self.authkey.is_some(), "a key"),
        ];
        let others = || asked.iter().find_map(|(asked, what)| asked.then_some(*what));
        match self.setup.asked().or_else(others) {
            None => Ok(()),
            Some(what) => Err(Error::Unsupported {
                what: format!("{what} of its own for a child of Context::threads"),
                why: "a thread shares that with its process".into(),
            }),
        }
    }

    fn check_name(&self) -> Result<()> {
        match &self.name {
            Some(name) if name.contains('\0') => Err(Error::Invalid {
                what: format!("the name {name:?}"),
                why: "it contains a zero byte".into(),
            }),
            _ => Ok(()),
        }
    }
}
