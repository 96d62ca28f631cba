//! The programs of `docs/examples`, run as their readers will run them.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use iothubdm_packages::Language;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

use crate::world::PATIENCE;

/// How long an example may take once it has begun. Generous, for a busy machine.
const LIMIT: Duration = PATIENCE;

/// An example that runs. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Example {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    complaints: ChildStderr,
    output: Vec<String>,
}

impl Example {
    /// Starts `script` of a folder of examples. Its packages are installed below `target` on first
    /// use.
    pub fn start(
        language: Language,
        folder: &str,
        script: &str,
        arguments: &[&str],
        target: &Path,
    ) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs/examples")
            .join(folder);
        let mut child = Command::from(language.command(&folder, target)?)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start an example")?;
        let stdout = child.stdout.take().context("its output")?;
        Ok(Self {
            complaints: child.stderr.take().context("its error output")?,
            child,
            lines: BufReader::new(stdout).lines(),
            output: Vec::new(),
        })
    }

    /// Waits until it prints a line that begins with `text`.
    pub async fn prints(&mut self, text: &str) {
        loop {
            let line = timeout(LIMIT, self.lines.next_line())
                .await
                .unwrap_or_else(|_| panic!("waits in vain for {text}: {:#?}", self.output))
                .expect("read what it prints");
            let Some(line) = line else {
                panic!("ended without {text}: {:#?}", self.output)
            };
            self.output.push(line);
            if self
                .output
                .last()
                .is_some_and(|line| line.starts_with(text))
            {
                return;
            }
        }
    }

    /// Waits for its end; returns its exit code and all that it printed.
    pub async fn end(mut self) -> (Option<i32>, Vec<String>) {
        let read = async {
            while let Some(line) = self.lines.next_line().await.expect("read what it prints") {
                self.output.push(line);
            }
        };
        timeout(LIMIT, read).await.expect("it ends");
        let status = self.child.wait().await.expect("wait for it");
        let mut complaints = String::new();
        self.complaints
            .read_to_string(&mut complaints)
            .await
            .expect("read its error output");
        self.output.extend(complaints.lines().map(str::to_owned));
        (status.code(), self.output)
    }
}
