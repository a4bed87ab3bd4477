//! What cargo knows about the workspace: its members, their targets, and what each promises.
//!
//! A crate promises in its Cargo.toml how much of each means of verification it has:
//!
//! ```toml
//! [package.metadata.verify]
//! unit = 40            # tests of src/, and of tests/ as far as they have no means of their own
//! doc = 12             # documentation examples
//! loom = 6             # models
//! fault = 30           # rows (call and error) of tests/fault.table
//! kills = 10000        # processes that the crash tests kill, all points together
//! variants = ["--no-default-features --test init"]     # further `cargo test -p CRATE …`, counted with unit
//! ```
//!
//! A promise is a minimum. A key that is no means is an error, for a misspelt promise promises nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Result;

/// The seven means of VERIFICATION.md, the documentation's examples counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Means {
    Unit,
    Doc,
    Conformance,
    Loom,
    Prop,
    Crash,
    Fault,
    Fuzz,
}

impl Means {
    pub(crate) const ALL: [Means; 8] = [
        Means::Unit,
        Means::Doc,
        Means::Conformance,
        Means::Loom,
        Means::Prop,
        Means::Crash,
        Means::Fault,
        Means::Fuzz,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Means::Unit => "unit",
            Means::Doc => "doc",
            Means::Conformance => "conformance",
            Means::Loom => "loom",
            Means::Prop => "prop",
            Means::Crash => "crash",
            Means::Fault => "fault",
            Means::Fuzz => "fuzz",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Means> {
        Means::ALL.into_iter().find(|means| means.name() == name)
    }

    /// The means that a file of `tests/` belongs to.
    fn of_test(target: &str) -> Means {
        [Means::Conformance, Means::Loom, Means::Prop, Means::Crash]
            .into_iter()
            .find(|means| target.starts_with(means.name()))
            .unwrap_or(Means::Unit)
    }
}

/// A member of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) has_lib: bool,
    pub(crate) has_bins: bool,
    /// The files of `tests/`, by name.
    pub(crate) tests: Vec<String>,
    /// Those of them that have a `main` of their own (`harness = false`): one test each, which nextest cannot list.
    pub(crate) bare: Vec<String>,
    pub(crate) examples: Vec<String>,
    pub(crate) promises: Vec<(Means, u64)>,
    pub(crate) kills: u64,
    pub(crate) variants: Vec<String>,
}

impl Crate {
    pub(crate) fn promised(&self, means: Means) -> u64 {
        self.promises.iter().find(|(of, _)| *of == means).map_or(0, |(_, count)| *count)
    }

    /// The files of `tests/` that belong to a means.
    pub(crate) fn tests_of(&self, means: Means) -> impl Iterator<Item = &str> {
        self.tests.iter().map(String::as_str).filter(move |test| Means::of_test(test) == means)
    }

    /// Cargo's words for the targets of a means; empty if the crate has none of it.
    pub(crate) fn selection(&self, means: Means) -> Vec<String> {
        let mut words = Vec::new();
        if means == Means::Unit {
            words.extend(self.has_lib.then(|| "--lib".to_owned()));
            words.extend(self.has_bins.then(|| "--bins".to_owned()));
        }
        for test in self.tests_of(means).filter(|test| !self.bare.iter().any(|bare| bare == test)) {
            words.extend(["--test".to_owned(), test.to_owned()]);
        }
        words
    }

    /// Whether there is anything of a means to look for.
    pub(crate) fn has(&self, means: Means) -> bool {
        match means {
            Means::Unit => self.has_lib || self.has_bins || self.tests_of(means).next().is_some(),
            Means::Doc => self.has_lib,
            Means::Fault => self.fault_table().is_some(),
            Means::Fuzz => self.fuzz_dir().is_some(),
            Means::Conformance | Means::Loom | Means::Prop | Means::Crash => {
                self.tests_of(means).next().is_some()
            }
        }
    }

    /// The tests of a means that have a `main` of their own.
    pub(crate) fn bare_of(&self, means: Means) -> impl Iterator<Item = &str> {
        self.bare.iter().map(String::as_str).filter(move |test| Means::of_test(test) == means)
    }

    pub(crate) fn fuzz_dir(&self) -> Option<PathBuf> {
        let dir = self.dir.join("fuzz");
        dir.join("Cargo.toml").is_file().then_some(dir)
    }

    pub(crate) fn fault_table(&self) -> Option<PathBuf> {
        let table = self.dir.join("tests/fault.table");
        table.is_file().then_some(table)
    }
}

/// The workspace as cargo sees it.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) crates: Vec<Crate>,
}

impl Project {
    pub(crate) fn load() -> Result<Project> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        // A moved checkout is found from where the command was called.
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        if manifest.is_file() {
            command.arg("--manifest-path").arg(&manifest);
        }
        let output = command.output().map_err(|error| format!("cannot run cargo: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("cargo metadata is no JSON: {error}"))?;
        Project::from_metadata(&value)
    }

    fn from_metadata(value: &Value) -> Result<Project> {
        let path =
            |key: &str| value[key].as_str().map(PathBuf::from).ok_or(format!("cargo metadata has no {key}"));
        let packages = value["packages"].as_array().map_or(&[][..], Vec::as_slice);
        let crates = packages.iter().map(member).collect::<Result<Vec<_>>>()?;
        let mut project =
            Project { root: path("workspace_root")?, target: path("target_directory")?, crates };
        // The layers from the bottom up, then what serves them.
        let order = ["ipc-core", "ipc-shm", "ipc-sync", "ipc-pool", "ipc-manager", "ipc-testkit", "xtask"];
        project.crates.sort_by_key(|member| {
            (order.iter().position(|name| *name == member.name).unwrap_or(order.len()), member.name.clone())
        });
        Ok(project)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Crate> {
        self.crates.iter().find(|member| member.name == name)
    }
}

/// The cargo that runs us, else the one on the path.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo run` told us about ourselves is not for the crates under test.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR") {
            command.env_remove(name);
        }
    }
    command
}

