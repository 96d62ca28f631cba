//! Signals: the first SIGINT or SIGTERM stops in order, the second at once; SIGHUP reloads.

use std::{io, pin::pin};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::systemd;

/// The signals that stop a program. From the moment they are listened to they no longer end it
/// by themselves.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

/// A second signal came before the program had stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a second signal came before everything had stopped")]
pub struct SecondSignal;

impl StopSignals {
    /// Listens from now on.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Does `work`. The first signal cancels `shutdown`, after which `work` should end soon; the
    /// second does not wait for that.
    pub async fn run<T>(
        mut self,
        shutdown: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> Result<T, SecondSignal> {
        let mut work = pin!(work);
        tokio::select! {
            done = &mut work => return Ok(done),
            name = self.next() => tracing::info!("received {name}, stopping"),
        }
        systemd::stopping();
        shutdown.cancel();
        tokio::select! {
            done = work => Ok(done),
            _ = self.next() => Err(SecondSignal),
        }
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// SIGHUP, by which a program is told to read its settings again. From the moment it is listened
/// to it no longer ends the program.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// Listens from now on.
    pub fn listen() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next one. Several that come close together may count as one.
    pub async fn next(&mut self) {
        // The stream of a signal never ends.
        let _ = self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn send(name: &str) {
        let me = std::process::id().to_string();
        let sent = Command::new("kill").args(["-s", name, &me]).status();
        assert!(sent.unwrap().success());
    }

    // One test for all of them: a signal goes to the whole process.
    #[tokio::test]
    async fn one_signal_stops_in_order_and_the_second_at_once() {
        let mut hangups = Hangups::listen().unwrap();
        send("HUP");
        timeout(DEADLINE, hangups.next()).await.unwrap();

        let shutdown = CancellationToken::new();
        let work = async {
            send("TERM");
            shutdown.cancelled().await;
            "stopped"
        };
        let signals = StopSignals::listen().unwrap();
        let ended = timeout(DEADLINE, signals.run(&shutdown, work)).await;
        assert_eq!(ended.unwrap(), Ok("stopped"));

        let shutdown = CancellationToken::new();
        let stuck = async {
            send("INT");
            shutdown.cancelled().await;
            send("INT");
            std::future::pending::<()>().await;
        };
        let signals = StopSignals::listen().unwrap();
        let ended = timeout(DEADLINE, signals.run(&shutdown, stuck)).await;
        assert_eq!(ended.unwrap(), Err(SecondSignal));

        let shutdown = CancellationToken::new();
        let signals = StopSignals::listen().unwrap();
        let ended = signals.run(&shutdown, async { 1 }).await;
        assert_eq!(ended, Ok(1));
        assert!(!shutdown.is_cancelled());
    }
}
