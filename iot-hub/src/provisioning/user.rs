//! The user name of an MQTT CONNECT to the service.

use std::{fmt, str::FromStr};

use super::{IdScope, RegistrationId, RegistrationIdError};
use crate::identity::{parse_query, print_query};

/// Who registers, and with which options:
/// `{scope}/registrations/{registration}/api-version=…&…`, without a `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationUser {
    /// Whose part of the service.
    pub scope: IdScope,
    /// The device; the client id of the CONNECT is the same.
    pub registration: RegistrationId,
    /// The options, decoded, in the order received.
    pub query: Vec<(String, String)>,
}

impl RegistrationUser {
    /// The name that a device of ours signs in with.
    pub fn new(scope: IdScope, registration: RegistrationId, api_version: &str) -> Self {
        Self {
            scope,
            registration,
            query: vec![("api-version".to_owned(), api_version.to_owned())],
        }
    }
}

impl fmt::Display for RegistrationUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/registrations/{}/", self.scope, self.registration)?;
        print_query(f, "", &self.query)
    }
}

impl FromStr for RegistrationUser {
    type Err = RegistrationUserError;

    fn from_str(text: &str) -> Result<Self, RegistrationUserError> {
        let mut parts = text.splitn(4, '/');
        let (Some(scope), Some("registrations"), Some(registration)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(RegistrationUserError::Shape);
        };
        Ok(Self {
            scope: scope.parse().map_err(RegistrationUserError::Scope)?,
            registration: registration
                .parse()
                .map_err(RegistrationUserError::Registration)?,
            query: parse_query(parts.next().unwrap_or_default()),
        })
    }
}

/// Why a text is no user name of the service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationUserError {
    /// It does not have the parts of one.
    #[error("user name must be `scope/registrations/id/options`")]
    Shape,
    /// The id scope cannot be read.
    #[error("user name's scope: {0}")]
    Scope(#[source] RegistrationIdError),
    /// The registration id cannot be read.
    #[error("user name's registration: {0}")]
    Registration(#[source] RegistrationIdError),
}
