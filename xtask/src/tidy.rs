//! Check the form of what git tracks: `cargo xtask tidy`.
//!
//! No file over 600 lines (a word about those over 400); every .rs file begins with its module docs; every
//! unsafe block and impl has its SAFETY comment; no `unwrap` or `expect` and no `#[ignore]` (in tests neither is
//! the latter: a test that does not run shows nothing); no path of somebody's machine and no registry's
//! host; nothing at the top level but what was agreed; members inherit version, edition, licence and lints.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::project::Project;

const WARN_LINES: usize = 400;
const MOST_LINES: usize = 600;

/// What may stand at the top level.
const TOP: &[&str] = &[
    ".cargo",
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "ipc-core",
    "ipc-manager",
    "ipc-pool",
    "ipc-shm",
    "ipc-sync",
    "rustfmt.toml",
    "xtask",
];

/// `cargo xtask tidy`.
pub(crate) fn run(args: &[String]) -> Result {
    if let Some(arg) = args.first() {
        return Err(format!("tidy takes no argument, and `{arg}` is one"));
    }
    let found = check(&Project::load()?)?;
    found.print();
    if found.errors.is_empty() { Ok(()) } else { Err(format!("tidy: {} errors", found.errors.len())) }
}

#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) errors: Vec<String>,
    warnings: Vec<String>,
    files: usize,
}

impl Found {
    pub(crate) fn print(&self) {
        self.warnings.iter().for_each(|warning| println!("tidy: warning: {warning}"));
        self.errors.iter().for_each(|error| println!("tidy: {error}"));
        println!("tidy: {} files, {} errors", self.files, self.errors.len());
    }
}

pub(crate) fn check(project: &Project) -> Result<Found> {
    let mut found = Found::default();
    let checkout = project.root.display().to_string();
    let files = tracked(&project.root)?;
    let read = |file: &String| fs::read_to_string(project.root.join(file)).ok();
    let test_modules: BTreeSet<String> = files
        .iter()
        .filter(|file| file.ends_with(".rs"))
        .flat_map(|file| test_modules(file, &read(file).unwrap_or_default()))
        .collect();
    for file in files {
        let top = file.split('/').next().unwrap_or_default();
        if !TOP.contains(&top) {
            found.errors.push(format!("{file}: `{top}` is no agreed entry of the top level"));
        }
        // Removed but not yet committed, or no text.
        let Some(text) = read(&file) else { continue };
        found.files += 1;
        found.errors.extend(paths(&file, &text, &checkout));
        if file.ends_with(".rs") {
            length(&file, &text, &mut found);
            found.errors.extend(source(&file, &text, test_modules.contains(&file)));
        }
    }
    for member in &project.crates {
        let manifest = member.dir.join("Cargo.toml");
        let text =
            fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
        found.errors.extend(inherits(&member.name, &text));
    }
    Ok(found)
}

/// What git tracks, or would with the next `git add`.
fn tracked(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .map_err(|error| format!("cannot run git: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split('\0').filter(|file| !file.is_empty()).map(str::to_owned).collect())
}

fn length(file: &str, text: &str, found: &mut Found) {
    let lines = text.lines().count();
    if lines > MOST_LINES {
        found.errors.push(format!("{file}: {lines} lines, {MOST_LINES} are the most"));
    } else if lines > WARN_LINES {
        found.warnings.push(format!("{file}: {lines} lines; is it one concern?"));
    }
}

/// Paths that exist on one machine only, and hosts that packages come from. Lock files name the registry by
/// cargo's own identifier, which is no choice of ours.
fn paths(file: &str, text: &str, checkout: &str) -> Vec<String> {
    if file.ends_with("Cargo.lock") {
        return Vec::new();
    }
    let mut forbidden = vec![checkout.to_owned()];
    // Put together here, so that this file does not hold them.
    for (root, below) in
        [("home", ""), ("root", ""), ("Users", ""), ("work", "main"), ("work", "shared"), ("tmp", "wt-")]
    {
        forbidden.push(format!("/{root}/{below}"));
    }
    let mut hosts = Vec::new();
    for (name, domain) in [("crates", "io"), ("pypi", "org"), ("npmjs", "org"), ("debian", "org")] {
        for sub in ["static", "index", "registry", "files", "deb"] {
            hosts.push(format!("{sub}.{name}.{domain}"));
        }
    }
    let mut errors = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let paths = forbidden.iter().filter(|word| names(line, word));
        for word in paths.chain(hosts.iter().filter(|host| line.contains(host.as_str()))) {
            errors.push(format!(
                "{file}:{}: names `{word}`, which is somebody's machine or a registry",
                number + 1
            ));
        }
    }
    errors
}

/// Whether a line holds the word as the beginning of a path, not in the middle of a longer one.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|symbol| symbol.is_alphanumeric() || "./_-}*".contains(symbol))
    })
}

