//! What a name may be.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::{Error, Result};

/// Where names stand: as those of shm_open(3), so that each name there is one user's.
pub(crate) const DIRECTORY: &str = "/dev/shm";

/// The most bytes of a file's name.
const LONGEST: usize = 255;

/// A name that can stand in [`DIRECTORY`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

impl Name {
    /// # Errors
    /// [`Error::Invalid`] with what is wrong with it.
    pub(crate) fn new(name: impl Into<String>) -> Result<Name> {
        let name = name.into();
        let why = if name.is_empty() {
            "it is empty"
        } else if name.contains('\0') {
            "it has a NUL in it"
        } else if name.contains('/') {
            "it has a `/` in it: a name is no path, and begins with none"
        } else if name == "." || name == ".." {
            "it is a directory's"
        } else if name.len() > LONGEST {
            "it has more than 255 bytes"
        } else {
            return Ok(Name(name));
        };
        Err(Error::invalid(format!("the name {name:?}"), why))
    }

    /// One that nobody has: 64 random bits.
    pub(crate) fn random() -> Result<Name> {
        let mut bits = [0; 8];
        let failed = |error| Error::os("could not make a name: getrandom", error);
        // So few come whole (getrandom(2)).
        getrandom(&mut bits, GetRandomFlags::empty()).map_err(failed)?;
        Ok(Name(format!("ipc_{:016x}", u64::from_ne_bytes(bits))))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_file_can_be_called() {
        for good in ["a", "a:b\nc", "ümläut", " ", "...", &"x".repeat(255)] {
            assert_eq!(Name::new(good).unwrap().path(), Path::new("/dev/shm").join(good));
        }
        for (bad, why) in [
            ("", "empty"),
            ("a\0b", "NUL"),
            ("/a", "`/`"),
            ("../etc/passwd", "`/`"),
            (".", "directory"),
            ("..", "directory"),
            (&"x".repeat(256), "255"),
        ] {
            let error = Name::new(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn random_names_differ() {
        let (one, other) = (Name::random().unwrap(), Name::random().unwrap());
        assert!(one != other && one.as_str().starts_with("ipc_") && one.as_str().len() == 20);
    }
}
