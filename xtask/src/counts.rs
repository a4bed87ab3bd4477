//! Reading what the test runners say: which tests ran, and how they ended.
//!
//! Names come from the line of each test, counts from the runner's own summary. A run without summary has
//! no counts, whatever its lines said: a truncated run must not look like a small one.

/// What a run of tests said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// `BINARY::NAME` of what passed; BINARY is `lib`, `bin`, `doc`, or the file in `tests/`.
    pub(crate) names: Vec<String>,
    /// The same of what failed.
    pub(crate) failures: Vec<String>,
}

impl Counts {
    pub(crate) fn ran(&self) -> u64 {
        self.passed + self.failed
    }
}

/// The output of `cargo nextest run`; `None` without its summary.
///
/// ```text
///         PASS [   0.004s] (3/5) ipc-core::spawn daemons_end
///    LEAK-FAIL [   5.009s] (5/5) ipc-core entry::tests::hook
///      Summary [   5.025s] 5 tests run: 2 passed, 3 failed (1 due to being leaky), 1 skipped
/// ```
pub(crate) fn nextest(output: &str) -> Option<Counts> {
    let mut counts = Counts::default();
    for line in output.lines() {
        let Some((word, rest)) = line.trim_start().split_once(" [") else { continue };
        let Some((_, rest)) = rest.split_once("s] ") else { continue };
        match word.trim_end() {
            "Summary" => return summary(rest, counts),
            // Not the end of a test.
            "SLOW" | "TERMINATING" | "SKIP" => {}
            // Tests are indented less than their output, and their words are capitals.
            word if word.starts_with(|first: char| first.is_ascii_uppercase()) => {
                let rest = match rest.strip_prefix('(') {
                    Some(rest) => rest.split_once(") ").map_or(rest, |(_, rest)| rest),
                    None => rest,
                };
                let Some((binary, test)) = rest.split_once(' ') else { continue };
                let name = format!("{}::{test}", nextest_binary(binary));
                match word {
                    "PASS" | "LEAK" => counts.names.push(name),
                    _ => counts.failures.push(name),
                }
            }
            _ => {}
        }
    }
    None
}

fn nextest_binary(id: &str) -> &str {
    match id.split_once("::") {
        None => "lib",
        Some((_, binary)) if binary.starts_with("bin/") => "bin",
        Some((_, binary)) => binary,
    }
}

/// `5 tests run: 2 passed (1 slow), 2 failed, 1 timed out, 1 skipped`: what neither passed nor was skipped failed.
fn summary(text: &str, mut counts: Counts) -> Option<Counts> {
    let (_, numbers) = text.split_once(" run: ")?;
    let mut depth = 0;
    let flat: String = numbers
        .chars()
        .filter(|symbol| {
            depth += i32::from(*symbol == '(') - i32::from(*symbol == ')');
            depth == 0 && *symbol != ')'
        })
        .collect();
    for part in flat.split(',') {
        let mut words = part.split_whitespace();
        let number: u64 = words.next()?.parse().ok()?;
        match words.next()? {
            "passed" => counts.passed += number,
            "skipped" => counts.skipped += number,
            _ => counts.failed += number,
        }
    }
    Some(counts)
}

/// The output of `cargo test`, standard output and error together. A binary that was started and gave no
/// summary counts as one failure; if it never said `running`, it has its own `main`, and the command's
/// success (`ok`) is its own.
pub(crate) fn libtest(output: &str, ok: bool) -> Counts {
    let mut counts = Counts::default();
    let mut binary = "lib".to_owned();
    // Whether the current binary still owes a summary, and whether it said that it runs tests.
    let mut open = false;
    let mut harness = false;
    let close = |counts: &mut Counts, binary: &str, open: bool, harness: bool| {
        if !open {
        } else if !harness && ok {
            counts.passed += 1;
            counts.names.push(format!("{binary}::main"));
        } else {
            counts.failed += 1;
            counts.failures.push(format!("{binary}::main"));
        }
    };
    for line in output.lines() {
        let trimmed = line.trim_start();
        if let Some(name) = started(trimmed) {
            close(&mut counts, &binary, open, harness);
            (binary, open, harness) = (name, true, false);
        } else if line.starts_with("running ") && line.trim_end().ends_with(['t', 's']) {
            harness = true;
        } else if let Some(result) = line.strip_prefix("test result: ") {
            open = false;
            let number = |word: &str| {
                let before = result.split(&[';', '.'][..]).find(|part| part.trim_end().ends_with(word))?;
                before.split_whitespace().next()?.parse::<u64>().ok()
            };
            counts.passed += number(" passed").unwrap_or(0);
            counts.failed += number(" failed").unwrap_or(0);
            counts.skipped += number(" ignored").unwrap_or(0);
        } else if let Some((name, end)) =
            line.strip_prefix("test ").and_then(|test| test.rsplit_once(" ... "))
        {
            let name = name.strip_suffix(" - should panic").unwrap_or(name);
            let name = format!("{binary}::{name}");
            match end.trim_end() {
                "ok" => counts.names.push(name),
                "FAILED" => counts.failures.push(name),
                _ => {}
            }
        }
    }
    close(&mut counts, &binary, open, harness);
    counts
}