/// What every Rust file is held to.
fn source(file: &str, text: &str, test_module: bool) -> Vec<String> {
    let mut errors = Vec::new();
    if !text.starts_with("//!") && !text.starts_with("#!") {
        errors.push(format!("{file}: does not begin with `//!`, saying what it is for"));
    }
    let in_tests =
        ["/tests/", "/benches/", "/fuzz_targets/", "/examples/"].iter().any(|dir| file.contains(dir))
            || test_module;
    let lines: Vec<&str> = text.lines().collect();
    let mut tests = in_tests;
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        // By custom the tests are the file's last part.
        let inline = lines.get(at + 1).is_some_and(|next| next.contains("mod ") && next.ends_with('{'));
        tests |= for_tests(trimmed) && inline;
        let code = code(trimmed);
        let place = format!("{file}:{}", at + 1);
        if unsafe_block(&code) && !has_safety(&lines, at) {
            errors.push(format!("{place}: unsafe without a SAFETY comment above"));
        }
        if code.starts_with("#[ignore") {
            errors.push(format!("{place}: an ignored test shows nothing"));
        }
        if !tests && (code.contains(".unwrap()") || code.contains(".expect(\"")) {
            errors.push(format!("{place}: unwrap outside tests"));
        }
    }
    errors
}

fn for_tests(attribute: &str) -> bool {
    attribute.starts_with("#[cfg(test") || attribute.starts_with("#[cfg(all(test")
}

/// The files of the modules that a file declares for tests only.
fn test_modules(file: &str, text: &str) -> Vec<String> {
    let path = Path::new(file);
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let dir = match stem {
        "mod" | "lib" | "main" => path.with_file_name(""),
        _ => path.with_extension(""),
    };
    let mut modules = Vec::new();
    for (attribute, declaration) in text.lines().zip(text.lines().skip(1)) {
        if for_tests(attribute.trim_start())
            && let Some((_, name)) = declaration.split_once("mod ")
            && let Some(name) = name.strip_suffix(';')
        {
            let dir = dir.join(name);
            modules.extend(
                [dir.with_extension("rs"), dir.join("mod.rs")].map(|path| path.display().to_string()),
            );
        }
    }
    modules
}

/// A line without its comment and without what stands in string literals.
fn code(line: &str) -> String {
    let mut code = String::new();
    let mut symbols = line.chars().peekable();
    let mut quoted = false;
    while let Some(symbol) = symbols.next() {
        match symbol {
            '\\' if quoted => {
                symbols.next();
            }
            '\'' if !quoted && symbols.peek() == Some(&'"') => {
                // The character '"'.
                symbols.next();
                symbols.next();
            }
            '"' => {
                quoted = !quoted;
                code.push(symbol);
            }
            '/' if !quoted && symbols.peek() == Some(&'/') => break,
            symbol if !quoted => code.push(symbol),
            _ => {}
        }
    }
    code
}

fn unsafe_block(code: &str) -> bool {
    code.match_indices("unsafe").any(|(at, word)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].trim_start();
        !before.is_some_and(|symbol| symbol.is_alphanumeric() || symbol == '_')
            && (after.starts_with('{') || after.starts_with("impl"))
    })
}

/// A comment with SAFETY on the line itself, or above it: past attributes, other comment lines, and the
/// beginning of the statement or the chain of unsafe impls that the line belongs to.
fn has_safety(lines: &[&str], at: usize) -> bool {
    if lines[at].contains("// SAFETY:") {
        return true;
    }
    for line in lines[..at].iter().rev().take(12) {
        let line = line.trim();
        if line.contains("SAFETY:") {
            return true;
        }
        let part_of_it = line.starts_with("//") || line.starts_with("#[") || line.starts_with("unsafe impl");
        let ended = line.is_empty() || line.ends_with([';', '{', '}']);
        if ended && !part_of_it {
            return false;
        }
    }
    false
}

