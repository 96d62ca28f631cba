//! Certificates that devices identify themselves by.
//!
//! The TLS handshake asks every client for a certificate and takes any, with proof that the client
//! holds its key, or none. The device's CONNECT decides: then it is known who the client says it
//! is, and whether that device is registered with a thumbprint or with an authority's signature.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime, pem};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CommonState, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why the authorities for devices' certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceCaError {
    /// A file holds no certificates.
    #[error("read certificates of authorities from {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// A certificate is none of an authority.
    #[error("trust the authorities in {}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Error,
    },
    /// Together they cannot be used.
    #[error("trust authorities for devices")]
    Verifier(#[from] VerifierBuilderError),
}

/// Why a certificate does not open the door.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateRefused {
    #[error("its thumbprint is not registered")]
    Thumbprint,
    #[error("no authorities for devices are configured")]
    NoAuthorities,
    #[error("{0}")]
    Signature(#[source] Error),
    #[error("its name is {name:?}, not {expected}")]
    Name {
        name: Option<String>,
        expected: String,
    },
}

/// A certificate whose key the client holds, with those that lead to its authority.
#[derive(Debug)]
pub(crate) struct DeviceCertificate {
    own: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
}

impl DeviceCertificate {
    /// The one that was shown in the handshake.
    pub(crate) fn of(connection: &CommonState) -> Option<Self> {
        let (own, intermediates) = connection.peer_certificates()?.split_first()?;
        Some(Self {
            own: own.clone(),
            intermediates: intermediates.to_vec(),
        })
    }

    /// Fails unless one of the registered thumbprints is this certificate's: its SHA-1 or SHA-256
    /// in hexadecimal digits, of either case, with or without colons.
    pub(crate) fn check_thumbprint<'a>(
        &self,
        mut registered: impl Iterator<Item = &'a str>,
    ) -> Result<(), CertificateRefused> {
        let own = [&SHA1_FOR_LEGACY_USE_ONLY, &SHA256].map(|algorithm| self.thumbprint(algorithm));
        let known = |registered: &str| {
            let digits = registered.chars().filter(|c| !matches!(c, ':' | ' '));
            let digits: String = digits.map(|c| c.to_ascii_lowercase()).collect();
            own.contains(&digits)
        };
        if registered.any(known) {
            Ok(())
        } else {
            Err(CertificateRefused::Thumbprint)
        }
    }

    /// Its thumbprint, as it is registered.
    pub(crate) fn sha256(&self) -> String {
        self.thumbprint(&SHA256)
    }

    fn thumbprint(&self, algorithm: &'static Algorithm) -> String {
        let hash = digest(algorithm, &self.own);
        hash.as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The subject's common name.
    fn common_name(&self) -> Option<String> {
        let (_, certificate) = X509Certificate::from_der(&self.own).ok()?;
        let name = certificate.subject().iter_common_name().next()?;
        name.as_str().ok().map(str::to_owned)
    }
}

/// The authorities whose signature makes a device's certificate good.
#[derive(Clone)]
pub(crate) struct DeviceAuthorities(Option<Arc<dyn ClientCertVerifier>>);

impl DeviceAuthorities {
    /// Reads their certificates; no files mean no authorities.
    pub(crate) fn read(files: &[PathBuf]) -> Result<Self, DeviceCaError> {
        if files.is_empty() {
            return Ok(Self(None));
        }
        let mut roots = RootCertStore::empty();
        for path in files {
            add_roots(&mut roots, path)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(Self(Some(verifier.build()?)))
    }

    /// Fails unless one of them signed the certificate, it is valid now, and its common name is the
    /// device's.
    pub(crate) fn check(
        &self,
        certificate: &DeviceCertificate,
        expected: &str,
        now: Timestamp,
    ) -> Result<(), CertificateRefused> {
        let Self(Some(verifier)) = self else {
            return Err(CertificateRefused::NoAuthorities);
        };
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        verifier
            .verify_client_cert(&certificate.own, &certificate.intermediates, now)
            .map_err(CertificateRefused::Signature)?;
        let name = certificate.common_name();
        if name.as_deref() == Some(expected) {
            return Ok(());
        }
        Err(CertificateRefused::Name {
            name,
            expected: expected.to_owned(),
        })
    }
}

impl fmt::Debug for DeviceAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let configured = self.0.is_some();
        f.debug_tuple("DeviceAuthorities")
            .field(&configured)
            .finish()
    }
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), DeviceCaError> {
    let file = |source| DeviceCaError::File {
        path: path.to_owned(),
        source,
    };
    let mut found = false;
    for certificate in CertificateDer::pem_file_iter(path).map_err(file)? {
        let certificate = certificate.map_err(file)?;
        roots
            .add(certificate)
            .map_err(|source| DeviceCaError::Certificate {
                path: path.to_owned(),
                source,
            })?;
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err(file(pem::Error::NoItemsFound))
    }
}

/// Asks clients for a certificate in the handshake, and takes any or none.
#[derive(Debug)]
pub(crate) struct AskForCertificate(WebPkiSupportedAlgorithms);

impl AskForCertificate {
    pub(crate) fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self(algorithms)
    }
}

impl ClientCertVerifier for AskForCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No hints: devices with a certificate of their own making have no authority to match.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