/// The binary that a line of cargo announces: `Running tests/spawn.rs (…)`, `Doc-tests ipc_core`.
pub(crate) fn started(line: &str) -> Option<String> {
    if line.starts_with("Doc-tests ") {
        return Some("doc".to_owned());
    }
    let (path, _) = line.strip_prefix("Running ")?.split_once(" (")?;
    if let Some(source) = path.strip_prefix("unittests ") {
        return Some(if source.ends_with("lib.rs") { "lib" } else { "bin" }.to_owned());
    }
    let path = path.strip_suffix(".rs")?;
    let path = path.strip_suffix("/main").unwrap_or(path);
    Some(path.rsplit('/').next().unwrap_or(path).to_owned())
}

/// The lines `kills POINT N` of crash tests, summed by point, in the order of first mention.
pub(crate) fn kills(output: &str) -> Vec<(String, u64)> {
    let mut points: Vec<(String, u64)> = Vec::new();
    for line in output.lines() {
        // libtest may have begun the line with the name of the test.
        let line = line.rsplit_once(" ... ").map_or(line, |(_, rest)| rest).trim();
        let Some((point, number)) = line.strip_prefix("kills ").and_then(|rest| rest.rsplit_once(' ')) else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else { continue };
        match points.iter_mut().find(|(known, _)| known == point) {
            Some((_, sum)) => *sum += number,
            None => points.push((point.to_owned(), number)),
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXTEST: &str = "\
    Finished `test` profile [unoptimized + debuginfo] target(s) in 0.53s
────────────
 Nextest run ID e99a663b with nextest profile: default
    Starting 5 tests across 1 binary (1 test skipped)
     SIGABRT [   0.014s] (1/5) ipc-core::bin/x demo::t::abrt
  stdout ───
    test demo::t::bad ... FAILED
        FAIL [   0.088s] ( 2/5) ipc-core demo::t::bad
        SLOW [> 60.000s] (---) ipc-core demo::t::slow
        PASS [  61.004s] (3/5) ipc-core demo::t::slow
        LEAK [   0.004s] (4/5) ipc-core::spawn daemons_end
   LEAK-FAIL [   5.009s] (5/5) ipc-core::spawn leak
────────────
     Summary [   5.025s] 5 tests run: 2 passed (1 slow, 1 leaky), 2 failed (1 due to being leaky), 1 timed out, 1 skipped
        FAIL [   0.088s] (2/5) ipc-core demo::t::bad
error: test run failed
";

    #[test]
    fn nextest_output() {
        let counts = nextest(NEXTEST).unwrap();
        assert_eq!((counts.passed, counts.failed, counts.skipped, counts.ran()), (2, 3, 1, 5));
        assert_eq!(counts.names, ["lib::demo::t::slow", "spawn::daemons_end"]);
        assert_eq!(counts.failures, ["bin::demo::t::abrt", "lib::demo::t::bad", "spawn::leak"]);
    }

    #[test]
    fn nextest_with_nothing_to_run() {
        let output = "    Starting 0 tests across 1 binary\n     Summary [   0.000s] 0 tests run: 0 passed, 0 skipped\n";
        assert_eq!(nextest(output), Some(Counts::default()));
    }

    #[test]
    fn a_run_without_summary_has_no_counts() {
        let cut = NEXTEST.split("────────────\n     Summary").next().unwrap();
        assert_eq!(nextest(cut), None);
    }

    const LIBTEST: &str = "\
     Running unittests src/lib.rs (target/debug/deps/ipc_core-3d0121b9e39266b9)

running 3 tests
test a::works ... ok
test a::panics - should panic ... ok
test a::later ... ignored, not here

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/spawn/main.rs (target/debug/deps/spawn-1)

running 1 test
test daemons_end ... FAILED

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.08s

     Running tests/aborts.rs (target/debug/deps/aborts-1)

running 6 tests
error: test failed, to rerun pass `-p xtask --bin xtask`
   Doc-tests ipc_core

running 1 test
test ipc-core/src/lib.rs - spawn (line 3) ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 1 test
test ipc-core/src/lib.rs - init (line 9) - compile fail ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn libtest_output() {
        let counts = libtest(LIBTEST, false);
        assert_eq!((counts.passed, counts.failed, counts.skipped), (4, 2, 1));
        assert_eq!(
            counts.names,
            [
                "lib::a::works",
                "lib::a::panics",
                "doc::ipc-core/src/lib.rs - spawn (line 3)",
                "doc::ipc-core/src/lib.rs - init (line 9) - compile fail",
            ]
        );
        assert_eq!(counts.failures, ["spawn::daemons_end", "aborts::main"]);
    }

    #[test]
    fn a_binary_with_its_own_main_counts_once() {
        let output = "     Running tests/init.rs (target/debug/deps/init-1)\n";
        assert_eq!(libtest(output, true).names, ["init::main"]);
        assert_eq!(libtest(output, false).failures, ["init::main"]);
        assert_eq!(libtest("", true), Counts::default());
    }

    #[test]
    fn kills_are_summed_by_point() {
        let output = "kills server 3\n    kills server 4\ntest x ... kills random instant 2\nkills of course\nskills a 3\n";
        assert_eq!(kills(output), [("server".to_owned(), 7), ("random instant".to_owned(), 2)]);
    }
}
