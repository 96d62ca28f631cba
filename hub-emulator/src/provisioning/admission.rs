//! Who may register: a CONNECT's credentials against the enrolments.

use iot_hub::provisioning::{POLICY, RegistrationId, RegistrationUser, resource};
use iot_hub::sas::{SasToken, SharedKey};
use jiff::Timestamp;

use super::{Enrolled, Entry, Provisioning};
use crate::auth::Denied;
use crate::certificate::{DeviceAuthorities, DeviceCertificate};
use crate::hub::{Authentication, Keys};
use crate::setup::Enrollee;

/// What a device shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) user: &'a RegistrationUser,
    pub(crate) password: &'a str,
    pub(crate) certificate: Option<&'a DeviceCertificate>,
}

/// A device that may register.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) registration: RegistrationId,
    pub(super) enrolled: Enrolled,
    /// What its hub is to know it by.
    pub(super) authentication: Authentication,
    /// When its token ends, and then its connection; the end of time for a certificate.
    pub(crate) ends: Timestamp,
}

impl Provisioning {
    /// Finds the enrolment that a device is of. Its own goes before every group.
    pub(crate) fn admit(
        &self,
        shown: Shown<'_>,
        authorities: &DeviceAuthorities,
        now: Timestamp,
    ) -> Result<Admitted, Denied> {
        let registration = &shown.user.registration;
        let own = Enrolled::Device(registration.folded());
        let candidates: Vec<(&Enrolled, &Entry)> = match self.enrolled.get_key_value(&own) {
            Some(own) => vec![own],
            None => self
                .enrolled
                .iter()
                .filter(|(name, _)| matches!(name, Enrolled::Group(_)))
                .collect(),
        };
        let mut denied = Denied::NotEnrolled(registration.clone());
        for (name, entry) in candidates {
            match prove(entry, shown, authorities, now) {
                Ok((authentication, ends)) => {
                    return Ok(Admitted {
                        registration: registration.clone(),
                        enrolled: name.clone(),
                        authentication,
                        ends,
                    });
                }
                Err(why) => denied = why,
            }
        }
        Err(denied)
    }
}

/// What the hub is to know the device by, and until when it may stay.
fn prove(
    entry: &Entry,
    shown: Shown<'_>,
    authorities: &DeviceAuthorities,
    now: Timestamp,
) -> Result<(Authentication, Timestamp), Denied> {
    let registration = &shown.user.registration;
    let certificate = || shown.certificate.ok_or(Denied::NoCredentials);
    let certificate = match &entry.authentication {
        Authentication::Sas(keys) => {
            let keys = keys_of(keys, &entry.enrollment.enrollee, registration);
            let ends = check_token(&keys, shown, now)?;
            return Ok((Authentication::Sas(keys), ends));
        }
        Authentication::SelfSigned(thumbprints) => {
            let certificate = certificate()?;
            certificate.check_thumbprint(thumbprints.iter())?;
            certificate
        }
        Authentication::CertificateAuthority => {
            let certificate = certificate()?;
            authorities.check(certificate, registration.as_str(), now)?;
            certificate
        }
        Authentication::Nothing => return Err(Denied::NoCredentials),
    };
    let authentication = Authentication::of_certificate(certificate.sha256());
    Ok((authentication, Timestamp::MAX))
}

fn keys_of(keys: &Keys, enrollee: &Enrollee, registration: &RegistrationId) -> Keys {
    let own = |key: &SharedKey| match enrollee {
        Enrollee::Device(_) => key.clone(),
        Enrollee::Group(_) => key.derive(registration.as_str()),
    };
    Keys {
        primary: own(&keys.primary),
        secondary: own(&keys.secondary),
    }
}

fn check_token(keys: &Keys, shown: Shown<'_>, now: Timestamp) -> Result<Timestamp, Denied> {
    if shown.password.is_empty() {
        return Err(Denied::NoCredentials);
    }
    let token: SasToken = shown.password.parse()?;
    let scope = resource(&shown.user.scope, &shown.user.registration);
    if !token.covers(&scope) {
        return Err(Denied::WrongScope {
            resource: token.resource().to_owned(),
            scope,
        });
    }
    // Microsoft's Python SDK names none.
    if let Some(policy) = token.policy().filter(|policy| *policy != POLICY) {
        return Err(Denied::UnknownPolicy(policy.to_owned()));
    }
    token.verify(&[&keys.primary, &keys.secondary], now)?;
    Ok(token.expiry())
}
