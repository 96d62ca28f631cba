//! A small real device that speaks the native MQTT contract, and its misbehaving kin.
//!
//! It is two processes. The *supervisor* is the mains socket: it starts the *device*, a child
//! process of the same executable, and whenever that exits it starts it again with a new boot
//! identity. So a reboot here is a real one: the device's memory is gone, its connection is cut,
//! and nothing of the old boot is left but what it wrote to its flash.
//!
//! ```text
//!   supervisor ── stdin: power on (a line), power off (end of file) ──► device ── MQTT ──► broker
//!       ▲                                                                 │
//!       └──────────────── stdout: what it writes to its flash ────────────┘
//! ```
//!
//! - [`behavior`]: what the device does when it is told to reboot.
//! - [`device`]: what it says and when, without I/O; [`link`] is its MQTT connection.
//! - [`flash`]: what survives a reboot.
//! - [`supervisor`]: starts it, again and again.
//!
//! `SIGTERM` and `SIGINT` end both processes. `SIGUSR1` to the supervisor is its reset button: the
//! device loses power at once and boots again, also one that never returns by itself.

mod args;
mod behavior;
mod contract;
mod device;
mod flash;
mod link;
mod supervisor;

use std::process::ExitCode;

use args::Args;
use clap::Parser as _;
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let wanted: Option<Targets> = asked.parse().ok().filter(|_| !asked.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_filter(wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO)));
    tracing_subscriber::registry().with(lines).init();

    let ended = if args.child {
        link::run(&args).await
    } else {
        supervisor::run(args).await
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}
