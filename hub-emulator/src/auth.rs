//! Who may come in: the checks of SAS tokens at both front doors, and of devices' certificates.

use iot_hub::identity::{self, HubHost, MqttUser};
use iot_hub::provisioning::{IdScope, RegistrationId};
use iot_hub::sas::{SasError, SasParseError, SasToken, SharedKey};
use jiff::Timestamp;

use crate::bearer::BearerTokens;
use crate::certificate::{CertificateRefused, DeviceAuthorities, DeviceCertificate};
use crate::hub::{Authentication, EntityId, Hub, Identity, Keys, Status};
use crate::policies::{Permission, Policies};

/// Why a token does not open the door. Clients are told nothing of it, the log is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("no credentials given")]
    NoCredentials,
    #[error("malformed token: {0}")]
    Malformed(#[from] SasParseError),
    #[error("{0}")]
    BadToken(#[from] SasError),
    #[error("token for {resource}, which does not cover {scope}")]
    WrongScope { resource: String, scope: String },
    #[error("a bearer token that is none of those to be accepted")]
    UnknownBearer,
    #[error("no policy named {0}")]
    UnknownPolicy(String),
    #[error("policy {policy} lacks the permission {permission:?}")]
    Forbidden {
        policy: String,
        permission: Permission,
    },
    #[error("no device or module {0}")]
    UnknownEntity(EntityId),
    #[error("{0} is disabled")]
    Disabled(EntityId),
    #[error("{0} has no symmetric keys")]
    NoKeys(EntityId),
    #[error("{0} does not identify itself by a certificate")]
    NoCertificate(EntityId),
    #[error("no id scope {0}")]
    UnknownScope(IdScope),
    #[error("{0} is not enrolled")]
    NotEnrolled(RegistrationId),
    #[error("certificate: {0}")]
    BadCertificate(#[from] CertificateRefused),
}

/// The names under which this hub is addressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HubNames<'a> {
    pub(crate) hosts: &'a [HubHost],
}

impl HubNames<'_> {
    /// Whether this is one of them.
    pub(crate) fn know(&self, name: &str) -> bool {
        let name = name.parse::<HubHost>();
        name.is_ok_and(|name| self.hosts.contains(&name))
    }

    /// Fails when the token covers `path` under none of the hub's names.
    fn check_scope(&self, token: &SasToken, path: &str) -> Result<(), Denied> {
        if self
            .hosts
            .iter()
            .any(|host| token.covers(&format!("{host}{path}")))
        {
            return Ok(());
        }
        let scope = self
            .hosts
            .first()
            .map_or_else(String::new, |host| format!("{host}{path}"));
        Err(Denied::WrongScope {
            resource: token.resource().to_owned(),
            scope,
        })
    }
}

/// Checks the `Authorization` header of a service call.
pub(crate) fn authorize(
    policies: &Policies,
    names: HubNames<'_>,
    bearer_tokens: &BearerTokens,
    header: Option<&str>,
    permission: Permission,
    now: Timestamp,
) -> Result<(), Denied> {
    let header = header.ok_or(Denied::NoCredentials)?;
    if let Some(shown) = header.strip_prefix("Bearer ") {
        return match (bearer_tokens.accept(shown), permission) {
            (true, Permission::ServiceConnect) => Ok(()),
            (true, permission) => Err(Denied::Forbidden {
                policy: "of bearer tokens".to_owned(),
                permission,
            }),
            (false, _) => Err(Denied::UnknownBearer),
        };
    }
    let token: SasToken = header.parse()?;
    names.check_scope(&token, "")?;
    check_policy(policies, &token, permission, now)
}

/// What this hub goes by when it looks at credentials.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trust<'a> {
    pub(crate) policies: &'a Policies,
    pub(crate) names: HubNames<'a>,
    pub(crate) authorities: &'a DeviceAuthorities,
}

/// What a device shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentials<'a> {
    pub(crate) user: &'a MqttUser,
    pub(crate) password: &'a str,
    pub(crate) certificate: Option<&'a DeviceCertificate>,
}

/// Checks a device's CONNECT and returns when its token ends. A password goes before a certificate.
pub(crate) fn authenticate(
    hub: &Hub,
    trust: Trust<'_>,
    id: &EntityId,
    credentials: Credentials<'_>,
    now: Timestamp,
) -> Result<Timestamp, Denied> {
    let identity = hub
        .identity(id)
        .ok_or_else(|| Denied::UnknownEntity(id.clone()))?;
    let ends = match (credentials.password, credentials.certificate) {
        ("", None) => return Err(Denied::NoCredentials),
        ("", Some(certificate)) => {
            check_certificate(identity, trust.authorities, id, certificate, now)?;
            Timestamp::MAX
        }
        (password, _) => check_device_token(identity, trust, id, credentials.user, password, now)?,
    };
    match identity.status {
        Status::Enabled => Ok(ends),
        Status::Disabled => Err(Denied::Disabled(id.clone())),
    }
}

fn check_certificate(
    identity: &Identity,
    authorities: &DeviceAuthorities,
    id: &EntityId,
    certificate: &DeviceCertificate,
    now: Timestamp,
) -> Result<(), Denied> {
    match &identity.authentication {
        Authentication::SelfSigned(thumbprints) => {
            Ok(certificate.check_thumbprint(thumbprints.iter())?)
        }
        Authentication::CertificateAuthority => {
            Ok(authorities.check(certificate, &id.to_string(), now)?)
        }
        Authentication::Sas(_) | Authentication::Nothing => Err(Denied::NoCertificate(id.clone())),
    }
}

fn check_device_token(
    identity: &Identity,
    Trust {
        policies, names, ..
    }: Trust<'_>,
    id: &EntityId,
    user: &MqttUser,
    password: &str,
    now: Timestamp,
) -> Result<Timestamp, Denied> {
    let token: SasToken = password.parse()?;
    let scope = identity::scope(&user.host, &id.device, id.module.as_ref());
    let path = scope.strip_prefix(&user.host.to_string()).unwrap_or(&scope);
    names.check_scope(&token, path)?;
    match token.policy() {
        Some(_) => check_policy(policies, &token, Permission::DeviceConnect, now)?,
        None => {
            let keys = identity.keys().ok_or_else(|| Denied::NoKeys(id.clone()))?;
            token.verify(&both(keys), now)?;
        }
    }
    Ok(token.expiry())
}

fn check_policy(
    policies: &Policies,
    token: &SasToken,
    permission: Permission,
    now: Timestamp,
) -> Result<(), Denied> {
    let name = token.policy().unwrap_or_default();
    let policy = policies
        .find(name)
        .ok_or_else(|| Denied::UnknownPolicy(name.to_owned()))?;
    token.verify(&both(&policy.keys), now)?;
    if policy.allows(permission) {
        Ok(())
    } else {
        Err(Denied::Forbidden {
            policy: name.to_owned(),
            permission,
        })
    }
}

fn both(keys: &Keys) -> [&SharedKey; 2] {
    [&keys.primary, &keys.secondary]
}
