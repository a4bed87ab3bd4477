//! A child's standard streams.

use std::fs::File;
use std::io::{BufRead, Write, stdin};

use ipc_core::{Error, Stdio};
use serde::{Deserialize, Serialize};

use crate::support::Method;

/// CPython overrides `run` in a class with state; here the state is the argument and its method the function.
#[derive(Serialize, Deserialize)]
struct Upper {
    greeting: String,
}

impl Upper {
    fn run(self) -> usize {
        println!("{}", self.greeting);
        stdin().lock().lines().map(|line| println!("{}", line.unwrap().to_uppercase())).count()
    }
}

pub(crate) fn subclassing(m: Method) {
    let builder = m.context().builder().stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = builder.spawn(Upper::run, (Upper { greeting: "hello".into() },)).unwrap();
    let (mut stdin, stdout) = (child.take_stdin().unwrap(), child.take_stdout().unwrap());
    assert!(child.take_stdin().is_none() && child.take_stdout().is_none() && child.take_stderr().is_none());
    let mut lines = std::io::BufReader::new(stdout).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("hello"));
    for (said, heard) in [("one", "ONE"), ("two words", "TWO WORDS")] {
        writeln!(stdin, "{said}").unwrap();
        assert_eq!(lines.next().as_deref(), Some(heard));
    }
    drop(stdin);
    assert_eq!(lines.next(), None);
    assert_eq!(child.join().unwrap(), 2);
}

pub(crate) fn stderr_flush(m: Method) {
    let line = line!() + 1;
    let panicking = || -> u32 { panic!("first line\nsecond line\nthird {}", 1 + 2) };
    let child = m.context().builder().stderr(Stdio::piped()).spawn(panicking, ()).unwrap();
    let said = std::io::read_to_string(child.take_stderr().unwrap()).unwrap();
    assert!(said.contains("first line\nsecond line\nthird 3"), "{said}");
    assert!(said.contains(&format!("{}:{line}:", file!())), "{said}");
    assert!(matches!(child.join(), Err(Error::Panicked { .. })));
}

pub(crate) fn error_on_stdio_flush_1(m: Method) {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let buffered = || {
        print!("no newline, so it is written at the end");
        7
    };
    let child = m.context().builder().stdout(full).spawn(buffered, ()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(child.join().unwrap(), 7);
}

pub(crate) fn error_on_stdio_flush_2(m: Method) {
    let closing = || {
        print!("no newline");
        // SAFETY: what remains of this process writes to them and ignores errors.
        unsafe { [libc::close(1), libc::close(2)] }
    };
    let child = m.context().spawn(closing, ()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(child.join().unwrap(), [0, 0]);
}
