//! A program as a process: one of ours, or somebody else's.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::guard::watch_over;

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// What it said when it was ready.
    pub(crate) ready: Value,
    /// From its start until it was ready, to within half a millisecond.
    pub(crate) took: Duration,
}

impl Process {
    /// Starts a program in a folder, and waits until it says that it is ready.
    pub(crate) async fn start<A: AsRef<OsStr>>(
        built: Built,
        name: &str,
        folder: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Self> {
        let ready_file = folder.join(format!("{name}.ready"));
        // One that is there is of an earlier run.
        let _ = fs::remove_file(&ready_file);
        let begin = Instant::now();
        let child = watch_over(&mut Command::new(program(built, name)?))?
            .args(arguments)
            .arg("--ready-file")
            .arg(&ready_file)
            .current_dir(folder)
            .env("RUST_LOG", "off")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let mut process = Self {
            child,
            ready: Value::Null,
            took: Duration::ZERO,
        };
        loop {
            match fs::read(&ready_file) {
                Ok(text) => break process.ready = serde_json::from_slice(&text)?,
                Err(_) => ensure!(begin.elapsed() < PATIENCE, "{name} does not start"),
            }
            let ended = process.child.try_wait()?.is_some();
            ensure!(!ended, "{name} ended");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        process.took = begin.elapsed();
        Ok(process)
    }

    /// Starts a program that does not say when it is ready.
    pub(crate) fn spawn(mut command: Command) -> anyhow::Result<Self> {
        let child = watch_over(&mut command)?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ok(Self {
            child: child.context("start it")?,
            ready: Value::Null,
            took: Duration::ZERO,
        })
    }

    /// Starts somebody else's program, and waits until it prints a line of JSON.
    pub(crate) async fn announced(mut command: Command) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let child = watch_over(&mut command)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = Self {
            child: child.context("start it")?,
            ready: Value::Null,
            took: Duration::ZERO,
        };
        let stdout = process.child.stdout.take().context("its output")?;
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(PATIENCE, line).await;
        let line = line.context("it says nothing")???;
        process.ready = serde_json::from_str(&line).context("read what it says")?;
        process.took = begin.elapsed();
        Ok(process)
    }

    /// Asks it to end, as a service manager does, and waits until it has.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let process = Pid::from_child(&self.child);
        kill_process(process, Signal::TERM).context("ask it to end")?;
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(begin.elapsed() < PATIENCE, "it does not end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The memory that it has, in KiB.
    pub(crate) fn memory(&self) -> anyhow::Result<f64> {
        status(self.child.id(), "VmRSS:")
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> anyhow::Result<f64> {
        status(self.child.id(), "Threads:")
    }

    /// The processor time that it has used.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        processor_time(&self.child.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which build of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Built {
    /// As it is released, which is for speed.
    Released,
    /// As it is packed, which is small.
    Packed,
}

/// One of our programs, which is built into the same folder as this one or into that of the packed
/// ones beside it.
pub(crate) fn program(built: Built, name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    let folder = own.parent().unwrap_or(Path::new("."));
    let program = match built {
        Built::Released => folder.join(name),
        Built::Packed => folder.with_file_name("dist").join(name),
    };
    ensure!(program.exists(), "{} is not built", program.display());
    Ok(program)
}

/// The processor time that this program has used.
pub(crate) fn own_processor_time() -> anyhow::Result<Duration> {
    processor_time("self")
}

fn processor_time(process: &str) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("read its times")?;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    // Linux counts a hundred of them in a second, on every machine that this runs on.
    Ok(Duration::from_millis(ticks * 10))
}

/// The memory that a process has, in KiB.
pub(crate) fn resident(process: u32) -> anyhow::Result<f64> {
    status(process, "VmRSS:")
}

fn status(process: u32, field: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next());
    let number = number.with_context(|| format!("find {field}"))?;
    number.parse().with_context(|| format!("read {field}"))
}
