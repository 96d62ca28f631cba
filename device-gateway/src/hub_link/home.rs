//! Where a device belongs, and when to ask the provisioning service about it again.
//!
//! The service is asked where nothing is known yet, when the hub refuses the device, and when the
//! hub was out of reach for long. What it said last is on disk, so a start needs no service. While
//! the service cannot be reached, the hub that is known is tried on.

use std::{sync::Arc, time::Duration};

use iot_hub::{
    identity::{DeviceAuth, DeviceConnection, DeviceId},
    provisioning::{Assignment, RegistrationId},
};
use tokio::time::Instant;

use super::{LinkError, backoff::Backoff, is_refusal};
use crate::{
    config::{CertificateFiles, HomeConfig, Identity, LinkTiming},
    storage::{Assigned, Storage},
};

/// The service is not asked more often than this in the long run.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// It is left alone no longer than this, whatever it says: nobody would come to ask it again.
const LONGEST_REST: Duration = Duration::from_secs(24 * 3_600);

/// Where a device belongs, as far as it is known.
#[derive(Debug)]
pub(crate) struct Home {
    /// Its name in the gateway's memory.
    device: DeviceId,
    config: HomeConfig,
    pub(super) certificate: Option<CertificateFiles>,
    storage: Storage,
}

impl Home {
    /// For the link, and for one that comes after it.
    pub(crate) fn new(device: DeviceId, identity: Identity, storage: Storage) -> Arc<Self> {
        Arc::new(Self {
            device,
            config: identity.home,
            certificate: identity.certificate,
            storage,
        })
    }

    /// Who the provisioning service knows the device as, if it is asked.
    pub(super) fn registers_as(&self) -> Option<(&RegistrationId, &DeviceAuth)> {
        match &self.config {
            HomeConfig::Fixed(_) => None,
            HomeConfig::Registered { registration, auth } => Some((registration, auth)),
        }
    }

    /// What is known from the settings, or from what the service said to an earlier run.
    pub(super) async fn known(&self, scope: &str) -> Option<Arc<DeviceConnection>> {
        let registration = match &self.config {
            HomeConfig::Fixed(connection) => return Some(connection.clone()),
            HomeConfig::Registered { registration, .. } => registration,
        };
        match self.storage.load_assigned(&self.device).await {
            Ok(assigned) => {
                let assigned = assigned?;
                let ours = assigned.scope == scope && assigned.registration == *registration;
                let known = || self.connection(assigned.assignment);
                ours.then(known).flatten().map(Arc::new)
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot read which hub the device had"
                );
                None
            }
        }
    }

    /// Takes in what the service says, and keeps it.
    pub(super) async fn moved(
        &self,
        scope: &str,
        assignment: Assignment,
    ) -> Option<DeviceConnection> {
        let (registration, _) = self.registers_as()?;
        let assigned = Assigned {
            scope: scope.to_owned(),
            registration: registration.clone(),
            assignment: assignment.clone(),
        };
        if let Err(error) = self.storage.write_assigned(&self.device, assigned).await {
            // The next start has to ask again.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot keep which hub the device has"
            );
        }
        self.connection(assignment)
    }

    fn connection(&self, assignment: Assignment) -> Option<DeviceConnection> {
        let (_, auth) = self.registers_as()?;
        Some(DeviceConnection {
            host: assignment.hub,
            device: assignment.device,
            module: None,
            auth: auth.clone(),
            gateway: None,
        })
    }
}

/// Whether the hub that is known is still the right one.
#[derive(Debug)]
pub(super) struct Doubt {
    failover_after: Duration,
    reconnect_min: Duration,
    /// The hub refused the device.
    refused: bool,
    /// Since when the hub is out of reach.
    away_since: Option<Instant>,
    /// The service is not asked before.
    not_before: Option<Instant>,
    pace: Backoff,
}

impl Doubt {
    pub(super) fn new(timing: &LinkTiming) -> Self {
        Self {
            failover_after: timing.failover_after,
            reconnect_min: timing.reconnect_min,
            refused: false,
            away_since: None,
            not_before: None,
            pace: Backoff::new(timing.reconnect_min, MAX_WAIT, Duration::ZERO),
        }
    }

