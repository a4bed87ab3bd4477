//! A panic that happened in another process: what is left of it is text.
//!
//! The payload of a panic is any value and cannot leave its process. What people look for in it can: the message,
//! the place, the backtrace, and the thread.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The file, as the compiler was given it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl From<&std::panic::Location<'_>> for Location {
    fn from(location: &std::panic::Location<'_>) -> Location {
        Location { file: location.file().to_owned(), line: location.line(), column: location.column() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A panic of a child's function.
///
/// ```
/// use ipc_core::{Location, Panic};
///
/// let panic = Panic {
///     message: "no such name".into(),
///     location: Some(Location { file: "src/main.rs".into(), line: 4, column: 5 }),
///     backtrace: String::new(),
///     thread: None,
/// };
/// assert_eq!(panic.to_string(), "panicked at src/main.rs:4:5: no such name");
/// ```
///
/// Its `Debug`, which `unwrap` of a join prints, has the backtrace in lines.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Panic {
    /// What it was called with. A payload that is not a string reads `Box<dyn Any>`.
    pub message: String,
    /// Where, if a panic hook of the program has not hidden it.
    pub location: Option<Location>,
    /// The frames of the function and what it called, a line or two for each; empty unless the child's environment asks for them, by
    /// `RUST_BACKTRACE` (`full`: those of std and of this crate as well) or `RUST_LIB_BACKTRACE`. Naming them takes a child a fifth
    /// of a second.
    pub backtrace: String,
    /// The thread's name, where it was not the one that runs the function.
    pub thread: Option<String>,
}

impl Panic {
    /// The message inside a payload caught by [`catch_unwind`](std::panic::catch_unwind).
    pub(crate) fn message_of(payload: &(dyn std::any::Any + Send)) -> String {
        if let Some(text) = payload.downcast_ref::<&str>() {
            (*text).to_owned()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            "Box<dyn Any>".to_owned()
        }
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// What is printed as it is.
        struct Plain<T>(T);

        impl<T: fmt::Display> fmt::Debug for Plain<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        let mut panic = f.debug_struct("Panic");
        panic.field("message", &self.message).field("location", &self.location.as_ref().map(Plain));
        panic.field("thread", &self.thread);
        if self.backtrace.is_empty() {
            panic.field("backtrace", &"");
        } else {
            panic.field("backtrace", &Plain(format_args!("\n{}", self.backtrace)));
        }
        panic.finish()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("panicked")?;
        if let Some(thread) = &self.thread {
            write!(f, " in the thread {thread:?}")?;
        }
        if let Some(location) = &self.location {
            write!(f, " at {location}")?;
        }
        write!(f, ": {}", self.message)
    }
}
