//! The programs as they are packed: small, for they travel over metered links onto small disks.

use std::process::Command;

/// Has a cargo build the programs of some packages as they are packed.
pub(crate) fn build<'a>(cargo: &'a mut Command, packages: &[&str]) -> &'a mut Command {
    cargo.args(["build", "--profile", "dist", "--bins"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    cargo
}
