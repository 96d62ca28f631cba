//! Tokens of Microsoft Entra ID. The only file that knows Microsoft's crates for it.
//!
//! They speak the protocols, over a client of ours. What they keep is not used: for every token a new
//! credential is made, so that a token that the hub refused is not handed out again, and a renewal
//! that fails does not take the old token away.

mod transport;

use std::{path::PathBuf, sync::Arc, time::Duration};

use azure_core::{
    cloud::CustomConfiguration,
    credentials::{Secret, TokenCredential},
    error::ErrorKind,
    http::{ClientOptions, RetryOptions},
};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use futures_util::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use reqwest::Client;
use secrecy::{ExposeSecret as _, SecretString};

use self::transport::{Refused, Transport};
use super::renewal::{Fetched, Source};
use crate::{
    attempt::Trouble,
    http::{self, chain},
    lock::lock,
};

/// What tokens are asked for: the service API of any hub.
const SCOPE: &str = "https://iothubs.azure.net/.default";

/// How long a token may take, with all that Microsoft's crate does again by itself: callers wait for it.
const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// How the service shows Microsoft Entra ID who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntraOptions {
    /// As whom.
    pub identity: EntraIdentity,
    /// Who issues the tokens, where it is not the public cloud.
    pub authority: Option<String>,
    /// The certificates that sign the authority's, as PEM; the platform's when absent.
    pub ca: Option<Vec<u8>>,
}

/// An identity, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntraIdentity {
    /// An application that trusts the token of another issuer, as Kubernetes puts it into a file.
    Workload {
        /// The directory.
        tenant: String,
        /// The application.
        client: String,
        /// Read for every token, for it is replaced from time to time.
        token_file: PathBuf,
    },
    /// The identity of the machine or of the platform that the service runs on.
    Managed(ManagedIdentity),
    /// An application with a password.
    Secret {
        /// The directory.
        tenant: String,
        /// The application.
        client: String,
        /// Its password.
        secret: ClientSecret,
    },
}

/// Which of the identities of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagedIdentity {
    /// The one of its own.
    System,
    /// One that it was given, by its client id.
    ClientId(String),
    /// One that it was given, by its object id.
    ObjectId(String),
    /// One that it was given, by its resource id.
    ResourceId(String),
}

/// An application's password.
#[derive(Debug, Clone)]
pub struct ClientSecret(pub SecretString);

impl PartialEq for ClientSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for ClientSecret {}

/// Asks Microsoft Entra ID for tokens.
#[derive(Debug)]
pub(super) struct Entra {
    options: EntraOptions,
    client: Client,
}

impl Entra {
    /// Makes a client for it.
    pub(super) fn new(options: EntraOptions) -> reqwest::Result<Self> {
        let client = http::client(options.ca.as_deref())?;
        let client = client.timeout(FETCH_LIMIT).build()?;
        Ok(Self { options, client })
    }

    async fn fetch_token(&self) -> Result<Fetched, Trouble> {
        let (transport, refused) = Transport::new(self.client.clone());
        let (identity, http) = (self.options.identity.clone(), self.options(transport));
        // It may read a file.
        let made = tokio::task::spawn_blocking(move || credential(identity, http)).await;
        let credential = made
            .map_err(|error| Trouble::HubUnreachable(told(&error.to_string())))?
            .map_err(|error| Trouble::HubDenied(told(&error.to_string())))?;
        let asked = credential.get_token(&[SCOPE], None);
        let issued = tokio::time::timeout(FETCH_LIMIT, asked).await;
        let refused = || lock(&refused).as_ref().map(refusal);
        let token = match issued {
            Ok(Ok(token)) => token,
            Ok(Err(error)) => return Err(refused().unwrap_or_else(|| failure(&error))),
            Err(_) => {
                let late = || Trouble::HubUnreachable(told("no answer in time"));
                return Err(refused().unwrap_or_else(late));
            }
        };
        let expiry = Timestamp::from_second(token.expires_on.unix_timestamp());
        Ok(Fetched {
            token: token.token.secret().to_owned(),
            // The last moment that there is.
            expiry: expiry.unwrap_or(Timestamp::MAX),
        })
    }

    fn options(&self, transport: Transport) -> ClientOptions {
        let cloud = self.options.authority.clone().map(|authority| {
            let mut cloud = CustomConfiguration::default();
            cloud.authority_host = authority;
            Arc::new(cloud.into())
        });
        ClientOptions {
            transport: Some(azure_core::http::Transport::new(Arc::new(transport))),
            retry: RetryOptions::none(),
            cloud,
            ..ClientOptions::default()
        }
    }
}

impl Source for Entra {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, Trouble>> {
        self.fetch_token().boxed()
    }
}

fn credential(
    identity: EntraIdentity,
    http: ClientOptions,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    Ok(match identity {
        EntraIdentity::Workload {
            tenant,
            client,
            token_file,
        } => WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
            credential_options: ClientAssertionCredentialOptions {
                client_options: http,
            },
            client_id: Some(client),
            tenant_id: Some(tenant),
            token_file_path: Some(token_file),
        }))?,
        EntraIdentity::Managed(identity) => {
            let user_assigned_id = match identity {
                ManagedIdentity::System => None,
                ManagedIdentity::ClientId(id) => Some(UserAssignedId::ClientId(id)),
                ManagedIdentity::ObjectId(id) => Some(UserAssignedId::ObjectId(id)),
                ManagedIdentity::ResourceId(id) => Some(UserAssignedId::ResourceId(id)),
            };
            ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id,
                client_options: http,
            }))?
        }
        EntraIdentity::Secret {
            tenant,
            client,
            secret,
        } => ClientSecretCredential::new(
            &tenant,
            client,
            Secret::new(secret.0.expose_secret().to_owned()),
            Some(ClientSecretCredentialOptions {
                client_options: http,
            }),
        )?,
    })
}

/// Says how a token was refused. Nothing of the answer's text is told, for it may quote what it was
/// asked with; its codes are enough to look it up.
fn refusal(Refused { status, codes }: &Refused) -> Trouble {
    let codes = codes.iter().map(|code| format!(", AADSTS{code}"));
    let text = told(&format!(
        "the answer is {status}{}",
        codes.collect::<String>()
    ));
    if *status == 429 || *status >= 500 {
        Trouble::HubUnreachable(text)
    } else {
        Trouble::HubDenied(text)
    }
}

/// Says why there is no token although none was refused.
fn failure(error: &azure_core::Error) -> Trouble {
    // The outermost only says which credential it was.
    let inner = error.downcast_ref::<azure_core::Error>().unwrap_or(error);
    match inner.kind() {
        ErrorKind::Connection | ErrorKind::Io => Trouble::HubUnreachable(told(&chain(inner))),
        ErrorKind::Credential => Trouble::HubDenied(told(&chain(inner))),
        ErrorKind::HttpResponse { .. } | ErrorKind::DataConversion | ErrorKind::Other => {
            Trouble::HubUnreachable(told("the answer is not understood"))
        }
    }
}

fn told(what: &str) -> String {
    format!("get a token of Microsoft Entra ID: {what}")
}

#[cfg(test)]
mod tests;
