//! Builds what a run measures, when it is needed: ours from the workspace, the peers from `xtask/peers`.
//!
//! Both in release with the same profile. The peers are no members of the workspace and have a target directory of their
//! own below the workspace's; each is built alone, behind its own feature, so that one which does not compile is one row's
//! trouble.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where programs come from; remembers what it has built.
pub(crate) struct Workshop {
    root: PathBuf,
    ours: PathBuf,
    peers: HashMap<&'static str, Result<PathBuf, String>>,
}

impl Workshop {
    /// Builds ours; without it there is nothing to compare.
    pub(crate) fn open() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or("xtask is not inside a workspace")?
            .to_owned();
        eprintln!("building ours (release)");
        let ours = build(&root, &["--package", "xtask", "--bin", "bench-ours"], "bench-ours")
            .map_err(|why| format!("bench-ours {why}"))?;
        Ok(Self { root, ours, peers: HashMap::new() })
    }

    /// The program that does our side of every group.
    pub(crate) fn ours(&self) -> &Path {
        &self.ours
    }

    /// A peer's program, built now if it has not been yet.
    pub(crate) fn peer(&mut self, name: &'static str, feature: Option<&str>) -> Result<PathBuf, String> {
        if let Some(known) = self.peers.get(name) {
            return known.clone();
        }
        eprintln!("building the peer {name} (release)");
        let manifest = self.root.join("xtask/peers/Cargo.toml").display().to_string();
        let target = self.ours.ancestors().nth(2).unwrap_or(&self.root).join("peers").display().to_string();
        let mut args = vec!["--manifest-path", &manifest, "--target-dir", &target, "--locked", "--bin", name];
        args.extend(feature.iter().flat_map(|feature| ["--features", feature]));
        let built = build(&self.root, &args, name);
        self.peers.insert(name, built.clone());
        built
    }

    /// A file that a peer without a build step consists of.
    pub(crate) fn script(&self, name: &str) -> String {
        self.root.join("xtask/peers").join(name).display().to_string()
    }

    /// Python from the machine, if there is one.
    pub(crate) fn python() -> Result<PathBuf, String> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths)
            .map(|path| path.join("python3"))
            .find(|path| path.is_file())
            .ok_or_else(|| "not measured: python3 is missing; on Debian: apt-get install python3".to_owned())
    }
}

/// The executable's path, or `cannot build: ` with the compiler's first error.
fn build(root: &Path, args: &[&str], bin: &str) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--message-format=json-render-diagnostics"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot build: cargo does not start: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let error = stderr.lines().find(|line| line.starts_with("error")).unwrap_or("cargo failed silently");
        return Err(format!("cannot build: {error}"));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| executable(line, bin))
        .ok_or_else(|| format!("cannot build: cargo names no executable for {bin}"))
}

/// The executable that a line of cargo's messages names, if it is the one looked for.
fn executable(line: &str, bin: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let wanted = message["reason"] == "compiler-artifact" && message["target"]["name"] == bin;
    wanted.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_program_is() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"zygote"},"executable":"/t/zygote"}"#;
        assert_eq!(executable(line, "zygote"), Some(PathBuf::from("/t/zygote")));
        assert_eq!(executable(line, "command"), None);
        assert_eq!(executable("   Compiling something", "zygote"), None);
    }
}
