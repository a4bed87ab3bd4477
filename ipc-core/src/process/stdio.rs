//! Where a child's standard streams lead.
//!
//! Beside what [`std::process::Stdio`] offers there is the wish of everybody who runs many children: their output in
//! one place, line by line, with a mark of who wrote it. [`Stdio::relay`] prints it so; [`Stdio::lines`] hands each
//! line to a function.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::sys::private::{self, Private};

/// Which of the two output streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// A line that a child wrote, as [`Stdio::lines`] hands it out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Line {
    /// The child's name.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Where it wrote to.
    pub stream: Stream,
    /// The line without its end (`\n` or `\r\n`). What is not UTF-8 is replaced by U+FFFD; a line of more than
    /// 64 KiB comes in pieces.
    pub text: String,
}

/// What is done with relayed lines.
#[derive(Clone)]
pub(crate) enum Sink {
    /// Print them with name and pid.
    Print,
    /// Give them to the function.
    Call(Arc<dyn Fn(Line) + Send + Sync>),
}

/// Where one of a child's standard streams leads.
///
/// A stream may also lead to anything with a descriptor: `Stdio::from(File)`, `Stdio::from(OwnedFd)`, or an end of
/// another child's pipe.
///
/// ```
/// use std::sync::mpsc;
/// use ipc_core::Stdio;
///
/// let (lines, received) = mpsc::channel();
/// let stdout = Stdio::lines(move |line| {
///     let _ = lines.send(format!("{}: {}", line.name, line.text));
/// });
/// # let _ = (stdout, received);
/// ```
pub struct Stdio(Kind);

enum Kind {
    Inherit,
    Null,
    Piped,
    Relay(Sink),
    Descriptor(OwnedFd),
}

impl Stdio {
    /// The parent's own stream.
    pub fn inherit() -> Stdio {
        Stdio(Kind::Inherit)
    }

    /// `/dev/null`: nothing to read, and writes vanish.
    pub fn null() -> Stdio {
        Stdio(Kind::Null)
    }

    /// A pipe, whose other end the child's handle gives out (`take_stdin`, `take_stdout`, `take_stderr`).
    ///
    /// Somebody must read it: a child that writes more than a pipe holds (64 KiB) waits.
    pub fn piped() -> Stdio {
        Stdio(Kind::Piped)
    }

    /// Every line the child writes is printed by the parent on the same stream, as `[name pid] text`. Lines are
    /// written whole, one write each: lines of several children never mix.
    ///
    /// For standard output and error; as standard input it is [`Error::Invalid`](crate::Error::Invalid).
    pub fn relay() -> Stdio {
        Stdio(Kind::Relay(Sink::Print))
    }

    /// Every line the child writes is given to `f`, in order.
    ///
    /// One thread of this process calls the functions of all children, so a slow one delays the others, and the
    /// children wait when their pipes are full. A panic is reported on standard error as any other, loses that line,
    /// and nothing else.
    ///
    /// For standard output and error; as standard input it is [`Error::Invalid`](crate::Error::Invalid).
    pub fn lines(f: impl Fn(Line) + Send + Sync + 'static) -> Stdio {
        Stdio(Kind::Relay(Sink::Call(Arc::new(f))))
    }

    /// Whether nothing is to be done: a child has its parent's streams anyway.
    pub(crate) fn is_inherit(&self) -> bool {
        matches!(self.0, Kind::Inherit)
    }

    /// Whether it is `/dev/null`, which a fork server's children have anyway.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.0, Kind::Null)
    }

    /// Whether its lines are passed on, which only output's can be.
    pub(crate) fn is_relayed(&self) -> bool {
        matches!(self.0, Kind::Relay(_))
    }

    /// Opens what is to be opened: the child's end (`None`: the parent's own), and what the parent keeps.
    ///
    /// # Errors
    ///
    /// The descriptors are exhausted; `/dev/null` is missing; `InvalidInput` where standard input is to be relayed, which
    /// the builder refuses before.
    pub(crate) fn resolve(self, which: Which) -> io::Result<(Option<Private>, ParentSide)> {
        match self.0 {
            Kind::Inherit => Ok((None, ParentSide::Nothing)),
            Kind::Null => {
                let flags = OFlags::RDWR | OFlags::CLOEXEC;
                let null = openat(CWD, c"/dev/null", flags, Mode::empty())?;
                Ok((Some(Private::from(null)), ParentSide::Nothing))
            }
            Kind::Descriptor(descriptor) => Ok((Some(descriptor.into()), ParentSide::Nothing)),
            Kind::Piped => {
                let [read, write] = pipe()?;
                Ok(match which {
                    Which::Stdin => (Some(read), ParentSide::Stdin(write)),
                    Which::Stdout => (Some(write), ParentSide::Stdout(read)),
                    Which::Stderr => (Some(write), ParentSide::Stderr(read)),
                })
            }
            Kind::Relay(sink) => {
                let stream = match which {
                    Which::Stdin => {
                        let why = "standard input cannot be relayed: relay() and lines() are for output";
                        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
                    }
                    Which::Stdout => Stream::Stdout,
                    Which::Stderr => Stream::Stderr,
                };
                let [read, write] = pipe()?;
                Ok((Some(write), ParentSide::Relay { pipe: read, stream, sink }))
            }
        }
    }
}

