//! `dmctl cancel`: ends an attempt that has not reached its point of no return.

use iothubdm_client::Client;
use iothubdm_proto::v1::{AttemptState, CancelRebootRequest};

use crate::{cli::Cancel, exit::Exit, problem::Problem, terminal::Terminal};

/// Cancels an attempt. Done means that it is cancelled, or will be once the device has answered;
/// an attempt that ended otherwise is told by the code of its verdict.
pub(crate) async fn run(
    client: &Client,
    command: &Cancel,
    terminal: &mut Terminal,
) -> Result<Exit, Problem> {
    let request = CancelRebootRequest {
        name: command.name.to_string(),
        reason: command.reason.clone(),
        abandon: command.abandon,
    };
    let attempt = client.cancel_reboot(request).await?;
    super::show(&attempt, terminal)?;

    let is_done = attempt.state() == AttemptState::Cancelled
        || (command.abandon && attempt.state() == AttemptState::Lost);
    match Exit::of(&attempt) {
        Some(verdict) if !is_done => Ok(verdict),
        Some(_) | None => Ok(Exit::Success),
    }
}
