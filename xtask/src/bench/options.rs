//! The command line of `cargo xtask bench`.

use std::time::Duration;

/// How long a run may take: how many rounds, and how long one contender's round is meant to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
}

impl Effort {
    const FULL: Self = Self { rounds: 7, round: Duration::from_millis(200) };
    const QUICK: Self = Self { rounds: 3, round: Duration::from_millis(50) };
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    groups: Vec<String>,
    pub(crate) effort: Effort,
    pub(crate) json: Option<String>,
    pub(crate) html: Option<String>,
}

impl Options {
    pub(crate) fn parse(args: &[String], known: &[&str]) -> Result<Self, String> {
        let mut options = Self { groups: Vec::new(), effort: Effort::FULL, json: None, html: None };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut file = || args.next().cloned().ok_or_else(|| format!("{arg} wants a file's name"));
            match arg.as_str() {
                "--quick" => options.effort = Effort::QUICK,
                "--json" => options.json = Some(file()?),
                "--html" => options.html = Some(file()?),
                group if known.contains(&group) => options.groups.push(group.to_owned()),
                other => {
                    return Err(format!("bench: no group or option `{other}`; groups: {}", known.join(", ")));
                }
            }
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, group: &str) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|wanted| wanted == group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), &["spawn", "pipe"])
    }

    #[test]
    fn no_group_means_all() {
        let options = parse("--quick --json a.json").unwrap();
        assert!(options.wants("spawn") && options.wants("pipe"));
        assert_eq!((options.effort, options.json.as_deref()), (Effort::QUICK, Some("a.json")));
        assert!(!parse("pipe").unwrap().wants("spawn"));
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        assert!(parse("nonsense").unwrap_err().contains("spawn, pipe"));
        assert!(parse("--json").unwrap_err().contains("file"));
    }
}