/// A pipe whose ends no forked sibling has: it would keep the end of the stream from being seen.
fn pipe() -> io::Result<[Private; 2]> {
    private::make(|| Ok(pipe_with(PipeFlags::CLOEXEC)?.into()))
}

/// A standard stream, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Stdin,
    Stdout,
    Stderr,
}

/// What the parent keeps of a stream.
pub(crate) enum ParentSide {
    Nothing,
    Stdin(Private),
    Stdout(Private),
    Stderr(Private),
    /// To be given to [`relay::register`](super::relay::register) once the child has a pid.
    Relay {
        pipe: Private,
        stream: Stream,
        sink: Sink,
    },
}

impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Inherit => f.write_str("Stdio::inherit()"),
            Kind::Null => f.write_str("Stdio::null()"),
            Kind::Piped => f.write_str("Stdio::piped()"),
            Kind::Relay(Sink::Print) => f.write_str("Stdio::relay()"),
            Kind::Relay(Sink::Call(_)) => f.write_str("Stdio::lines(..)"),
            Kind::Descriptor(descriptor) => write!(f, "Stdio::from({descriptor:?})"),
        }
    }
}

impl From<OwnedFd> for Stdio {
    fn from(descriptor: OwnedFd) -> Stdio {
        Stdio(Kind::Descriptor(descriptor))
    }
}

macro_rules! from_owner {
    ($($owner:ty),*) => {
        $(impl From<$owner> for Stdio {
            fn from(owner: $owner) -> Stdio {
                Stdio::from(OwnedFd::from(owner))
            }
        })*
    };
}

from_owner!(File, ChildStdin, ChildStdout, ChildStderr, io::PipeReader, io::PipeWriter);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn open(stdio: Stdio, which: Which) -> (OwnedFd, ParentSide) {
        let (child, parent) = stdio.resolve(which).unwrap();
        (child.unwrap().into(), parent)
    }

    fn file(end: Private) -> File {
        OwnedFd::from(end).into()
    }

    #[test]
    fn pipes_lead_the_right_way() {
        let (child, ParentSide::Stdin(parent)) = open(Stdio::piped(), Which::Stdin) else { panic!() };
        file(parent).write_all(b"in").unwrap();
        let mut text = String::new();
        File::from(child).read_to_string(&mut text).unwrap();
        assert_eq!(text, "in");

        let (child, ParentSide::Stdout(parent)) = open(Stdio::piped(), Which::Stdout) else { panic!() };
        File::from(child).write_all(b"out").unwrap();
        text.clear();
        file(parent).read_to_string(&mut text).unwrap();
        assert_eq!(text, "out");

        let (child, ParentSide::Stderr(parent)) = open(Stdio::piped(), Which::Stderr) else { panic!() };
        File::from(child).write_all(b"err").unwrap();
        text.clear();
        file(parent).read_to_string(&mut text).unwrap();
        assert_eq!(text, "err");
    }

    #[test]
    fn null_reads_nothing_and_takes_everything() {
        let (child, parent) = open(Stdio::null(), Which::Stdin);
        assert!(matches!(parent, ParentSide::Nothing));
        let mut file = File::from(child);
        assert_eq!(file.read(&mut [0; 8]).unwrap(), 0);
        file.write_all(b"gone").unwrap();
    }

    #[test]
    fn inherit_opens_nothing() {
        assert!(Stdio::inherit().is_inherit() && !Stdio::inherit().is_null() && Stdio::null().is_null());
        let (child, parent) = Stdio::inherit().resolve(Which::Stdout).unwrap();
        assert!(child.is_none() && matches!(parent, ParentSide::Nothing));
    }

    #[test]
    fn a_descriptor_is_passed_as_it_is() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (child, parent) = open(Stdio::from(writer), Which::Stderr);
        assert!(matches!(parent, ParentSide::Nothing));
        File::from(child).write_all(b"x").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn all_that_is_opened_is_closed_on_exec() {
        let pairs =
            [(Stdio::null(), Which::Stdin), (Stdio::piped(), Which::Stdout), (Stdio::relay(), Which::Stderr)];
        for (stdio, which) in pairs {
            let (child, parent) = open(stdio, which);
            let flags = |fd: &dyn Fn() -> rustix::io::Result<rustix::io::FdFlags>| fd().unwrap();
            assert!(flags(&|| rustix::io::fcntl_getfd(&child)).contains(rustix::io::FdFlags::CLOEXEC));
            let parent = match &parent {
                ParentSide::Stdout(end) => rustix::io::fcntl_getfd(end),
                ParentSide::Relay { pipe, .. } => rustix::io::fcntl_getfd(pipe),
                _ => continue,
            };
            assert!(parent.unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        }
    }

    #[test]
    fn stdin_cannot_be_relayed() {
        for stdio in [Stdio::relay(), Stdio::lines(|_| {})] {
            let error = stdio.resolve(Which::Stdin).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn debug_names_the_constructor() {
        assert_eq!(format!("{:?}", Stdio::lines(|_| {})), "Stdio::lines(..)");
        assert_eq!(format!("{:?}", Stdio::null()), "Stdio::null()");
    }
}
