//! `dmctl audit`: who was allowed or refused what, newest first.

use iothubdm_client::Client;
use iothubdm_proto::v1::ListAuditEventsRequest;

use super::pages;
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
    let read = async |page_token| {
        let request = ListAuditEventsRequest {
            parent: pages::parent(command.device.as_ref()),
            page_size: 0,
            page_token,
            filter: command.filter.clone(),
        };
        let page = client.list_audit_events(request).await?;
        Ok((page.audit_events, page.next_page_token))
    };
    pages::show(
        terminal,
        command.all_pages,
        read,
        |event, out| AuditLine::from(event).write(out),
        tables::audit,
    )
    .await
}
