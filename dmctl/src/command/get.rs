//! `dmctl get`: one attempt as it stands.

use iothubdm_proto::v1::GetRebootRequest;

use crate::{
    client::{self, Client, request},
    exit::Exit,
    name::AttemptName,
    problem::Problem,
    terminal::Terminal,
};

/// Shows an attempt.
pub(crate) async fn run(
    client: &Client,
    name: &AttemptName,
    terminal: &mut Terminal,
) -> Result<Exit, Problem> {
    let attempt = client::call(|| {
        let mut client = client.clone();
        let request = request(GetRebootRequest {
            name: name.to_string(),
        });
        async move { client.get_reboot(request).await }
    })
    .await?;
    super::show(&attempt, terminal)?;
    Ok(Exit::Success)
}
