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
//!
//! The SDKs have the hub's ports built in. A hook in the script's process sends their TCP
//! connections to the emulator's ports; names, TLS and everything above it stay as they are.

mod control;
mod hub;

use std::{fmt::Write as _, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use hub_emulator::Emulator;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, ChildStdout, Command},
};

use self::hub::{OwnHub, ScriptHub};
use crate::packages::Language;

/// How long a script may take. Generous, for a busy machine; nothing asserts it.
const LIMIT: Duration = Duration::from_secs(180);

/// Where the scripts are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk");

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
    let mut command = command(language, folder)?;
    let scratch = tempfile::tempdir().context("make a folder")?;
    let ca_file = scratch.path().join("ca.pem");
    let emulator = hub.emulator()?;
    std::fs::write(&ca_file, emulator.ca_pem()).context("write the CA")?;
    command
        .args(script)
        .env("HUB_HTTPS_PORT", emulator.https_port().to_string())
        .env("HUB_MQTT_PORT", emulator.mqtt_port().to_string())
        .env("HUB_OWNER", emulator.owner_connection_string())
        .env("HUB_SERVICE", emulator.service_connection_string())
        // Each SDK reads one of these.
        .env("SSL_CERT_FILE", &ca_file)
        .env("REQUESTS_CA_BUNDLE", &ca_file)
        .env("NODE_EXTRA_CA_CERTS", &ca_file);
    let mut output = String::new();
    let ended = tokio::time::timeout(LIMIT, converse(command, &mut hub, &mut output)).await;
    let result = ended.unwrap_or_else(|_| bail!("it did not end within {LIMIT:?}"));
    result.with_context(|| format!("{} failed:\n{output}", script.join(" ")))
}

/// The beginning of a command that runs a script with its SDKs, and with the hook that sends their
/// connections to the emulator.
fn command(language: Language, folder: &Path) -> Result<Command> {
    let scripts = Path::new(SCRIPTS).join(language.name());
    let mut command = language.command(&scripts, folder)?;
    match language {
        // Python runs the `sitecustomize` that it finds here before the script.
        Language::Python => command.env("PYTHONPATH", scripts.join("redirect")),
        Language::Node => command.arg("--require").arg(scripts.join("redirect.js")),
    };
    Ok(command)
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
