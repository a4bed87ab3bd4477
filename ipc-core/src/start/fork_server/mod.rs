//! `ForkServer`: a process that was executed once, has one thread, and forks each child.
//!
//! | frame on the server's socket | from | carries |
//! |---|---|---|
//! | [`READY`] | server | nothing; its first frame |
//! | [`UNFIT`] | server | why it cannot fork here; its first and last frame |
//! | [`PRELOAD_FAILED`] | server | what happened; its first and last frame |
//! | [`FORK`] | client | the newborn's ends of control socket and lifeline |
//! | [`FORKED`] | server | the newborn's pid, and its pidfd unless that cannot be sent; answers come in the order of requests |
//! | [`REFUSED`] | server | the error number of clone |
//!
//! The server clones with `CLONE_PARENT`, so its children are the *client's* own: waitid, pidfd and exit status
//! simply work. It knows nothing of what they will be; that they learn over their control sockets.
//!
//! | who dies | who notices | then |
//! |---|---|---|
//! | the server | the client, at its next request (end of file, or the server's pidfd) | running children are unaffected; a newborn whose answer was lost is asked who it is over its control socket, and used; the next spawn starts another server |
//! | nobody, but the server is stopped (SIGSTOP) | the client, once it has been silent for a second | it is killed and replaced, as if it had died |
//! | the server, and a newborn before it could say who it is | the client, by the end of the newborn's socket | it waits for the one that the newborn's lifeline names, so that no zombie is left; unless both died before either could name it there: that zombie stays as long as the client |
//! | the client | the server (end of file; its own lifeline) | both the server and the client's children end |
//! | a spare | the client, when it takes it | the next is taken |

pub(crate) mod client;
pub(crate) mod server;

pub(crate) const READY: u16 = 16;
pub(crate) const UNFIT: u16 = 17;
pub(crate) const PRELOAD_FAILED: u16 = 18;
pub(crate) const FORK: u16 = 19;
pub(crate) const FORKED: u16 = 20;
pub(crate) const REFUSED: u16 = 21;
