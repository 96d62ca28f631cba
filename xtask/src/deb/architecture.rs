//! What a package is built for: the machine that builds it, or arm64.
//!
//! A program for arm64 needs a linker and a C library for it, which Debian has, and Rust's standard
//! library for it, which rustup has; it is tried out under QEMU's emulation of a processor.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{
    steps::{cargo_command, output, root, run, target_folder},
    tools::{self, Needed},
};

/// What arm64 is to Rust, and to GCC.
const ARM64_TARGET: &str = "aarch64-unknown-linux-gnu";
const ARM64_GCC: &str = "aarch64-linux-gnu-gcc";

/// Where Debian keeps the libraries for arm64 of a machine that is none.
const ARM64_SYSROOT: &str = "/usr/aarch64-linux-gnu";

/// What building for arm64, and trying it out, needs beside what building here needs.
const ARM64_NEEDED: [Needed; 3] = [
    ("gcc-aarch64-linux-gnu", &[ARM64_GCC, "--version"]),
    (
        "libc6-dev-arm64-cross",
        &["test", "-e", "/usr/aarch64-linux-gnu/lib/libc.so.6"],
    ),
    ("qemu-user-static", &["qemu-aarch64-static", "--version"]),
];

/// What a package is built for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Architecture {
    /// The machine that builds it.
    Native,
    /// Debian's arm64, on a machine that is another.
    Arm64,
}

impl Architecture {
    /// As Debian calls it.
    pub(super) fn name(self) -> anyhow::Result<String> {
        match self {
            Self::Native => output(Command::new("dpkg").arg("--print-architecture")),
            Self::Arm64 => Ok("arm64".to_owned()),
        }
    }

    /// Installs what building needs.
    pub(super) fn prepare(self) -> anyhow::Result<()> {
        match self {
            Self::Native => Ok(()),
            Self::Arm64 => {
                tools::install(&ARM64_NEEDED)?;
                // In the workspace, whose toolchain file says which one it is for.
                run(Command::new("rustup").current_dir(root()).args([
                    "target",
                    "add",
                    ARM64_TARGET,
                ]))
            }
        }
    }

    /// A cargo that builds for it.
    pub(super) fn cargo(self) -> Command {
        let mut cargo = cargo_command();
        match self {
            Self::Native => {}
            Self::Arm64 => {
                cargo
                    .env("CARGO_BUILD_TARGET", ARM64_TARGET)
                    .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", ARM64_GCC)
                    .env("CC_aarch64_unknown_linux_gnu", ARM64_GCC);
            }
        }
        cargo
    }

    /// Where that cargo puts what it builds.
    pub(super) fn target_folder(self) -> PathBuf {
        match self {
            Self::Native => target_folder(),
            Self::Arm64 => target_folder().join(ARM64_TARGET),
        }
    }

    /// What finds the libraries that a program for it was linked with.
    pub(super) fn shlibdeps(self) -> Command {
        let mut shlibdeps = Command::new("dpkg-shlibdeps");
        match self {
            Self::Native => {}
            Self::Arm64 => {
                shlibdeps
                    .env("DEB_HOST_ARCH", "arm64")
                    .arg(format!("-l{ARM64_SYSROOT}/lib"));
            }
        }
        shlibdeps
    }

    /// The libraries that were found, by the names that they have on a machine of this architecture:
    /// on another one, Debian's packages of them are called otherwise.
    pub(super) fn depends(self, found: &str) -> String {
        match self {
            Self::Native => found.to_owned(),
            Self::Arm64 => found.replace(":arm64", "").replace("-arm64-cross", ""),
        }
    }

    /// Has the program read settings: that takes the processor, the C library and most of its start,
    /// and no network.
    pub(super) fn try_out(self, program: &Path, settings: &Path) -> anyhow::Result<()> {
        let mut command = match self {
            Self::Native => Command::new(program),
            Self::Arm64 => {
                let mut emulated = Command::new("qemu-aarch64-static");
                emulated.args(["-L", ARM64_SYSROOT]).arg(program);
                emulated
            }
        };
        command.arg("--config").arg(settings).arg("--check-config");
        run(&mut command).context("try the program out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_for_arm64_depends_on_what_debian_has_there() {
        let found = "libc6:arm64 (>= 2.36), libgcc-s1-arm64-cross (>= 4.2)";
        let depends = "libc6 (>= 2.36), libgcc-s1 (>= 4.2)";
        assert_eq!(Architecture::Arm64.depends(found), depends);
        assert_eq!(Architecture::Native.depends(depends), depends);
    }
}
