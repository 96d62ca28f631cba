//! What the settings of every device that is reached over HTTP begin with: where it is, by which
//! certificate it proves who it is, and who the gateway is there.

use std::time::Duration;

use daemon::settings::{Given, Section};

use crate::{
    config::timing::positive,
    driver::http::{Auth, CertificatePrint, Endpoint, Trust, User},
};

/// How long a request may take.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

const URL: &str = "http:// or https:// and a host, without a path";

pub(super) const PATH: &str = "a path that begins with /";

const PRINT: &str = "the certificate's SHA-256 fingerprint, 64 hexadecimal digits";

/// Reads where the device is; how the gateway signs in there is to be filled in.
pub(super) fn place(section: &mut Section) -> Option<Endpoint> {
    let url = section.take("url", URL, |value| Endpoint::address(value.as_str()?));
    let url = url.required(URL);
    let trust = trust(section);
    let timeout = positive(section, "timeout", DEFAULT_TIMEOUT);
    let place = Endpoint {
        url: url?,
        trust: trust?,
        auth: Auth::None,
        socket: None,
        timeout,
    };
    if place.url.scheme() == "http" && place.trust != Trust::System {
        let expected = "https://, since a certificate is named";
        section.mistake("url", &format!("{:?}", place.url.as_str()), expected);
        return None;
    }
    if place.check().is_err() {
        section.mistake("ca_file", "", "a file with certificates in PEM");
        return None;
    }
    Some(place)
}

fn trust(section: &mut Section) -> Option<Trust> {
    let authorities = section.file("ca_file");
    let print = section.parsed::<CertificatePrint>("certificate_sha256", PRINT);
    match (authorities, print.optional()) {
        (Some(_), Some(_)) => {
            section.mistake("certificate_sha256", "…", "no ca_file beside it");
            None
        }
        (Some(pem), None) => Some(Trust::Authorities(pem)),
        (None, Some(print)) => Some(Trust::Pinned(print)),
        (None, None) => Some(Trust::System),
    }
}

/// Reads who the gateway is at the device.
pub(super) fn user(section: &mut Section) -> Option<User> {
    let name = section.filled("user").required("the name of a user");
    let password = section.secret("password");
    Some(User {
        name: name?,
        password: password?.text,
    })
}

/// Takes a path of the device.
pub(super) fn path(section: &mut Section, key: &str) -> Given<String> {
    section.take(key, PATH, |value| {
        let path = value.as_str()?;
        // Two slashes would name another host.
        (path.starts_with('/') && !path.starts_with("//")).then(|| path.to_owned())
    })
}
