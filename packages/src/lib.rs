//! What scripts in other languages need, where it goes, and how such a script is started: for the
//! tests, which drive us with other people's libraries, and for the figures, which measure these.
//!
//! The folder of a script pins its packages, with everything below them, in `requirements.txt` or
//! `package-lock.json`. They are installed below the target folder, once per content of these files.

pub mod sdk;

use std::{
    env,
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// A language that scripts are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Python, with packages from PyPI.
    Python,
    /// JavaScript, with packages from npm.
    Node,
}

impl Language {
    /// What it is called.
    pub fn name(self) -> &'static str {
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

    /// The beginning of a command that runs a script of the folder `scripts` with its packages,
    /// which are installed below `target` if they are not yet.
    pub fn command(self, scripts: &Path, target: &Path) -> Result<Command> {
        let home = self.installed(scripts, target)?;
        let mut command = match self {
            Self::Python => {
                let mut command = Command::new(home.join("venv/bin/python"));
                command
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .env("PYTHONUNBUFFERED", "1");
                command
            }
            Self::Node => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", home.join("node_modules"));
                command
            }
        };
        command.current_dir(scripts);
        Ok(command)
    }

    /// Lets the script of a command find another folder's packages, too.
    pub fn beside(self, command: &mut Command, scripts: &Path, target: &Path) -> Result<()> {
        let home = self.installed(scripts, target)?;
        let (variable, packages) = match self {
            Self::Python => {
                // There is one folder, named after the version.
                let versions = fs::read_dir(home.join("venv/lib")).context("find the packages")?;
                let version = versions.flatten().next().context("find the packages")?;
                ("PYTHONPATH", version.path().join("site-packages"))
            }
            Self::Node => ("NODE_PATH", home.join("node_modules")),
        };
        let known = command.get_envs().find(|(name, _)| *name == variable);
        let known = known.and_then(|(_, value)| value).map(PathBuf::from);
        let paths = env::join_paths(known.into_iter().chain([packages]));
        command.env(variable, paths.context("join the paths of packages")?);
        Ok(())
    }

    /// Installs a folder's packages if they are not yet; returns where they are.
    fn installed(self, scripts: &Path, target: &Path) -> Result<PathBuf> {
        let mut hasher = DefaultHasher::new();
        for manifest in self.manifests() {
            let path = scripts.join(manifest);
            let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            text.hash(&mut hasher);
        }
        let name = format!("packages-{}-{:016x}", self.name(), hasher.finish());
        let home = target.join(&name);
        let complete = home.join("complete");

        fs::create_dir_all(target).with_context(|| format!("make {}", target.display()))?;
        // Tests run side by side, in threads and in processes; one of them installs.
        let lock = File::create(target.join(format!("{name}.lock"))).context("make a lock file")?;
        lock.lock().context("wait for another installation")?;
        if !complete.exists() {
            if home.exists() {
                fs::remove_dir_all(&home).context("remove half an installation")?;
            }
            fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
            self.install(scripts, &home)
                .with_context(|| format!("install what {} names", scripts.display()))?;
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
        bail!("the scripts need {program}: install {package} (Debian's name of the package)");
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
