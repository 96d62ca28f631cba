//! `dmctl get`: one attempt as it stands.

use iothubdm_client::Client;

use crate::{exit::Exit, name::AttemptName, problem::Problem, terminal::Terminal};

/// Shows an attempt.
pub(crate) async fn run(
    client: &Client,
    name: &AttemptName,
    terminal: &mut Terminal,
) -> Result<Exit, Problem> {
    let attempt = client.get_reboot(name.to_string()).await?;
    super::show(&attempt, terminal)?;
    Ok(Exit::Success)
}