fn member(package: &Value) -> Result<Crate> {
    let name = package["name"].as_str().unwrap_or_default().to_owned();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
    let mut member =
        Crate { dir: manifest.parent().map(Path::to_owned).unwrap_or_default(), name, ..Crate::default() };
    for target in package["targets"].as_array().map_or(&[][..], Vec::as_slice) {
        let name = target["name"].as_str().unwrap_or_default().to_owned();
        match target["kind"][0].as_str().unwrap_or_default() {
            "test" => member.tests.push(name),
            "example" => member.examples.push(name),
            "bin" => member.has_bins = true,
            "lib" | "rlib" | "proc-macro" => member.has_lib = true,
            _ => {}
        }
    }
    member.tests.sort();
    // cargo's metadata does not say it.
    member.bare = sections(&std::fs::read_to_string(&manifest).unwrap_or_default(), "test")
        .filter(|section| section.iter().any(|(key, value)| key == "harness" && value == "false"))
        .filter_map(|section| section.into_iter().find(|(key, _)| key == "name"))
        .map(|(_, name)| name)
        .collect();
    if let Some(verify) = package["metadata"]["verify"].as_object() {
        for (key, value) in verify {
            promise(&mut member, key, value)
                .map_err(|why| format!("{}: [package.metadata.verify] {key}: {why}", member.name))?;
        }
    }
    Ok(member)
}

/// The `[[KIND]]` sections of a manifest, their lines as key and bare value.
pub(crate) fn sections(manifest: &str, kind: &str) -> impl Iterator<Item = Vec<(String, String)>> {
    let mut sections: Vec<Vec<(String, String)>> = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == format!("[[{kind}]]");
            if inside {
                sections.push(Vec::new());
            }
        } else if let (true, Some((key, value)), Some(section)) =
            (inside, line.split_once('='), sections.last_mut())
        {
            section.push((key.trim().to_owned(), value.trim().trim_matches('"').to_owned()));
        }
    }
    sections.into_iter()
}

fn promise(member: &mut Crate, key: &str, value: &Value) -> Result {
    let count = || value.as_u64().ok_or("is no count");
    match (key, Means::parse(key)) {
        (_, Some(means)) => member.promises.push((means, count()?)),
        ("kills", _) => member.kills = count()?,
        ("variants", _) => {
            let list = value.as_array().ok_or("is no list of strings")?;
            for variant in list {
                member.variants.push(variant.as_str().ok_or("is no list of strings")?.to_owned());
            }
        }
        _ => return Err("is no means of verification".to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(verify: Value) -> Value {
        json!({
            "name": "a", "manifest_path": "/w/a/Cargo.toml", "metadata": { "verify": verify },
            "targets": [
                { "name": "a", "kind": ["lib"] }, { "name": "loom", "kind": ["test"] },
                { "name": "prop_codec", "kind": ["test"] }, { "name": "spawn", "kind": ["test"] },
                { "name": "crash", "kind": ["test"] }, { "name": "conformance_process", "kind": ["test"] },
                { "name": "walk", "kind": ["example"] }
            ]
        })
    }

    #[test]
    fn targets_are_sorted_by_means() {
        let member = member(&package(json!({ "unit": 3, "kills": 10, "variants": ["--test x"] }))).unwrap();
        assert_eq!(member.selection(Means::Unit), ["--lib", "--test", "spawn"]);
        assert_eq!(member.selection(Means::Prop), ["--test", "prop_codec"]);
        assert_eq!(member.selection(Means::Conformance), ["--test", "conformance_process"]);
        assert_eq!(member.tests_of(Means::Loom).collect::<Vec<_>>(), ["loom"]);
        assert_eq!((member.promised(Means::Unit), member.promised(Means::Doc), member.kills), (3, 0, 10));
        assert_eq!(member.variants, ["--test x"]);
        assert_eq!(member.examples, ["walk"]);
    }

    #[test]
    fn sections_are_read() {
        let manifest = "[package]\nname = \"x\"\n[[bin]]\nname = \"header\"\n\n[[test]]\nname=\"init\"\nharness = false\n\
            [[bin]]\nname=\"control\"\n[lib]\nname = \"no\"\n";
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let read = |kind| sections(manifest, kind).collect::<Vec<_>>();
        assert_eq!(read("test"), [[pair("name", "init"), pair("harness", "false")]]);
        assert_eq!(read("bin"), [[pair("name", "header")], [pair("name", "control")]]);
    }

    #[test]
    fn a_test_with_its_own_main_is_not_nextests() {
        let mut member = member(&package(json!({}))).unwrap();
        member.bare = vec!["spawn".to_owned()];
        assert_eq!(member.selection(Means::Unit), ["--lib"]);
        assert_eq!(member.bare_of(Means::Unit).collect::<Vec<_>>(), ["spawn"]);
        assert_eq!(member.bare_of(Means::Prop).count(), 0);
    }

    #[test]
    fn a_misspelt_promise_is_an_error() {
        let error = member(&package(json!({ "units": 3 }))).unwrap_err();
        assert!(error.contains("units"), "{error}");
        assert!(member(&package(json!({ "unit": "3" }))).is_err());
    }

    #[test]
    fn the_workspace_itself_is_read() {
        let project = Project::load().unwrap();
        assert!(project.find("ipc-core").is_some_and(|core| core.has_lib));
        assert!(project.find("xtask").is_some_and(|xtask| xtask.has_bins && !xtask.has_lib));
    }
}
