//! What can be wrong with a connection string.

use crate::{
    identity::{HostError, IdError},
    sas::KeyError,
};

/// Why a text is no connection string. No variant repeats a value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionStringError {
    /// A part between two semicolons has no `=`.
    #[error("connection string must be `Key=Value` pairs joined by `;`")]
    Pair,
    /// A key is none that is known.
    #[error("unknown key `{0}` in connection string")]
    Unknown(String),
    /// A key stands there twice.
    #[error("`{0}` stands twice in connection string")]
    Duplicate(&'static str),
    /// A key has no value.
    #[error("`{0}` is empty in connection string")]
    Empty(&'static str),
    /// A key is needed and not there.
    #[error("connection string has no `{0}`")]
    Missing(&'static str),
    /// Neither a service's nor a device's key is there.
    #[error("connection string has neither `DeviceId` nor `SharedAccessKeyName`")]
    Kind,
    /// Two keys exclude each other.
    #[error("`{0}` and `{1}` exclude each other in connection string")]
    Conflict(&'static str, &'static str),
    /// A host cannot be read.
    #[error("`{field}` in connection string: {source}")]
    Host {
        /// The key whose value it is.
        field: &'static str,
        /// What is wrong with it.
        source: HostError,
    },
    /// A device or module id cannot be read.
    #[error("`{field}` in connection string: {source}")]
    Id {
        /// The key whose value it is.
        field: &'static str,
        /// What is wrong with it.
        source: IdError,
    },
    /// The key cannot be read.
    #[error("`SharedAccessKey` in connection string: {0}")]
    Key(#[source] KeyError),
    /// The policy's name has a character that such names may not have.
    #[error(
        "`SharedAccessKeyName` in connection string may have ASCII letters, digits and _-@. only"
    )]
    Policy,
    /// `x509` is not `true`.
    #[error("`x509` in connection string must be `true`")]
    X509,
}
