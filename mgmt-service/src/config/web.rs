//! The settings for callers in browsers.

use std::{fmt, str::FromStr};

use daemon::settings::Section;

/// How browsers may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOptions {
    /// The pages that may.
    pub allowed_origins: Vec<Origin>,
}

/// Where a page comes from: `https://console.example`, with a port where it is not the usual one.
/// It is as browsers send it: visible ASCII in lower case, without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl AsRef<str> for Origin {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = ();

    /// There is no wildcard: a page that anybody made could reboot devices with the credentials of
    /// whoever looks at it.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.to_ascii_lowercase();
        let authority = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or(())?;
        let (host, port) = match authority.rsplit_once(':') {
            // The colons of an IPv6 address are within its brackets.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            Some(_) | None => (authority, None),
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
        let is_good = !host.is_empty()
            && host.bytes().all(is_host)
            && port.is_none_or(|port| port.parse::<u16>().is_ok());
        is_good.then_some(Self(text)).ok_or(())
    }
}

/// Reads the section; `None` where browsers may not call.
pub(super) fn read(mut section: Section) -> Option<WebOptions> {
    let enabled = section.flag("enabled").or(false);
    let expected = "a list of pages' origins, for example [\"https://console.example\"]";
    let origins = section.take("allowed_origins", expected, |value| {
        let origins = value.as_array()?.iter();
        origins
            .map(|origin| origin.as_str()?.parse().ok())
            .collect()
    });
    let options = WebOptions {
        allowed_origins: origins.optional().unwrap_or_default(),
    };
    enabled.then_some(options)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for text in [
            "https://console.example",
            "http://localhost:8080",
            "https://[::1]",
            "https://[::1]:8443",
            "http://192.0.2.1:80",
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!(origin.as_ref(), text);
        }
        assert_eq!(
            "HTTPS://Console.Example"
                .parse::<Origin>()
                .unwrap()
                .as_ref(),
            "https://console.example"
        );
        for text in [
            "",
            "*",
            "null",
            "https://",
            "https://*",
            "https://*.example",
            "https://console.example/",
            "https://console.example/page",
            "https://user@console.example",
            "https://console.example:x",
            "https://console.example:70000",
            "ftp://console.example",
            "console.example",
            "https://a.example, https://b.example",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_origin_is_a_header_and_prints_as_it_is_read(text in "(https?://)?[ -~]{0,30}|\\PC{0,20}") {
            if let Ok(origin) = text.parse::<Origin>() {
                prop_assert!(origin.as_ref().bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert_eq!(origin.to_string().parse(), Ok(origin));
            }
        }
    }
}
