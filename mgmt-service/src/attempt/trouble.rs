//! Why a device could not be asked.

use std::time::Duration;

use iot_hub::reboot::{Failure, FailureCode, Grade, Mode};

/// Why a device could not be asked: nothing has reached it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The hub has no such device.
    #[error("the hub has no such device")]
    NoDevice,
    /// The device is not connected, or does not listen for methods.
    #[error("the device is not connected")]
    Offline,
    /// The hub's quota is used up.
    #[error("the hub's quota is used up")]
    Throttled {
        /// When the hub wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The hub cannot be reached, or not at this moment.
    #[error("the hub cannot be reached: {0}")]
    HubUnreachable(String),
    /// The hub does not accept our credentials.
    #[error("the hub does not accept the service's credentials: {0}")]
    HubDenied(String),
    /// The hub does not take the request.
    #[error("the hub refused the request: {0}")]
    HubRefused(String),
    /// The device cannot give the evidence that is required.
    #[error("the device can give evidence up to {best}, and {required} is required")]
    CannotProve {
        /// What is required.
        required: Grade,
        /// The best there is.
        best: Grade,
    },
    /// The device has no such mode.
    #[error("the device does not offer the mode {0}")]
    NoSuchMode(Mode),
    /// The device follows a tutorial's conventions, which know no preconditions.
    #[error("the device cannot check preconditions")]
    CannotCheck,
}

impl Trouble {
    /// Waiting may help: the attempt may be kept until its deadline.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Offline | Self::Throttled { .. } | Self::HubUnreachable(_) => true,
            Self::NoDevice
            | Self::HubDenied(_)
            | Self::HubRefused(_)
            | Self::CannotProve { .. }
            | Self::NoSuchMode(_)
            | Self::CannotCheck => false,
        }
    }

    /// How it is told to those who read the attempt.
    pub(super) fn to_failure(&self) -> Failure {
        let code = match self {
            Self::NoDevice => FailureCode::Other("DEVICE_NOT_FOUND".into()),
            Self::Offline => FailureCode::Unreachable,
            Self::Throttled { .. } | Self::HubUnreachable(_) => {
                FailureCode::Other("HUB_UNAVAILABLE".into())
            }
            Self::HubDenied(_) => FailureCode::Other("HUB_DENIED".into()),
            Self::HubRefused(_) => FailureCode::Other("HUB_REFUSED".into()),
            Self::CannotProve { .. } | Self::CannotCheck => FailureCode::Precondition,
            Self::NoSuchMode(_) => FailureCode::Other("UNSUPPORTED".into()),
        };
        Failure {
            code,
            message: self.to_string(),
            retryable: self.passes(),
        }
    }
}