/// A member's manifest takes from the workspace what the workspace decides.
fn inherits(name: &str, manifest: &str) -> Vec<String> {
    ["version", "edition", "rust-version", "license"]
        .iter()
        .map(|key| format!("{key}.workspace = true"))
        .chain(["[lints]\nworkspace = true".to_owned()])
        .filter(|wanted| !manifest.contains(wanted.as_str()))
        .map(|wanted| format!("{name}: its Cargo.toml lacks `{}`", wanted.replace('\n', " ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(body: &str) -> Vec<String> {
        source("a/src/x.rs", &format!("//! x\n{body}"), false)
    }

    #[test]
    fn unsafe_needs_its_comment() {
        for good in [
            "// SAFETY: so\nunsafe { f() }",
            "// SAFETY: so,\n// and so\n#[allow(x)]\nlet x =\n    unsafe { f() };",
            "let x = unsafe { f() }; // SAFETY: so",
            "// SAFETY: both\nunsafe impl Send for X {}\nunsafe impl Sync for X {}",
            "pub unsafe fn f() {}",
            "// unsafe { in a comment }",
            "let text = \"unsafe { }\";",
            "fn not_unsafe() {}",
        ] {
            assert_eq!(errors(good), [""; 0], "{good}");
        }
        for bad in [
            "unsafe { f() }",
            "unsafe impl Send for X {}",
            "// SAFETY: other\nlet a = 1;\nlet x = unsafe { f() };",
        ] {
            assert_eq!(errors(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn unwrap_is_for_tests() {
        assert_eq!(errors("f().unwrap();").len(), 1);
        assert_eq!(errors("f().expect(\"x\");").len(), 1);
        assert_eq!(errors("parser.expect(b'x');\n// f().unwrap()\n"), [""; 0]);
        assert_eq!(errors("#[cfg(test)]\nmod tests {\nf().unwrap();\n}"), [""; 0]);
        assert_eq!(source("a/tests/x.rs", "//! x\nf().unwrap();", false), [""; 0]);
        assert_eq!(errors("let quote = '\"'; f().unwrap();").len(), 1);
    }

    #[test]
    fn modules_for_tests_are_found() {
        let text = "#[cfg(test)]\npub(crate) mod alone;\nmod b;\n#[cfg(all(test, unix))]\nmod c;\n";
        assert_eq!(
            test_modules("a/src/x/mod.rs", text),
            ["a/src/x/alone.rs", "a/src/x/alone/mod.rs", "a/src/x/c.rs", "a/src/x/c/mod.rs"]
        );
        assert_eq!(test_modules("a/src/x.rs", text)[0], "a/src/x/alone.rs");
        assert_eq!(source("a/src/x/alone.rs", "//! x\nf().unwrap();", true), [""; 0]);
    }

    #[test]
    fn files_begin_with_what_they_are_for() {
        assert_eq!(source("a/src/x.rs", "use std;\n", false).len(), 1);
        assert_eq!(source("a/src/x.rs", "#![no_main]\n//! x\n", false), [""; 0]);
        assert_eq!(errors(concat!("#", "[ignore]\nfn x() {}")).len(), 1);
    }

    #[test]
    fn no_path_of_a_machine() {
        let home = format!("see {}ann/x", ["/ho", "me/"].concat());
        assert_eq!(paths("a.md", &home, "/checkout").len(), 1);
        assert_eq!(paths("a.md", "in /checkout/src", "/checkout").len(), 1);
        assert_eq!(
            paths(
                "a.md",
                &format!("in /proc/self, /tmp/x, src{0}mod.rs and $DIR{0}x", ["/ho", "me/"].concat()),
                "/checkout"
            )
            .len(),
            0
        );
        assert_eq!(paths("a.md", &format!("https://index.{}.io", "crates"), "/checkout").len(), 1);
        assert_eq!(paths("Cargo.lock", &home, "/checkout").len(), 0);
    }

    #[test]
    fn lengths_warn_and_fail() {
        let mut found = Found::default();
        length("a", &"\n".repeat(401), &mut found);
        length("b", &"\n".repeat(601), &mut found);
        assert_eq!((found.warnings.len(), found.errors.len()), (1, 1));
    }

    #[test]
    fn members_inherit() {
        let good = "version.workspace = true\nedition.workspace = true\nrust-version.workspace = true\n\
            license.workspace = true\n[lints]\nworkspace = true\n";
        assert_eq!(inherits("a", good), [""; 0]);
        assert_eq!(inherits("a", &good.replace("edition", "x")).len(), 1);
    }
}
