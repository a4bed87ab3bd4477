//! `cargo xtask`: the workspace's front door.
//!
//! This file only finds the command; a file a command does the work, and its module docs are the
//! command's help, so that the two cannot drift apart: `cargo xtask help NAME` prints them.

#![forbid(unsafe_code)]

mod bench;
mod ci;
mod counts;
mod crash;
mod demo;
mod exec;
mod fault;
mod fuzz;
mod loom;
mod parity;
mod project;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

/// What every command's `run` returns: nothing, or the one line (or more) to print before exit code 1.
type Result<T = ()> = std::result::Result<T, String>;

struct Command {
    name: &'static str,
    run: fn(&[String]) -> Result,
    /// The command's own file: its module docs are its help.
    source: &'static str,
}

const COMMANDS: &[Command] = &[
    Command { name: "test", run: test::run, source: include_str!("test/mod.rs") },
    Command { name: "crash", run: crash::run, source: include_str!("crash.rs") },
    Command { name: "loom", run: loom::run, source: include_str!("loom.rs") },
    Command { name: "fault", run: fault::run, source: include_str!("fault/mod.rs") },
    Command { name: "fuzz", run: fuzz::run, source: include_str!("fuzz.rs") },
    Command { name: "parity", run: parity::run, source: include_str!("parity.rs") },
    Command { name: "tidy", run: tidy::run, source: include_str!("tidy.rs") },
    Command { name: "ci", run: ci::run, source: include_str!("ci.rs") },
    Command { name: "demo", run: demo::run, source: include_str!("demo/mod.rs") },
    Command { name: "bench", run: bench::run, source: include_str!("bench/mod.rs") },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // The matrix has said it all already, and its closing line is to be the last.
            if !message.is_empty() {
                eprintln!("xtask: {message}");
            }
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result {
    let (name, rest) = match args {
        [] => return overview(),
        [name, rest @ ..] => (name.as_str(), rest),
    };
    if matches!(name, "help" | "--help" | "-h") {
        return match rest {
            [] => overview(),
            [name, ..] => help(find(name)?),
        };
    }
    let command = find(name)?;
    if rest.iter().any(|arg| arg == "--help" || arg == "-h") {
        return help(command);
    }
    (command.run)(rest)
}

fn find(name: &str) -> Result<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name).ok_or_else(|| {
        let known: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
        format!("no command `{name}`; there are: {}", known.join(", "))
    })
}

/// One line a command: the first of its module docs.
fn overview() -> Result {
    println!("cargo xtask COMMAND; `cargo xtask help COMMAND` says more\n");
    for command in COMMANDS {
        let first = module_docs(command.source).next().unwrap_or_default();
        println!("  {:<8} {first}", command.name);
    }
    Ok(())
}

fn help(command: &Command) -> Result {
    for line in module_docs(command.source) {
        println!("{line}");
    }
    Ok(())
}

fn module_docs(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_help_whose_first_line_is_a_summary() {
        for command in COMMANDS {
            let first = module_docs(command.source).next().unwrap_or_default();
            assert!(first.len() > 10, "{}: {first:?}", command.name);
        }
    }

    #[test]
    fn an_unknown_command_names_the_known_ones() {
        let error = dispatch(&["nonsense".to_owned()]).unwrap_err();
        assert!(error.contains("nonsense") && error.contains("demo"), "{error}");
    }
}
