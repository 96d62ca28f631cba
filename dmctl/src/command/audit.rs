//! `dmctl audit`: who was allowed or refused what, newest first.

use iothubdm_client::Client;
use iothubdm_proto::v1::ListAuditEventsRequest;

use crate::{
    cli::Audit,
    exit::Exit,
    problem::Problem,
    terminal::Terminal,
    view::{json::AuditLine, tables},
};

/// Lists the audit.
pub(crate) async fn run(
    client: &Client,
    command: &Audit,
    terminal: &mut Terminal,
) -> Result<Exit, Problem> {
    let parent = match &command.device {
        Some(device) => device.to_string(),
        None => "devices/-".to_owned(),
    };
    let mut page_token = String::new();
    let mut events = Vec::new();
    loop {
        let request = ListAuditEventsRequest {
            parent: parent.clone(),
            page_size: 0,
            page_token,
            filter: command.filter.clone(),
        };
        let page = client.list_audit_events(request).await?;
        if terminal.json {
            for event in &page.audit_events {
                AuditLine::from(event).write(&mut *terminal.out)?;
            }
        } else {
            events.extend(page.audit_events);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() || !command.all_pages {
            break;
        }
    }
    if !terminal.json {
        terminal.lines(&tables::audit(&events))?;
    }
    if !page_token.is_empty() {
        terminal.remark("there are more; --all-pages shows them")?;
    }
    Ok(Exit::Success)
}
