//! The section `[hub]`: where the hub is, and how it lets the service in.

use daemon::settings::Section;
use iot_hub::identity::{ConnectionString, HubHost, ServiceConnection};
use secrecy::ExposeSecret as _;

use crate::{
    http,
    hub::{ClientSecret, EntraIdentity, EntraOptions, HubCredential, ManagedIdentity},
};

/// How to reach the hub.
#[derive(Debug, Clone, PartialEq)]
pub struct HubConfig {
    /// The hub and the credentials.
    pub credential: HubCredential,
    /// The port of its HTTPS API.
    pub https_port: u16,
    /// The certificates that sign the hub's, as PEM; the platform's when absent.
    pub ca: Option<Vec<u8>>,
}

pub(super) fn read(mut section: Section) -> Option<HubConfig> {
    let https_port = section.port("https_port").or(443);
    let ca = section.file("ca_file");
    let credential = if section.has("entra") {
        for key in ["connection_string", "connection_string_file"] {
            if section.has(key) {
                section.mistake(key, "(hidden)", "either this or hub.entra");
                let _ = section.optional_secret("connection_string");
            }
        }
        let expected = "the name of the hub, as \"example.azure-devices.net\"";
        let host = section
            .parsed::<HubHost>("host_name", expected)
            .required(expected);
        let options = entra(section.section("entra"));
        HubCredential::Entra {
            host: host?,
            options: options?,
        }
    } else {
        if section.has("host_name") {
            let expected = "this only with hub.entra: a connection string names the hub";
            section.mistake("host_name", "", expected);
        }
        let _ = section.text("host_name").optional();
        HubCredential::SharedKey(shared_key(&mut section)?)
    };
    Some(HubConfig {
        credential,
        https_port,
        ca,
    })
}

fn shared_key(section: &mut Section) -> Option<ServiceConnection> {
    let secret = section.secret("connection_string")?;
    let mistake = |expected: &str| section.mistake(&secret.key, "(hidden)", expected);
    match secret.text.expose_secret().parse() {
        Ok(ConnectionString::Service(connection)) => Some(connection),
        Ok(ConnectionString::Device(_)) => {
            mistake("a service's connection string, with SharedAccessKeyName");
            None
        }
        Err(error) => {
            mistake(&format!("a service's connection string: {error}"));
            None
        }
    }
}

fn entra(mut section: Section) -> Option<EntraOptions> {
    let kinds = "\"workload-identity\", \"managed-identity\" or \"client-secret\"";
    let kind = section.text("kind").required(kinds);
    let ca = section.file("ca_file");
    let identity = match kind.as_deref() {
        None => None,
        Some("workload-identity") => workload(&mut section),
        Some("managed-identity") => managed(&mut section),
        Some("client-secret") => secret(&mut section),
        Some(other) => {
            section.mistake("kind", &format!("{other:?}"), kinds);
            None
        }
    };
    let authority = match kind.as_deref() {
        Some("managed-identity") => None,
        Some(_) | None => authority(&mut section),
    };
    Some(EntraOptions {
        identity: identity?,
        authority,
        ca,
    })
}

/// What the platform's variables say holds where the settings do not.
fn workload(section: &mut Section) -> Option<EntraIdentity> {
    section.adopt("token_file", "AZURE_FEDERATED_TOKEN_FILE");
    let (tenant, client) = application(section);
    let file = section.path("token_file");
    let file = file.required("a file with a token, or AZURE_FEDERATED_TOKEN_FILE");
    if let Some(file) = &file
        && let Err(error) = std::fs::metadata(file)
    {
        let expected = format!("a file that can be read: {error}");
        section.mistake("token_file", &file.display().to_string(), &expected);
    }
    Some(EntraIdentity::Workload {
        tenant: tenant?,
        client: client?,
        token_file: file?,
    })
}

fn managed(section: &mut Section) -> Option<EntraIdentity> {
    type Named = fn(String) -> ManagedIdentity;
    let ways: [(&str, Named); 3] = [
        ("client_id", ManagedIdentity::ClientId),
        ("object_id", ManagedIdentity::ObjectId),
        ("resource_id", ManagedIdentity::ResourceId),
    ];
    let mut identity = None;
    for (key, named) in ways {
        let Some(id) = section.text(key).optional() else {
            continue;
        };
        if identity.replace(named(id)).is_some() {
            let expected = "only one of client_id, object_id and resource_id";
            section.mistake(key, "", expected);
            return None;
        }
    }
    let identity = identity.unwrap_or(ManagedIdentity::System);
    Some(EntraIdentity::Managed(identity))
}

fn secret(section: &mut Section) -> Option<EntraIdentity> {
    if !section.has("client_secret_file") {
        section.adopt("client_secret", "AZURE_CLIENT_SECRET");
    }
    let (tenant, client) = application(section);
    let secret = section.secret("client_secret");
    Some(EntraIdentity::Secret {
        tenant: tenant?,
        client: client?,
        secret: ClientSecret(secret?.text),
    })
}

/// The directory and the application.
fn application(section: &mut Section) -> (Option<String>, Option<String>) {
    section.adopt("tenant_id", "AZURE_TENANT_ID");
    section.adopt("client_id", "AZURE_CLIENT_ID");
    let expected = "the directory's id or name, or AZURE_TENANT_ID";
    let tenant = section.take("tenant_id", expected, |value| {
        let good = |char: char| char.is_ascii_alphanumeric() || ".-".contains(char);
        let text = value.as_str().filter(|text| !text.is_empty())?;
        text.chars().all(good).then(|| text.to_owned())
    });
    let tenant = tenant.required(expected);
    let expected = "the application's id, or AZURE_CLIENT_ID";
    let client = section.take("client_id", expected, |value| {
        let text = value.as_str().filter(|text| !text.is_empty())?;
        Some(text.to_owned())
    });
    (tenant, client.required(expected))
}

fn authority(section: &mut Section) -> Option<String> {
    section.adopt("authority", "AZURE_AUTHORITY_HOST");
    let expected = "an https:// address, as \"https://login.microsoftonline.us\"";
    let authority = section.take("authority", expected, |value| {
        let text = value.as_str()?;
        let secured = text.starts_with("https://") && http::check_url(text).is_ok();
        secured.then(|| text.to_owned())
    });
    authority.optional()
}
