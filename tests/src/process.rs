//! Real processes: found, started, waited for, killed.

use std::{
    env, fs,
    future::Future,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::{process::Child, time::Instant};

/// How often a condition outside this process is looked at while a test waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The path of one of the workspace's programs, built first if need be.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| build().expect("build the workspace's programs"));
    folder.join(name)
}

/// Builds all programs with the profile of this test, and returns where they are.
fn build() -> Result<PathBuf> {
    let test = env::current_exe().context("find this test")?;
    let folder = test
        .ancestors()
        .nth(2)
        .filter(|folder| folder.join("deps").is_dir())
        .context("find the build folder")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--workspace", "--bins", "--target-dir"])
        .arg(folder.parent().context("find the target folder")?)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    if !cargo.status().context("run cargo build")?.success() {
        bail!("cargo build failed");
    }
    Ok(folder.to_owned())
}

/// Waits until `look` gives something, for as long as `limit`.
///
/// For conditions that only another process knows; what happens in this process is awaited.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {limit:?} in vain: {what}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A program of ours that runs as a process of its own. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program; its log goes to a file in `folder`, where later runs of it are appended.
    pub fn start<I, S>(name: &str, folder: &Path, arguments: I) -> Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        Self::start_in(name, folder, arguments, &[])
    }

    /// As [`Daemon::start`], with some more variables in its environment.
    pub fn start_in<I, S>(
        name: &str,
        folder: &Path,
        arguments: I,
        environment: &[(&str, String)],
    ) -> Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let program = name.split('.').next().unwrap_or(name);
        let log = folder.join(format!("{name}.log"));
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let child = tokio::process::Command::new(binary(program))
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("share the log")?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {program}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Waits until the program has written its ready file, and reads it.
    pub async fn ready(&mut self, file: &Path, limit: Duration) -> Value {
        let deadline = Instant::now() + limit;
        loop {
            if let Ok(text) = fs::read(file) {
                return serde_json::from_slice(&text).expect("read a ready file");
            }
            if let Some(status) = self.child.try_wait().expect("ask for the status") {
                panic!(
                    "{} ended with {status} before it was ready:\n{}",
                    self.name,
                    self.log()
                );
            }
            assert!(
                Instant::now() < deadline,
                "{} is not ready:\n{}",
                self.name,
                self.log()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends the program as a power cut would.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("kill a process of ours");
    }

    /// Asks the program to end, waits for it, and returns its exit code.
    pub async fn stop(mut self, limit: Duration) -> Option<i32> {
        self.send("-TERM");
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => status.expect("wait for a process of ours").code(),
            Err(_) => panic!("{} did not end in {limit:?}:\n{}", self.name, self.log()),
        }
    }

    /// Asks the program to read its settings again.
    pub fn hang_up(&self) {
        self.send("-HUP");
    }

    fn send(&self, signal: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        let sent = sent.expect("run kill");
        assert!(sent.success(), "send {signal} to {}", self.name);
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("a running process has an id")
    }

    /// What the program has logged.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}
