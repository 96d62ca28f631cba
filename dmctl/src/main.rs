//! The command line client of the management service.
//!
//! ```text
//!  cli ─► command/* ──────► iothubdm_client ──► mgmt-service
//!             │                 ▲
//!             └► watching ──────┘
//!                    └────────► view (lines, a moving line, JSON)
//! ```
//!
//! - [`cli`]: the command line; [`exit`]: the exit codes, which are an interface.
//! - [`command`]: one file for each command.
//! - [`demo`]: everything on this machine, and two reboots to watch.
//! - [`watching`]: attempts shown until all of them have ended.
//! - [`view`]: what a person or a script sees.
//! - [`problem`]: why a command did not work, and what to do about it.

mod cli;
mod command;
mod demo;
mod exit;
mod name;
mod problem;
mod terminal;
mod view;
mod watching;
mod words;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::{fs, future::Future, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use iothubdm_client::{Client, Connector, Token};

use crate::{
    cli::{Cli, Command},
    exit::Exit,
    problem::Problem,
    terminal::Terminal,
    view::json::Line,
};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for; anything else is a mistake.
            let exit = match error.use_stderr() {
                true => Exit::Usage,
                false => Exit::Success,
            };
            return error.print().map_or(ExitCode::FAILURE, |()| exit.into());
        }
    };
    let mut terminal = Terminal::of_process(cli.json);
    run(&cli, &mut terminal, interrupted()).await.into()
}

/// Runs a command and tells what went wrong.
async fn run(cli: &Cli, terminal: &mut Terminal, interrupt: impl Future<Output = ()>) -> Exit {
    let problem = match perform(cli, terminal, interrupt).await {
        Ok(exit) => return exit,
        Err(problem) => problem,
    };
    // A stream that nobody reads any more leaves nobody to tell.
    let _ = if terminal.json {
        let (device, name) = subject(&cli.command);
        Line::problem(device.as_deref(), name.as_deref(), &problem).write(&mut *terminal.out)
    } else {
        terminal.remark(&format!("error: {problem}"))
    };
    problem.exit
}

async fn perform(
    cli: &Cli,
    terminal: &mut Terminal,
    interrupt: impl Future<Output = ()>,
) -> Result<Exit, Problem> {
    let connect = connect(cli);
    match &cli.command {
        Command::Reboot(command) => {
            command::reboot::run(&connect.await?, command, terminal, interrupt).await
        }
        Command::Watch(command) => {
            command::watch::run(&connect.await?, command, terminal, interrupt).await
        }
        Command::Get { name } => command::get::run(&connect.await?, name, terminal).await,
        Command::List(command) => command::list::run(&connect.await?, command, terminal).await,
        Command::Cancel(command) => command::cancel::run(&connect.await?, command, terminal).await,
        Command::Devices(command) => {
            command::devices::run(&connect.await?, command, terminal).await
        }
        Command::Audit(command) => command::audit::run(&connect.await?, command, terminal).await,
        Command::Demo(command) => demo::run(command, terminal, interrupt).await,
    }
}

/// Connects as the command line says.
async fn connect(cli: &Cli) -> Result<Client, Problem> {
    let read = |path: &PathBuf| fs::read(path).with_context(|| format!("read {}", path.display()));
    let mut connector = Connector::new(&cli.server);
    if let Some(path) = &cli.ca_file {
        connector = connector.authorities(read(path)?);
    }
    if let (Some(certificate), Some(key)) = (&cli.cert_file, &cli.key_file) {
        connector = connector.identity(read(certificate)?, read(key)?);
    }
    if let Some(path) = &cli.token_file {
        connector = connector.token(Token::File(path.clone()));
    }
    Ok(connector.connect().await?)
}

/// The device and the attempt that a command is about, as far as its line says.
fn subject(command: &Command) -> (Option<String>, Option<String>) {
    let attempt = |name: &name::AttemptName| {
        let name = name.to_string();
        (Some(name::device_of(&name).to_owned()), Some(name))
    };
    match command {
        Command::Reboot(command) => (Some(command.device.id().to_owned()), None),
        Command::Watch(command) => attempt(&command.name),
        Command::Get { name } => attempt(name),
        Command::Cancel(command) => attempt(&command.name),
        Command::List(command) => (command.device.as_ref().map(|d| d.id().to_owned()), None),
        Command::Devices(command) => (command.id.as_ref().map(|d| d.id().to_owned()), None),
        Command::Audit(command) => (command.device.as_ref().map(|d| d.id().to_owned()), None),
        Command::Demo(_) => (None, None),
    }
}

/// Completes on Ctrl-C, or when the process is asked to end.
async fn interrupted() {
    let Ok(mut terminate) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
