//! `dmctl list`: attempts, newest first.

use iothubdm_client::Client;
use iothubdm_proto::v1::ListRebootsRequest;

use super::pages;
use crate::{
    cli::List,
    exit::Exit,
    problem::Problem,
    terminal::Terminal,
    view::{json::Line, tables},
};

/// Lists attempts.
pub(crate) async fn run(
    client: &Client,
    command: &List,
    terminal: &mut Terminal,
) -> Result<Exit, Problem> {
    let read = async |page_token| {
        let request = ListRebootsRequest {
            parent: pages::parent(command.device.as_ref()),
            filter: command.filter.clone(),
            page_size: 0,
            page_token,
        };
        let page = client.list_reboots(request).await?;
        Ok((page.reboots, page.next_page_token))
    };
    pages::show(
        terminal,
        command.all_pages,
        read,
        |attempt, out| Line::attempt(attempt).write(out),
        tables::attempts,
    )
    .await
}
