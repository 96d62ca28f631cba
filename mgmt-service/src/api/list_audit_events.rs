//! `ListAuditEvents`.

use iothubdm_proto::v1::{
    AuditDecision, AuditEvent, ListAuditEventsRequest, ListAuditEventsResponse,
};

use super::{
    audit_filter, convert, parse,
    parse::Fields,
    permit::Permit,
    token::{AuditToken, fingerprint},
};
use crate::{
    access::right::Right,
    error::Error,
    service::Service,
    store::{AuditQuery, Audited},
};

/// How many events a page has when the caller does not say, and at most.
const DEFAULT_PAGE: u32 = 50;
const MAX_PAGE: u32 = 1000;

/// How many pages of the store are looked through for one page of what the caller may see.
const MAX_LOOKS: usize = 10;

pub(super) async fn list(
    service: &Service,
    request: &ListAuditEventsRequest,
    permit: &Permit,
) -> Result<ListAuditEventsResponse, Error> {
    let (mut query, size) = read(request)?;
    permit.list();
    // What is about no device is for those who may read about every device.
    let everywhere = permit.everywhere(Right::Audit);
    query.limit = size + 1;
    let mut events = Vec::new();
    for _ in 0..MAX_LOOKS {
        let mut found = service.audited(query.clone()).await?;
        let more = found.len() > size;
        found.truncate(size);
        let devices = found.iter().filter_map(|event| event.device.as_ref());
        let covered = permit.among(Right::Audit, devices).await?;
        let mut left = found.into_iter();
        while events.len() < size
            && let Some(event) = left.next()
        {
            query.before = Some(event.seq);
            let seen = match &event.device {
                Some(device) => covered.contains(device),
                None => everywhere,
            };
            if seen {
                events.push(message(event));
            }
        }
        if !more && left.len() == 0 {
            query.before = None;
        }
        if query.before.is_none() || events.len() == size {
            break;
        }
    }
    let token = query.before.map(|before| AuditToken {
        request: stamp(request),
        before,
    });
    Ok(ListAuditEventsResponse {
        audit_events: events,
        next_page_token: token.map(AuditToken::print).unwrap_or_default(),
    })
}

fn read(request: &ListAuditEventsRequest) -> Result<(AuditQuery, usize), Error> {
    let mut fields = Fields::default();
    let parent = match request.parent.as_str() {
        "devices/-" => Ok(None),
        parent => parse::device_name(parent)
            .map(Some)
            .map_err(|rule| format!("{rule}, or devices/- for all")),
    };
    let device = fields.take("parent", parent);
    let size = parse::page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE);
    let size = fields.take("page_size", size);
    let conditions = fields.take("filter", audit_filter::parse(&request.filter));
    let before = fields.take("page_token", page_token(request));
    fields.check()?;
    let query = AuditQuery {
        device: device.flatten(),
        conditions: conditions.unwrap_or_default(),
        before: before.flatten(),
        limit: 0,
    };
    let size = size.and_then(|size| usize::try_from(size).ok());
    Ok((query, size.unwrap_or_default()))
}

fn page_token(request: &ListAuditEventsRequest) -> Result<Option<i64>, &'static str> {
    if request.page_token.is_empty() {
        return Ok(None);
    }
    let token = AuditToken::parse(&request.page_token)
        .ok_or("must be the next_page_token of an earlier answer")?;
    if token.request == stamp(request) {
        Ok(Some(token.before))
    } else {
        Err("must be used with the parent and filter it was given for")
    }
}

/// Stands for what has to be the same on every page.
fn stamp(request: &ListAuditEventsRequest) -> u64 {
    fingerprint(&[&request.parent, &request.filter])
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
