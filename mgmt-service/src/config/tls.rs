//! The section `[tls]`.

use std::{sync::Arc, time::Duration};

use daemon::settings::Section;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::{self, Clients, Tls, TlsError, TlsOptions};

/// How long a handshake may take when the settings do not say. It is three round trips at most.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// TLS for the listener.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsConfig {
    /// The certificates.
    pub options: TlsOptions,
    /// How long a handshake may take.
    pub handshake_limit: Duration,
}

/// Reads the section; what is wrong with it is noted.
pub(super) fn read(mut section: Section) -> Option<TlsConfig> {
    let chain = certificates(&mut section, "cert_file");
    let key = key(&mut section);
    let has_authorities = section.has("client_ca_file");
    let authorities = has_authorities.then(|| certificates(&mut section, "client_ca_file"));
    let required = section
        .take(
            "client_certificates",
            "\"optional\" or \"required\"",
            |value| {
                let text = value.as_str()?;
                ["optional", "required"]
                    .contains(&text)
                    .then(|| text.to_owned())
            },
        )
        .optional();
    if let (Some(value), false) = (&required, has_authorities) {
        section.mistake("client_certificates", value, "client_ca_file beside it");
    }
    let second = Duration::from_secs(1);
    let handshake_limit = section
        .duration("handshake_timeout", second / 10, 60 * second)
        .or(HANDSHAKE_LIMIT);
    let clients = match authorities {
        None => None,
        Some(authorities) => Some(Clients {
            authorities: authorities?,
            required: required.as_deref() == Some("required"),
        }),
    };
    let options = TlsOptions {
        chain: chain?,
        key: key?,
        clients,
    };
    if let Err(error) = Tls::new(&options) {
        let expected = format!("certificates and a key that can be used: {error}");
        section.mistake("cert_file", "", &expected);
        return None;
    }
    Some(TlsConfig {
        options,
        handshake_limit,
    })
}

fn certificates(section: &mut Section, key: &str) -> Option<Vec<CertificateDer<'static>>> {
    read_pem(section, key, "PEM certificates", tls::certificates)
}

fn key(section: &mut Section) -> Option<Arc<PrivateKeyDer<'static>>> {
    read_pem(section, "key_file", "a PEM private key", tls::private_key)
}

fn read_pem<T>(
    section: &mut Section,
    key: &str,
    what: &str,
    read: impl Fn(&[u8]) -> Result<T, TlsError>,
) -> Option<T> {
    let expected = format!("a file with {what}");
    if !section.has(key) {
        section.mistake(key, "", &expected);
    }
    let text = section.file(key)?;
    match read(&text) {
        Ok(value) => Some(value),
        Err(error) => {
            section.mistake(key, "", &format!("{expected}: {error}"));
            None
        }
    }
}
