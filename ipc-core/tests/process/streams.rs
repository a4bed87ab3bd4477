//! Standard streams, and descriptors at numbers of the parent's choice.

use std::fs::{self, File};
use std::io::{Write, stdin};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, channel};

use ipc_core::{Context, Descriptor, Error, Line, Stdio, Stream};
use ipc_testkit::GENEROUS;

use crate::support::{Gate, Method, program, wait_at};

fn read_stdin() -> String {
    std::io::read_to_string(stdin()).unwrap()
}

pub(crate) fn stdin_is_null_unless_asked_otherwise(m: Method) {
    let reader = |m: Method| {
        let unless_asked = m.context().spawn(read_stdin, ()).unwrap().join().unwrap();
        let asked = m.context().builder().stdin(Stdio::inherit()).spawn(read_stdin, ()).unwrap();
        (unless_asked, asked.join().unwrap())
    };
    let parent = Context::exec().builder().stdin(Stdio::piped()).spawn(reader, (m,)).unwrap();
    let mut input = parent.take_stdin().unwrap();
    input.write_all(b"for the parent").unwrap();
    drop(input);
    assert_eq!(parent.join().unwrap(), (String::new(), "for the parent".into()));
}

pub(crate) fn output_without_a_newline_arrives(m: Method) {
    let speak = |how: String| {
        print!("out, {how}");
        eprint!("err, {how}");
        match how.as_str() {
            "return" => {}
            "exit" => std::process::exit(3),
            _ => panic!("at last"),
        }
    };
    for (how, code) in [("return", 0), ("exit", 3), ("panic", 101)] {
        let builder = m.context().builder().stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = builder.spawn(speak, (how.to_string(),)).unwrap();
        let out = std::io::read_to_string(child.take_stdout().unwrap()).unwrap();
        let err = std::io::read_to_string(child.take_stderr().unwrap()).unwrap();
        assert_eq!(out, format!("out, {how}"));
        assert!(err.starts_with(&format!("err, {how}")), "{err}");
        assert_eq!(err.contains("at last"), how == "panic", "{err}");
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

/// A child's words on both streams, the last of them without an end.
fn herald() {
    println!("one");
    eprintln!("two");
    print!("last words");
}

pub(crate) fn relayed_lines_bear_name_and_pid(m: Method) {
    let parent = |m: Method| {
        let builder = m.context().builder().name("herald").stdout(Stdio::relay()).stderr(Stdio::relay());
        let child = builder.spawn(herald, ()).unwrap();
        let pid = child.pid();
        child.join().unwrap();
        println!("joined");
        pid
    };
    let builder = Context::exec().builder().stdout(Stdio::piped()).stderr(Stdio::piped());
    let parent = builder.spawn(parent, (m,)).unwrap();
    let out = std::io::read_to_string(parent.take_stdout().unwrap()).unwrap();
    let err = std::io::read_to_string(parent.take_stderr().unwrap()).unwrap();
    let pid = parent.join().unwrap();
    assert_eq!(out, format!("[herald {pid}] one\n[herald {pid}] last words\njoined\n"));
    assert_eq!(err, format!("[herald {pid}] two\n"));
}

/// What is given to the function of a stream.
fn heard() -> (Stdio, Receiver<Line>) {
    let (lines, heard) = channel();
    (Stdio::lines(move |line| lines.send(line).unwrap()), heard)
}

// A process that relays has a thread and an eventfd for it until it ends: these are programs.

pub(crate) fn lines_are_there_when_the_join_is(m: Method) {
    program(last_words, (m,));
}

fn last_words(m: Method) {
    let ((out, from_out), (err, from_err)) = (heard(), heard());
    let child = m.context().builder().name("herald").stdout(out).stderr(err).spawn(herald, ()).unwrap();
    let pid = child.pid();
    child.join().unwrap();
    // Nothing is waited for any more.
    let lines = |heard: &Receiver<Line>| heard.try_iter().collect::<Vec<_>>();
    let (out, err) = (lines(&from_out), lines(&from_err));
    let texts = |lines: &[Line]| lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>();
    assert_eq!((texts(&out), texts(&err)), (vec!["one".into(), "last words".into()], vec!["two".into()]));
    assert!(out.iter().all(|line| line.stream == Stream::Stdout) && err[0].stream == Stream::Stderr);
    assert!(out.iter().chain(&err).all(|line| line.name == "herald" && line.pid == pid), "{out:?} {err:?}");
}

pub(crate) fn a_new_name_is_that_of_later_lines(m: Method) {
    program(renamed, (m,));
}

fn renamed(m: Method) {
    let (out, heard) = heard();
    let gate = Gate::new();
    let speak = |gate: Descriptor| {
        println!("under the first name");
        wait_at(gate);
        println!("under the second");
    };
    let child = m.context().builder().name("first").stdout(out).spawn(speak, (gate.entrance(),)).unwrap();
    let named = || {
        let line = heard.recv_timeout(GENEROUS).unwrap();
        (line.name, line.text)
    };
    assert_eq!(named(), ("first".into(), "under the first name".into()));
    child.set_name("second");
    gate.open();
    assert_eq!(named(), ("second".into(), "under the second".into()));
    child.join().unwrap();
}

pub(crate) fn chosen_descriptors_arrive_at_their_numbers(m: Method) {
    program(numbered, (m,));
}

/// The file behind a number, and whether it is close-on-exec.
fn behind(number: i32) -> (String, bool) {
    let target = fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    // SAFETY: it takes numbers.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    (target.to_string_lossy().into_owned(), flags & libc::FD_CLOEXEC != 0)
}

fn numbered(m: Method) {
    fn at(number: i32, file: &str) -> OwnedFd {
        let file = File::open(file).unwrap();
        // SAFETY: the new descriptor belongs to nobody yet; nothing of this program is at numbers so high.
        unsafe { OwnedFd::from_raw_fd(libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number)) }
    }
    let file = |path: &str| File::open(path).unwrap();
    let (left, right) = (at(300, "/dev/null"), at(301, "/dev/zero"));
    assert_eq!((left.as_raw_fd(), right.as_raw_fd()), (300, 301));
    let builder = m.context().builder();
    let child = builder
        .descriptor(3, file("/dev/full"))
        .descriptor(500, file("/proc/version"))
        .descriptor(301, left)
        .descriptor(300, right)
        // The later of two wins.
        .descriptor(4, file("/dev/null"))
        .descriptor(4, file("/dev/urandom"))
        .spawn(
            |numbers: Vec<i32>| numbers.into_iter().map(behind).collect::<Vec<_>>(),
            (vec![3, 4, 300, 301, 500],),
        );
    let expected = ["/dev/full", "/dev/urandom", "/dev/zero", "/dev/null", "/proc/version"];
    assert_eq!(child.unwrap().join().unwrap(), expected.map(|file| (file.to_string(), false)));
    let refused = m.context().builder().descriptor(1, file("/dev/null")).spawn(|| (), ()).unwrap_err();
    assert!(matches!(refused.error(), Error::Invalid { .. }), "{refused}");
}
