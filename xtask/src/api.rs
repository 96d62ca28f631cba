//! The API's definition: what the linter says of it, and that nothing in it breaks its callers.
//!
//! It is compared with `proto/released.txtpb`, a description of the API as it was last released,
//! and with the newest `v…` tag that leads to the present commit, where there is one.
//! `cargo xtask release-api` replaces the former; that belongs into the commit that is tagged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::{
    steps::{root, run},
    tools,
};

/// Runs every check of the definition.
pub(crate) fn check() -> anyhow::Result<()> {
    let buf = tools::buf()?;
    run(Command::new(&buf).arg("lint").arg(definition()))?;
    compare(&buf, &released())?;
    if let Some(tag) = newest_tag()? {
        compare(&buf, &definition_at(&tag)?)?;
    }
    Ok(())
}

/// Describes the definition as it is, for later ones to be compared with.
pub(crate) fn release() -> anyhow::Result<()> {
    let buf = tools::buf()?;
    // What breaks callers of the last release is found out before it is forgotten.
    if released().exists() {
        compare(&buf, &released())?;
    }
    run(Command::new(buf)
        .args(["build", "--exclude-source-info", "--output"])
        .arg(released())
        .arg(definition()))
}

fn definition() -> PathBuf {
    root().join("proto")
}

fn released() -> PathBuf {
    definition().join("released.txtpb")
}

/// Fails where the definition breaks somebody who was built for another one.
fn compare(buf: &Path, other: &Path) -> anyhow::Result<()> {
    run(Command::new(buf)
        .arg("breaking")
        .arg(definition())
        .arg("--against")
        .arg(other))
}

/// The newest release that the present commit comes after; `None` in a clone without tags, and
/// where there is no repository.
fn newest_tag() -> anyhow::Result<Option<String>> {
    let output = git()
        .args(["describe", "--tags", "--abbrev=0", "--match", "v[0-9]*"])
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let tag = String::from_utf8(output.stdout).context("read the name of a tag")?;
            Ok(Some(tag.trim().to_owned()))
        }
        Ok(_) | Err(_) => Ok(None),
    }
}

/// The definition as a tag has it, below the target folder.
fn definition_at(tag: &str) -> anyhow::Result<PathBuf> {
    let folder = tools::tools_dir().join("api").join(tag);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut archive = git()
        .args(["archive", tag, "proto"])
        .stdout(Stdio::piped())
        .spawn()
        .context("start git")?;
    let files = archive.stdout.take().context("read what git archives")?;
    run(Command::new("tar")
        .arg("--extract")
        .arg("--directory")
        .arg(&folder)
        .stdin(files))?;
    if !archive.wait().context("wait for git")?.success() {
        bail!("git cannot tell what {tag} has");
    }
    Ok(folder.join("proto"))
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(root());
    git
}
