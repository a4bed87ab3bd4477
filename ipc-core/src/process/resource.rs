//! Resource limits: which there are, and their values.
//!
//! [getrlimit(2)](https://man7.org/linux/man-pages/man2/getrlimit.2.html) explains each; the names are its own.

use std::fmt;

use rustix::process::{Resource as Raw, Rlimit};
use serde::{Deserialize, Serialize};

macro_rules! resources {
    ($($name:ident, $text:literal, $doc:literal;)*) => {
        /// A resource that the system limits per process (some: per user).
        ///
        /// ```
        /// use ipc_core::Resource;
        ///
        /// assert_eq!(Resource::Nofile.to_string(), "RLIMIT_NOFILE");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Resource {
            $(#[doc = concat!("`", $text, "`: ", $doc)] $name,)*
        }

        impl Resource {
            /// All of them.
            pub(crate) const ALL: [Resource; 16] = [$(Resource::$name),*];

            pub(crate) const fn to_rustix(self) -> Raw {
                match self {
                    $(Resource::$name => Raw::$name,)*
                }
            }
        }

        impl fmt::Display for Resource {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Resource::$name => $text,)*
                })
            }
        }
    };
}

resources! {
    Cpu, "RLIMIT_CPU", "processor time, in seconds; SIGXCPU at the soft limit, SIGKILL at the hard one.";
    Fsize, "RLIMIT_FSIZE", "the size of a file it writes, in bytes; SIGXFSZ beyond.";
    Data, "RLIMIT_DATA", "data segment, heap and private writable mappings, in bytes.";
    Stack, "RLIMIT_STACK", "the main thread's stack, in bytes.";
    Core, "RLIMIT_CORE", "the size of a core dump, in bytes; 0 for none.";
    Rss, "RLIMIT_RSS", "without effect on today's kernels.";
    Nproc, "RLIMIT_NPROC", "processes and threads of the *user*, in this user namespace.";
    Nofile, "RLIMIT_NOFILE", "one more than the greatest descriptor number.";
    Memlock, "RLIMIT_MEMLOCK", "memory locked into RAM, in bytes.";
    As, "RLIMIT_AS", "the address space, in bytes; mappings beyond it fail.";
    Locks, "RLIMIT_LOCKS", "without effect on today's kernels.";
    Sigpending, "RLIMIT_SIGPENDING", "queued signals of the user.";
    Msgqueue, "RLIMIT_MSGQUEUE", "bytes in POSIX message queues of the user.";
    Nice, "RLIMIT_NICE", "how far the nice value may be raised: 20 minus this.";
    Rtprio, "RLIMIT_RTPRIO", "the real-time priority it may ask for.";
    Rttime, "RLIMIT_RTTIME", "real-time processor time without a blocking call, in microseconds.";
}

/// The two values of a limit; `None` means unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limit {
    /// What is enforced. The process may move it up to the hard one.
    pub(crate) soft: Option<u64>,
    /// The bound of the soft one. Raising it needs CAP_SYS_RESOURCE.
    pub(crate) hard: Option<u64>,
}

impl Limit {
    pub(crate) fn get(resource: Resource) -> Limit {
        let limit = rustix::process::getrlimit(resource.to_rustix());
        Limit { soft: limit.current, hard: limit.maximum }
    }

    /// Whether what is enforced is within its bound; the system takes no other.
    pub(crate) fn is_consistent(self) -> bool {
        self.soft.unwrap_or(u64::MAX) <= self.hard.unwrap_or(u64::MAX)
    }

    pub(crate) fn set(self, resource: Resource) -> rustix::io::Result<()> {
        rustix::process::setrlimit(resource.to_rustix(), Rlimit { current: self.soft, maximum: self.hard })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show =
            |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string());
        write!(f, "{} (hard {})", show(self.soft), show(self.hard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_can_be_read_and_set_to_what_they_are() {
        for resource in Resource::ALL {
            let limit = Limit::get(resource);
            limit.set(resource).unwrap_or_else(|error| panic!("{resource}: {error}"));
            assert_eq!(Limit::get(resource), limit, "{resource}");
        }
    }

    #[test]
    fn no_limit_is_above_every_bound_but_its_like() {
        let is_consistent = |soft, hard| Limit { soft, hard }.is_consistent();
        assert!(is_consistent(Some(1), Some(1)) && is_consistent(Some(1), None) && is_consistent(None, None));
        assert!(!is_consistent(Some(2), Some(1)) && !is_consistent(None, Some(1)));
        // The system's own number for no limit.
        assert!(is_consistent(Some(u64::MAX), None) && is_consistent(None, Some(u64::MAX)));
    }

    #[test]
    fn each_is_its_own() {
        let numbers: std::collections::HashSet<_> =
            Resource::ALL.iter().map(|resource| resource.to_rustix() as u32).collect();
        assert_eq!(numbers.len(), 16);
    }
}
