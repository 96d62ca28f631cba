//! A client of the management service, for other services.
//!
//! It does what every caller of the API has to do and would otherwise write again: repeat a call
//! whose answer got lost, with the same request id, so that it reboots nothing twice; take a broken
//! watch up again where it stood; and read the details of errors.
//!
//! ```no_run
//! use iothubdm_client::{Client, Error, RebootRequest, Update};
//!
//! # async fn example() -> Result<(), Error> {
//! let client = Client::connect("http://127.0.0.1:50051").await?;
//!
//! let request = RebootRequest {
//!     device: "devices/pump-1".to_owned(),
//!     reason: "new firmware".to_owned(),
//!     ..RebootRequest::default()
//! };
//! let attempt = match client.reboot(request).await {
//!     Ok(attempt) => attempt,
//!     // Another attempt holds the device: follow that one.
//!     Err(Error::Refused(refusal)) if refusal.holder().is_some() => {
//!         client.get_reboot(refusal.holder().unwrap_or_default()).await?
//!     }
//!     Err(error) => return Err(error),
//! };
//!
//! let mut watch = client.watch(&attempt.name);
//! while let Some(update) = watch.next().await {
//!     match update? {
//!         // Where its token is kept, another process can go on from here.
//!         Update::Event(event) => println!("{:?}, {}", event.event, event.resume_token),
//!         Update::Interrupted { error, pause } => println!("{error}; again in {pause:?}"),
//!     }
//! }
//!
//! // Or, where only the end matters:
//! let verdict = client.watch(&attempt.name).verdict().await?;
//! println!("{:?}, {:?}", verdict.state(), verdict.evidence);
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! - [`Client`]: the calls; [`Connector`]: certificates and tokens.
//! - [`Watch`]: one attempt followed to its end, as a stream.
//! - [`Error`]: what a caller can tell apart; [`Refusal`] has the details.
//!
//! # Invariants
//!
//! - A call is repeated only when the connection broke under it or the service was stopping, and
//!   every call of the API may be repeated.
//! - A watch passes every event on once, in order, and ends once: after the terminal event.

mod backoff;
mod client;
mod connect;
mod error;
mod watch;

pub use iothubdm_proto::v1::{
    AttemptState, CancelRebootRequest, Device, EvidenceGrade, ListDevicesRequest,
    ListDevicesResponse, ListRebootsRequest, ListRebootsResponse, RebootAttempt, RebootEvent,
    RebootMode, RebootProgress, RebootRequest, reboot_event::Event,
};
pub use tonic::Code;

pub use self::{
    client::Client,
    connect::{Connector, Token},
    error::{Condition, Error, Field, Refusal},
    watch::{Update, Watch, WatchOptions},
};

/// Says whether a state is one that never changes.
pub fn is_terminal(state: AttemptState) -> bool {
    match state {
        AttemptState::Succeeded
        | AttemptState::Failed
        | AttemptState::Cancelled
        | AttemptState::Rejected
        | AttemptState::Expired
        | AttemptState::Lost => true,
        AttemptState::Unspecified
        | AttemptState::Pending
        | AttemptState::Dispatching
        | AttemptState::Scheduled
        | AttemptState::Blocked
        | AttemptState::Accepted
        | AttemptState::Preparing
        | AttemptState::Rebooting
        | AttemptState::Down
        | AttemptState::Verifying => false,
    }
}
