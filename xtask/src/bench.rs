//! Figures: builds the programs as they are released and as they are packed, and the one that measures
//! them, and runs it.

use std::process::Command;

use crate::{
    dist,
    steps::{cargo_command, run, target_folder},
    tools,
};

/// The programs that are measured as they are packed, too.
const PACKED: [&str; 3] = ["hub-emulator", "mgmt-service", "device-gateway"];

/// What else is built: a device for them, and what measures.
const BESIDE: [&str; 2] = ["local-device", "iothubdm-bench"];

/// The rows that are about the packed programs, by their name and their targets.
const ABOUT_PACKED: [&str; 4] = ["sizes", "A12", "B10", "C1"];

/// Runs the measurements; `options` are theirs.
pub(crate) fn measure(options: &[String]) -> anyhow::Result<()> {
    // The peers need Python and Node; without them the others are measured.
    if let Err(error) = tools::install_system_packages() {
        tools::say(&format!("some peers cannot be measured: {error:#}"));
    }
    let mut build = cargo_command();
    build.args(["build", "--release", "--bins", "--example", "polling"]);
    for package in PACKED.iter().chain(&BESIDE) {
        build.args(["--package", package]);
    }
    run(&mut build)?;
    if needs_packed(options) {
        run(dist::build(&mut cargo_command(), &PACKED))?;
    }
    let program = target_folder().join("release/iothubdm-bench");
    run(Command::new(program).args(options))
}

/// Whether these options ask for a figure of the packed programs, which take long to build.
fn needs_packed(options: &[String]) -> bool {
    let mut rows = Vec::new();
    let mut options = options.iter().map(String::as_str);
    while let Some(option) = options.next() {
        match option.split_once('=') {
            Some(("--only", only)) => rows.extend(only.split(',')),
            _ if option == "--only" => rows.extend(options.next().unwrap_or_default().split(',')),
            _ if option == "--quick" => return false,
            _ => {}
        }
    }
    rows.is_empty() || rows.iter().any(|row| ABOUT_PACKED.contains(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packed_programs_are_built_for_a_full_run_and_where_they_are_asked_for() {
        let needs = |options: &str| {
            let options: Vec<_> = options.split_whitespace().map(str::to_owned).collect();
            needs_packed(&options)
        };
        assert!(needs(""));
        assert!(needs("--json --plots docs/plots"));
        assert!(needs("--only gateway,B10"));
        assert!(needs("--only=sizes"));
        assert!(needs("--only C1 --only gateway"));
        assert!(!needs("--only gateway,B4"));
        assert!(!needs("--only=hanging --json"));
        assert!(!needs("--only sizes --quick"));
    }
}
