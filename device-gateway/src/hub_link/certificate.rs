//! The certificate that a device shows, read from its files before every connection.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::{
    client::ResolvesClientCert,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::{CertifiedKey, SingleCertAndKey},
};
use sha2::{Digest as _, Sha256};
use tokio::fs;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::CertificateFiles;

/// A certificate that is good now, with its key.
#[derive(Debug, Clone)]
pub(super) struct DeviceCertificate {
    resolver: Arc<SingleCertAndKey>,
    until: Timestamp,
    /// What tells it from others, for people who register it.
    thumbprint: String,
}

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("use the certificate in {path}: {message}")]
    Certificate { path: PathBuf, message: String },
    #[error("use the private key in {path}: {message}")]
    Key { path: PathBuf, message: String },
    #[error("use the private key in {0}: everybody may read it, its permissions are {1:o}")]
    Exposed(PathBuf, u32),
    #[error("use the certificate in {path}: it expired at {until}")]
    Expired { path: PathBuf, until: Timestamp },
    #[error("use the certificate in {path}: it is not valid before {from}; is the clock right?")]
    Early { path: PathBuf, from: Timestamp },
}

impl DeviceCertificate {
    /// Reads the files as they are now.
    pub(super) async fn read(
        files: &CertificateFiles,
        crypto: &CryptoProvider,
        now: Timestamp,
    ) -> Result<Self, CertificateError> {
        let path = files.certificate.clone();
        let pem = read(&files.certificate).await?;
        let unusable = |message: String| CertificateError::Certificate {
            path: path.clone(),
            message,
        };
        let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| unusable(error.to_string()))?;
        let own = chain
            .first()
            .ok_or_else(|| unusable("there is none".to_owned()))?;
        let (_, parsed) =
            X509Certificate::from_der(own).map_err(|error| unusable(error.to_string()))?;
        let [from, until] = [parsed.validity().not_before, parsed.validity().not_after];
        let from = Timestamp::from_second(from.timestamp()).unwrap_or(Timestamp::MIN);
        let until = Timestamp::from_second(until.timestamp()).unwrap_or(Timestamp::MAX);
        if now >= until {
            return Err(CertificateError::Expired { path, until });
        }
        if now < from {
            return Err(CertificateError::Early { path, from });
        }
        let thumbprint = Sha256::digest(own)
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        let key = read_key(files).await?;
        let certified = CertifiedKey::from_der(chain, key, crypto);
        let certified = certified.map_err(|error| CertificateError::Key {
            path: files.key.clone(),
            message: error.to_string(),
        })?;
        Ok(Self {
            resolver: Arc::new(SingleCertAndKey::from(certified)),
            until,
            thumbprint,
        })
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesClientCert> {
        self.resolver.clone()
    }

    /// How long it is good for yet.
    pub(super) fn life(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.until.duration_since(now)).unwrap_or_default()
    }

    /// The SHA-256 of it, as it is registered.
    pub(super) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, CertificateError> {
    fs::read(path)
        .await
        .map_err(|source| CertificateError::Read {
            path: path.clone(),
            source,
        })
}

async fn read_key(files: &CertificateFiles) -> Result<PrivateKeyDer<'static>, CertificateError> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = &files.key;
    let metadata = fs::metadata(path).await;
    let metadata = metadata.map_err(|source| CertificateError::Read {
        path: path.clone(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(CertificateError::Exposed(path.clone(), mode));
    }
    PrivateKeyDer::from_pem_slice(&read(path).await?).map_err(|error| CertificateError::Key {
        path: path.clone(),
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use rcgen::{CertificateParams, KeyPair};
    use rustls::crypto::aws_lc_rs::default_provider;
    use tempfile::TempDir;

    use super::*;

    /// A certificate for the years 2020 and 2021 in its files.
    fn files() -> (TempDir, CertificateFiles) {
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles {
            certificate: folder.path().join("c.pem"),
            key: folder.path().join("k.pem"),
        };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2022, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o640)).unwrap();
        (folder, files)
    }

    async fn read_at(files: &CertificateFiles, now: &str) -> Result<DeviceCertificate, String> {
        let now = now.parse().expect("a time");
        let read = DeviceCertificate::read(files, &default_provider(), now).await;
        read.map_err(|error| error.to_string())
    }

    async fn told(files: &CertificateFiles, now: &str, expected: &str) {
        let error = read_at(files, now).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[tokio::test]
    async fn a_certificate_is_good_for_its_time_and_for_its_key() {
        let (_folder, files) = files();
        let read = read_at(&files, "2021-12-31T00:00:00Z").await.unwrap();
        let life = read.life("2021-12-31T00:00:00Z".parse().unwrap());
        assert_eq!(life, Duration::from_secs(86_400));
        assert_eq!(read.thumbprint().len(), 64);
        told(
            &files,
            "2022-01-01T00:00:00Z",
            "c.pem: it expired at 2022-01-01T00:00:00Z",
        )
        .await;
        told(
            &files,
            "2019-12-31T00:00:00Z",
            "c.pem: it is not valid before 2020",
        )
        .await;
    }

    #[tokio::test]
    async fn a_mistake_names_its_file() {
        let now = "2021-01-01T00:00:00Z";
        let (_folder, good) = files();
        let (_other, other) = files();
        let swapped = CertificateFiles {
            certificate: good.certificate.clone(),
            key: other.key,
        };
        told(
            &swapped,
            now,
            "k.pem: keys may not be consistent: KeyMismatch",
        )
        .await;
        fs::write(&good.certificate, "no certificate").unwrap();
        told(&good, now, "c.pem: there is none").await;
        fs::remove_file(&good.certificate).unwrap();
        told(&good, now, "read ").await;
    }

    #[tokio::test]
    async fn a_key_that_everybody_may_read_is_not_used() {
        let (_folder, files) = files();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
        told(
            &files,
            "2021-01-01T00:00:00Z",
            "everybody may read it, its permissions are 644",
        )
        .await;
    }
}
