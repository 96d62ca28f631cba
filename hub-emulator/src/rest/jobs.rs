//! Jobs: make, read, list, cancel.

use axum::http::HeaderMap;
use iot_hub::error::HubError;

use super::paging::{Page, paged};
use super::parameters::Parameters;
use super::reply::Reply;
use crate::hub::{JobId, JobRequest};
use crate::switchboard::Switchboard;
use crate::throttle::Tier;

pub(super) fn put(switchboard: &Switchboard, id: &JobId, body: &[u8]) -> Result<Reply, HubError> {
    let request = JobRequest::read(id, body)?;
    let max_active = switchboard.config.tier.map(Tier::active_jobs);
    let value = switchboard.change(|state, now| {
        state
            .hub
            .create_job(id.clone(), request, max_active, now.wall)
    })?;
    Ok(Reply::json(&value))
}

pub(super) fn get(switchboard: &Switchboard, id: &JobId) -> Result<Reply, HubError> {
    let value = switchboard.read(|state| state.hub.job(id))?;
    Ok(Reply::json(&value))
}

pub(super) fn cancel(switchboard: &Switchboard, id: &JobId) -> Result<Reply, HubError> {
    let value = switchboard.change(|state, now| state.hub.cancel_job(id, now.wall))?;
    Ok(Reply::json(&value))
}

/// The jobs of a type and in a state, page by page.
pub(super) fn list(
    switchboard: &Switchboard,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Result<Reply, HubError> {
    let given = |name| parameters.get(name).filter(|value| !value.is_empty());
    let (kind, status) = (given("jobType"), given("jobStatus"));
    let page = Page::asked(
        headers,
        &format!("jobs {kind:?} {status:?}"),
        switchboard.config.query_page_size,
    )?;
    let jobs = switchboard.read(|state| state.hub.list_jobs(kind, status));
    Ok(paged(&jobs, &page, "JobResponse"))
}
