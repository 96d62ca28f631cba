//! Finds the programs that the demo starts, and builds them where that is possible.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};

/// The programs, beside this one in one folder.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    folder: PathBuf,
}

/// Every program that the demo starts. Each is in the package of the same name.
const NAMES: [&str; 4] = [
    "hub-emulator",
    "mgmt-service",
    "device-gateway",
    "local-device",
];

/// The folder that this program was compiled in.
const SOURCES: &str = env!("CARGO_MANIFEST_DIR");

impl Programs {
    /// Finds the programs; builds them first when cargo runs this program from its sources, so
    /// that `cargo run` on a fresh clone is enough.
    pub(crate) async fn find() -> anyhow::Result<Self> {
        let this = env::current_exe().context("find this program's own file")?;
        let folder = this.parent().context("find this program's own folder")?;
        let programs = Self {
            folder: folder.to_owned(),
        };
        if let Some(cargo) = cargo_that_runs_us() {
            build(cargo, folder).await?;
        }
        programs.check()?;
        Ok(programs)
    }

    /// The file of one of the programs.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder
            .join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }

    fn check(&self) -> anyhow::Result<()> {
        let missing: Vec<&str> = NAMES
            .into_iter()
            .filter(|name| !self.path(name).is_file())
            .collect();
        if !missing.is_empty() {
            bail!(
                "find the programs {} in {}: build them with `cargo build --workspace --bins`, \
                 or put dmctl beside them",
                missing.join(", "),
                self.folder.display()
            );
        }
        Ok(())
    }
}

/// The cargo that was told to run this program, if one was. A test that cargo runs has built what
/// it needs, and starts this program with the name of its own package around it.
fn cargo_that_runs_us() -> Option<OsString> {
    let package = env::var_os("CARGO_PKG_NAME")?;
    let is_ours =
        package == env!("CARGO_PKG_NAME") && Path::new(SOURCES).join("Cargo.toml").is_file();
    env::var_os("CARGO").filter(|_| is_ours)
}

/// Builds the programs with the profile of this one.
///
/// The whole workspace, so that its packages agree on features as they do in every other build of
/// it; but not this program, which is built already.
async fn build(cargo: OsString, folder: &Path) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new(cargo);
    command.args(["build", "--bins", "--workspace"]);
    command.args(["--exclude", "dmctl", "--exclude", "xtask"]);
    match folder.file_name().and_then(|name| name.to_str()) {
        // The profile `dev` has its output in a folder of another name.
        Some("debug") | None => {}
        Some(profile) => {
            command.args(["--profile", profile]);
        }
    }
    let status = command
        .current_dir(SOURCES)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("run cargo")?;
    if !status.success() {
        bail!("build {}: cargo ended with {status}", NAMES.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn missing_programs_are_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let programs = Programs {
            folder: folder.path().to_owned(),
        };
        fs::write(programs.path("hub-emulator"), "").unwrap();
        fs::write(programs.path("local-device"), "").unwrap();
        assert_eq!(
            programs.check().unwrap_err().to_string(),
            format!(
                "find the programs mgmt-service, device-gateway in {}: build them with \
                 `cargo build --workspace --bins`, or put dmctl beside them",
                folder.path().display()
            )
        );
        fs::write(programs.path("mgmt-service"), "").unwrap();
        fs::write(programs.path("device-gateway"), "").unwrap();
        assert!(programs.check().is_ok());
    }
}
