//! The command that prepares a device for its reboot: stops what runs on it, moves work away.
//!
//! It may run again for the same request, after an objection or a restart of the gateway.

use iot_hub::reboot::Blocker;

use super::naming::clip;
use crate::{
    config::HookConfig,
    driver::{
        Order,
        command::run::{self, End},
    },
};

/// The name of its objection.
const NAME: &str = "prepare";

/// Runs it. What is wrong is the objection.
pub(super) async fn run(hook: &HookConfig, order: &Order) -> Option<(String, Blocker)> {
    let environment = [
        ("DM_REQUEST_ID", order.id.to_string()),
        ("DM_MODE", order.mode.to_string()),
        ("DM_REASON", order.one_line_reason()),
        ("DM_DRY_RUN", u8::from(order.dry_run).to_string()),
    ];
    let program = &hook.command.program;
    let why = match run::run(&hook.command, &environment, hook.timeout).await {
        Ok(finished) if finished.end == End::Exited(0) => return None,
        Ok(finished) => finished.why(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(program, why, "the device is not prepared");
    let blocker = Blocker {
        who: clip(program),
        why: clip(&why),
        until: None,
    };
    Some((NAME.to_owned(), blocker))
}
