//! Shutdowns that the machine announces, whoever asked for them.
//!
//! While this is listened to, a `delay` inhibitor of ours is on systemd-logind's list. It makes
//! logind announce a shutdown before it begins one, and wait until we have let go, but never longer
//! than its own `InhibitDelayMaxSec`, five seconds by default.

use std::{convert::Infallible, time::Duration};

use daemon::panics::caught_in;
use futures_util::future::BoxFuture;
use tokio::{sync::mpsc, time};

use super::logind::{Announcement, Logind, LogindError};
use crate::driver::{Delay, Notice};

/// How long to wait before listening again after the bus or logind went away, at first: at boot logind
/// may still be on its way. From then on twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How many announcements may wait. They are taken at once, or the gateway is stuck.
const WAITING: usize = 4;

/// Listens until the receiver is dropped.
pub(crate) fn listen(logind: Logind) -> mpsc::Receiver<Notice> {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        tokio::select! {
            never = keep_listening(|| Box::pin(hear(&logind, &sender))) => match never {},
            () = sender.closed() => {}
        }
    });
    receiver
}

/// Listens again whenever that has ended, in whatever way.
async fn keep_listening<'a>(
    listen: impl Fn() -> BoxFuture<'a, Result<(), LogindError>>,
) -> Infallible {
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        match caught_in(listen()).await {
            Ok(Ok(())) => {
                pause = FIRST_PAUSE;
                told = false;
            }
            // A machine without logind has none a minute later either.
            Ok(Err(error)) if !told => {
                told = true;
                tracing::info!(%error, "shutdowns by others are not heard of");
            }
            Ok(Err(error)) => tracing::debug!(%error, "shutdowns by others are not heard of"),
            // It is in the log, and may not happen again.
            Err(_) => {}
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Passes announcements on, as long as the bus stands.
async fn hear(logind: &Logind, sender: &mpsc::Sender<Notice>) -> Result<(), LogindError> {
    let mut announcements = logind.announcements().await?;
    let mut inhibitor = Some(logind.delay_shutdowns(&announcements).await?);
    tracing::debug!("listening for shutdowns");
    while let Some(announcement) = announcements.next().await {
        let notice = match announcement {
            Announcement::GoingDown => Notice::ShutdownBegins(Delay::of(inhibitor.take())),
            Announcement::StayingUp => {
                inhibitor = Some(logind.delay_shutdowns(&announcements).await?);
                Notice::ShutdownCalledOff
            }
        };
        // Nobody there to be told: the task ends.
        let _ = sender.send(notice).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_panic_does_not_end_the_listening() {
        let times = AtomicUsize::new(0);
        let again = Notify::new();
        let listen = || -> BoxFuture<'_, _> {
            Box::pin(async {
                assert_ne!(times.fetch_add(1, Ordering::SeqCst), 0, "the first time");
                again.notify_one();
                Ok(())
            })
        };
        tokio::select! {
            never = keep_listening(listen) => match never {},
            heard = time::timeout(LONGEST_PAUSE, again.notified()) => heard.unwrap(),
        }
    }
}
