//! Reading what strace wrote: which calls the region made, and where an error was injected.
//!
//! ```text
//! 22036 getpriority(PRIO_USER, 31249)     = -1 ESRCH (No such process)
//! 22040 execve("/usr/bin/true", ["true"], 0x7ffe /* 38 vars */ <unfinished ...>
//! 22036 pipe2(0x7ffe51273388, O_CLOEXEC)  = -1 EMFILE (Too many open files) (INJECTED)
//! 22040 <... execve resumed>)             = 0
//! 22036 getpriority(PRIO_USER, 31250)     = -1 ESRCH (No such process)
//! ```
//!
//! Lines of several processes are in the order in which strace saw them, and with only one traced thread they
//! carry no number.

use std::collections::BTreeMap;

/// The marks of `ipc_testkit::fault`; without the bracket, for another thread's line may come between call and answer.
const BEGIN: &str = "getpriority(PRIO_USER, 31249";
const END: &str = "getpriority(PRIO_USER, 31250";

#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) begun: bool,
    pub(super) ended: bool,
    /// Calls inside the region by thread and name.
    calls: BTreeMap<(u32, String), u32>,
    /// Injections inside the region, and outside of it.
    pub(super) inside: u32,
    pub(super) outside: u32,
}

impl Trace {
    /// `marked`: the trace holds the caller's marks; else all of it is the region.
    pub(super) fn parse(log: &str, marked: bool) -> Trace {
        let mut trace = Trace::default();
        for line in log.lines() {
            let (thread, text) = split(line);
            if text.starts_with(BEGIN) {
                trace.begun = true;
                continue;
            }
            if text.starts_with(END) {
                trace.ended = true;
                continue;
            }
            let inside = !marked || trace.begun && !trace.ended;
            if let Some(call) = call(text)
                && inside
            {
                *trace.calls.entry((thread, call.to_owned())).or_default() += 1;
            }
            if text.trim_end().ends_with("(INJECTED)") {
                *if inside { &mut trace.inside } else { &mut trace.outside } += 1;
            }
        }
        trace
    }

    /// The names of all calls.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.calls.keys().map(|(_, name)| name.as_str())
    }

    /// The most that one thread made this call; `except` one thread.
    pub(super) fn most(&self, call: &str, except: Option<u32>) -> u32 {
        self.calls
            .iter()
            .filter(|((thread, name), _)| name == call && Some(*thread) != except)
            .map(|(_, count)| *count)
            .max()
            .unwrap_or(0)
    }
}

fn split(line: &str) -> (u32, &str) {
    match line.split_once(' ') {
        Some((number, rest)) if !number.is_empty() => match number.parse() {
            Ok(thread) => (thread, rest.trim_start()),
            Err(_) => (0, line),
        },
        _ => (0, line),
    }
}

/// The name of the call that begins on this line.
fn call(text: &str) -> Option<&str> {
    let (name, _) = text.split_once('(')?;
    let word = |symbol: char| symbol.is_ascii_lowercase() || symbol.is_ascii_digit() || symbol == '_';
    (!name.is_empty() && name.chars().all(word)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
22036 --- stopped by SIGSTOP ---
22036 --- SIGCONT {si_signo=SIGCONT, si_code=SI_USER, si_pid=21980, si_uid=0} ---
22036 read(3, \"x\", 1)                 = 0
22036 getpriority(PRIO_USER, 31249)     = -1 ESRCH (No such process)
22036 pipe2([3, 4], O_CLOEXEC)          = 0
22040 execve(\"/usr/bin/true\", [\"true\"], 0x7ffe /* 38 vars */ <unfinished ...>
22036 pipe2(0x7ffe51273388, O_CLOEXEC)  = -1 EMFILE (Too many open files) (INJECTED)
22040 <... execve resumed>)             = 0
22040 pipe2( <unfinished ...>
22040 <... pipe2 resumed>0x7ffe, 0) = -1 EMFILE (Too many open files) (INJECTED)
22040 +++ exited with 0 +++
22036 getpriority(PRIO_USER, 31250)     = -1 ESRCH (No such process)
22036 pipe2(0x7ffe51273388, O_CLOEXEC)  = -1 EMFILE (Too many open files) (INJECTED)
22036 +++ exited with 0 +++
";

    #[test]
    fn the_region_lies_between_the_marks() {
        let trace = Trace::parse(LOG, true);
        assert!(trace.begun && trace.ended);
        assert_eq!((trace.inside, trace.outside), (2, 1));
        assert_eq!(trace.names().collect::<Vec<_>>(), ["pipe2", "execve", "pipe2"]);
        assert_eq!(
            (trace.most("pipe2", None), trace.most("pipe2", Some(22036)), trace.most("read", None)),
            (2, 1, 0)
        );
    }

    #[test]
    fn a_mark_may_be_interrupted() {
        let interrupted = LOG.replace("31250)     = -1 ESRCH (No such process)", "31250 <unfinished ...>");
        assert!(Trace::parse(&interrupted, true).ended);
    }

    #[test]
    fn without_marks_all_is_region() {
        let trace = Trace::parse(LOG, false);
        assert_eq!((trace.inside, trace.most("read", None)), (3, 1));
    }

    #[test]
    fn a_single_thread_carries_no_number() {
        let trace = Trace::parse("getpriority(PRIO_USER, 31249) = 1\nread(3, \"1\", 1) = 1\n", true);
        assert!(trace.begun && !trace.ended);
        assert_eq!(trace.most("read", None), 1);
    }

    #[test]
    fn the_marks_are_the_testkits() {
        // xtask does not depend on the testkit; its source says the numbers.
        let source = include_str!("../../testkit/src/fault.rs");
        assert!(source.contains("BEGIN: u32 = 0x7A11") && source.contains("END: u32 = 0x7A12"));
        assert_eq!((0x7A11, 0x7A12), (31249, 31250));
    }
}
