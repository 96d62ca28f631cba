//! A certificate authority of the emulator's own, and the server's side of TLS.
//!
//! A hub has a certificate that its clients already trust; an emulator cannot. So it makes an
//! authority, hands out its certificate, and lets that sign a server certificate for the names it
//! is reached by. The authority lives in memory, or in a directory so that clients set up once
//! keep trusting it. Devices may show a certificate of their own in the handshake; whether it is
//! good is for their CONNECT to decide.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::certificate::AskForCertificate;
use crate::files::{Readers, write_atomically};

/// The file in the authority's directory that clients are pointed at.
const CERTIFICATE_FILE: &str = "ca.pem";
/// The file beside it that nobody else may read.
const KEY_FILE: &str = "ca-key.pem";
/// Ten years: nobody meets the end, and no client finds the date absurd.
const AUTHORITY_DAYS: i32 = 3650;
/// Below the 825 days that some TLS clients allow a server certificate.
const SERVER_DAYS: i32 = 730;

/// Why the emulator's certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority's files could not be read or written.
    #[error("use the certificate authority's file {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A key or certificate could not be made or read.
    #[error("make the emulator's certificate")]
    Certificate(#[from] rcgen::Error),
    /// rustls refused the certificate.
    #[error("set up TLS")]
    Config(#[from] rustls::Error),
}

/// The authority that signs the emulator's server certificate.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    /// Makes an authority that lives as long as this value.
    pub(crate) fn in_memory(now: Timestamp) -> Result<Self, TlsError> {
        Self::with_key(KeyPair::generate()?, now)
    }

    /// Reads the authority kept in `directory`, or makes one and keeps it there.
    pub(crate) fn in_directory(directory: &Path, now: Timestamp) -> Result<Self, TlsError> {
        let key_path = directory.join(KEY_FILE);
        let certificate_path = directory.join(CERTIFICATE_FILE);
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::File { path, source }
        };

        if key_path.exists() {
            let key = std::fs::read_to_string(&key_path).map_err(file_error(&key_path))?;
            let certificate_pem = std::fs::read_to_string(&certificate_path)
                .map_err(file_error(&certificate_path))?;
            // The issuer needs the authority's name, usages and key: those are the same for every
            // authority made here, so the certificate itself need not be parsed.
            let issuer = Issuer::new(authority_params(now)?, KeyPair::from_pem(&key)?);
            return Ok(Self {
                issuer,
                certificate_pem,
            });
        }

        let key = KeyPair::generate()?;
        let key_pem = key.serialize_pem();
        let authority = Self::with_key(key, now)?;
        std::fs::create_dir_all(directory).map_err(file_error(directory))?;
        // The key comes last and whole: without it all is made anew, whatever cut this short.
        let certificate = authority.certificate_pem.as_bytes();
        write_atomically(&certificate_path, Readers::Usual, certificate)
            .map_err(file_error(&certificate_path))?;
        write_atomically(&key_path, Readers::Owner, key_pem.as_bytes())
            .map_err(file_error(&key_path))?;
        Ok(authority)
    }

    fn with_key(key: KeyPair, now: Timestamp) -> Result<Self, TlsError> {
        let params = authority_params(now)?;
        let certificate_pem = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self {
            issuer,
            certificate_pem,
        })
    }

    /// The certificate that clients must trust, as PEM.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Makes the server's side of TLS 1.2 and 1.3, with a fresh certificate for `names`.
    pub(crate) fn server_config(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<ServerConfig, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = common_name(names.first().map_or("localhost", String::as_str));
        set_validity(&mut params, now, SERVER_DAYS);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;

        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let ask = AskForCertificate::new(provider.signature_verification_algorithms);
        Ok(ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(ask))
            .with_single_cert(vec![certificate.der().clone()], key)?)
    }
}

fn authority_params(now: Timestamp) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = common_name("IoT Hub emulator CA");
    set_validity(&mut params, now, AUTHORITY_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Makes a certificate valid from yesterday, for clients whose clock is behind, for so many days.
fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i32) {
    let today = now.to_zoned(TimeZone::UTC).date();
    let at = |days: i32| {
        let date = today.saturating_add(days.days());
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(i32::from(date.year()), month, day)
    };
    params.not_before = at(-1);
    params.not_after = at(days);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-23T03:30:00Z".parse().unwrap()
    }

    #[test]
    fn an_authority_kept_in_a_directory_is_the_same_next_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = Authority::in_directory(directory.path(), now()).unwrap();
        let second = Authority::in_directory(directory.path(), now()).unwrap();
        assert_eq!(first.certificate_pem(), second.certificate_pem());
        assert_eq!(
            first.issuer.key().serialize_der(),
            second.issuer.key().serialize_der()
        );
        second
            .server_config(&["localhost".to_owned()], now())
            .unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn the_key_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        Authority::in_directory(directory.path(), now()).unwrap();
        let metadata = std::fs::metadata(directory.path().join(KEY_FILE)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_spoilt_key_file_is_an_error_that_says_so() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(KEY_FILE), "no key").unwrap();
        let Err(error) = Authority::in_directory(directory.path(), now()) else {
            panic!("a spoilt key was accepted");
        };
        assert!(error.to_string().contains("ca.pem") || matches!(error, TlsError::Certificate(_)));
    }
}
