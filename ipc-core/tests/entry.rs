//! How children are entered: in programs of every kind, with the hook, with `init`, and with neither.
//!
//! The programs are those of `tests/fixtures`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use ipc_core::{Signal, Stdio};
use ipc_testkit::leaks;

mod programs;
use programs::fixture::{self, Build, cargo, lines_of, run};
use programs::{each_method, joined, not_run, sandbox};

const SUMS: &str = "sums [3, 3, 3]";

fn program() -> Build {
    Build::of("program", "program")
}

#[test]
fn init_runs_the_child_and_never_returns() {
    let _leaks = leaks();
    let lines = run(&Build::of("plain", "with_init").build(), &[]);
    assert!(lines[0].starts_with("main "), "{lines:?}");
    // Main's next line ran once, in the parent: no child said it again.
    assert_eq!(lines[1..], ["sum 5", "sum 5", "sum 7"]);
}

#[test]
fn init_returns_at_once_in_a_parent() {
    let _leaks = leaks();
    let lines = run(&Build::of("plain", "with_init").build(), &["idle"]);
    assert_eq!(lines[1..], ["marker false"], "called twice, nothing was spawned");
    // Where the hook is on it changes nothing.
    let lines = run(&program().build(), &["init"]);
    assert_eq!(lines[1..], [SUMS]);
}

#[test]
fn without_an_entrance_nothing_is_spawned() {
    let _leaks = leaks();
    let lines = run(&Build::of("plain", "without").build(), &[]);
    assert!(lines[0].starts_with("main "), "{lines:?}");
    assert_eq!(lines.len(), 4, "main ran more than once: {lines:?}");
    for line in &lines[1..] {
        assert!(line.starts_with("error ") && line.contains("`ipc_core::init()`"), "{line}");
    }
}

#[test]
fn in_main() {
    let _leaks = leaks();
    let program = program().build();
    assert_eq!(run(&program, &[]), ["main None", SUMS]);
    assert_eq!(run(&program, &["nested"])[1..], [SUMS]);
}

#[test]
fn in_tests_doctests_benches_and_examples() {
    let _leaks = leaks();
    let _lock = fixture::lock();
    let tests = fixture::succeeds(&mut cargo(&["test", "--locked", "-p", "program", "--lib", "--tests"]));
    let said = String::from_utf8_lossy(&tests.stdout).into_owned();
    assert!(said.contains("2 passed") && said.contains("1 passed"), "{said}");
    let doc = fixture::succeeds(&mut cargo(&["test", "--locked", "-p", "program", "--doc"]));
    let said = String::from_utf8_lossy(&doc.stdout).into_owned();
    assert!(said.contains("2 passed"), "{said}");
    for kind in [["test", "--bench", "bench"], ["run", "--example", "example"]] {
        let ran = fixture::succeeds(cargo(&kind).args(["--locked", "-p", "program"]));
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(said.contains(SUMS), "{kind:?}: {said}");
    }
}

