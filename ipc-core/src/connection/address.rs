//! Where a listener is.
//!
//! Python guesses the family of an address from its type; so does this, from its type or its spelling ([`Address`] has the table), and
//! an address that could be two things is refused instead of guessed.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sys::random;

/// Where a listener is, and what kind of connections it gives.
///
/// Whatever takes an address takes all of these:
///
/// | written | is |
/// |---|---|
/// | text with a `/` in it: `"/run/app.sock"`, `"./app.sock"`; `"unix:app.sock"`; a [`Path`] or [`PathBuf`] | [a path](Address::Unix) |
/// | `"@name"`, `"\\0name"` | [an abstract name](Address::Abstract): in no directory, gone with its last user |
/// | `"localhost:7000"`, `"[::1]:7000"`, `"tcp:host:7000"`; `("host", 7000)`; a [`SocketAddr`] | [TCP](Address::Tcp) |
/// | bytes: NUL first, or not | an abstract name, or a path |
/// | `"name"` | refused: a path, or a host without a port? |
///
/// Text and paths may be borrowed or owned (`&str`, `String`, `&String`, `&Path`, `PathBuf`, `&PathBuf`), and so may addresses.
///
/// At a path and an abstract name connections are of packets, and carry descriptors; over TCP they are of bytes, and do not: see
/// [`connection`](crate::connection).
///
/// ```
/// use ipc_core::Address;
///
/// assert_eq!("/run/app.sock".parse::<Address>()?, Address::Unix("/run/app.sock".into()));
/// assert_eq!("@app".parse::<Address>()?, Address::Abstract(b"app".to_vec()));
/// let tcp = Address::from(("localhost", 7000));
/// assert_eq!(tcp.to_string(), "localhost:7000");
/// assert_eq!("localhost:7000".parse::<Address>()?, tcp);
/// assert!("localhost".parse::<Address>().is_err());
/// let path = std::path::PathBuf::from("app.sock");
/// assert_eq!(Address::from(&path).to_string(), "unix:app.sock");
/// # Ok::<(), ipc_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A name in Linux's abstract namespace, without the leading NUL.
    Abstract(Vec<u8>),
    /// A host (a name, or an address in digits) and a port. To a listener, port 0 means any free one.
    Tcp(String, u16),
}

impl Address {
    /// A fresh abstract name that nobody can guess: 128 random bits.
    ///
    /// ```
    /// # use ipc_core::Address;
    /// assert_ne!(Address::private()?, Address::private()?);
    /// # Ok::<(), ipc_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Os`] when the kernel has no random bytes to give.
    pub fn private() -> Result<Address> {
        let random: [u8; 16] = random::bytes()
            .map_err(|error| Error::os("could not make a private address: getrandom", error))?;
        Ok(Address::Abstract(format!("ipc-{:032x}", u128::from_ne_bytes(random)).into_bytes()))
    }

    /// Whether it is a path or an abstract name.
    pub fn is_unix(&self) -> bool {
        !matches!(self, Address::Tcp(..))
    }

    /// What an error says of it.
    pub(crate) fn invalid(&self, why: impl Into<String>) -> Error {
        Error::Invalid { what: format!("the address {self}"), why: why.into() }
    }
}

/// As it can be parsed again, but for bytes of a path or a name that are no text.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) if path.as_os_str().as_bytes().contains(&b'/') && !starts_otherwise(path) => {
                write!(f, "{}", path.display())
            }
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port)
                if host == "unix" || host == "tcp" || host.contains(['/', '@', '\0']) =>
            {
                write!(f, "tcp:{host}:{port}")
            }
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// Whether a path is spelt as another address would be.
fn starts_otherwise(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    [&b"@"[..], b"\0", b"unix:", b"tcp:"].iter().any(|prefix| bytes.starts_with(prefix))
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Address::Unix(path.into()));
        }
        if let Some(name) = text.strip_prefix(['@', '\0']) {
            return Ok(Address::Abstract(name.as_bytes().to_vec()));
        }
        if let Some(tcp) = text.strip_prefix("tcp:") {
            return host_and_port(tcp).ok_or_else(|| refused(text, "after `tcp:` there must be HOST:PORT"));
        }
        if text.contains('/') {
            return Ok(Address::Unix(text.into()));
        }
        host_and_port(text).ok_or_else(|| {
            refused(
                text,
                "it is neither a path with a `/` in it (or `unix:PATH`), nor an abstract `@NAME`, nor `HOST:PORT`",
            )
        })
    }
}

fn refused(text: &str, why: &str) -> Error {
    Error::Invalid { what: format!("the address {text:?}"), why: why.into() }
}

fn host_and_port(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then(|| Address::Tcp(host.into(), port))
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                Address::Tcp(format!("{}%{}", v6.ip(), v6.scope_id()), v6.port())
            }
            address => Address::Tcp(address.ip().to_string(), address.port()),
        }
    }
}

