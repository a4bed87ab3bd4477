//! Signals, by number and by name.
//!
//! A signal arrives here as a number (in an exit status, from another process) and is shown to people by its name.
//! Any number the kernel knows, 1 to 64, is a [`Signal`]: the real-time ones too, and the two that the C library
//! keeps for itself. The constants bear rustix's names; the text is the C name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A signal: a number from 1 to 64.
///
/// ```
/// use ipc_core::Signal;
///
/// assert_eq!(Signal::SEGV.to_string(), "SIGSEGV");
/// assert_eq!("SIGTERM".parse::<Signal>()?, Signal::TERM);
/// assert_eq!(Signal::from_raw(9), Some(Signal::KILL));
/// assert_eq!(Signal::from_raw(65), None);
/// # Ok::<(), ipc_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct Signal(i32);

/// The greatest signal number of Linux (`_NSIG`), on every architecture Rust supports but MIPS.
const LAST: i32 = 64;

macro_rules! signals {
    ($($name:ident = $raw:ident, $doc:literal;)*) => {
        impl Signal {
            $(#[doc = concat!("`", stringify!($raw), "`: ", $doc)] pub const $name: Signal = Signal(libc::$raw);)*
        }

        /// Name and number, in the order of the constants.
        const NAMED: &[(&str, i32)] = &[$((stringify!($raw), libc::$raw)),*];
    };
}

signals! {
    HUP = SIGHUP, "the terminal went away.";
    INT = SIGINT, "the interrupt key.";
    QUIT = SIGQUIT, "the quit key; dumps core.";
    ILL = SIGILL, "an illegal instruction.";
    TRAP = SIGTRAP, "a breakpoint.";
    ABORT = SIGABRT, "`abort` was called.";
    BUS = SIGBUS, "memory without backing, such as a page beyond a file's end.";
    FPE = SIGFPE, "an arithmetic error.";
    KILL = SIGKILL, "ends the process; cannot be caught.";
    USR1 = SIGUSR1, "for programs to define.";
    SEGV = SIGSEGV, "memory that is not there.";
    USR2 = SIGUSR2, "for programs to define.";
    PIPE = SIGPIPE, "a write that nobody can read.";
    ALARM = SIGALRM, "a timer ran out.";
    TERM = SIGTERM, "please end.";
    STKFLT = SIGSTKFLT, "unused by the kernel.";
    CHILD = SIGCHLD, "a child stopped or ended.";
    CONT = SIGCONT, "go on after a stop.";
    STOP = SIGSTOP, "stops the process; cannot be caught.";
    TSTP = SIGTSTP, "the stop key.";
    TTIN = SIGTTIN, "a background process read the terminal.";
    TTOU = SIGTTOU, "a background process wrote to the terminal.";
    URG = SIGURG, "urgent data on a socket.";
    XCPU = SIGXCPU, "the processor time limit was met.";
    XFSZ = SIGXFSZ, "the file size limit was met.";
    VTALARM = SIGVTALRM, "a virtual timer ran out.";
    PROF = SIGPROF, "a profiling timer ran out.";
    WINCH = SIGWINCH, "the terminal changed its size.";
    IO = SIGIO, "a descriptor became ready.";
    POWER = SIGPWR, "the power fails.";
    SYS = SIGSYS, "a system call that a sandbox forbids.";
}

impl Signal {
    /// The signal of this number, or `None` where the number is no signal.
    pub const fn from_raw(number: i32) -> Option<Signal> {
        if number >= 1 && number <= LAST { Some(Signal(number)) } else { None }
    }

    /// Its number.
    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = NAMED.iter().find(|(_, number)| *number == self.0) {
            return f.pad(name);
        }
        match self.0 - libc::SIGRTMIN() {
            0 => f.pad("SIGRTMIN"),
            above @ 1.. => f.pad(&format!("SIGRTMIN+{above}")),
            // What lies between the last named signal and SIGRTMIN the C library uses for itself.
            _ => f.pad(&format!("signal {}", self.0)),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signal({self})")
    }
}

impl FromStr for Signal {
    type Err = Error;

    /// Takes what `kill` takes, in either case: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, `SIGRTMAX-1`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the text names no signal.
    fn from_str(text: &str) -> Result<Signal> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let named = NAMED.iter().find(|(full, _)| full.strip_prefix("SIG") == Some(name));
        let number = match named {
            Some((_, number)) => Some(*number),
            None if name == "IOT" => Some(libc::SIGABRT),
            None if name == "POLL" => Some(libc::SIGIO),
            None => number_of(name, upper.len() == name.len()),
        };
        number.and_then(Signal::from_raw).ok_or_else(|| Error::Invalid {
            what: format!("the signal {text:?}"),
            why: "it is neither a signal's name nor a number from 1 to 64".to_owned(),
        })
    }
}