    /// The service should be asked now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let away = self
            .away_since
            .is_some_and(|since| now.duration_since(since) >= self.failover_after);
        (self.refused || away) && self.not_before.is_none_or(|at| at <= now)
    }

    /// When the service may be asked, where nothing can be done without it.
    pub(super) fn may_ask_at(&self) -> Option<Instant> {
        self.not_before
    }

    /// The service was asked, and wants to be left alone for a while, if it says so.
    pub(super) fn on_asked(
        &mut self,
        now: Instant,
        retry_after: Option<Duration>,
        random: &mut impl rand::Rng,
    ) {
        let wait = self.pace.next_wait(Duration::ZERO, random);
        let rest = retry_after.unwrap_or_default().min(LONGEST_REST);
        self.not_before = now.checked_add(wait.max(rest));
        self.refused = false;
        self.away_since = None;
    }

    /// The hub let the device in.
    pub(super) fn on_welcome(&mut self) {
        self.refused = false;
        self.away_since = None;
    }

    /// The device has been at its hub for long enough to trust in that.
    pub(super) fn on_good(&mut self) {
        self.not_before = None;
        self.pace = Backoff::new(self.reconnect_min, MAX_WAIT, Duration::ZERO);
    }

    /// There is no connection to the hub.
    pub(super) fn on_failure(&mut self, error: &LinkError, now: Instant) {
        match error {
            LinkError::Refused(code) if is_refusal(*code) => self.refused = true,
            LinkError::RefusedCertificate(_) => self.refused = true,
            LinkError::Dial { .. }
            | LinkError::Slow(..)
            | LinkError::Unanswered(..)
            | LinkError::Refused(_)
            | LinkError::Closed
            | LinkError::Protocol(_)
            | LinkError::Subscription => {
                self.away_since.get_or_insert(now);
            }
            // These say nothing about the hub.
            LinkError::Certificate(_) | LinkError::Registration { .. } | LinkError::Homeless => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::ConnectReturnCode;

    use super::*;

    fn doubt() -> (Doubt, Instant) {
        let timing = LinkTiming {
            failover_after: Duration::from_secs(60),
            ..LinkTiming::default()
        };
        (Doubt::new(&timing), Instant::now())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_hub_that_is_out_of_reach_for_long_is_doubted() {
        let (mut doubt, now) = doubt();
        doubt.on_failure(&LinkError::Closed, now);
        doubt.on_failure(&LinkError::Closed, now + seconds(59));
        assert!(!doubt.is_due(now + seconds(59)));
        assert!(doubt.is_due(now + seconds(60)));
        doubt.on_welcome();
        assert!(!doubt.is_due(now + seconds(600)));
    }

    #[test]
    fn a_refusal_is_doubted_at_once_and_then_ever_more_seldom() {
        let (mut doubt, mut now) = doubt();
        let refused = LinkError::Refused(ConnectReturnCode::NotAuthorized);
        let mut waits = Vec::new();
        for _ in 0..40 {
            doubt.on_failure(&refused, now);
            let begun = now;
            while !doubt.is_due(now) {
                now += seconds(1);
            }
            waits.push(now - begun);
            doubt.on_asked(now, None, &mut rand::rng());
            assert!(!doubt.is_due(now), "it was asked and did not refuse since");
        }
        assert_eq!(waits[0], Duration::ZERO);
        assert!(waits.iter().all(|wait| *wait <= MAX_WAIT + seconds(1)));
        assert!(
            waits[20..].iter().sum::<Duration>() > seconds(600),
            "{waits:?}"
        );
        doubt.on_good();
        doubt.on_failure(&refused, now);
        assert!(doubt.is_due(now));
    }

    #[test]
    fn the_service_is_left_alone_as_long_as_it_wants() {
        let (mut doubt, now) = doubt();
        doubt.on_asked(now, Some(seconds(3600)), &mut rand::rng());
        doubt.on_failure(&LinkError::Refused(ConnectReturnCode::NotAuthorized), now);
        assert!(!doubt.is_due(now + seconds(3599)));
        assert!(doubt.is_due(now + seconds(3600)));

        let years = seconds(u32::MAX.into());
        doubt.on_asked(now, Some(years), &mut rand::rng());
        doubt.on_failure(&LinkError::Refused(ConnectReturnCode::NotAuthorized), now);
        assert!(!doubt.is_due(now + LONGEST_REST - seconds(1)));
        assert!(doubt.is_due(now + LONGEST_REST), "it is asked again");
    }

    #[test]
    fn what_says_nothing_about_the_hub_raises_no_doubt() {
        let (mut doubt, now) = doubt();
        doubt.on_failure(&LinkError::Homeless, now);
        assert!(!doubt.is_due(now + seconds(6000)));
        doubt.on_failure(
            &LinkError::Refused(ConnectReturnCode::ServiceUnavailable),
            now,
        );
        assert!(!doubt.is_due(now), "a busy hub refuses nobody");
    }
}
