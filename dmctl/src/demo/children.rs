//! The processes of the demo: each has its log in a file, and none of them outlives this one.
//!
//! They end by SIGTERM when all goes well, and by SIGKILL when they take too long. When this
//! process panics or returns early, dropping [`Children`] kills them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use futures_util::future::{join_all, select_all};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// How long a process may take until it serves. A loaded machine is slow; an idle one takes well
/// under a second.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a process may take to end when asked to.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How often a ready file is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// How much of a log is shown when its process failed.
const TAIL_LINES: usize = 12;

/// The processes of the demo.
#[derive(Debug)]
pub(crate) struct Children {
    folder: PathBuf,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Children {
    /// No process yet; logs and ready files will be in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            running: Vec::new(),
        }
    }

    /// Starts a process under a name of its own.
    pub(crate) fn start(
        &mut self,
        name: &str,
        command: std::process::Command,
    ) -> anyhow::Result<()> {
        let log = self.folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let same = file.try_clone().context("share the log file")?;
        let child = Command::from(command)
            // The log is a file that a person opens.
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(same)
            .kill_on_drop(true)
            // Ctrl-C reaches the terminal's foreground group; these are ended by us, in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        self.running.push(Running {
            name: name.to_owned(),
            child,
            log,
        });
        Ok(())
    }

    /// Where a process is to write its ready file.
    pub(crate) fn ready_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.ready.json"))
    }

    /// Waits until a process has written its ready file, and reads it.
    pub(crate) async fn ready<T: DeserializeOwned>(&mut self, name: &str) -> anyhow::Result<T> {
        let path = self.ready_file(name);
        let deadline = Instant::now() + START_LIMIT;
        while !path.exists() {
            if let Some((ended, status)) = self.take_ended()? {
                return Err(ended_early(&ended.name, status, &ended.log));
            }
            if Instant::now() > deadline {
                bail!(
                    "start {name}: it is not ready after {} s",
                    START_LIMIT.as_secs()
                );
            }
            sleep(LOOK).await;
        }
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("understand the ready file {}", path.display()))
    }

    /// Takes out a process that has ended by itself, if any has.
    fn take_ended(&mut self) -> anyhow::Result<Option<(Running, ExitStatus)>> {
        for (index, running) in self.running.iter_mut().enumerate() {
            let status = running.child.try_wait();
            if let Some(status) = status.context("look after the processes")? {
                return Ok(Some((self.running.remove(index), status)));
            }
        }
        Ok(None)
    }

    /// Completes when a process ends by itself: none of them should.
    pub(crate) async fn first_end(&mut self) -> anyhow::Error {
        let waiting = self.running.iter_mut().map(|running| {
            Box::pin(async {
                let status = running.child.wait().await;
                (&running.name, status, &running.log)
            })
        });
        let ((name, status, log), _, _) = select_all(waiting).await;
        match status {
            Ok(status) => ended_early(name, status, log),
            Err(error) => anyhow!(error).context(format!("look after {name}")),
        }
    }

    /// Ends every process: politely first, then for certain.
    pub(crate) async fn stop(&mut self) {
        join_all(self.running.drain(..).map(Running::stop)).await;
    }
}

impl Running {
    async fn stop(mut self) {
        // A child that has not been waited for keeps its id, so no other process is meant.
        if let Some(pid) = self.child.id().and_then(pid) {
            // It may have ended just now; the wait below finds out.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            // `kill` waits, and fails only for a process that has ended already.
            let _ = self.child.kill().await;
        }
    }
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

fn ended_early(name: &str, status: ExitStatus, log: &Path) -> anyhow::Error {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(TAIL_LINES)..)
        .unwrap_or_default();
    anyhow!(
        "run {name}: it ended early with {status}; the end of its log:\n{}",
        tail.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn shell(script: &str) -> std::process::Command {
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn is_alive(id: u32) -> bool {
        rustix::process::test_kill_process(pid(id).unwrap()).is_ok()
    }

    fn ids(children: &Children) -> Vec<u32> {
        children
            .running
            .iter()
            .map(|running| running.child.id().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn a_ready_file_is_waited_for_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut children = Children::new(folder.path());
        let file = children.ready_file("it");
        let script = format!(
            "printf '{{\"port\": 7}}' > {0}.part && mv {0}.part {0} && exec sleep 600",
            file.display()
        );
        children.start("it", shell(&script)).unwrap();
        let ready: Value = children.ready("it").await.unwrap();
        assert_eq!(ready["port"], 7);
        children.stop().await;
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_named_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut children = Children::new(folder.path());
        children
            .start("it", shell("echo no such port; exit 3"))
            .unwrap();
        let error = children.ready::<Value>("it").await.unwrap_err();
        let expected =
            "run it: it ended early with exit status: 3; the end of its log:\nno such port";
        assert_eq!(error.to_string(), expected);

        children
            .start("it", shell("echo no such port; exit 3"))
            .unwrap();
        assert_eq!(children.first_end().await.to_string(), expected);
    }

    #[tokio::test]
    async fn stopping_asks_first_and_then_makes_sure() {
        let folder = tempfile::tempdir().unwrap();
        let mut children = Children::new(folder.path());
        for (name, on_term) in [("polite", "echo bye; exit 0"), ("deaf", "")] {
            let ready = children.ready_file(name);
            let script = format!(
                "trap '{on_term}' TERM; echo 0 > {}; while :; do sleep 0.1; done",
                ready.display()
            );
            children.start(name, shell(&script)).unwrap();
            while fs::read(&ready).unwrap_or_default().is_empty() {
                sleep(LOOK).await;
            }
        }
        let ids = ids(&children);
        let begin = Instant::now();
        children.stop().await;
        assert!(
            begin.elapsed() >= STOP_LIMIT,
            "the deaf one is given its time"
        );
        for id in ids {
            assert!(!is_alive(id), "{id} is alive");
        }
        let last_words = fs::read_to_string(folder.path().join("polite.log")).unwrap();
        assert_eq!(last_words, "bye\n");
    }

    #[tokio::test]
    async fn dropping_them_ends_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut children = Children::new(folder.path());
        children
            .start("it", shell("trap '' TERM; while :; do sleep 1; done"))
            .unwrap();
        let id = ids(&children)[0];
        drop(children);
        // The runtime reaps it in the background.
        let gone = async {
            while is_alive(id) {
                sleep(LOOK).await;
            }
        };
        timeout(Duration::from_secs(30), gone).await.unwrap();
    }
}