/// The real-time names, and plain numbers where no `SIG` stood before them.
fn number_of(name: &str, plain: bool) -> Option<i32> {
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let above = if rest.is_empty() { 0 } else { digits(rest.strip_prefix('+')?)? };
        let number = libc::SIGRTMIN().checked_add(above)?;
        return (number <= libc::SIGRTMAX()).then_some(number);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let below = if rest.is_empty() { 0 } else { digits(rest.strip_prefix('-')?)? };
        let number = libc::SIGRTMAX().checked_sub(below)?;
        return (number >= libc::SIGRTMIN()).then_some(number);
    }
    if plain { digits(name) } else { None }
}

/// A number of digits alone: `parse` would take a sign as well.
fn digits(text: &str) -> Option<i32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl TryFrom<i32> for Signal {
    type Error = Error;

    fn try_from(number: i32) -> Result<Signal> {
        Signal::from_raw(number).ok_or_else(|| Error::Invalid {
            what: format!("the signal number {number}"),
            why: "signals are numbered from 1 to 64".to_owned(),
        })
    }
}

impl From<Signal> for i32 {
    fn from(signal: Signal) -> i32 {
        signal.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_text_that_parses_back() {
        for number in 1..=64 {
            let signal = Signal::from_raw(number).unwrap();
            let text = signal.to_string();
            let text = text.strip_prefix("signal ").unwrap_or(&text);
            assert_eq!(text.parse::<Signal>().unwrap(), signal, "{text}");
            assert_eq!(number.to_string().parse::<Signal>().unwrap(), signal);
        }
    }

    #[test]
    fn names_are_those_of_c() {
        assert_eq!(Signal::ABORT.to_string(), "SIGABRT");
        assert_eq!(Signal::ALARM.to_string(), "SIGALRM");
        assert_eq!(Signal::CHILD.to_string(), "SIGCHLD");
        assert_eq!(Signal::from_raw(34).unwrap().to_string(), "SIGRTMIN");
        assert_eq!(Signal::from_raw(37).unwrap().to_string(), "SIGRTMIN+3");
        assert_eq!(Signal::from_raw(32).unwrap().to_string(), "signal 32");
        assert_eq!(format!("{:>9}|{:?}", Signal::KILL, Signal::KILL), "  SIGKILL|Signal(SIGKILL)");
    }

    #[test]
    fn what_kill_takes() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            (" Sigterm ", 15),
            ("9", 9),
            ("SIGRTMIN", 34),
            ("rtmin+3", 37),
            ("SIGRTMAX", 64),
            ("RTMAX-1", 63),
            ("SIGIOT", 6),
            ("POLL", 29),
        ] {
            assert_eq!(text.parse::<Signal>().unwrap().as_raw(), number, "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_says_so() {
        for text in [
            "",
            "SIG",
            "0",
            "65",
            "-9",
            "+9",
            "SIG9",
            "SIGSIGTERM",
            "RTMIN-1",
            "RTMIN+31",
            "RTMAX+1",
            "RTMAX-31",
            "RTMIN+",
            "RTMIN++3",
            "99999999999",
            "signal 32",
        ] {
            let error = text.parse::<Signal>().unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{text:?}");
        }
        assert_eq!(
            "TREM".parse::<Signal>().unwrap_err().to_string(),
            r#"the signal "TREM" is not acceptable: it is neither a signal's name nor a number from 1 to 64"#
        );
    }

    #[test]
    fn travels_as_its_number() {
        let bytes = postcard::to_stdvec(&Signal::SEGV).unwrap();
        assert_eq!(bytes, postcard::to_stdvec(&11_i32).unwrap());
        assert_eq!(postcard::from_bytes::<Signal>(&bytes).unwrap(), Signal::SEGV);
        for bad in [0, 65, -1, i32::MIN, i32::MAX] {
            let bytes = postcard::to_stdvec(&bad).unwrap();
            assert!(postcard::from_bytes::<Signal>(&bytes).is_err(), "{bad}");
        }
    }
}
