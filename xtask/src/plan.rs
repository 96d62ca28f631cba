//! Runs steps and says how they went.
//!
//! Every cheap step runs, so that one run names all the small mistakes. After a failure no
//! expensive step is begun.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use crate::steps::Step;

/// Runs steps in their order; says whether all of them passed.
pub(crate) fn run(steps: &[&Step], out: &mut impl Write) -> io::Result<bool> {
    let begin = Instant::now();
    let mut results: Vec<(&str, Outcome)> = Vec::new();
    for step in steps {
        let failed = results.iter().any(|(_, outcome)| outcome.is_failure());
        if failed && !step.cheap {
            results.push((step.name, Outcome::Skipped));
            continue;
        }
        writeln!(out, "\n=== {}: {}", step.name, step.about)?;
        out.flush()?;
        let begin = Instant::now();
        let result = (step.run)();
        let took = begin.elapsed();
        results.push((
            step.name,
            match result {
                Ok(()) => Outcome::Passed(took),
                Err(error) => {
                    writeln!(out, "{}: {error:#}", step.name)?;
                    Outcome::Failed(took, format!("{error:#}"))
                }
            },
        ));
    }
    summarize(&results, begin.elapsed(), out)
}

/// How a step ended.
#[derive(Debug)]
enum Outcome {
    Passed(Duration),
    Failed(Duration, String),
    Skipped,
}

impl Outcome {
    fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(..))
    }
}

fn summarize(
    results: &[(&str, Outcome)],
    took: Duration,
    out: &mut impl Write,
) -> io::Result<bool> {
    writeln!(out, "\n=== summary")?;
    for (name, outcome) in results {
        match outcome {
            Outcome::Passed(took) => {
                writeln!(out, "passed  {name:<9} {:>6.1} s", took.as_secs_f64())?
            }
            Outcome::Failed(took, error) => {
                writeln!(
                    out,
                    "FAILED  {name:<9} {:>6.1} s  {error}",
                    took.as_secs_f64()
                )?;
            }
            Outcome::Skipped => writeln!(out, "not run {name:<9}")?,
        }
    }
    let failed = results.iter().filter(|(_, o)| o.is_failure()).count();
    let verdict = match failed {
        0 => "all passed".to_owned(),
        failed => format!("{failed} failed"),
    };
    writeln!(out, "{verdict} in {:.1} s", took.as_secs_f64())?;
    Ok(failed == 0)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    const fn step(name: &'static str, cheap: bool, run: fn() -> anyhow::Result<()>) -> Step {
        Step {
            name,
            about: "a check",
            cheap,
            run,
        }
    }

    fn fail() -> anyhow::Result<()> {
        bail!("2 files differ")
    }

    /// Runs steps; returns the verdict and the summary's lines without their times.
    fn outcome(steps: &[&Step]) -> (bool, Vec<String>) {
        let mut out = Vec::new();
        let passed = run(steps, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (_, summary) = text.split_once("=== summary\n").unwrap();
        let lines = summary
            .lines()
            .map(|line| {
                line.split_whitespace()
                    .filter(|word| !word.contains('.') && *word != "s")
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        (passed, lines)
    }

    #[test]
    fn cheap_steps_run_after_a_failure_and_expensive_ones_do_not() {
        let steps = [
            &step("fmt", true, fail),
            &step("proto", true, || Ok(())),
            &step("lint", false, || unreachable!("begun after a failure")),
        ];
        let (passed, lines) = outcome(&steps);
        assert!(!passed);
        assert_eq!(
            lines,
            [
                "FAILED fmt 2 files differ",
                "passed proto",
                "not run lint",
                "1 failed in"
            ]
        );
    }

    #[test]
    fn all_pass() {
        let steps = [
            &step("fmt", true, || Ok(())),
            &step("test", false, || Ok(())),
        ];
        let (passed, lines) = outcome(&steps);
        assert!(passed);
        assert_eq!(lines, ["passed fmt", "passed test", "all passed in"]);
    }
}