impl From<&SocketAddr> for Address {
    fn from(address: &SocketAddr) -> Address {
        (*address).into()
    }
}

impl From<(&str, u16)> for Address {
    fn from((host, port): (&str, u16)) -> Address {
        Address::Tcp(host.into(), port)
    }
}

impl From<(String, u16)> for Address {
    fn from((host, port): (String, u16)) -> Address {
        Address::Tcp(host, port)
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Address {
        Address::Unix(path)
    }
}

impl From<&PathBuf> for Address {
    fn from(path: &PathBuf) -> Address {
        path.as_path().into()
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Address {
        Address::Unix(path.into())
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Address {
        address.clone()
    }
}

impl TryFrom<&str> for Address {
    type Error = Error;

    fn try_from(text: &str) -> Result<Address> {
        text.parse()
    }
}

impl TryFrom<String> for Address {
    type Error = Error;

    fn try_from(text: String) -> Result<Address> {
        text.parse()
    }
}

impl TryFrom<&String> for Address {
    type Error = Error;

    fn try_from(text: &String) -> Result<Address> {
        text.parse()
    }
}

/// NUL first: an abstract name; anything else: a path.
impl TryFrom<&[u8]> for Address {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Address> {
        Ok(match bytes.strip_prefix(&[0]) {
            Some(name) => Address::Abstract(name.to_vec()),
            None => Address::Unix(OsStr::from_bytes(bytes).into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn the_family_is_inferred() {
        for (text, address) in [
            ("/run/a b", Address::Unix("/run/a b".into())),
            ("a/b:1", Address::Unix("a/b:1".into())),
            ("unix:a", Address::Unix("a".into())),
            ("unix:@a", Address::Unix("@a".into())),
            ("@a", Address::Abstract(b"a".to_vec())),
            ("@a/b", Address::Abstract(b"a/b".to_vec())),
            ("\0a:1", Address::Abstract(b"a:1".to_vec())),
            ("localhost:0", Address::Tcp("localhost".into(), 0)),
            ("127.0.0.1:65535", Address::Tcp("127.0.0.1".into(), 65535)),
            ("[::1]:80", Address::Tcp("::1".into(), 80)),
            ("tcp:unix:80", Address::Tcp("unix".into(), 80)),
        ] {
            assert_eq!(parsed(text), address, "{text:?}");
        }
        assert_eq!(Address::try_from(&b"\0x"[..]).unwrap(), Address::Abstract(b"x".to_vec()));
        assert_eq!(Address::try_from(&b"/x"[..]).unwrap(), Address::Unix("/x".into()));
    }

    #[test]
    fn borrowed_or_owned_it_is_the_same() {
        let path = PathBuf::from("app.sock");
        let unix = Address::Unix(path.clone());
        assert_eq!(Address::from(&path), unix);
        assert_eq!(Address::from(path.as_path()), unix);
        assert_eq!(Address::from(&unix), unix);
        assert_eq!(Address::from(path), unix);
        let text = String::from("localhost:7");
        let tcp = Address::Tcp("localhost".into(), 7);
        assert_eq!(Address::try_from(&text).unwrap(), tcp);
        assert_eq!(Address::try_from(text.as_str()).unwrap(), tcp);
        assert_eq!(Address::try_from(text).unwrap(), tcp);
        assert_eq!(Address::from(("localhost", 7)), tcp);
        assert_eq!(Address::from(("localhost".to_owned(), 7)), tcp);
        let socket: SocketAddr = "127.0.0.1:7".parse().unwrap();
        assert_eq!(Address::from(&socket), parsed("127.0.0.1:7"));
        assert_eq!(Address::from(socket), parsed("127.0.0.1:7"));
        assert!(Address::try_from(&String::from("localhost")).is_err());
    }

    #[test]
    fn what_could_be_two_things_is_refused() {
        for text in [
            "",
            "localhost",
            ":80",
            "host:",
            "host:+1",
            "host:65536",
            "::1:80",
            "[::1]",
            "[::1:80",
            "tcp:host",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("the address {text:?} is not acceptable")), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for address in [
            Address::Unix("/run/a".into()),
            Address::Unix("a".into()),
            Address::Unix("@a/b".into()),
            Address::Unix("unix:a/b".into()),
            Address::Abstract(b"a".to_vec()),
            Address::Tcp("::1".into(), 80),
            Address::Tcp("unix".into(), 80),
            Address::Tcp("tcp".into(), 80),
            Address::from("[fe80::1%3]:80".parse::<SocketAddr>().unwrap()),
        ] {
            assert_eq!(parsed(&address.to_string()), address);
        }
    }

    #[test]
    fn they_travel() {
        for address in [parsed("/a"), parsed("@a"), parsed("a:1")] {
            let message = crate::message::descriptors::encode(&address).unwrap();
            let back: Address = crate::message::descriptors::decode(&message.body, Vec::new()).unwrap();
            assert_eq!(back, address);
        }
    }
}
