//! What every program of this workspace that runs in the background needs from its surroundings:
//! a log, signals, a way to say that it is ready, and systemd's view of all that.
//!
//! It knows nothing of hubs and devices. A program's `main.rs` uses it, and its `config.rs` for the
//! settings.
//!
//! # Where to look
//!
//! - [`logs`]: logging as text or JSON, with a filter that changes at run time; panics are logged.
//! - [`settings`]: from a file, the environment and the command line, with every mistake told at once.
//! - [`signals`]: the first SIGINT or SIGTERM stops in order, the second at once; SIGHUP reloads.
//! - [`ready`]: the ready file, whole or absent, together with systemd's readiness.
//! - [`admin`]: metrics, health and the log's filter over HTTP.
//! - [`panics`]: a panic as an error, for whoever goes on without what panicked.
//! - [`process`]: metrics that every program has.
//! - [`systemd`]: readiness, stopping and the watchdog by `sd_notify`.

pub mod admin;
pub mod files;
pub mod logs;
pub mod panics;
pub mod process;
pub mod ready;
pub mod settings;
pub mod signals;
pub mod systemd;

use std::process::ExitCode;

/// Turns a program's end into its exit code; an error is logged with its causes.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}
