//! Scripts that run beside a test: the programs of `docs/examples`, as their readers will run them, and
//! the peers of `tests/peers`.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use iothubdm_packages::Language;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

use crate::world::PATIENCE;

/// How long a script may take once it has begun. Generous, for a busy machine.
const LIMIT: Duration = PATIENCE;

/// A script that runs. It is killed when this value is dropped.
#[derive(Debug)]
pub struct ScriptProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    complaints: ChildStderr,
    output: Vec<String>,
}

impl ScriptProcess {
    /// Starts `script` of a folder of this repository. Its packages are installed below `target` on
    /// first use.
    pub fn start(
        language: Language,
        folder: &str,
        script: &str,
        arguments: &[&str],
        target: &Path,
    ) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(folder);
        let mut child = Command::from(language.command(&folder, target)?)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start a script")?;
        let stdout = child.stdout.take().context("its output")?;
        Ok(Self {
            complaints: child.stderr.take().context("its error output")?,
            child,
            lines: BufReader::new(stdout).lines(),
            output: Vec::new(),
        })
    }

    /// Waits until it prints a line that begins with `text`, and returns what follows there.
    pub async fn prints(&mut self, text: &str) -> String {
        loop {
            let line = timeout(LIMIT, self.lines.next_line())
                .await
                .unwrap_or_else(|_| panic!("waits in vain for {text}: {:#?}", self.output))
                .expect("read what it prints");
            let Some(line) = line else {
                panic!("ended without {text}: {:#?}", self.output)
            };
            let rest = line.strip_prefix(text).map(str::to_owned);
            self.output.push(line);
            if let Some(rest) = rest {
                return rest;
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
