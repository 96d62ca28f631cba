//! The connection to the management service, and calls that survive a broken one.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use iothubdm_proto::v1::{
    CancelRebootRequest, Device, GetDeviceRequest, GetRebootRequest, ListAuditEventsRequest,
    ListAuditEventsResponse, ListDevicesRequest, ListDevicesResponse, ListRebootsRequest,
    ListRebootsResponse, RebootAttempt, RebootEvent, RebootRequest, WatchRebootRequest,
    device_management_client::DeviceManagementClient,
};
use tonic::{Request, Response, Status, Streaming, transport::Channel};
use uuid::Uuid;

use crate::{
    backoff::Backoff,
    connect::{Connector, Token},
    error::Error,
    watch::{Watch, WatchOptions},
};

/// The longest a call may take; dispatching a method to a slow device takes half a minute.
const CALL_LIMIT: Duration = Duration::from_secs(90);

/// How long a call that broke midway is made again, from the first time it broke.
const PATIENCE: Duration = Duration::from_secs(10);

type Inner = DeviceManagementClient<Channel>;

/// A client of the management service. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Inner,
    token: Option<Arc<Token>>,
}

impl Client {
    /// Connects to the service at a URL such as `http://127.0.0.1:50051`, so that a wrong address is
    /// found out before anything is asked. A [`Connector`] knows of certificates and tokens.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        Connector::new(address).connect().await
    }

    /// Uses a connection that the caller has made, with settings of its own.
    pub fn new(channel: Channel) -> Self {
        Self::with_token(channel, None)
    }

    pub(crate) fn with_token(channel: Channel, token: Option<Token>) -> Self {
        Self {
            inner: Inner::new(channel),
            token: token.map(Arc::new),
        }
    }

    /// Asks for a reboot of one device, and returns the attempt once it is accepted, scheduled,
    /// blocked, queued or ambiguous.
    ///
    /// A request without an id is given one. To be able to ask again after this process has ended,
    /// make the id yourself and store it first: the same id never reboots a device twice.
    pub async fn reboot(&self, mut request: RebootRequest) -> Result<RebootAttempt, Error> {
        if request.request_id.is_empty() {
            request.request_id = Uuid::new_v4().to_string();
        }
        self.call(request, async |mut inner, request| {
            inner.reboot(request).await
        })
        .await
    }

    /// Follows an attempt, `devices/{device}/reboots/{reboot}`, from its beginning to its end.
    pub fn watch(&self, name: impl Into<String>) -> Watch {
        self.watch_with(name, WatchOptions::default())
    }

    /// Follows an attempt from where an earlier watch of it stood, or with other limits.
    pub fn watch_with(&self, name: impl Into<String>, options: WatchOptions) -> Watch {
        Watch::new(self.clone(), name.into(), options)
    }

    /// Reads an attempt, `devices/{device}/reboots/{reboot}`.
    pub async fn get_reboot(&self, name: impl Into<String>) -> Result<RebootAttempt, Error> {
        let request = GetRebootRequest { name: name.into() };
        self.call(request, async |mut inner, request| {
            inner.get_reboot(request).await
        })
        .await
    }

    /// Lists a page of attempts, newest first.
    pub async fn list_reboots(
        &self,
        request: ListRebootsRequest,
    ) -> Result<ListRebootsResponse, Error> {
        self.call(request, async |mut inner, request| {
            inner.list_reboots(request).await
        })
        .await
    }

    /// Cancels an attempt that has not reached its point of no return.
    pub async fn cancel_reboot(
        &self,
        request: CancelRebootRequest,
    ) -> Result<RebootAttempt, Error> {
        self.call(request, async |mut inner, request| {
            inner.cancel_reboot(request).await
        })
        .await
    }

    /// Reads a device, `devices/{device}`.
    pub async fn get_device(&self, name: impl Into<String>) -> Result<Device, Error> {
        let request = GetDeviceRequest { name: name.into() };
        self.call(request, async |mut inner, request| {
            inner.get_device(request).await
        })
        .await
    }

    /// Lists a page of the audit.
    pub async fn list_audit_events(
        &self,
        request: ListAuditEventsRequest,
    ) -> Result<ListAuditEventsResponse, Error> {
        self.call(request, async |mut inner, request| {
            inner.list_audit_events(request).await
        })
        .await
    }

    /// Lists a page of the hub's devices.
    pub async fn list_devices(
        &self,
        request: ListDevicesRequest,
    ) -> Result<ListDevicesResponse, Error> {
        self.call(request, async |mut inner, request| {
            inner.list_devices(request).await
        })
        .await
    }

    /// Begins one stream of an attempt's events. It has no time limit: it lives as long as the
    /// attempt.
    pub(crate) async fn stream(
        &self,
        request: WatchRebootRequest,
    ) -> Result<Streaming<RebootEvent>, Error> {
        let mut inner = self.inner.clone();
        let request = self.request(request)?;
        Ok(inner.watch_reboot(request).await?.into_inner())
    }

    /// A request that says who calls.
    fn request<M>(&self, message: M) -> Result<Request<M>, Error> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            let header = token.header()?;
            request.metadata_mut().insert("authorization", header);
        }
        Ok(request)
    }

    /// Makes a call, and makes it again when the connection broke under it.
    async fn call<M, T, F>(
        &self,
        message: M,
        make: impl Fn(Inner, Request<M>) -> F,
    ) -> Result<T, Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        repeat(PATIENCE, async || {
            let mut request = self.request(message.clone())?;
            request.set_timeout(CALL_LIMIT);
            Ok(make(self.inner.clone(), request).await?)
        })
        .await
    }
}

