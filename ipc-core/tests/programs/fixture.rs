//! Programs of packages of their own: `tests/fixtures`, built by cargo when a test first asks for one.
//!
//! They are one workspace with one target directory, `target/tmp/fixtures`. Flags for the linker or of a last crate are given to
//! that crate alone, so that what is below is compiled once. Cargo itself knows what is fresh; a lock keeps the processes of
//! several tests apart, and each gets a file of its own that no later build replaces.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::{FlockOperation, flock};

/// A build: which package and target, with which flags.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Build {
    /// The package.
    pub(crate) package: &'static str,
    /// One of its programs; none for a library.
    pub(crate) program: Option<&'static str>,
    /// Arguments of rustc for the program alone.
    pub(crate) flags: &'static [&'static str],
    /// The profile, if not `dev`.
    pub(crate) profile: Option<&'static str>,
}

fn target() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fixtures")
}

/// Cargo, for the workspace of the fixtures, without what the surrounding run has set for its own builds.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(words).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"));
    let foreign =
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTDOCFLAGS", "CARGO_BUILD_TARGET", "LLVM_PROFILE_FILE"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if foreign.iter().any(|foreign| *foreign == text) || text.starts_with("NEXTEST") {
            cargo.env_remove(name);
        }
    }
    cargo.env("CARGO_TARGET_DIR", target());
    cargo
}

/// Nobody else builds while this lives.
pub(crate) fn lock() -> File {
    fs::create_dir_all(target()).unwrap();
    let file = File::create(target().join("lock")).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    file
}

/// Runs cargo to its end; its words are part of the panic if it fails.
#[track_caller]
pub(crate) fn succeeds(cargo: &mut Command) -> Output {
    let output = cargo.output().unwrap_or_else(|error| panic!("{cargo:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{cargo:?}: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
    output
}

impl Build {
    /// A program of a package, in the plain way.
    pub(crate) fn of(package: &'static str, program: &'static str) -> Build {
        Build { package, program: Some(program), ..Build::default() }
    }

    fn words(&self) -> Vec<&'static str> {
        let mut words = vec!["rustc", "--quiet", "--locked", "-p", self.package];
        match self.program {
            Some(program) => words.extend(["--bin", program]),
            None => words.push("--lib"),
        }
        words.extend(["--profile", self.profile.unwrap_or("dev"), "--"]);
        words.extend(self.flags);
        words
    }

    /// Builds it and returns the file, which is this build's own.
    #[track_caller]
    pub(crate) fn build(&self) -> PathBuf {
        let _lock = lock();
        succeeds(&mut cargo(&self.words()));
        let name = match self.program {
            Some(program) => program.to_owned(),
            None => format!("lib{}.so", self.package),
        };
        let built = target().join(self.profile.unwrap_or("debug")).join(&name);
        let label: String =
            self.flags.concat().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let own = target().join("out").join(format!("{}{label}", self.profile.unwrap_or("dev")));
        fs::create_dir_all(&own).unwrap();
        let own = own.join(name);
        // Renamed into place: an older one may be running.
        let fresh = own.with_extension(format!("{}", std::process::id()));
        super::copy(&built, &fresh);
        fs::rename(&fresh, &own).unwrap();
        own
    }

    /// What the compiler says of what it must refuse.
    #[track_caller]
    pub(crate) fn refused(&self) -> String {
        let _lock = lock();
        let output = cargo(&self.words()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{self:?} was compiled");
        said
    }
}

/// Runs a program to its end, before a generous deadline, and returns the lines that it and its children have said with `@`.
#[track_caller]
pub(crate) fn lines_of(command: Command) -> Vec<String> {
    let mut program = super::Program::run(command);
    program.succeeds();
    program.all()
}

/// The same for a file with arguments.
#[track_caller]
pub(crate) fn run(program: &Path, words: &[&str]) -> Vec<String> {
    let mut command = Command::new(program);
    command.args(words);
    lines_of(command)
}
