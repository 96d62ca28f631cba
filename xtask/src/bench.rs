//! Figures: builds the programs as they are released, and the one that measures them, and runs it.

use std::process::Command;

use crate::{
    steps::{cargo_command, run, target_folder},
    tools,
};

/// The programs that are measured, and the one that measures.
const PACKAGES: [&str; 5] = [
    "hub-emulator",
    "mgmt-service",
    "device-gateway",
    "local-device",
    "iothubdm-bench",
];

/// Runs the measurements; `options` are theirs.
pub(crate) fn measure(options: &[String]) -> anyhow::Result<()> {
    // The peers need Python and Node; without them the others are measured.
    if let Err(error) = tools::install_system_packages() {
        tools::say(&format!("some peers cannot be measured: {error:#}"));
    }
    let mut build = cargo_command();
    build.args(["build", "--release", "--bins", "--example", "polling"]);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    run(&mut build)?;
    let program = target_folder().join("release/iothubdm-bench");
    run(Command::new(program).args(options))
}
