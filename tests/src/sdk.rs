//! Scripts that drive Microsoft's own SDKs, unmodified, against an emulator in this process.
//!
//! A script prints one line per check and ends with a nonzero status at the first that fails. What
//! only the hub's side can do or know (cut a connection, count connects) it asks this process for,
//! one JSON object a line; see [`control`].
//!
//! ```text
//!  test ──► Script ── spawns ──► python3 | node ── MQTT, HTTPS ──► Emulator (this process)
//!              ▲                       │  "ask …" on standard output            ▲
//!              └───────────────────────┘                                        │
//!              └───────────────────── cut, count, register ─────────────────────┘
//! ```

mod control;
mod hub;

use std::{fmt::Write as _, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use hub_emulator::Emulator;
use iothubdm_packages::{
    Language,
    sdk::{self, LocalHub},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, ChildStdout, Command},
};

use self::hub::{OwnHub, ScriptHub};

/// How long a script may take. Generous, for a busy machine; nothing asserts it.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs a script of a language's folder, and its arguments, against an emulator.
///
/// The SDKs are installed below `folder` on first use. An error tells everything that the script
/// printed.
pub async fn run_script(
    language: Language,
    script: &[&str],
    emulator: &Emulator,
    folder: &Path,
) -> Result<()> {
    run(language, script, ScriptHub::Shared(emulator), folder).await
}

/// Runs a script against an emulator of its own, which it may restart.
pub async fn run_script_over_restarts(
    language: Language,
    script: &[&str],
    folder: &Path,
) -> Result<()> {
    let own = OwnHub::start().await.context("start the emulator")?;
    run(language, script, ScriptHub::Own(Box::new(own)), folder).await
}

async fn run(
    language: Language,
    script: &[&str],
    mut hub: ScriptHub<'_>,
    folder: &Path,
) -> Result<()> {
    let scratch = tempfile::tempdir().context("make a folder")?;
    let ca_file = scratch.path().join("ca.pem");
    let emulator = hub.emulator()?;
    std::fs::write(&ca_file, emulator.ca_pem()).context("write the CA")?;
    let local = LocalHub {
        https_port: emulator.https_port(),
        mqtt_port: emulator.mqtt_port(),
        owner: emulator.owner_connection_string(),
        ca_file,
    };
    let mut command = Command::from(sdk::command(language, &local, folder)?);
    command
        .args(script)
        .env("HUB_SERVICE", emulator.service_connection_string());
    let mut output = String::new();
    let ended = tokio::time::timeout(LIMIT, converse(command, &mut hub, &mut output)).await;
    let result = ended.unwrap_or_else(|_| bail!("it did not end within {LIMIT:?}"));
    result.with_context(|| format!("{} failed:\n{output}", script.join(" ")))
}

/// Runs the command, and answers what it asks, until it ends.
async fn converse(command: Command, hub: &mut ScriptHub<'_>, output: &mut String) -> Result<()> {
    let mut command = command;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("start it")?;
    let stdin = child.stdin.take().context("its input")?;
    let stdout = child.stdout.take().context("its output")?;
    let mut stderr = child.stderr.take().context("its error output")?;
    let mut complaints = Vec::new();
    let (answered, heard, ended) = tokio::join!(
        answer(stdout, stdin, hub, output),
        stderr.read_to_end(&mut complaints),
        child.wait(),
    );
    let _ = write!(output, "{}", String::from_utf8_lossy(&complaints));
    heard.context("read its error output")?;
    let status = ended.context("wait for it")?;
    let finished = answered.context("answer it")?;
    ensure!(status.success(), "{status}");
    // A script that ends early, with success, has checked nothing.
    ensure!(finished, "it ended before its last check");
    Ok(())
}

/// Reads what the script prints, and answers what it asks. Returns whether it got to its end.
async fn answer(
    stdout: ChildStdout,
    mut stdin: ChildStdin,
    hub: &mut ScriptHub<'_>,
    output: &mut String,
) -> Result<bool> {
    let mut lines = BufReader::new(stdout).lines();
    let mut finished = false;
    while let Some(line) = lines.next_line().await? {
        let _ = writeln!(output, "{line}");
        finished = line.starts_with("passed ");
        if let Some(question) = line.strip_prefix("ask ") {
            let answer = control::answer(question, hub).await?;
            let _ = writeln!(output, "told {answer}");
            let written = stdin.write_all(format!("{answer}\n").as_bytes()).await;
            // A script that is gone says why on its error output.
            if written.is_err() {
                break;
            }
        }
    }
    Ok(finished)
}
