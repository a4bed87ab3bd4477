//! Run a function in another process.

mod error;
mod process;
mod sys;

pub use error::{ChildId, Error, Location, Panic, Ran, Result};
pub use process::exit::ExitStatus;
pub use process::hooks::{ExitHook, after_fork, at_exit};
pub use process::parallelism::available_parallelism;
pub use process::resource::Resource;
pub use process::signal::Signal;
pub use process::stdio::{Line, Stdio, Stream};
