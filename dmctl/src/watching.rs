//! Shows attempts until all of them have ended.

use std::{future::Future, time::Duration};

use iothubdm_proto::v1::RebootAttempt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tonic::Status;

use crate::{
    client::Client,
    follow::{Follow, Step},
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
    let (steps, mut received) = mpsc::channel(16);
    for (index, target) in targets.iter().cloned().enumerate() {
        let follow = Follow::new(client.clone(), target.name, target.token, patience);
        tokio::spawn(forward(index, follow, steps.clone()));
    }
    drop(steps);

    let mut tick = tokio::time::interval(live::TICK);
    tokio::pin!(interrupt);
    loop {
        let step = tokio::select! {
            step = received.recv() => step,
            _ = tick.tick(), if view.moves() => {
                view.tick(Timestamp::now());
                continue;
            }
            () = &mut interrupt => return Ok(Watched::Interrupted),
        };
        match step {
            Some((index, Ok(Step::Event(event)))) => view.event(index, &event)?,
            Some((index, Ok(Step::Interrupted { status, pause }))) => {
                view.interrupted(index, &status, pause)?;
            }
            Some((_, Err(status))) => return Err(Problem::from(status)),
            None => return Ok(Watched::Ended(view.end()?)),
        }
    }
}

/// Passes on what following yields, until its end or until nobody listens.
async fn forward(
    index: usize,
    mut follow: Follow,
    steps: mpsc::Sender<(usize, Result<Step, Status>)>,
) {
    while let Some(step) = follow.next().await.transpose() {
        let is_last = step.is_err();
        if steps.send((index, step)).await.is_err() || is_last {
            return;
        }
    }
}
