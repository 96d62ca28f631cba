//! The project's own commands: `cargo xtask test` runs every check there is.
//!
//! ```text
//! cargo xtask test                 all of them, the cheap ones first
//! cargo xtask test --only STEP …   some of them
//! cargo xtask STEP                 one of them
//! cargo xtask COMMAND              what is no check
//! cargo xtask fuzz TARGET [OPTION …]   one fuzz target, for as long as wanted
//! cargo xtask bench [OPTION …]   figures beside floors and peers
//! ```
//!
//! - [`steps`]: what the checks are and the command behind each.
//! - [`deb`]: the Debian package of the gateway; [`qemu`]: the proof of it on a virtual machine.
//! - [`plan`]: in which order they run and what is said of them.
//! - [`api`]: the checks of the API's definition; [`deploy`]: those of the files for deployment.
//! - [`mod@bench`]: figures of the release builds.
//! - [`dist`]: the programs as they are packed, for these two.
//! - [`fuzz`]: random bytes for every parser.
//! - [`tools`]: what they need that the Rust toolchain does not bring, and how it gets here.

mod api;
mod bench;
mod deb;
mod deploy;
mod dist;
mod fuzz;
mod plan;
mod qemu;
mod steps;
mod tools;

use std::{env, io, process::ExitCode};

use anyhow::bail;

use crate::steps::{COMMANDS, STEPS, Step};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [command, target, options @ ..] = arguments.as_slice()
        && command == "fuzz"
    {
        return finish(fuzz::one_target(target, options));
    }
    if let [command, options @ ..] = arguments.as_slice()
        && command == "bench"
    {
        return finish(bench::measure(options));
    }
    match chosen(&arguments) {
        Ok(steps) => match plan::run(&steps, &mut io::stdout()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) | Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a command speaks to a person")]
            {
                eprintln!("{error}\n\n{}", usage());
            }
            ExitCode::from(64)
        }
    }
}

/// Says what went wrong, if anything did.
fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a command speaks to a person")]
            {
                eprintln!("{error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The steps that a command line asks for.
fn chosen(arguments: &[String]) -> anyhow::Result<Vec<&'static Step>> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => bail!("which command?"),
        ["test"] => Ok(STEPS.iter().collect()),
        ["test", "--only"] => bail!("--only needs the name of a step"),
        ["test", "--only", names @ ..] => names.iter().map(|name| step(name)).collect(),
        [name] => match COMMANDS.iter().find(|command| command.name == *name) {
            Some(command) => Ok(vec![command]),
            None => Ok(vec![step(name)?]),
        },
        [_, rest, ..] => bail!("unexpected argument `{rest}`"),
    }
}

fn step(name: &str) -> anyhow::Result<&'static Step> {
    match STEPS.iter().find(|step| step.name == name) {
        Some(step) => Ok(step),
        None => bail!("no step is called `{name}`"),
    }
}

fn usage() -> String {
    let mut text = String::from(
        "usage: cargo xtask test [--only STEP...]\n       cargo xtask STEP\n       cargo xtask COMMAND\n       cargo xtask fuzz TARGET [OPTION...]\n       cargo xtask bench [OPTION...]\n\nsteps, in this order:\n",
    );
    for step in STEPS {
        text += &format!("  {:<9} {}\n", step.name, step.about);
    }
    text += "\ncommands:\n";
    for command in COMMANDS {
        text += &format!("  {} {}\n", command.name, command.about);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &[&str], expected: Result<&[&str], &str>) {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let actual = chosen(&arguments)
            .map(|steps| steps.iter().map(|step| step.name).collect::<Vec<_>>())
            .map_err(|error| error.to_string());
        assert_eq!(
            actual.as_deref().map_err(String::as_str),
            expected,
            "{arguments:?}"
        );
    }

    #[test]
    fn a_command_line_names_its_steps() {
        let all: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        check(&["test"], Ok(&all));
        check(&["fmt"], Ok(&["fmt"]));
        check(&["test", "--only", "doc", "fmt"], Ok(&["doc", "fmt"]));
        check(&[], Err("which command?"));
        check(&["release-api"], Ok(&["release-api"]));
        check(
            &["test", "--only", "release-api"],
            Err("no step is called `release-api`"),
        );
        check(&["publish"], Err("no step is called `publish`"));
        check(&["test", "--only"], Err("--only needs the name of a step"));
        check(&["test", "--only", "x"], Err("no step is called `x`"));
        check(&["test", "--fast"], Err("unexpected argument `--fast`"));
    }

    #[test]
    fn the_usage_names_every_step() {
        for step in STEPS {
            assert!(usage().contains(&format!("  {:<9} {}", step.name, step.about)));
        }
    }
}
