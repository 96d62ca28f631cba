//! `ListAuditEvents`.

use iothubdm_proto::v1::{
    AuditDecision, AuditEvent, ListAuditEventsRequest, ListAuditEventsResponse,
};

use super::{
    audit_filter, convert, page, parse,
    parse::Fields,
    permit::Permit,
    token::{AuditPlace, next_page_token, read_page_token},
};
use crate::{
    access::right::Right,
    error::Error,
    service::Service,
    store::{AuditQuery, Audited},
};

pub(super) async fn list(
    service: &Service,
    request: &ListAuditEventsRequest,
    permit: &Permit,
) -> Result<ListAuditEventsResponse, Error> {
    let (query, size) = read(request)?;
    permit.list();
    let (events, last) = page::visible(
        permit,
        Right::Audit,
        size,
        query.before,
        |before, limit| {
            service.audited(AuditQuery {
                before,
                limit,
                ..query.clone()
            })
        },
        |event| event.seq,
        |event| event.device.as_ref(),
    )
    .await?;
    Ok(ListAuditEventsResponse {
        audit_events: events.into_iter().map(message).collect(),
        next_page_token: next_page_token(last.map(AuditPlace), &fixed(request)),
    })
}

fn read(request: &ListAuditEventsRequest) -> Result<(AuditQuery, usize), Error> {
    let mut fields = Fields::default();
    let device = fields.take("parent", page::parent(&request.parent));
    let size = parse::page_size(request.page_size, page::DEFAULT_SIZE, page::MAX_SIZE);
    let size = fields.take("page_size", size);
    let conditions = fields.take("filter", audit_filter::parse(&request.filter));
    let before = read_page_token(&request.page_token, &fixed(request), "parent and filter");
    let before = fields.take("page_token", before);
    fields.check()?;
    let query = AuditQuery {
        device: device.flatten(),
        conditions: conditions.unwrap_or_default(),
        before: before.flatten().map(|AuditPlace(seq)| seq),
        limit: 0,
    };
    let size = size.and_then(|size| usize::try_from(size).ok());
    Ok((query, size.unwrap_or_default()))
}

/// What has to be the same on every page.
fn fixed(request: &ListAuditEventsRequest) -> [&str; 2] {
    [&request.parent, &request.filter]
}

fn message(event: Audited) -> AuditEvent {
    let device = event.device.as_ref().map(convert::device_name);
    let reboot = match (&event.device, event.id) {
        (Some(device), Some(id)) => convert::reboot_name(device, id),
        (None, _) | (_, None) => String::new(),
    };
    let parent = device.clone().unwrap_or_else(|| "devices/-".to_owned());
    let decision = if event.verdict.allowed {
        AuditDecision::Allowed
    } else {
        AuditDecision::Denied
    };
    AuditEvent {
        name: format!("{parent}/auditEvents/{}", event.seq),
        time: Some(convert::timestamp(event.time)),
        caller: event.who,
        origin: event.from,
        action: event.action,
        device: device.unwrap_or_default(),
        reboot,
        reason: event.why,
        decision: decision.into(),
        verdict: event.verdict.text,
        evidence: event.verdict.evidence,
    }
}
