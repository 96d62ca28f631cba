//! `WatchReboot`.

mod body;
mod carried;
mod message;
mod pace;

use std::sync::Arc;

use tonic::Response;

pub(super) use self::{
    body::WatchBody,
    carried::{NoStream, unpack},
    pace::Pace,
};
use super::{permit::Permit, token::ResumeToken};
use crate::{
    error::{Error, Violation},
    service::{Log, Reader},
};

/// What the call is named.
pub(super) const CALL: &str = "WatchReboot";

/// Follows an attempt that the caller may see from where a token says.
pub(super) fn watch<T>(
    log: Arc<Log>,
    resume_token: &str,
    permit: Permit,
) -> Result<Response<NoStream<T>>, Error> {
    let position = position(resume_token, &log)?;
    let body = WatchBody::new(Reader::new(log, position), permit.sight());
    Ok(carried::pack(body))
}

/// Where the watch continues.
fn position(text: &str, log: &Log) -> Result<i64, Error> {
    if text.is_empty() {
        return Ok(log.floor());
    }
    let view = &log.now().attempt.view;
    let refuse = |rule: &str| Err(Violation::new("resume_token", rule).into());
    let Some(token) = ResumeToken::parse(text) else {
        return refuse("must be the resume_token of an earlier event");
    };
    if token.id != view.id {
        refuse("is of another attempt")
    } else if token.revision < 0 || token.revision > view.revision {
        refuse("is of no event of this attempt")
    } else if token.revision < log.floor() {
        Err(Error::TokenTooOld)
    } else {
        Ok(token.revision)
    }
}
