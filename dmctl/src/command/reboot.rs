//! `dmctl reboot`: asks for a reboot, and follows it where asked to.

use std::future::Future;

use iothubdm_client::{Client, Error};
use iothubdm_proto::v1::{
    BlockedPolicy, EvidenceGrade, OfflinePolicy, Preconditions, RebootAttempt, RebootMode,
    RebootRequest, reboot_request::Start,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    cli::Reboot, exit::Exit, name::AttemptName, problem::Problem, terminal::Terminal, words,
};

/// Asks for a reboot.
pub(crate) async fn run(
    client: &Client,
    command: &Reboot,
    terminal: &mut Terminal,
    interrupt: impl Future<Output = ()>,
) -> Result<Exit, Problem> {
    // The id is made here, so that a call whose answer got lost can be made again.
    let id = command.request_id.unwrap_or_else(Uuid::new_v4);
    let message = message(command, id, Timestamp::now())?;
    let unknown = format!(
        "whether it was begun is not known; with --request-id {id} you may ask again, \
         and it is not done twice"
    );
    tokio::pin!(interrupt);
    let name = AttemptName::new(command.device.clone(), id);
    let asked = ask(client, command, &name, message);
    let answer = tokio::select! {
        answer = asked => answer,
        () = &mut interrupt => {
            terminal.remark(&unknown)?;
            return Ok(Exit::Interrupted);
        }
    };
    let attempt = answer.map_err(|error| {
        let is_known = !matches!(error, Error::Broken(_));
        let problem = Problem::from(error);
        match is_known {
            true => problem,
            false => problem.with_note(unknown),
        }
    })?;

    if command.wait {
        let patience = command.patience.patience;
        return super::watch::to_the_verdict(
            client,
            &name,
            String::new(),
            patience,
            terminal,
            interrupt,
        )
        .await;
    }

    super::show(&attempt, terminal)?;
    if command.validate_only {
        terminal.remark("this is how it would begin; nothing was begun")?;
        return Ok(Exit::Success);
    }
    match Exit::of(&attempt) {
        // The id is of an earlier request that has ended: its verdict stands.
        Some(verdict) => Ok(verdict),
        None => {
            terminal.remark(&format!("follow it with: dmctl watch {}", name.short()))?;
            Ok(Exit::Success)
        }
    }
}

/// Asks for a reboot. Asked for again with its id, a request has to be the same, and the moment that
/// `--deadline` means has moved meanwhile: it is asked for with the deadline that it got.
async fn ask(
    client: &Client,
    command: &Reboot,
    name: &AttemptName,
    message: RebootRequest,
) -> Result<RebootAttempt, Error> {
    let again = command.request_id.is_some() && command.deadline.is_some();
    let asked = client.reboot(message.clone()).await;
    match asked {
        Err(Error::Refused(refusal)) if again && refusal.reason == "REQUEST_ID_USED" => {
            let Ok(known) = client.get_reboot(name.to_string()).await else {
                return Err(Error::Refused(refusal));
            };
            let deadline = known.deadline;
            let message = RebootRequest {
                deadline,
                ..message
            };
            client.reboot(message).await
        }
        asked => asked,
    }
}

/// The request that a command line means.
fn message(command: &Reboot, id: Uuid, now: Timestamp) -> Result<RebootRequest, Problem> {
    let too_far = |flag| Problem::usage(format!("invalid {flag}: too far in the future"));
    let duration =
        |flag, duration| prost_types::Duration::try_from(duration).map_err(|_| too_far(flag));
    let deadline = match command.deadline {
        Some(limit) => {
            let start = command.delay.unwrap_or_default();
            let end = start
                .checked_add(limit)
                .ok_or_else(|| too_far("--deadline"))?;
            let end = now.checked_add(end).map_err(|_| too_far("--deadline"))?;
            Some(words::to_moment(end))
        }
        None => None,
    };
    let preconditions = Preconditions {
        boot_id: command.if_boot_id.clone().unwrap_or_default(),
        min_uptime: command
            .if_up_for
            .map(|uptime| duration("--if-up-for", uptime))
            .transpose()?,
    };
    Ok(RebootRequest {
        device: command.device.to_string(),
        request_id: id.to_string(),
        mode: RebootMode::from(command.mode).into(),
        escalate_to: command
            .escalate_to
            .map_or(RebootMode::Unspecified, RebootMode::from)
            .into(),
        reason: command.reason.clone(),
        start: command
            .delay
            .map(|delay| duration("--delay", delay).map(Start::Delay))
            .transpose()?,
        deadline,
        preconditions: (preconditions != Preconditions::default()).then_some(preconditions),
        required_evidence: command
            .require
            .map_or(EvidenceGrade::Unspecified, EvidenceGrade::from)
            .into(),
        offline_policy: match command.queue {
            true => OfflinePolicy::Queue,
            false => OfflinePolicy::Fail,
        }
        .into(),
        validate_only: command.validate_only,
        blocked_policy: match command.fail_if_blocked {
            true => BlockedPolicy::Fail,
            false => BlockedPolicy::Wait,
        }
        .into(),
    })
}
