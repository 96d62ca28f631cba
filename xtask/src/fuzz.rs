//! Fuzzing: the same inputs of every target as a check, or one target for as long as wanted.
//!
//! A target is a folder of `fuzz/corpus`. The program is built by the stable compiler (see
//! `fuzz/rustc.sh`) and looks for new inputs below the target folder; one that breaks a promise goes
//! to `fuzz/artifacts`, where the ordinary tests find it too.
//!
//! A check says of a tree what it said of it before: it begins at the kept corpus alone, with one seed,
//! and ends after a number of inputs. To search, and to keep what was found, is for `one_target`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::steps::{cargo_command, root, run, target_folder};

/// How many inputs each target gets as a check, and what they are drawn from.
const RUNS: u32 = 15_000;
const SEED: u32 = 1;

/// Shows every target the inputs of the check.
pub(crate) fn every_target() -> anyhow::Result<()> {
    let program = build()?;
    for target in targets()? {
        let found = target_folder().join("fuzz-check").join(&target);
        if found.exists() {
            fs::remove_dir_all(&found).with_context(|| format!("empty {}", found.display()))?;
        }
        let mut command = fuzzing(&program, &target, &found)?;
        command.arg(format!("-runs={RUNS}"));
        command.arg(format!("-seed={SEED}"));
        let output = command.output().context("start the fuzzer")?;
        let text = String::from_utf8_lossy(&output.stderr);
        #[expect(clippy::print_stdout, reason = "a command speaks to a person")]
        if output.status.success() {
            println!("{target}: {}", text.lines().last().unwrap_or_default());
        } else {
            println!("{text}");
            bail!("{target} broke a promise: see fuzz/artifacts/{target}");
        }
    }
    Ok(())
}

/// Fuzzes one target until it finds something or is interrupted; `options` are libFuzzer's.
pub(crate) fn one_target(target: &str, options: &[String]) -> anyhow::Result<()> {
    let targets = targets()?;
    if !targets.iter().any(|known| known == target) {
        bail!(
            "no target is called `{target}`, but: {}",
            targets.join(", ")
        );
    }
    let found = target_folder().join("fuzz").join(target);
    run(fuzzing(&build()?, target, &found)?.args(options))
}

fn targets() -> anyhow::Result<Vec<String>> {
    let corpus = root().join("fuzz/corpus");
    let entries = fs::read_dir(&corpus).with_context(|| format!("read {}", corpus.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn build() -> anyhow::Result<PathBuf> {
    run(cargo_command()
        .args(["build", "--package", "iothubdm-fuzz", "--bin", "fuzz"])
        .args(["--features", "libfuzzer"])
        .env("RUSTC_WORKSPACE_WRAPPER", root().join("fuzz/rustc.sh")))?;
    Ok(target_folder().join("debug/fuzz"))
}

/// The fuzzer's command for a target, still without limits. New inputs go to `found`.
fn fuzzing(program: &Path, target: &str, found: &Path) -> anyhow::Result<Command> {
    let artifacts = root().join("fuzz/artifacts").join(target);
    for folder in [found, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let mut command = Command::new(program);
    command
        .env("FUZZ_TARGET", target)
        // An input that takes long is a find, too.
        .args(["-timeout=10", "-rss_limit_mb=1024", "-max_len=4096"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(found)
        .arg(root().join("fuzz/corpus").join(target));
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_is_told_the_known_ones() {
        let error = one_target("nothing", &[]).unwrap_err().to_string();
        assert!(
            error.contains("`nothing`") && error.contains("queries"),
            "{error}"
        );
    }
}
