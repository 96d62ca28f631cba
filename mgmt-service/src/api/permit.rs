//! What the caller of one call may do, asked by its handler.
//!
//! A device that the caller may not see is answered exactly as one that does not exist: NOT_FOUND, so
//! that nobody learns which ids there are. PERMISSION_DENIED is for those who may see it.

use std::{collections::BTreeSet, sync::Arc};

use iot_hub::{identity::DeviceId, reboot::RequestId};
use serde_json::{Map, Value};
use tonic::Request;

use super::{Means, sight::Sight, watch_reboot};
use crate::{
    access::{
        AuthError, Caller,
        policy::{Decision, Grants},
        right::Right,
    },
    attempt::Trouble,
    audit::Subject,
    error::Error,
    service::Age,
};

/// What the caller of one call may do.
#[derive(Debug, Clone)]
pub(super) struct Permit {
    pub(super) caller: Arc<Caller>,
    grants: Grants,
    call: &'static str,
    means: Arc<Means>,
}

impl Permit {
    pub(super) fn new<T>(
        request: &Request<T>,
        call: &'static str,
        means: &Arc<Means>,
    ) -> Result<Self, Error> {
        // It is there unless somebody forgot to ask for credentials.
        let caller = request.extensions().get::<Arc<Caller>>();
        let caller = caller.ok_or(Error::Unauthenticated(AuthError::Nothing))?;
        Ok(Self {
            caller: caller.clone(),
            grants: means.access.grants(&caller.identity),
            call,
            means: means.clone(),
        })
    }

    /// Checks that the caller may see a device; the error is that of one that does not exist.
    pub(super) async fn see_device(&self, device: &DeviceId) -> Result<(), Error> {
        let about = Subject {
            device: Some(device.clone()),
            ..Subject::default()
        };
        let seen = self.check(&[Right::View], device, about).await;
        self.looked(seen?, || no_device(device))
    }

    /// As [`Permit::see_device`], for an attempt.
    pub(super) async fn see_attempt(&self, device: &DeviceId, id: RequestId) -> Result<(), Error> {
        let about = Subject {
            device: Some(device.clone()),
            id: Some(id),
            why: String::new(),
        };
        let seen = self.check(&[Right::View], device, about).await;
        self.looked(seen?, || no_attempt(device, id))
    }

    fn looked(&self, seen: bool, hidden: impl FnOnce() -> Error) -> Result<(), Error> {
        if seen {
            self.means.auditor.looked(&self.caller, self.call);
            Ok(())
        } else {
            Err(hidden())
        }
    }

    /// Checks that the caller may reboot a device so.
    pub(super) async fn reboot(
        &self,
        device: &DeviceId,
        id: RequestId,
        needed: &[Right],
        why: &str,
    ) -> Result<(), Error> {
        self.act(device, id, needed, why, || no_device(device))
            .await
    }

    /// Checks that the caller may end an attempt so.
    pub(super) async fn cancel(
        &self,
        device: &DeviceId,
        id: RequestId,
        needed: &[Right],
        why: &str,
    ) -> Result<(), Error> {
        self.act(device, id, needed, why, || no_attempt(device, id))
            .await
    }

    async fn act(
        &self,
        device: &DeviceId,
        id: RequestId,
        needed: &[Right],
        why: &str,
        hidden: impl FnOnce() -> Error,
    ) -> Result<(), Error> {
        let about = Subject {
            device: Some(device.clone()),
            id: Some(id),
            why: why.to_owned(),
        };
        if self.check(needed, device, about).await? {
            Ok(())
        } else {
            Err(hidden())
        }
    }

    /// Says whether the caller may; `false` if it may not even see the device.
    async fn check(
        &self,
        needed: &[Right],
        device: &DeviceId,
        about: Subject,
    ) -> Result<bool, Error> {
        let mut decision = self.grants.decide(needed, device, None);
        if decision == Decision::NeedsTags {
            // What is done to a device is decided by what is true now; what is shown may lag a little.
            let age = if needed == [Right::View] {
                Age::Recent
            } else {
                Age::Fresh
            };
            let tags = match self.means.service.tags(device, age, &self.caller).await {
                Ok(tags) => tags,
                Err(Error::Trouble {
                    trouble: Trouble::NoDevice,
                    ..
                }) => return Ok(false),
                Err(error) => return Err(error),
            };
            decision = self.grants.decide(needed, device, Some(&tags));
        }
        match decision {
            Decision::Allowed => Ok(true),
            Decision::Denied(right) => {
                let error = Error::NotPermitted(right);
                self.deny(about, &error);
                Err(error)
            }
            Decision::Hidden | Decision::NeedsTags => {
                let error = Error::NotPermitted(Right::View);
                self.deny(about, &error);
                Ok(false)
            }
        }
    }

    fn deny(&self, about: Subject, error: &Error) {
        let why_not = error.to_string();
        self.means
            .auditor
            .denied(&self.caller, self.call, about, &why_not);
    }

    /// The caller looks at a list, of which it is shown what it may see.
    pub(super) fn list(&self) {
        self.means.auditor.looked(&self.caller, self.call);
    }

    /// Says whether the caller has a right over every device.
    pub(super) fn everywhere(&self, right: Right) -> bool {
        self.grants.everywhere(right)
    }

    /// Says whether the caller has a right over a device with these tags, without a word in the audit.
    /// `None` if the tags decide and are not given.
    pub(super) fn covers(
        &self,
        right: Right,
        device: &DeviceId,
        tags: Option<&Map<String, Value>>,
    ) -> Option<bool> {
        match self.grants.decide(&[right], device, tags) {
            Decision::Allowed => Some(true),
            Decision::Denied(_) | Decision::Hidden => Some(false),
            Decision::NeedsTags => None,
        }
    }

    /// Of these devices, those over which the caller has a right.
    pub(super) async fn among(
        &self,
        right: Right,
        devices: impl Iterator<Item = &DeviceId>,
    ) -> Result<BTreeSet<DeviceId>, Error> {
        let mut covered = BTreeSet::new();
        let mut unknown = BTreeSet::new();
        for device in devices {
            match self.covers(right, device, None) {
                Some(true) => {
                    covered.insert(device.clone());
                }
                Some(false) => {}
                None => {
                    unknown.insert(device.clone());
                }
            }
        }
        if !unknown.is_empty() {
            for (device, tags) in self.means.service.tags_of(unknown, &self.caller).await? {
                if self.covers(right, &device, Some(&tags)) == Some(true) {
                    covered.insert(device);
                }
            }
        }
        Ok(covered)
    }

    /// Watches whether the caller may still see an attempt that it may see now.
    pub(super) fn sight(self) -> Sight {
        Sight::new(self.caller, self.means)
    }
}

/// Checks by the rules in use now that the caller of a watch may see its attempt.
pub(super) async fn see_again(
    caller: Arc<Caller>,
    means: Arc<Means>,
    device: DeviceId,
    id: RequestId,
) -> Result<(), Error> {
    let (access, identity) = (&means.access, &caller.identity);
    if !access.knows(identity) {
        return Err(Error::Unauthenticated(AuthError::Unknown));
    }
    let permit = Permit {
        grants: access.grants(identity),
        caller,
        call: watch_reboot::CALL,
        means,
    };
    permit.see_attempt(&device, id).await
}

fn no_device(device: &DeviceId) -> Error {
    Error::Trouble {
        device: device.clone(),
        trouble: Trouble::NoDevice,
    }
}

fn no_attempt(device: &DeviceId, id: RequestId) -> Error {
    Error::NoAttempt(device.clone(), id)
}
