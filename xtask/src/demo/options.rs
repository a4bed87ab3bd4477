//! The command line of the demo.

use std::path::PathBuf;

use crate::Result;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Options {
    pub(super) path: Option<PathBuf>,
    pub(super) kill: bool,
    pub(super) seed: Option<u64>,
    pub(super) counts: Option<PathBuf>,
}

impl Options {
    /// `[words] [PATH] [--kill] [--seed N] [--counts FILE]`
    pub(super) fn parse(args: &[String]) -> Result<Options> {
        let mut options = Options::default();
        let mut args = args.iter();
        // The name of the demo comes first, if at all; a directory `words` is `./words` then.
        let first = args.clone().next();
        if first.is_some_and(|name| name == "words") {
            args.next();
        } else if let Some(name) = first.filter(|name| !name.starts_with('-')) {
            return Err(format!("demo: there is no demo `{name}`; there is: words"));
        }
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("demo: {arg} needs a value"));
            match arg.as_str() {
                "--kill" => options.kill = true,
                "--seed" => {
                    let seed = value()?;
                    options.seed = Some(seed.parse().map_err(|_| format!("demo: `{seed}` is no seed"))?);
                }
                "--counts" => options.counts = Some(value()?.into()),
                flag if flag.starts_with('-') => {
                    return Err(format!(
                        "demo: unknown option `{flag}`; there are --kill, --seed N, --counts FILE"
                    ));
                }
                path if options.path.is_none() => options.path = Some(path.into()),
                path => return Err(format!("demo: one path only, not `{path}` as well")),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn all_may_be_left_out() {
        assert_eq!(parse(""), Ok(Options::default()));
        assert_eq!(parse("words"), Ok(Options::default()));
        assert!(parse("--kill").unwrap().kill);
        let all = parse("words /tmp --seed 7 --kill --counts out").unwrap();
        assert_eq!((all.path, all.seed), (Some("/tmp".into()), Some(7)));
        assert_eq!((all.kill, all.counts), (true, Some("out".into())));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, named) in [
            ("pictures", "pictures"),
            ("words a b", "`b`"),
            ("words --kil", "--kil"),
            ("--seed x", "`x`"),
            ("--seed", "value"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
