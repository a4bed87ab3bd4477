//! The sweep: every row of the table, in every scenario that makes the call, at its N-th time.
//!
//! First every scenario runs untouched and says how often each thread makes each call; a call that the
//! table neither lists nor skips is an error, so that the table keeps up with the code. Then each row is
//! injected at N = 1, 2, … up to the limit, or until a run comes through without having been hit.
//!
//! With several processes the order of events is the scheduler's: a run may make a call fewer times than the
//! untouched one did, or make it after the region's end. Such an injection says nothing; it is tried
//! again, three times in all, and then that N is given up. Only a row that was never hit at all fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::table::{Row, Table};
use super::walk::{Answer, Injection, Walker, Who};
use crate::Result;
use crate::exec;

const TRIES: u32 = 3;

/// How far a sweep goes.
#[derive(Debug)]
pub(super) struct Limits {
    /// The largest N.
    pub(super) times: u32,
    pub(super) only: Option<String>,
    pub(super) scenario: Option<String>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// By row: how many injections hit.
    pub(super) rows: Vec<(String, u32)>,
    pub(super) injections: u32,
    pub(super) errors: u32,
    pub(super) survived: u32,
    /// In words, with the options that repeat it.
    pub(super) failures: Vec<Failure>,
}

#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The row it belongs to, as `CALL:ERROR`; none if it is about the table or a scenario.
    pub(super) row: Option<String>,
    pub(super) what: String,
    pub(super) repeat: String,
}

/// A row in a scenario, to be swept in some threads up to as many calls as they made untouched.
struct Job<'a> {
    row: &'a Row,
    scenario: &'a str,
    who: Who,
    calls: u32,
}

#[derive(Default)]
struct Done {
    hits: u32,
    errors: u32,
    survived: u32,
    failures: Vec<Failure>,
}

pub(super) fn sweep(walker: &Walker, table: &Table, limits: &Limits) -> Result<Swept> {
    let wanted = |name: &String| limits.scenario.as_ref().is_none_or(|wanted| wanted == name);
    let scenarios: Vec<String> = walker.scenarios()?.into_iter().filter(wanted).collect();
    if scenarios.is_empty() {
        return Err("no such scenario".to_owned());
    }
    let mut swept = Swept::default();
    let mut jobs = Vec::new();
    for scenario in &scenarios {
        plan(walker, table, limits, scenario, &mut jobs, &mut swept);
    }
    println!("  {} scenarios, {} rows, {} sweeps", scenarios.len(), table.rows.len(), jobs.len());

    let mut hits: BTreeMap<String, u32> = BTreeMap::new();
    for (job, done) in jobs.iter().zip(exec::run_all(&jobs, |job| one(walker, limits, job))) {
        *hits.entry(name(job.row)).or_default() += done.hits;
        swept.injections += done.hits;
        swept.errors += done.errors;
        swept.survived += done.survived;
        swept.failures.extend(done.failures);
    }
    let mut seen = BTreeSet::new();
    for row in table.rows.iter().filter(|row| limits.only.as_ref().is_none_or(|only| row.is(only))) {
        let name = name(row);
        if !seen.insert(name.clone()) {
            continue;
        }
        let hit = hits.get(&name).copied().unwrap_or(0);
        if hit == 0 {
            let what = format!("{name} was hit in no scenario");
            swept.failures.push(Failure { row: Some(name.clone()), what, repeat: format!("--only {name}") });
        }
        swept.rows.push((name, hit));
    }
    Ok(swept)
}

fn name(row: &Row) -> String {
    format!("{}:{}", row.call, row.error)
}

/// Runs a scenario untouched, and lists what there is to sweep in it.
fn plan<'a>(
    walker: &Walker,
    table: &'a Table,
    limits: &Limits,
    scenario: &'a str,
    jobs: &mut Vec<Job<'a>>,
    swept: &mut Swept,
) {
    let mut fail = |what: String| {
        let repeat = format!("--scenario {scenario}");
        swept.failures.push(Failure { row: None, what: format!("`{scenario}` untouched: {what}"), repeat });
    };
    for who in Who::ALL {
        let walked = match walker.walk(scenario, who, None) {
            Ok(Some(walked)) => walked,
            Ok(None) => continue,
            Err(why) => {
                fail(format!("({}) {why}", who.name()));
                return;
            }
        };
        let trace = &walked.trace;
        if who != Who::Children && !(trace.begun && trace.ended) {
            fail(format!("({}) the trace lacks a mark: {:?}", who.name(), walked.verdict));
            return;
        }
        match &walked.verdict {
            Ok(Answer::Ok) => {}
            other => {
                fail(format!("({}) {other:?}", who.name()));
                return;
            }
        }
        let unknown: BTreeSet<&str> = trace.names().filter(|call| !table.knows(call)).collect();
        if !unknown.is_empty() {
            let calls = unknown.into_iter().collect::<Vec<_>>().join(" ");
            fail(format!("({}) makes calls that the table neither lists nor skips: {calls}", who.name()));
        }
        for row in table.rows.iter().filter(|row| row.applies(scenario)) {
            if limits.only.as_ref().is_some_and(|only| !row.is(only)) {
                continue;
            }
            let calls = match who {
                // What only the caller does was swept with the caller alone.
                Who::Family if trace.most(&row.call, Some(walked.caller)) == 0 => 0,
                _ => trace.most(&row.call, None),
            };
            if calls > 0 {
                jobs.push(Job { row, scenario, who, calls });
            }
        }
    }
}

/// Sweeps one row in one scenario.
fn one(walker: &Walker, limits: &Limits, job: &Job<'_>) -> Done {
    let mut done = Done::default();
    for at in 1..=limits.times {
        let injection = Injection { call: &job.row.call, error: &job.row.error, at };
        let mut hit = false;
        // Beyond what the untouched run made, once is enough to see that nothing is there.
        for _ in 0..if at <= job.calls { TRIES } else { 1 } {
            let walked = match walker.walk(job.scenario, job.who, Some(&injection)) {
                Ok(Some(walked)) => walked,
                Ok(None) => break,
                Err(why) => {
                    done.failures.push(failure(job, at, &why, Duration::ZERO));
                    return done;
                }
            };
            if walked.trace.inside == 0 {
                continue;
            }
            hit = true;
            done.hits += 1;
            match walked.verdict {
                Ok(Answer::Ok) => done.survived += 1,
                Ok(Answer::Error(_)) => done.errors += 1,
                Err(why) => done.failures.push(failure(job, at, &why, walked.time)),
            }
            break;
        }
        if !hit && at >= job.calls {
            break;
        }
    }
    done
}

fn failure(job: &Job<'_>, at: u32, why: &str, time: Duration) -> Failure {
    let name = name(job.row);
    Failure {
        what: format!(
            "{name} at call {at} of `{}` ({}), {:.1} s: {why}",
            job.scenario,
            job.who.name(),
            time.as_secs_f64()
        ),
        repeat: format!("--only {name} --scenario {}", job.scenario),
        row: Some(name),
    }
}
