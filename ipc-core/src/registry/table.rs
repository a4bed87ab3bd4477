//! The table of what is registered: found by name and version, and refused where two claim the same.

use std::any::TypeId;
use std::fmt;

use super::Registered;

/// The registered functions, by name and version.
pub(crate) struct Table(Vec<&'static Registered>);

impl Table {
    /// Sorts what was registered.
    ///
    /// # Errors
    /// Two functions have one name and version: the error names both places.
    pub(crate) fn new(all: impl IntoIterator<Item = &'static Registered>) -> Result<Table, Duplicate> {
        let mut sorted: Vec<_> = all.into_iter().collect();
        // The places too, so that the same program always says the same.
        sorted.sort_by_key(|entry| (entry.name, entry.version, entry.file, entry.line));
        match sorted.windows(2).find(|pair| key(pair[0]) == key(pair[1])) {
            Some(pair) => Err(Duplicate(pair[0], pair[1])),
            None => Ok(Table(sorted)),
        }
    }

    pub(crate) fn find(&self, name: &str, version: u32) -> Option<&'static Registered> {
        let at = self.0.binary_search_by(|entry| key(entry).cmp(&(name, version))).ok()?;
        self.0.get(at).copied()
    }

    /// The versions that there are of a name.
    pub(crate) fn versions(&self, name: &str) -> Vec<u32> {
        self.0.iter().filter(|entry| entry.name == name).map(|entry| entry.version).collect()
    }

    /// What the function of this type is registered as: the newest version, and the first name that has it.
    pub(crate) fn of(&self, function: TypeId) -> Option<&'static Registered> {
        let its = self.0.iter().copied().filter(|entry| (entry.function)() == function);
        its.rev().max_by_key(|entry| entry.version)
    }

    pub(crate) fn all(&self) -> &[&'static Registered] {
        &self.0
    }
}

fn key(entry: &Registered) -> (&'static str, u32) {
    (entry.name, entry.version)
}

/// Two functions under one name and version.
#[derive(Clone, Copy)]
pub(crate) struct Duplicate(&'static Registered, &'static Registered);

impl Duplicate {
    /// What was registered twice.
    pub(crate) fn what(&self) -> String {
        format!("the registered function `{}`, version {}", self.0.name, self.0.version)
    }
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it stands for two functions, registered at {} and at {}", self.0.place(), self.1.place())
    }
}
