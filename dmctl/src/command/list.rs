//! `dmctl list`: attempts, newest first.

use iothubdm_client::Client;
use iothubdm_proto::v1::ListRebootsRequest;

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
    let parent = match &command.device {
        Some(device) => device.to_string(),
        None => "devices/-".to_owned(),
    };
    let mut page_token = String::new();
    let mut attempts = Vec::new();
    loop {
        let request = ListRebootsRequest {
            parent: parent.clone(),
            filter: command.filter.clone(),
            page_size: 0,
            page_token,
        };
        let page = client.list_reboots(request).await?;
        if terminal.json {
            for attempt in &page.reboots {
                Line::attempt(attempt).write(&mut *terminal.out)?;
            }
        } else {
            attempts.extend(page.reboots);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() || !command.all_pages {
            break;
        }
    }

    if !terminal.json {
        terminal.lines(&tables::attempts(&attempts))?;
    }
    if !page_token.is_empty() {
        terminal.remark("there are more; --all-pages shows them")?;
    }
    Ok(Exit::Success)
}
