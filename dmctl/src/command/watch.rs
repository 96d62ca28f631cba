//! `dmctl watch`: follows an attempt to its verdict.

use std::{future::Future, time::Duration};

use iothubdm_client::Client;

use crate::{
    cli::Watch,
    exit::Exit,
    name::AttemptName,
    problem::Problem,
    terminal::Terminal,
    watching::{self, Target, Watched},
};

/// Follows an attempt.
pub(crate) async fn run(
    client: &Client,
    command: &Watch,
    terminal: &mut Terminal,
    interrupt: impl Future<Output = ()>,
) -> Result<Exit, Problem> {
    let token = command.resume_token.clone().unwrap_or_default();
    let patience = command.patience.patience;
    to_the_verdict(client, &command.name, token, patience, terminal, interrupt).await
}

/// Follows an attempt and ends with the code of its verdict.
pub(crate) async fn to_the_verdict(
    client: &Client,
    name: &AttemptName,
    token: String,
    patience: Duration,
    terminal: &mut Terminal,
    interrupt: impl Future<Output = ()>,
) -> Result<Exit, Problem> {
    let again = format!("watch it again with: dmctl watch {}", name.short());
    let target = Target {
        name: name.to_string(),
        token,
    };
    let watched = watching::watch(client, &[target], patience, terminal.style(), interrupt)
        .await
        .map_err(|problem| match problem.exit {
            Exit::Unavailable => problem.with_note(format!("the attempt goes on; {again}")),
            Exit::Success
            | Exit::Failed
            | Exit::Lost
            | Exit::ProofTooWeak
            | Exit::Rejected
            | Exit::Expired
            | Exit::Usage
            | Exit::Interrupted => problem,
        })?;
    match watched {
        Watched::Ended(attempts) => Ok(attempts
            .first()
            .and_then(Exit::of)
            .unwrap_or(Exit::Unavailable)),
        Watched::Interrupted => {
            terminal.remark(&format!(
                "the attempt goes on without this command; {again}"
            ))?;
            Ok(Exit::Interrupted)
        }
    }
}
