//! Whether the caller of a watch may still see what it watches.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{Means, permit};
use crate::{
    access::{AuthError, Caller, Changes, jwt::TokenError},
    error::Error,
    service::Log,
};

/// The longest sleep: after it the wall clock is looked at again, for it may have been set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Whether a caller may still see an attempt.
///
/// What it may do is looked up anew when that is in question, and not held: there are many of these.
pub(super) struct Sight {
    caller: Arc<Caller>,
    means: Arc<Means>,
    changes: Changes,
    /// The rules have changed, and what they say now is being found out.
    look: Option<BoxFuture<'static, Result<(), Error>>>,
}

impl Sight {
    /// The caller may see it by the rules in use.
    pub(super) fn new(caller: Arc<Caller>, means: Arc<Means>) -> Self {
        Self {
            caller,
            changes: means.access.changes(),
            means,
            look: None,
        }
    }

    /// What the call is answered with.
    pub(super) fn means(&self) -> &Means {
        &self.means
    }

    /// Ready once the caller may no longer see the attempt: its credentials have expired, or changed
    /// rules do not let it. Whoever asks is not woken for either.
    pub(super) fn poll_lost(&mut self, log: &Log, context: &mut Context<'_>) -> Poll<Error> {
        if self.left().is_some_and(|left| left.is_zero()) {
            let expired = AuthError::Token(TokenError::Expired);
            return Poll::Ready(Error::Unauthenticated(expired));
        }
        if self.changes.any() {
            let attempt = log.now().attempt;
            let (device, id) = (attempt.view.device.clone(), attempt.view.id);
            let (caller, means) = (self.caller.clone(), self.means.clone());
            let look = permit::see_again(caller, means, device, id);
            self.look = Some(Box::pin(look));
        }
        let Some(look) = &mut self.look else {
            return Poll::Pending;
        };
        match ready!(look.as_mut().poll(context)) {
            Err(error) => Poll::Ready(error),
            Ok(()) => {
                self.look = None;
                Poll::Pending
            }
        }
    }

    /// How soon to ask again although nobody says that anything has changed.
    pub(super) fn ask_within(&self) -> Option<Duration> {
        self.left().map(|left| left.min(LONGEST_SLEEP))
    }

    /// How long the caller's credentials are good for.
    fn left(&self) -> Option<Duration> {
        let left = self.caller.expiry?.duration_since(Timestamp::now());
        Some(Duration::try_from(left).unwrap_or_default())
    }
}
