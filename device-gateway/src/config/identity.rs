//! Who a device is to its hub: by a connection string, or to the provisioning service that tells
//! which hub is its own.

use std::{path::PathBuf, sync::Arc};

use daemon::settings::{Secret, Section};
use iot_hub::{
    identity::{ConnectionString, DeviceAuth, DeviceConnection, DeviceId},
    provisioning::RegistrationId,
    sas::SharedKey,
};
use secrecy::ExposeSecret as _;

use super::hub::{KEY, ProvisioningConfig, hidden};

/// Who a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// How it finds its hub.
    pub home: HomeConfig,
    /// The certificate that it shows, if it shows one.
    pub certificate: Option<CertificateFiles>,
}

/// How a device finds its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HomeConfig {
    /// It is told here.
    Fixed(Arc<DeviceConnection>),
    /// The provisioning service knows.
    Registered {
        /// The device's name there.
        registration: RegistrationId,
        /// How it proves who it is, to the service and to its hub.
        auth: DeviceAuth,
    },
}

/// Where a device's certificate is. Both files are read before every connection, so a renewed one is
/// taken up without a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, with those that lead to its authority behind it, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
}

pub(super) fn read(
    section: &mut Section,
    id: Option<&DeviceId>,
    provisioning: Option<&ProvisioningConfig>,
) -> Option<Identity> {
    let certificate = section
        .has("certificate")
        .then(|| read_certificate(section.section("certificate")));
    let by_service = section.has("provisioning");
    let home = if by_service {
        if section.has_secret("connection_string") {
            section.mistake(
                "connection_string",
                "(hidden)",
                "none beside [device.provisioning]",
            );
        }
        let registered = section.section("provisioning");
        read_registered(registered, id, certificate.is_some(), provisioning)
    } else {
        let connection = section
            .secret("connection_string")
            .and_then(|secret| device_connection(section, &secret, certificate.is_some()));
        if let (Some(id), Some(connection)) = (id, &connection)
            && *id != connection.device
        {
            let expected = format!("{}, whose connection string it has", connection.device);
            section.mistake("id", id.as_str(), &expected);
        }
        connection.map(|connection| HomeConfig::Fixed(Arc::new(connection)))
    };
    Some(Identity {
        home: home?,
        certificate: match certificate {
            Some(certificate) => Some(certificate?),
            None => None,
        },
    })
}

fn read_certificate(mut section: Section) -> Option<CertificateFiles> {
    let certificate = section.path("file").required("a file with a certificate");
    let key = section
        .path("key_file")
        .required("a file with its private key");
    Some(CertificateFiles {
        certificate: certificate?,
        key: key?,
    })
}

fn read_registered(
    mut section: Section,
    id: Option<&DeviceId>,
    has_certificate: bool,
    provisioning: Option<&ProvisioningConfig>,
) -> Option<HomeConfig> {
    let expected = "a registration id: letters, digits and -._:";
    let registration = section.parsed::<RegistrationId>("registration_id", expected);
    let own_key = hidden::<SharedKey>(&mut section, "key", KEY);
    let registration = match registration.optional() {
        Some(registration) => Some(registration),
        None => match id?.as_str().parse() {
            Ok(registration) => Some(registration),
            Err(_) => {
                section.mistake("registration_id", "", "one, for the id is none");
                None
            }
        },
    };
    let Some(service) = provisioning else {
        section.mistake_here("a section [provisioning] with the id_scope");
        return None;
    };
    let registration = registration?;
    let auth = match (has_certificate, own_key, &service.group_key) {
        (true, Some(_), _) => {
            section.mistake("key", "(hidden)", "none beside [device.certificate]");
            return None;
        }
        (true, None, _) => DeviceAuth::X509,
        (false, Some(key), _) => DeviceAuth::Key(key),
        (false, None, Some(group)) => DeviceAuth::Key(group.derive(registration.as_str())),
        (false, None, None) => {
            let expected =
                "this, key_file, a [device.certificate] or a group_key in [provisioning]";
            section.mistake("key", "", expected);
            return None;
        }
    };
    Some(HomeConfig::Registered { registration, auth })
}

fn device_connection(
    section: &Section,
    secret: &Secret,
    has_certificate: bool,
) -> Option<DeviceConnection> {
    let mistake = |expected: &str| section.mistake(&secret.key, "(hidden)", expected);
    match secret.text.expose_secret().parse() {
        Ok(ConnectionString::Device(connection)) => {
            let by_certificate = connection.auth == DeviceAuth::X509;
            if connection.module.is_some() {
                mistake("a device's connection string: this is a module's");
            } else if by_certificate && !has_certificate {
                mistake("a [device.certificate] beside x509=true");
            } else if has_certificate && !by_certificate {
                mistake("x509=true in it, beside [device.certificate]");
            } else {
                return Some(connection);
            }
            None
        }
        Ok(ConnectionString::Service(_)) => {
            mistake("a device's connection string, with a DeviceId: this is a service's");
            None
        }
        Err(error) => {
            mistake(&format!("a device's connection string: {error}"));
            None
        }
    }
}
