//! Names, and where they are shown.

use ipc_core::{Descriptor, active_children, current};

use crate::support::{Gate, Method, first_process, number_after, wait_at};

pub(crate) fn the_first_process_is_called_main_process() {
    first_process("the_first_process_is_called_main_process", || {
        assert_eq!(current().name(), "MainProcess");
        assert!(ipc_core::parent().is_none());
    });
}

fn my_name() -> String {
    current().name()
}

pub(crate) fn default_names_tell_the_path_of_births() {
    first_process("default_names_tell_the_path_of_births", || {
        let mut number = 0;
        for m in Method::PROCESSES {
            // SAFETY (of fork): the other thread is libtest's, which waits for this one; the children take no lock of it.
            let context = m.context();
            number += 1;
            let first = context.spawn(my_name, ()).unwrap();
            assert_eq!(first.name(), format!("Process-{number}"));
            assert_eq!(first.join().unwrap(), format!("Process-{number}"));
            number += 1;
            let with_children =
                |m: Method| [(); 2].map(|()| m.context().spawn(my_name, ()).unwrap().join().unwrap());
            let second = context.spawn(with_children, (m,)).unwrap();
            assert_eq!(second.name(), format!("Process-{number}"));
            let grandchildren = [1, 2].map(|n| format!("Process-{number}:{n}"));
            assert_eq!(second.join().unwrap(), grandchildren);
        }
        assert_eq!(number, 6, "no number came twice");
    });
}

pub(crate) fn a_name_may_be_set_at_any_time(m: Method) {
    let gate = Gate::new();
    let renames_itself = |gate: Descriptor| -> String {
        let before = current().name();
        current().set_name("inside");
        wait_at(gate);
        format!("{before}, {}", current().name())
    };
    let child = m.context().builder().name("given").spawn(renames_itself, (gate.entrance(),)).unwrap();
    child.set_name("outside");
    assert_eq!(child.name(), "outside");
    assert!(active_children().iter().any(|active| active.name() == "outside" && active.pid() == child.pid()));
    gate.open();
    child.wait().unwrap();
    child.set_name("after its end");
    assert_eq!(child.name(), "after its end");
    assert_eq!(child.join_timeout(ipc_testkit::GENEROUS).unwrap().unwrap(), "given, inside");
    let error = child.join().unwrap_err();
    assert!(error.to_string().contains(r#"child "after its end""#), "{error}");
}

pub(crate) fn two_children_may_share_a_name(m: Method) {
    let (context, gate) = (m.context(), Gate::new());
    let children = [1, 2]
        .map(|number| context.builder().name("twin").spawn(number_after, (gate.entrance(), number)).unwrap());
    assert_eq!(active_children().iter().filter(|child| child.name() == "twin").count(), 2);
    gate.open();
    gate.open();
    assert_eq!(
        children.map(|child| (child.name(), child.join().unwrap())),
        [("twin".into(), 1), ("twin".into(), 2)]
    );
}

/// The words of the error with which a child of the name "p3" ends, without its own.
fn words(m: Method, how: impl ipc_core::Function<(), Output = ()>) -> String {
    let builder = m.context().builder().name("p3").stderr(ipc_core::Stdio::null());
    let child = builder.spawn(how, ()).unwrap();
    let head = format!(r#"child "p3" (pid {})"#, child.pid());
    let error = child.join().unwrap_err();
    assert_eq!(error.child().unwrap().name, "p3");
    let text = error.to_string();
    text.strip_prefix(&head).unwrap_or_else(|| panic!("{head}: {text}")).to_owned()
}

pub(crate) fn errors_name_the_child_and_its_pid(m: Method) {
    let panicked = words(m, || panic!("no such name"));
    assert!(panicked.starts_with(" panicked at ") && panicked.contains("no such name"), "{panicked}");
    assert_eq!(words(m, || std::process::exit(3)), " exited with code 3 before it returned a value");
    let killed = words(m, || {
        // SAFETY: both take numbers; std's own handler of this signal is for stack overflows.
        unsafe { (libc::signal(libc::SIGSEGV, libc::SIG_DFL), libc::raise(libc::SIGSEGV)) };
    });
    assert!(killed.starts_with(" was killed by SIGSEGV"), "{killed}");
}

pub(crate) fn debug_shows_name_pid_parent_state_and_daemon(m: Method) {
    let gate = Gate::new();
    let builder = m.context().builder().name("shown").daemon(true);
    let child = builder.spawn(number_after, (gate.entrance(), 1)).unwrap();
    let (pid, parent) = (child.pid(), std::process::id());
    let fields =
        format!(r#" {{ name: "shown", pid: {pid}, parent: {parent}, daemon: true, status: "running" }}"#);
    assert_eq!(format!("{child:?}"), format!("Child{fields}"));
    let active = active_children().into_iter().find(|active| active.pid() == pid).unwrap();
    assert_eq!(format!("{active:?}"), format!("ActiveChild{fields}"));
    gate.open();
    assert_eq!(child.join().unwrap(), 1);
}

pub(crate) fn debug_shows_how_a_child_ended(m: Method) {
    let ended = |word: &str, child: ipc_core::Child<()>, active: ipc_core::ActiveChild| {
        child.wait().unwrap();
        for text in [format!("{child:?}"), format!("{active:?}")] {
            assert!(text.contains(word) && text.contains(r#"name: "shown""#), "{text}");
        }
    };
    let context = m.context();
    let gate = Gate::new();
    let leave = |gate: Descriptor, code: i32| {
        wait_at(gate);
        match code {
            0 => {}
            // SAFETY: it takes numbers.
            9 => drop(unsafe { libc::raise(9) }),
            code => std::process::exit(code),
        }
    };
    for (code, word) in [(0, "exit status: 0"), (3, "exit status: 3"), (9, "signal: 9 (SIGKILL)")] {
        let child = context.builder().name("shown").spawn(leave, (gate.entrance(), code)).unwrap();
        let active = active_children().into_iter().find(|active| active.pid() == child.pid()).unwrap();
        gate.open();
        ended(word, child, active);
    }
}
