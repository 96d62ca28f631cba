//! Shows attempts until all of them have ended.

use std::{future::Future, time::Duration};

use iothubdm_client::{Client, Error, Update, Watch, WatchOptions};
use iothubdm_proto::v1::RebootAttempt;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    problem::Problem,
    view::{Style, View, live},
};

/// How watching ended.
#[derive(Debug)]
pub(crate) enum Watched {
    /// Every attempt has its verdict; they are in the order they were asked for.
    Ended(Vec<RebootAttempt>),
    /// The person at the terminal has had enough.
    Interrupted,
}

/// One attempt to watch.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Its full name.
    pub(crate) name: String,
    /// The token to continue from; empty for the beginning.
    pub(crate) token: String,
}

/// Shows attempts until all of them have ended or `interrupt` completes.
pub(crate) async fn watch(
    client: &Client,
    targets: &[Target],
    patience: Duration,
    style: Style<'_>,
    interrupt: impl Future<Output = ()>,
) -> Result<Watched, Problem> {
    let names: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
    let mut view = View::new(&names, style);
    // A stream is read no faster than it is shown; the service merges what a slow reader misses.
    let (updates, mut received) = mpsc::channel(16);
    for (index, target) in targets.iter().cloned().enumerate() {
        let options = WatchOptions {
            resume_token: target.token,
            patience,
            ..WatchOptions::default()
        };
        let watch = client.watch_with(target.name, options);
        tokio::spawn(forward(index, watch, updates.clone()));
    }
    drop(updates);

    let mut tick = tokio::time::interval(live::TICK);
    tokio::pin!(interrupt);
    loop {
        let update = tokio::select! {
            update = received.recv() => update,
            _ = tick.tick(), if view.moves() => {
                view.tick(Timestamp::now());
                continue;
            }
            () = &mut interrupt => return Ok(Watched::Interrupted),
        };
        match update {
            Some((index, Ok(Update::Event(event)))) => view.event(index, &event)?,
            Some((index, Ok(Update::Interrupted { error, pause }))) => {
                view.interrupted(index, &error, pause)?;
            }
            Some((_, Err(error))) => return Err(Problem::from(error)),
            None => return Ok(Watched::Ended(view.end()?)),
        }
    }
}

/// Passes on what a watch yields, until its end or until nobody listens.
async fn forward(
    index: usize,
    mut watch: Watch,
    updates: mpsc::Sender<(usize, Result<Update, Error>)>,
) {
    while let Some(update) = watch.next().await {
        if updates.send((index, update)).await.is_err() {
            return;
        }
    }
}
