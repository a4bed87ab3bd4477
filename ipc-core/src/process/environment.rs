//! An environment as the kernel keeps it: one block of `NAME=value` entries, each ended by a zero byte.
//!
//! Two environments are equal if their blocks are, which is one memcmp; and a block becomes a process's environment
//! without a copy per variable. A map is made for nobody.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// All variables of a process, in order.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment(Vec<u8>);

impl Environment {
    /// The variables of this process.
    ///
    /// It asks std, which holds its lock meanwhile: reading `environ` without it would break what `set_var` promises
    /// to its callers.
    pub(crate) fn capture() -> Environment {
        let mut environment = Environment(Vec::with_capacity(4096));
        for (name, value) in std::env::vars_os() {
            environment.append(&name, &value);
        }
        environment
    }

    /// From names and values, which the caller has made unique.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an empty name, a name with `=` (but as its first character, which std allows too), or
    /// a zero byte anywhere.
    pub(crate) fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Environment>
    where
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let mut environment = Environment(Vec::new());
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            let bytes = name.as_bytes();
            let why = if bytes.is_empty() {
                "its name is empty"
            } else if bytes[1..].contains(&b'=') {
                "its name contains `=`"
            } else if bytes.contains(&0) || value.as_bytes().contains(&0) {
                "it contains a zero byte"
            } else {
                environment.append(name, value);
                continue;
            };
            return Err(Error::Invalid {
                what: format!("the environment variable {name:?}"),
                why: why.to_owned(),
            });
        }
        Ok(environment)
    }

    fn append(&mut self, name: &OsStr, value: &OsStr) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
    }

    /// Names and values.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (OsString, OsString)> {
        self.0.split(|byte| *byte == 0).filter_map(|entry| {
            // A name may begin with `=`, but not be empty.
            let at = entry.iter().skip(1).position(|byte| *byte == b'=')? + 1;
            Some((OsString::from_vec(entry[..at].to_vec()), OsString::from_vec(entry[at + 1..].to_vec())))
        })
    }

    /// The block itself.
    pub(crate) fn into_block(self) -> Vec<u8> {
        self.0
    }
}

impl Environment {
    /// The entries, `NAME=value` each.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == 0).filter(|entry| !entry.is_empty())
    }
}

impl std::fmt::Debug for Environment {
    /// The names alone: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.pairs().map(|(name, _)| name)).finish()
    }
}

/// As one slice: postcard copies it at once, where a sequence would go byte by byte.
impl Serialize for Environment {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Environment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Environment, D::Error> {
        struct Block;
        impl serde::de::Visitor<'_> for Block {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an environment block")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> std::result::Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        let block = deserializer.deserialize_bytes(Block)?;
        if block.last().is_some_and(|last| *last != 0) {
            return Err(serde::de::Error::custom("an environment block that does not end with a zero byte"));
        }
        Ok(Environment(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_what_std_sees() {
        let ours: Vec<_> = Environment::capture().pairs().collect();
        let std: Vec<_> = std::env::vars_os().collect();
        assert!(!ours.is_empty());
        assert_eq!(ours, std);
    }

    #[test]
    fn odd_entries_survive() {
        let pairs = [("A", ""), ("B", "x=y=z"), ("=C", "drive"), ("D", "\n \u{e4}")];
        let environment = Environment::from_pairs(pairs).unwrap();
        let bytes = postcard::to_stdvec(&environment).unwrap();
        let back: Environment = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back, environment);
        let back: Vec<_> = back.pairs().collect();
        assert_eq!(back, pairs.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(Environment::default().pairs().count(), 0);
    }

    #[test]
    fn bad_names_and_values_are_errors() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y")] {
            let error = Environment::from_pairs([(name, value)]).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{name:?}={value:?}");
        }
    }

    #[test]
    fn debug_shows_no_values() {
        let environment = Environment::from_pairs([("TOKEN", "secret")]).unwrap();
        assert_eq!(format!("{environment:?}"), r#"{"TOKEN"}"#);
    }

    #[test]
    fn an_unended_block_is_refused() {
        let bytes = postcard::to_stdvec(&Environment(b"A=1\0B=2".to_vec())).unwrap();
        assert!(postcard::from_bytes::<Environment>(&bytes).is_err());
    }
}
