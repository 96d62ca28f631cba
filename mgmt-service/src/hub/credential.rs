//! What the hub lets the service in by: a token that a shared key signs, or one of Microsoft Entra ID.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use iot_hub::identity::{HubHost, ServiceConnection};
use jiff::Timestamp;
use reqwest::header::HeaderValue;

use super::{
    SetupError,
    entra::{Entra, EntraOptions},
    renewal::Bearer,
};
use crate::{attempt::Trouble, lock::lock};

/// How long a signed token is good for, as the SDKs have it.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// How long before its end a token is replaced; more than clocks may differ.
pub(super) const TOKEN_MARGIN: Duration = Duration::from_secs(600);

/// A hub, and how the service shows it who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubCredential {
    /// With the key of a shared access policy.
    SharedKey(ServiceConnection),
    /// With tokens of Microsoft Entra ID.
    Entra {
        /// The hub.
        host: HubHost,
        /// Who the service is there.
        options: EntraOptions,
    },
}

impl HubCredential {
    /// The hub.
    pub fn host(&self) -> &HubHost {
        match self {
            Self::SharedKey(connection) => &connection.host,
            Self::Entra { host, .. } => host,
        }
    }
}

/// What fills the header `Authorization`.
#[derive(Debug)]
pub(super) enum Credential {
    Key(Signer),
    Bearer(Arc<Bearer>),
}

impl Credential {
    pub(super) fn new(credential: &HubCredential) -> Result<Self, SetupError> {
        match credential {
            HubCredential::SharedKey(connection) => Ok(Self::Key(Signer {
                connection: connection.clone(),
                token: Mutex::new(None),
            })),
            HubCredential::Entra { options, .. } => {
                let entra = Entra::new(options.clone()).map_err(SetupError)?;
                Ok(Self::Bearer(Arc::new(Bearer::new(Box::new(entra)))))
            }
        }
    }

    /// The header for a call that leaves now.
    pub(super) async fn header(&self) -> Result<HeaderValue, Trouble> {
        match self {
            Self::Key(signer) => Ok(signer.header(Timestamp::now())),
            Self::Bearer(bearer) => bearer.header().await,
        }
    }

    /// The hub refused this header: another one, if it may fare better.
    pub(super) async fn instead_of(&self, refused: &HeaderValue) -> Option<HeaderValue> {
        match self {
            // Whatever was wrong with it would be wrong with the next one, too.
            Self::Key(_) => None,
            Self::Bearer(bearer) => bearer.instead_of(refused).await,
        }
    }
}

/// Signs tokens with the key of a shared access policy, and keeps each for a while.
#[derive(Debug)]
pub(super) struct Signer {
    connection: ServiceConnection,
    token: Mutex<Option<Signed>>,
}

#[derive(Debug)]
struct Signed {
    header: HeaderValue,
    expiry: Timestamp,
}

impl Signer {
    /// A token that is good for a while yet.
    fn header(&self, now: Timestamp) -> HeaderValue {
        let mut token = lock(&self.token);
        let renew_before = later(now, TOKEN_MARGIN);
        match &*token {
            Some(token) if token.expiry > renew_before => token.header.clone(),
            Some(_) | None => {
                let expiry = later(now, TOKEN_LIFE);
                let text = self.connection.token(expiry).to_string();
                let header =
                    secret_header(&text).expect("a token is percent-encoded, hence visible ASCII");
                *token = Some(Signed {
                    header: header.clone(),
                    expiry,
                });
                header
            }
        }
    }
}

/// A header that no log shows; `None` when the text cannot be in a header.
pub(super) fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Some time after a moment; the end of time when there is no such moment.
pub(super) fn later(moment: Timestamp, by: Duration) -> Timestamp {
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use iot_hub::identity::ConnectionString;

    use super::*;

    #[test]
    fn a_signed_token_is_kept_until_shortly_before_its_end() {
        let text = "HostName=h;SharedAccessKeyName=service;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let Ok(ConnectionString::Service(connection)) = text.parse() else {
            panic!("a service's connection string");
        };
        let token = Mutex::new(None);
        let signer = Signer { connection, token };
        let now = Timestamp::from_second(1_000_000).unwrap();
        let first = signer.header(now);
        assert_eq!(signer.header(now + Duration::from_secs(2_900)), first);
        assert_ne!(signer.header(now + Duration::from_secs(3_100)), first);
    }
}
