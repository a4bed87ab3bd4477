//! Do what CI does: `cargo xtask ci` runs `.ci/run`, which installs what is missing and runs everything.

use std::process::Command;

use crate::Result;
use crate::project::Project;

/// `cargo xtask ci`.
pub(crate) fn run(args: &[String]) -> Result {
    if let Some(arg) = args.first() {
        return Err(format!("ci takes no argument, and `{arg}` is one"));
    }
    let project = Project::load()?;
    let status = Command::new("bash").arg(".ci/run").current_dir(&project.root).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!(".ci/run: {status}")),
        Err(error) => Err(format!("cannot run bash: {error}")),
    }
}