#[test]
fn in_nextest() {
    let _leaks = leaks();
    if !cargo(&["nextest", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return not_run("cargo install cargo-nextest");
    }
    let _lock = fixture::lock();
    let ran =
        fixture::succeeds(&mut cargo(&["nextest", "run", "--locked", "-p", "program", "--lib", "--tests"]));
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(said.contains("3 passed"), "{said}");
}

#[test]
fn in_static_programs() {
    let _leaks = leaks();
    const PIE: &[&str] = &["-C", "target-feature=+crt-static"];
    const FIXED: &[&str] = &["-C", "target-feature=+crt-static", "-C", "relocation-model=static"];
    for (flags, kind) in [(PIE, 3), (FIXED, 2)] {
        let program = Build { flags, ..program() }.build();
        let header = std::fs::read(&program).unwrap();
        assert_eq!(u16::from_le_bytes([header[16], header[17]]), kind, "e_type");
        assert_eq!(interpreter(&program), None, "it is static");
        assert_eq!(run(&program, &[]), ["main None", SUMS]);
        assert_eq!(run(&program, &["nested"])[1..], [SUMS]);
    }
}

#[test]
fn with_globals_of_cpp() {
    let _leaks = leaks();
    if Command::new("g++").arg("--version").output().is_err() {
        return not_run("apt-get install g++");
    }
    const STATIC: &[&str] = &["-C", "target-feature=+crt-static"];
    for flags in [&[], STATIC] {
        let globals = Build { flags, ..Build::of("globals", "globals") }.build();
        let lines = run(&globals, &[]);
        assert_eq!(lines, ["main (42, 43)", "child (42, 43)", "child (42, 43)", "child (42, 43)"]);
    }
}

#[test]
fn under_tokio() {
    let _leaks = leaks();
    let lines = run(&Build::of("runtime", "runtime").build(), &[]);
    assert!(lines[0].starts_with("main "), "{lines:?}");
    assert_eq!(lines[1..], ["sum 3", "sum 3", "sum 7", "sum 11"]);
}

#[test]
fn where_a_panic_aborts() {
    let _leaks = leaks();
    let program = Build { profile: Some("abort"), ..program() }.build();
    assert_eq!(run(&program, &[])[1..], [SUMS]);
    let panic = |line: &String| {
        assert!(line.starts_with("panic Some(\"on purpose 7\") signal: 6 (SIGABRT)"), "{line}");
    };
    let lines = run(&program, &["panic"]);
    assert_eq!(lines.len(), 3);
    lines[1..].iter().for_each(panic);
}

/// A normal end, though not a success: children are joined, exit functions run.
#[test]
fn a_panic_that_leaves_main_is_a_normal_end() {
    let _leaks = leaks();
    let mut command = Command::new(program().build());
    command.arg("main panics").stderr(std::process::Stdio::null());
    let mut program = programs::Program::run(command);
    program.hears("leaves");
    program.tell("end");
    assert_eq!(program.wait().code(), Some(101));
    assert_eq!(program.all()[1..], ["child ends"]);
}

#[test]
fn a_coverage_build_writes_its_childrens_profiles() {
    let _leaks = leaks();
    let program = Build { flags: &["-C", "instrument-coverage"], ..program() }.build();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("profiles-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let mut command = Command::new(program);
    command.arg("pids").env("LLVM_PROFILE_FILE", directory.join("%p.profraw"));
    let lines = lines_of(command);
    // The runtime makes up the name once: copies of the fork server write the server's, which itself never ends normally.
    let pid = lines[1].strip_prefix("pid ").unwrap();
    assert!(directory.join(format!("{pid}.profraw")).is_file(), "no profile of the executed child {pid}");
    let profiles: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(profiles.len(), 3, "the program's, and one for each child: {profiles:?}");
    assert!(profiles.iter().all(|profile| profile.metadata().unwrap().len() > 0));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_shared_library_loads_and_is_told_that_it_cannot() {
    let _leaks = leaks();
    let host = Build::of("host", "host").build();
    // rustc's own linker where it brings lld, else the system's lld; and the other one.
    const LLD: &[&str] = &["-C", "link-arg=-fuse-ld=lld"];
    const BFD: &[&str] = &["-C", "linker-features=-lld", "-C", "link-arg=-fuse-ld=bfd"];
    let plugin = |flags| Build { package: "plugin", flags, ..Build::default() }.build();
    let is_by_lld =
        |library: &Path| String::from_utf8_lossy(&std::fs::read(library).unwrap()).contains("Linker: LLD");
    let loads = |library: &Path| {
        let lines = run(&host, &[library.to_str().unwrap()]);
        assert_eq!(lines[0], "loaded");
        assert!(lines[1].starts_with("spawns 0 ") && lines[1].contains("shared library"), "{lines:?}");
        assert_eq!(lines.len(), 2);
    };
    let by_bfd = plugin(BFD);
    assert!(!is_by_lld(&by_bfd));
    loads(&by_bfd);
    let mut by_lld = plugin(&[]);
    if !is_by_lld(&by_lld) {
        if Command::new("ld.lld").arg("--version").output().is_err() {
            return not_run("this toolchain brings no lld: apt-get install lld");
        }
        by_lld = plugin(LLD);
    }
    assert!(is_by_lld(&by_lld));
    loads(&by_lld);
}

/// The loader that a program names (`PT_INTERP` in its program headers, elf(5)).
fn interpreter(program: &Path) -> Option<String> {
    let file = std::fs::read(program).unwrap();
    let number = |at: usize, size: usize| {
        file[at..at + size].iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let interp = (0..count).map(|n| table + n * size).find(|&at| number(at, 4) == 3)?;
    let (offset, length) = (number(interp + 8, 8), number(interp + 32, 8));
    Some(String::from_utf8_lossy(&file[offset..offset + length - 1]).into_owned())
}

#[test]
fn a_program_started_by_its_loader_spawns_no_stranger() {
    let _leaks = leaks();
    let program = program().build();
    let loader = interpreter(&program).expect("a dynamic program");
    let lines = run(Path::new(&loader), &[program.to_str().unwrap(), "error"]);
    assert_eq!(lines[0], "main Some(\"error\")");
    assert_eq!(lines.len(), 3);
    for line in &lines[1..] {
        assert!(line.starts_with("error ") && line.contains("a loader"), "{line}");
    }
}

#[test]
fn a_program_with_raised_privileges_obeys_no_marker() {
    if !sandbox::is_root() {
        return not_run("only root can make a program of its own that others run with its rights");
    }
    let _leaks = leaks();
    let program = program().build();
    // In the system's directory, where any user gets to.
    let copy = std::env::temp_dir().join(format!("ipc-core-secure-{}", std::process::id()));
    programs::copy(&program, &copy);
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let marker = run(&program, &["marker"])[1].strip_prefix("marker ").unwrap().to_owned();
    let as_user = |uid: u32, word: &str| {
        let mut command = Command::new(&copy);
        command.arg(word).env("IPC_CORE_CHILD", &marker).uid(uid).gid(uid).current_dir("/");
        lines_of(command)[1..].to_vec()
    };
    let (root, user) = (as_user(0, "secure"), as_user(65534, "secure"));
    let errors = [as_user(65534, "error"), as_user(65534, "secure init")];
    std::fs::remove_file(&copy).unwrap();
    // Run by its owner it is a program like others, and takes the marker away.
    assert_eq!(root, ["secure 0", "has false"]);
    if user[0] == "secure 0" {
        return not_run("the directory for temporary files is mounted nosuid");
    }
    assert_eq!(user, ["secure 1", "has true"]);
    for line in errors.concat() {
        assert!(line.starts_with("error ") && line.contains("privileges"), "{line}");
    }
}

#[test]
fn what_cannot_be_sent_is_refused_by_the_compiler_in_words() {
    let _leaks = leaks();
    let refused = |program| Build::of("refused", program).refused();
    for program in ["captured", "pointer"] {
        let said = refused(program);
        assert!(said.contains("only functions and closures that capture nothing"), "{program}: {said}");
        assert!(said.contains("pass what they need as arguments"), "{program}: {said}");
        assert_eq!(said.matches("error[E0080]").count(), 1, "said once: {said}");
    }
    for (program, what) in [("unserialisable", "(Handle,)"), ("file", "(File,)")] {
        let said = refused(program);
        assert!(said.contains(&format!("`{what}` cannot be sent to another process")), "{program}: {said}");
        assert!(said.contains("implement serde's `Serialize` and `Deserialize`"), "{program}: {said}");
        assert!(said.contains("files, sockets and pipes go as `ipc_core::Descriptor`"), "{program}: {said}");
        assert_eq!(said.matches("error[E0277]").count(), 1, "said once: {said}");
    }
    let said = refused("borrowed");
    assert!(said.contains("not general enough") || said.contains("does not live long enough"), "{said}");
}

#[test]
fn an_environment_that_was_cleared_is_no_obstacle() {
    let _leaks = leaks();
    each_method(|context| {
        let all = || std::env::vars().collect::<Vec<_>>();
        let cleared = context.builder().env_clear().env("ONLY", "this");
        assert_eq!(joined(cleared.spawn(all, ()).unwrap()), [("ONLY".to_owned(), "this".to_owned())]);
        // Not even the children of such a child miss anything.
        let nested = || joined(ipc_core::spawn(|| std::env::vars().count(), ()).unwrap());
        assert_eq!(joined(context.builder().env_clear().spawn(nested, ()).unwrap()), 0);
    });
}

/// A marker of somebody else (another version, another program, descriptors that are not there) is not obeyed.
#[test]
fn a_marker_that_is_not_ours_is_not_obeyed() {
    let _leaks = leaks();
    let program = program().build();
    let own = run(&program, &["marker"])[1].strip_prefix("marker ").unwrap().to_owned();
    let parts: Vec<_> = own.split(':').collect();
    let strange = [
        String::new(),
        "nonsense".into(),
        format!("9.9.9:{}:3:4", parts[1]),
        format!("{}:{}:3:4", parts[0], "12345"),
        format!("{}:{}:700:701", parts[0], parts[1]),
        format!("{}:{}:-1:-1", parts[0], parts[1]),
        format!("{}:{}", parts[0], parts[1]),
    ];
    for marker in strange {
        let mut command = Command::new(&program);
        command.env("IPC_CORE_CHILD", &marker);
        assert_eq!(lines_of(command), ["main None", SUMS], "{marker:?}");
    }
}

fn deeper(depth: u64) -> u64 {
    let ballast = std::hint::black_box([depth; 64]);
    if ballast[63] == u64::MAX { 0 } else { deeper(depth + 1) + ballast[7] }
}

#[test]
fn a_stack_overflow_is_named_on_standard_error() {
    let _leaks = leaks();
    each_method(|context| {
        let limit = ipc_core::Resource::Core;
        let builder = context.builder().name("deep").stderr(Stdio::piped()).rlimit(limit, Some(0), Some(0));
        let child = builder.spawn(deeper, (0,)).unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.take_stderr().unwrap(), &mut said).unwrap();
        assert_eq!(said, format!("\nchild \"deep\" (pid {}) has overflowed its stack\n", child.pid()));
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SEGV));
        let error = child.join().unwrap_err();
        assert!(matches!(error, ipc_core::Error::StackOverflow { .. }), "{error}");
        assert_eq!(error.signal(), Some(Signal::SEGV), "{error}");
    });
}
