//! The settings of `[device.redfish]`.

use daemon::settings::Section;

use super::place::{place, user};
use crate::driver::http::{Auth, Endpoint, User};

/// A computer whose BMC speaks Redfish.
#[derive(Debug, Clone)]
pub struct RedfishConfig {
    /// The BMC.
    pub endpoint: Endpoint,
    /// Who begins a session there; absent, every request is signed by itself.
    pub session: Option<User>,
    /// The system that is meant, where there are several.
    pub system: Option<String>,
}

/// How the gateway signs in at a BMC.
#[derive(Debug, Clone, Copy)]
enum SignIn {
    Basic,
    Session,
}

impl RedfishConfig {
    pub(super) fn read(mut section: Section) -> Option<Self> {
        let place = place(&mut section);
        let ways = [("basic", SignIn::Basic), ("session", SignIn::Session)];
        let sign_in = section.choice("auth", &ways).optional();
        let user = user(&mut section);
        let system = section.filled("system").optional();
        let (auth, session) = match sign_in {
            None | Some(SignIn::Basic) => (Auth::Basic(user?), None),
            Some(SignIn::Session) => (Auth::None, Some(user?)),
        };
        Some(Self {
            endpoint: Endpoint { auth, ..place? },
            session,
            system,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{DriverConfig, tests},
        driver::http::Trust,
    };

    const BMC: &str = "[device.redfish]\nurl = \"https://bmc-1\"\n";

    fn read(driver: &str) -> Result<RedfishConfig, Vec<String>> {
        let device = tests::device("d1");
        let config = tests::parse(&format!("state_dir = \"s\"\n{device}{driver}"))?;
        let DriverConfig::Redfish(redfish) = &config.devices[0].driver else {
            panic!("{:?}", config.devices[0].driver);
        };
        Ok((**redfish).clone())
    }

    #[test]
    fn a_bmc_is_signed_in_to_at_every_request_or_once() {
        let print = "ab:".repeat(31) + "ab";
        let user = "user = \"u\"\npassword = \"p\"\n";
        let basic = read(&format!("{BMC}{user}certificate_sha256 = \"{print}\"\n")).unwrap();
        assert!(matches!(&basic.endpoint.auth, Auth::Basic(user) if user.name == "u"));
        assert!(matches!(basic.endpoint.trust, Trust::Pinned(_)));
        assert!(basic.session.is_none() && basic.system.is_none());
        let session = read(&format!("{BMC}{user}auth = \"session\"\nsystem = \"1\"\n")).unwrap();
        assert!(matches!(session.endpoint.auth, Auth::None) && session.session.is_some());
        assert_eq!(session.system.as_deref(), Some("1"));
    }

    #[test]
    fn every_mistake_is_told() {
        let mistakes = read(&format!(
            "{BMC}certificate_sha256 = \"ab\"\nauth = \"digest\"\n"
        ));
        assert_eq!(
            mistakes.unwrap_err(),
            [
                "device[0].redfish.certificate_sha256 = \"ab\": expected the certificate's SHA-256 fingerprint, 64 hexadecimal digits",
                "device[0].redfish.auth = \"digest\": expected one of basic, session",
                "device[0].redfish.user: expected the name of a user",
                "device[0].redfish.password: expected this, password_file or password_credential",
            ]
        );
        let print = "ab".repeat(32);
        let plain = BMC.replace("https", "http");
        let mistakes = read(&format!(
            "{plain}certificate_sha256 = \"{print}\"\nuser = \"u\"\npassword = \"p\"\n"
        ));
        assert_eq!(
            mistakes.unwrap_err(),
            [
                "device[0].redfish.url = \"http://bmc-1/\": expected https://, since a certificate is named"
            ]
        );
    }
}
