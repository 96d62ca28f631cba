//! `dmctl demo`: starts everything on this machine, reboots a device that obeys and a device that
//! lies, and shows that the verdicts tell them apart.
//!
//! - [`programs`]: finds the programs, and builds them under cargo.
//! - [`children`]: the processes, none of which outlives this one.
//! - [`world`]: what runs and with which settings.
//! - [`verdict`]: what the verdicts have to be.
//! - [`keep`]: how to use what is left running.

mod children;
mod keep;
mod programs;
mod verdict;
mod world;

use std::{
    future::{Future, pending},
    io,
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use iothubdm_proto::v1::{RebootAttempt, RebootRequest};
use uuid::Uuid;

use crate::{
    cli::Demo,
    exit::Exit,
    problem::Problem,
    terminal::Terminal,
    view::Style,
    watching::{self, Target, Watched},
};

use self::{
    children::Children,
    programs::Programs,
    world::{PUMP, VALVE, World},
};

/// How long the service may be away before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the demo. Whatever happens, its processes have ended when it returns.
pub(crate) async fn run(
    command: &Demo,
    terminal: &mut Terminal,
    interrupt: impl Future<Output = ()>,
) -> Result<Exit, Problem> {
    let folder = tempfile::Builder::new()
        .prefix("iothub-dm-demo-")
        .tempdir()
        .context("make a temporary folder")?;
    let mut children = Children::new(folder.path());
    tokio::pin!(interrupt);

    let shown = tokio::select! {
        shown = show(command, folder.path(), &mut children, terminal) => shown,
        () = &mut interrupt => Ok(None),
    };
    let outcome = match shown {
        Ok(Some((world, Exit::Success))) if command.keep => {
            keep_running(&world, &mut children, terminal, interrupt).await
        }
        Ok(Some((_, exit))) => Ok(exit),
        Ok(None) => Ok(Exit::Interrupted),
        Err(problem) => Err(problem),
    };
    children.stop().await;

    if matches!(outcome, Ok(Exit::Interrupted)) {
        terminal.remark("interrupted; everything that was started has ended")?;
    }
    if !matches!(outcome, Ok(Exit::Success | Exit::Interrupted)) {
        let folder = folder.keep();
        terminal.remark(&format!("logs and settings are in {}", folder.display()))?;
    }
    outcome
}

/// Starts everything, shows both reboots, and compares their verdicts with what they have to be.
async fn show(
    command: &Demo,
    folder: &Path,
    children: &mut Children,
    terminal: &mut Terminal,
) -> Result<Option<(World, Exit)>, Problem> {
    let programs = Programs::find().await?;
    let say = |text: &str| narrate(terminal, text);
    let world = world::start(&programs, folder, children, command.keep, say).await?;
    narrate(terminal, "")?;

    let attempts = tokio::select! {
        attempts = reboot_both(&world, terminal.style()) => attempts?,
        error = children.first_end() => return Err(error.into()),
    };
    let (lines, as_expected) = verdict::judge(&attempts);
    for line in lines {
        narrate(terminal, &line)?;
    }
    let exit = match as_expected {
        true => Exit::Success,
        false => Exit::Failed,
    };
    Ok(Some((world, exit)))
}

/// Asks for both reboots at the same time and shows them to their ends.
async fn reboot_both(world: &World, style: Style<'_>) -> Result<Vec<RebootAttempt>, Problem> {
    let ask = async |id: &str| {
        let message = RebootRequest {
            device: format!("devices/{id}"),
            request_id: Uuid::new_v4().to_string(),
            reason: "demo".to_owned(),
            ..RebootRequest::default()
        };
        let attempt = world.client.reboot(message).await?;
        Ok::<_, Problem>(Target {
            name: attempt.name,
            token: String::new(),
        })
    };
    let (pump, valve) = tokio::try_join!(ask(PUMP.id), ask(VALVE.id))?;
    let targets = [pump, valve];
    match watching::watch(&world.client, &targets, PATIENCE, style, pending()).await? {
        Watched::Ended(attempts) => Ok(attempts),
        Watched::Interrupted => Ok(Vec::new()),
    }
}

/// Says how to use what runs, and waits until somebody has had enough.
async fn keep_running(
    world: &World,
    children: &mut Children,
    terminal: &mut Terminal,
    interrupt: impl Future<Output = ()>,
) -> Result<Exit, Problem> {
    for line in keep::usage(world) {
        narrate(terminal, &line)?;
    }
    tokio::select! {
        () = interrupt => Ok(Exit::Success),
        error = children.first_end() => Err(error.into()),
    }
}

/// Tells a person what goes on; a script's output stays clean.
fn narrate(terminal: &mut Terminal, text: &str) -> io::Result<()> {
    match terminal.json {
        true => terminal.remark(text),
        false => terminal.lines(&[text.to_owned()]),
    }
}
