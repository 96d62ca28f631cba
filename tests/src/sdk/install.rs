//! The SDKs: what they need, where they go, and how a script of each language is started.
//!
//! Their versions are pinned, with everything below them, in `sdk/python/requirements.txt` and
//! `sdk/node/package-lock.json`. They are installed below the target folder, once per content of
//! these files.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::SCRIPTS;

/// A language that Microsoft has SDKs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `azure-iot-device` and `azure-iot-hub`.
    Python,
    /// `azure-iot-device`, `azure-iot-device-mqtt` and `azure-iothub`.
    Node,
}

impl Language {
    /// The folder of its scripts.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    /// The files that say what is installed.
    fn manifests(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["requirements.txt"],
            Self::Node => &["package.json", "package-lock.json"],
        }
    }

    /// The beginning of a command that runs a script with its SDKs, which are installed below
    /// `folder` if they are not yet.
    pub(super) fn command(self, folder: &Path) -> Result<tokio::process::Command> {
        let home = self.installed(folder)?;
        let scripts = Path::new(SCRIPTS).join(self.folder());
        let mut command = match self {
            Self::Python => {
                let mut command = tokio::process::Command::new(home.join("venv/bin/python"));
                command
                    // Python runs the `sitecustomize` that it finds here before the script.
                    .env("PYTHONPATH", scripts.join("redirect"))
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .env("PYTHONUNBUFFERED", "1");
                command
            }
            Self::Node => {
                let mut command = tokio::process::Command::new("node");
                command
                    .arg("--require")
                    .arg(scripts.join("redirect.js"))
                    .env("NODE_PATH", home.join("node_modules"));
                command
            }
        };
        command.current_dir(scripts);
        Ok(command)
    }

    /// Installs the SDKs if they are not yet; returns where they are.
    fn installed(self, folder: &Path) -> Result<PathBuf> {
        let scripts = Path::new(SCRIPTS).join(self.folder());
        let mut hasher = DefaultHasher::new();
        for manifest in self.manifests() {
            let path = scripts.join(manifest);
            let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            text.hash(&mut hasher);
        }
        let name = format!("sdk-{}-{:016x}", self.folder(), hasher.finish());
        let home = folder.join(&name);
        let complete = home.join("complete");

        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        // Tests run side by side, in threads and in processes; one of them installs.
        let lock = File::create(folder.join(format!("{name}.lock"))).context("make a lock file")?;
        lock.lock().context("wait for another installation")?;
        if !complete.exists() {
            if home.exists() {
                fs::remove_dir_all(&home).context("remove half an installation")?;
            }
            fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
            self.install(&scripts, &home)
                .with_context(|| format!("install the {} SDKs", self.folder()))?;
            File::create(&complete).context("mark the installation complete")?;
        }
        Ok(home)
    }

    fn install(self, scripts: &Path, home: &Path) -> Result<()> {
        match self {
            Self::Python => {
                needs("python3", &["-c", "import venv, ensurepip"], "python3-venv")?;
                let venv = home.join("venv");
                run(Command::new("python3").args(["-m", "venv"]).arg(&venv))
                    .context("make a virtual environment")?;
                run(Command::new(venv.join("bin/python"))
                    .args(["-m", "pip", "install", "--quiet", "--no-deps"])
                    .arg("--disable-pip-version-check")
                    .arg("--requirement")
                    .arg(scripts.join("requirements.txt")))
            }
            Self::Node => {
                needs("node", &["--version"], "nodejs")?;
                needs("npm", &["--version"], "npm")?;
                for manifest in self.manifests() {
                    fs::copy(scripts.join(manifest), home.join(manifest))
                        .with_context(|| format!("copy {manifest}"))?;
                }
                run(Command::new("npm")
                    .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
                    .current_dir(home))
            }
        }
    }
}

/// Fails with the package to install where a program is missing.
fn needs(program: &str, arguments: &[&str], package: &str) -> Result<()> {
    let there = Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        bail!("the SDKs need {program}: install {package} (Debian's name of the package)");
    }
    Ok(())
}

/// Runs a command; an error tells what it printed.
fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