/// Makes a call until it is answered, or for as long as `patience` since it first broke.
async fn repeat<T, F>(patience: Duration, mut make: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<Response<T>, Error>>,
{
    let mut backoff = Backoff::default();
    let mut broken_since = None;
    loop {
        let error = match make().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(error) => error,
        };
        let now = Instant::now();
        let broken_since = *broken_since.get_or_insert(now);
        if !error.may_be_repeated() || now.duration_since(broken_since) >= patience {
            return Err(error);
        }
        let asked = error.retry_after().unwrap_or_default();
        tokio::time::sleep(backoff.next_pause().max(asked)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn explained(reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "iothubdm", HashMap::new());
        Status::with_error_details(tonic::Code::Unavailable, "away", details)
    }

    /// Makes a call that is answered thus, one after the other; returns how often it was made.
    async fn calls(mut answers: Vec<Result<i32, Status>>) -> (usize, Result<i32, Error>) {
        let mut calls = 0;
        let answer = repeat(Duration::from_secs(60), || {
            calls += 1;
            let answer = answers.remove(0).map(Response::new).map_err(Error::from);
            async { answer }
        })
        .await;
        (calls, answer)
    }

    #[tokio::test]
    async fn what_the_service_says_is_not_asked_again() {
        let (calls, answer) = calls(vec![Err(explained("DEVICE_OFFLINE"))]).await;
        assert_eq!(calls, 1);
        assert!(matches!(answer, Err(Error::Refused(_))));
    }

    #[tokio::test]
    async fn a_call_that_broke_or_met_a_stopping_service_is_made_again() {
        let broken = Err(Status::unavailable("connection reset"));
        let (calls, answer) = calls(vec![broken, Err(explained("STOPPING")), Ok(7)]).await;
        assert_eq!(calls, 3);
        assert_eq!(answer.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_request_of_which_the_service_does_not_know_what_came_is_made_again() {
        let details = ErrorDetails::with_error_info("OUTCOME_UNKNOWN", "iothubdm", HashMap::new());
        let told = Status::with_error_details(tonic::Code::Unknown, "may be stored", details);
        let (calls, answer) = calls(vec![Err(told.clone()), Ok(7)]).await;
        assert_eq!((calls, answer.unwrap()), (2, 7));
        assert!(matches!(Error::from(told), Error::Broken(_)));
    }

    #[tokio::test]
    async fn patience_ends() {
        let answer: Result<(), _> = repeat(Duration::ZERO, || async {
            Err(Status::unavailable("connection reset").into())
        })
        .await;
        assert!(matches!(answer, Err(Error::Broken(_))));
    }
}
