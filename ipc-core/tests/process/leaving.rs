//! How children leave: not through `main`, and not through what the parent's libraries have registered.

use ipc_core::{Stdio, at_exit};

use crate::support::{Method, first_process};

pub(crate) fn a_child_never_returns_into_main() {
    let played = || {
        println!("\n@main begins");
        let _hook = at_exit(0, || println!("\n@hook"));
        for m in Method::PROCESSES {
            // SAFETY (of fork): the other thread is libtest's, which waits for this one; the children take no lock of it.
            assert_eq!(m.context().spawn(|| 1, ()).unwrap().join().unwrap(), 1);
        }
        println!("\n@main ends");
    };
    let Some(output) = first_process("a_child_never_returns_into_main", played) else { return };
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said.lines().filter(|line| line.starts_with('@')).collect();
    assert_eq!(lines, ["@main begins", "@main ends", "@hook"], "{said}");
    assert_eq!(said.matches("test result").count(), 1, "{said}");
}

extern "C" fn say_atexit() {
    // SAFETY: the bytes are there.
    unsafe { libc::write(1, c"atexit".as_ptr().cast(), 6) };
}

pub(crate) fn c_atexit_handlers_run_only_on_request(m: Method) {
    let register = || {
        // SAFETY: the handler takes and returns nothing.
        assert_eq!(unsafe { libc::atexit(say_atexit) }, 0);
    };
    for (asked, expected) in [(true, "atexit"), (false, "")] {
        let builder = m.context().builder().run_atexit(asked).stdout(Stdio::piped());
        let child = builder.spawn(register, ()).unwrap();
        assert_eq!(std::io::read_to_string(child.take_stdout().unwrap()).unwrap(), expected);
        child.join().unwrap();
    }
}
