//! Who a caller's certificate is for.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _, x509::X509Name,
};

/// The most names that are taken from one certificate, and the longest.
const MAX_NAMES: usize = 32;
const MAX_NAME_CHARS: usize = 256;

/// What a caller's certificate says of it. The handshake has checked that an authority says so, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its names: the URIs among its alternative names; where there are none the DNS names; where
    /// there are none either the common name. Never empty.
    names: Vec<String>,
    /// When it expires.
    pub expiry: Timestamp,
}

impl Certificate {
    /// Reads a certificate. `None` if it names nobody.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let general = alternative.map(|extension| extension.value.general_names.as_slice());
        let of_kind = |wanted: fn(&GeneralName<'_>) -> Option<String>| -> Vec<String> {
            let found = general.unwrap_or_default().iter().filter_map(wanted);
            found
                .filter(|name| is_usable(name))
                .take(MAX_NAMES)
                .collect()
        };
        let names = [
            of_kind(uri),
            of_kind(dns),
            common_name(certificate.subject()),
        ]
        .into_iter()
        .find(|names| !names.is_empty())?;
        let expiry = certificate.validity().not_after.timestamp();
        Some(Self {
            names,
            expiry: Timestamp::from_second(expiry).unwrap_or(Timestamp::MAX),
        })
    }

    /// The name that stands for the caller, in the audit for example.
    pub fn name(&self) -> &str {
        // There is one, or there were no value.
        self.names.first().map_or("", String::as_str)
    }

    /// Says whether this is one of its names.
    pub fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }
}

fn uri(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::URI(uri) = name {
        Some((*uri).to_owned())
    } else {
        None
    }
}

fn dns(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(dns) = name {
        Some(dns.to_ascii_lowercase())
    } else {
        None
    }
}

fn common_name(subject: &X509Name<'_>) -> Vec<String> {
    let mut names = subject.iter_common_name();
    match (names.next(), names.next()) {
        // With two it could be either.
        (Some(name), None) => {
            let name = name.as_str().ok().map(str::to_owned);
            name.filter(|name| is_usable(name)).into_iter().collect()
        }
        (None, _) | (Some(_), Some(_)) => Vec::new(),
    }
}

/// It goes into logs and into the audit.
fn is_usable(name: &str) -> bool {
    !name.is_empty()
        && name.chars().count() <= MAX_NAME_CHARS
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn read(common_name: &str, alternative: Vec<SanType>) -> Option<Certificate> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.subject_alt_names = alternative;
        let key = KeyPair::generate().unwrap();
        Certificate::read(params.self_signed(&key).unwrap().der())
    }

    fn names(common_name: &str, alternative: Vec<SanType>) -> Vec<String> {
        read(common_name, alternative).map_or_else(Vec::new, |certificate| certificate.names)
    }

    #[test]
    fn a_uri_names_it_before_a_host_and_a_host_before_its_common_name() {
        let uri = || SanType::URI("spiffe://acme/ci".try_into().unwrap());
        let dns = || SanType::DnsName("CI.acme.example".try_into().unwrap());
        assert_eq!(names("ci", vec![dns(), uri()]), ["spiffe://acme/ci"]);
        assert_eq!(names("ci", vec![dns()]), ["ci.acme.example"]);
        assert_eq!(names("ci", vec![]), ["ci"]);
        let certificate = read("ci", vec![uri()]).unwrap();
        assert!(certificate.is_named("spiffe://acme/ci"));
        assert!(!certificate.is_named("ci"));
        assert_eq!(certificate.name(), "spiffe://acme/ci");
    }

    #[test]
    fn a_name_that_is_unfit_for_a_log_names_nobody() {
        assert_eq!(read("", vec![]), None);
        assert_eq!(read("a\nb", vec![]), None);
        assert_eq!(read(&"x".repeat(257), vec![]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Certificate::read(&CertificateDer::from(bytes));
        }

        #[test]
        fn no_flipped_byte_makes_it_panic(at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            let mut der = params.self_signed(&key).unwrap().der().to_vec();
            let at = at.index(der.len());
            der[at] ^= flip;
            let _ = Certificate::read(&CertificateDer::from(der));
        }
    }
}
