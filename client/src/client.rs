//! The connection to the management service, and calls that survive a broken one.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use iothubdm_proto::v1::{
    CancelRebootRequest, Device, GetDeviceRequest, GetRebootRequest, ListDevicesRequest,
    ListDevicesResponse, ListRebootsRequest, ListRebootsResponse, RebootAttempt, RebootEvent,
    RebootRequest, WatchRebootRequest, device_management_client::DeviceManagementClient,
};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

use crate::{
    backoff::Backoff,
    error::Error,
    watch::{Watch, WatchOptions},
};

/// A service that is there answers within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The longest a call may take; dispatching a method to a slow device takes half a minute.
const CALL_LIMIT: Duration = Duration::from_secs(90);

/// How long a call that broke midway is made again, from the first time it broke.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often an idle connection is asked whether it lives, and how long it may take to say so: a
/// watch must not hang on a peer that vanished without a word.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

type Inner = DeviceManagementClient<Channel>;

/// A client of the management service. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Inner,
}

impl Client {
    /// Connects to the service, so that a wrong address is found out before anything is asked.
    /// `address` is a URL such as `http://127.0.0.1:50051`.
    ///
    /// A connection that breaks later is made again by the next call or watch that needs it.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let wrong = |rule| Error::Address {
            address: address.to_owned(),
            rule,
        };
        if address.starts_with("https://") {
            return Err(wrong(
                "https is not spoken here; use http:// and a tunnel or a proxy",
            ));
        }
        let endpoint = Endpoint::from_shared(address.to_owned())
            .ok()
            .filter(|endpoint| endpoint.uri().scheme().is_some())
            .ok_or_else(|| wrong("expected a URL such as http://127.0.0.1:50051"))?
            .connect_timeout(CONNECT_LIMIT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        match endpoint.connect().await {
            Ok(channel) => Ok(Self::new(channel)),
            Err(error) => Err(Error::unreachable(address, error)),
        }
    }

    /// Uses a connection that the caller has made, with settings of its own.
    pub fn new(channel: Channel) -> Self {
        Self {
            inner: Inner::new(channel),
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
    ) -> Result<Streaming<RebootEvent>, Status> {
        let mut inner = self.inner.clone();
        inner.watch_reboot(request).await.map(Response::into_inner)
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
        repeat(PATIENCE, || {
            let mut request = Request::new(message.clone());
            request.set_timeout(CALL_LIMIT);
            make(self.inner.clone(), request)
        })
        .await
    }
}

/// Makes a call until it is answered, or for as long as `patience` since it first broke.
async fn repeat<T, F>(patience: Duration, mut make: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut backoff = Backoff::default();
    let mut broken_since = None;
    loop {
        let error = match make().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => Error::from(status),
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
            let answer = answers.remove(0).map(Response::new);
            async { answer }
        })
        .await;
        (calls, answer)
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_meant_is_a_mistake_of_the_caller() {
        for address in ["https://127.0.0.1:1", "127.0.0.1:50051", "", "http://a b"] {
            let error = Client::connect(address).await.unwrap_err();
            assert!(matches!(error, Error::Address { .. }), "{address}: {error}");
        }
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
    async fn patience_ends() {
        let answer: Result<(), _> = repeat(Duration::ZERO, || async {
            Err(Status::unavailable("connection reset"))
        })
        .await;
        assert!(matches!(answer, Err(Error::Broken(_))));
    }
}
