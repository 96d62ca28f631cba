//! The connection to the management service, and calls that survive a broken one.

use std::{future::Future, time::Duration};

use iothubdm_proto::v1::device_management_client::DeviceManagementClient;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::{backoff::Backoff, problem::Problem};

/// A client of the management service.
pub(crate) type Client = DeviceManagementClient<Channel>;

/// A service that is there answers within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The longest a call may take; dispatching a method to a slow device takes half a minute.
const CALL_LIMIT: Duration = Duration::from_secs(90);

/// How often a call that broke midway is made again.
const TRIES: u32 = 5;

/// Connects to the service, so that a wrong address is found out before anything is asked.
pub(crate) async fn connect(server: &str) -> Result<Client, Problem> {
    if server.starts_with("https://") {
        return Err(Problem::usage(
            "invalid --server: https is not spoken here; use http:// and a tunnel or a proxy",
        ));
    }
    let endpoint = Endpoint::from_shared(server.to_owned())
        .ok()
        .filter(|endpoint| endpoint.uri().scheme().is_some())
        .ok_or_else(|| {
            Problem::usage(format!(
                "invalid --server `{server}`: expected a URL such as http://127.0.0.1:50051"
            ))
        })?
        .connect_timeout(CONNECT_LIMIT)
        // A stream that is idle for long must not hang on a peer that vanished without a word.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| Problem::unreachable(server, &error))?;
    Ok(Client::new(channel))
}

/// A request that does not wait for ever.
pub(crate) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_LIMIT);
    request
}

/// Makes a call, and makes it again when the connection broke under it. Every call of this API
/// may be repeated: a reboot is asked for with an id that the service knows again.
pub(crate) async fn call<T, F>(mut make: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut backoff = Backoff::default();
    loop {
        match make().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) if is_broken_connection(&status) && backoff.failures() < TRIES => {
                tokio::time::sleep(backoff.next_pause()).await;
            }
            Err(status) => return Err(status),
        }
    }
}

/// Says whether a call ended because the connection did, and not because the service said so: the
/// service explains every error of its own.
fn is_broken_connection(status: &Status) -> bool {
    let from_transport = std::error::Error::source(status).is_some();
    from_transport && status.get_details_error_info().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_cannot_be_meant_is_a_mistake_of_the_caller() {
        for server in ["https://127.0.0.1:1", "127.0.0.1:50051", "", "http://a b"] {
            let problem = connect(server).await.unwrap_err();
            assert_eq!(problem.exit.code(), 64, "{server}: {problem}");
        }
    }

    #[tokio::test]
    async fn what_the_service_says_is_not_asked_again() {
        let mut calls = 0;
        let answer: Result<(), _> = call(|| {
            calls += 1;
            async { Err(Status::unavailable("the device is not connected")) }
        })
        .await;
        assert_eq!(answer.unwrap_err().message(), "the device is not connected");
        assert_eq!(calls, 1);
    }
}
