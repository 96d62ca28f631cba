//! What the checks are, and the command behind each.
//!
//! No step sets `RUSTFLAGS` and all of them take the whole workspace, so that they share one build
//! cache. Building takes all targets for the same reason: the tests' own dependencies change the
//! features of a few crates, and with the programs alone these would be built twice.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::{api, deb, deploy, fuzz, qemu, tools};

/// One check.
#[derive(Debug)]
pub(crate) struct Step {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it checks, for a person.
    pub(crate) about: &'static str,
    /// It compiles nothing of the workspace, so it runs in any case.
    pub(crate) cheap: bool,
    /// Runs it. What it finds is on the terminal by the time it returns an error.
    pub(crate) run: fn() -> anyhow::Result<()>,
}

/// Every check, in the order in which they run: the cheap ones first, and building before testing,
/// because the end-to-end tests start the built programs.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "system",
        about: "install what the tests need beside Rust, where it is missing",
        cheap: true,
        run: tools::install_system_packages,
    },
    Step {
        name: "fmt",
        about: "the code is formatted by rustfmt",
        cheap: true,
        run: || cargo(&["fmt", "--all", "--check"]),
    },
    Step {
        name: "proto",
        about: "the API's definition passes buf's linter and breaks no caller of the last release",
        cheap: true,
        run: api::check,
    },
    Step {
        name: "deploy",
        about: "the unit, the container file and the manifests pass their checkers",
        cheap: true,
        run: deploy::check,
    },
    Step {
        name: "lint",
        about: "clippy has nothing to say",
        cheap: false,
        run: || {
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])
        },
    },
    Step {
        name: "doc",
        about: "the documentation builds, private items and all, and its links lead somewhere",
        cheap: false,
        run: doc,
    },
    Step {
        name: "build",
        about: "every program and every test builds",
        cheap: false,
        run: || cargo(&["build", "--workspace", "--all-targets"]),
    },
    Step {
        name: "test",
        about: "every test passes: unit, property, documentation and end to end",
        cheap: false,
        run: test,
    },
    Step {
        name: "fuzz",
        about: "random bytes break no parser within a few seconds each",
        cheap: false,
        run: fuzz,
    },
];

/// What else can be done; not a check, so that no test does it.
pub(crate) const COMMANDS: &[Step] = &[
    Step {
        name: "release-api",
        about: "take the API as it is for the one that later ones must not break",
        cheap: true,
        run: api::release,
    },
    Step {
        name: "deb",
        about: "build the gateway's Debian package and have it checked",
        cheap: false,
        run: || deb::build_and_check(deb::Architecture::Native),
    },
    Step {
        name: "deb-arm64",
        about: "the same for arm64, built here and tried out under QEMU",
        cheap: false,
        run: || deb::build_and_check(deb::Architecture::Arm64),
    },
    Step {
        name: "qemu",
        about: "reboot a virtual machine through the package, and once in vain",
        cheap: false,
        run: qemu::prove,
    },
    Step {
        name: "containers",
        about: "reboot a container of a real Podman, as root",
        cheap: false,
        run: containers,
    },
    Step {
        name: "soak",
        about: "kill the service and the gateway at 200 random moments each, under load (SOAK_ROUNDS, SOAK_SEED)",
        cheap: false,
        run: soak,
    },
    Step {
        name: "watchers",
        about: "ten thousand idle watchers of one service (WATCHERS)",
        cheap: false,
        run: watchers,
    },
];

fn containers() -> anyhow::Result<()> {
    tools::install_system_packages()?;
    tools::install(&[
        ("podman", &["podman", "--version"]),
        ("runc", &["runc", "--version"]),
        ("busybox-static", &["test", "-x", "/bin/busybox"]),
    ])?;
    cargo(&[
        "test",
        "--package",
        "iothubdm-tests",
        "--test",
        "peers",
        "--",
        "--ignored",
    ])
}

fn soak() -> anyhow::Result<()> {
    at_length("soak", "SOAK_ROUNDS", "200")
}

fn watchers() -> anyhow::Result<()> {
    at_length("watchers", "WATCHERS", "10000")
}

/// Runs an end-to-end test with more of what it does, which it takes from a variable.
fn at_length(test: &str, variable: &str, otherwise: &str) -> anyhow::Result<()> {
    tools::install_system_packages()?;
    let mut command = cargo_command();
    if env::var_os(variable).is_none() {
        command.env(variable, otherwise);
    }
    command.args(["test", "--package", "iothubdm-tests", "--test", test]);
    run(command.args(["--", "--nocapture", "--test-threads", "1"]))
}

fn doc() -> anyhow::Result<()> {
    let mut command = cargo_command();
    command
        .args([
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ])
        // A module's page is the index of its private parts too: links to them are meant.
        .env(
            "RUSTDOCFLAGS",
            "-D warnings -A rustdoc::private-intra-doc-links",
        );
    run(&mut command)
}

fn test() -> anyhow::Result<()> {
    tools::install_system_packages()?;
    cargo(&["test", "--workspace", "--no-fail-fast"])
}

fn fuzz() -> anyhow::Result<()> {
    tools::install_system_packages()?;
    fuzz::every_target()
}

pub(crate) fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    run(cargo_command().args(arguments))
}

/// The cargo that runs this program, in the workspace's folder.
pub(crate) fn cargo_command() -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root());
    // What `cargo run` tells this program about its own package is none of the inner cargo's
    // business; a build script that looks at it would be run again for nothing.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// Runs a command with this terminal, saying which one it is.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let text = describe(command);
    #[expect(clippy::print_stdout, reason = "a command speaks to a person")]
    {
        println!("$ {text}");
    }
    let status = command.status().with_context(|| format!("start {text}"))?;
    if !status.success() {
        bail!("{text}: {status}");
    }
    Ok(())
}

/// Runs a command and returns what it prints, without the end of the last line.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let text = describe(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {text}"))?;
    if !output.status.success() {
        bail!("{text}: {}", output.status);
    }
    let printed = String::from_utf8(output.stdout).with_context(|| format!("read {text}"))?;
    Ok(printed.trim_end().to_owned())
}

/// A command as a person would type it.
fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text += &argument.to_string_lossy();
    }
    text
}

/// Where cargo builds.
pub(crate) fn target_folder() -> PathBuf {
    let folder = env::var_os("CARGO_TARGET_DIR");
    root().join(folder.unwrap_or_else(|| "target".into()))
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cheap_steps_come_first() {
        assert!(STEPS.is_sorted_by_key(|step| !step.cheap));
        let is_step = |command: &Step| STEPS.iter().any(|step| step.name == command.name);
        assert!(!COMMANDS.iter().any(is_step));
    }

    #[test]
    fn a_command_that_fails_is_named() {
        let error = run(Command::new("/bin/sh").args(["-c", "exit 7"])).unwrap_err();
        assert_eq!(error.to_string(), "sh -c exit 7: exit status: 7");
        let error = run(&mut Command::new("/no/such/program")).unwrap_err();
        assert!(format!("{error:#}").starts_with("start program: No such file"));
    }
}
