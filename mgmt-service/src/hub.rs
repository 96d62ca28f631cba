//! The hub's service API: twins, direct methods and twin queries over HTTPS.
//!
//! With `crate::http` the only place that knows HTTP. Its errors say the one thing that matters to an attempt: whether
//! a call certainly did not reach the device, or may have.

mod credential;
mod entra;
mod renewal;

use std::{
    fmt,
    time::{Duration, Instant},
};

use iot_hub::{
    error::{ERROR_CODE_HEADER, ErrorCode, HubError},
    identity::DeviceId,
    method::{MethodCall, MethodResult},
    twin::Twin,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, HeaderMap, IF_MATCH, RETRY_AFTER},
};
use serde_json::{Value, json};
use tracing::{Instrument as _, field::Empty};

use self::credential::Credential;
pub use self::{
    credential::HubCredential,
    entra::{ClientSecret, EntraIdentity, EntraOptions, ManagedIdentity},
};
use crate::{
    attempt::{Trouble, Written},
    http::{self, chain},
    metrics::{Asked, HubResult, Instruments},
    traces::child_span,
};

/// The version of the REST API that Microsoft's service SDKs use.
const API_VERSION: &str = "2021-04-12";

/// How long a read may take: less than callers wait for a reboot to begin, which needs one first.
const READ_LIMIT: Duration = Duration::from_secs(15);

/// How much longer than the hub itself we wait for a method's answer: its own verdict is exact.
const METHOD_MARGIN: Duration = Duration::from_secs(10);

/// A device that is asked for to see whether the hub answers; it need not exist.
const PROBE: &str = "iothub-dm-probe";

/// What stays as it is in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A client of one hub.
pub struct Hub {
    http: Client,
    base: String,
    credential: Credential,
    instruments: Option<Instruments>,
}

/// Why a request has no answer.
enum Unanswered {
    /// Nothing was sent.
    Unsent(Trouble),
    /// It may have arrived.
    Lost(String),
}

/// What became of a method call.
#[derive(Debug, Clone, PartialEq)]
pub enum CallOutcome {
    /// The device answered.
    Answered(MethodResult),
    /// The call certainly did not reach the device.
    Undelivered(Trouble),
    /// The call may have reached the device.
    Ambiguous(String),
}

/// One page of a query's rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Value>,
    /// What asks for the next page.
    pub continuation: Option<String>,
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
#[error("set up the hub's client")]
pub struct SetupError(#[source] reqwest::Error);

impl Hub {
    /// Makes a client; `ca` is PEM, and replaces the platform's roots.
    pub fn new(
        credential: &HubCredential,
        https_port: u16,
        ca: Option<&[u8]>,
    ) -> Result<Self, SetupError> {
        // Whether to send anything twice is for the attempt to decide.
        let builder = http::client(ca).map_err(SetupError)?.http1_only();
        let (address, port) = (credential.host().address(), credential.host().port());
        let port = port.unwrap_or(https_port);
        let base = if address.contains(':') {
            format!("https://[{address}]:{port}")
        } else {
            format!("https://{address}:{port}")
        };
        Ok(Self {
            http: builder.build().map_err(SetupError)?,
            base,
            credential: Credential::new(credential)?,
            instruments: None,
        })
    }

    /// Tells `instruments` of every call.
    #[must_use]
    pub fn observed(mut self, instruments: Instruments) -> Self {
        self.instruments = Some(instruments);
        self
    }

    /// Finds out whether the hub can be reached with our credentials.
    pub async fn probe(&self) -> Result<(), Trouble> {
        let nobody = PROBE.parse().expect("the probe's id is a valid one");
        match self.twin(&nobody).await {
            Ok(_) | Err(Trouble::NoDevice | Trouble::Throttled { .. }) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// Reads a device's twin.
    pub async fn twin(&self, device: &DeviceId) -> Result<Twin, Trouble> {
        self.observe(Asked::Twin, self.read_twin(device)).await
    }

    async fn read_twin(&self, device: &DeviceId) -> Result<Twin, Trouble> {
        let url = self.device_url(device, "");
        let response = self.send(self.http.get(url), READ_LIMIT).await;
        let body = read_body(response?).await?;
        let value: Value = serde_json::from_slice(&body)
            .map_err(|error| Trouble::HubUnreachable(format!("read a twin: {error}")))?;
        Twin::from_value(&value)
            .map_err(|error| Trouble::HubUnreachable(format!("read a twin: {error}")))
    }

    /// Calls a method of a device.
    pub async fn call(&self, device: &DeviceId, call: &MethodCall) -> CallOutcome {
        let calling = self.call_method(device, call);
        self.observe(Asked::Method, calling).await
    }

    /// Calls a method that may answer as late as it likes.
    pub async fn hang(&self, device: &DeviceId, call: &MethodCall) -> CallOutcome {
        let calling = self.call_method(device, call);
        self.observe(Asked::Hanging, calling).await
    }

    async fn call_method(&self, device: &DeviceId, call: &MethodCall) -> CallOutcome {
        let url = self.device_url(device, "/methods");
        let limit = call.response_timeout + call.connect_timeout + METHOD_MARGIN;
        let request = self.http.post(url).json(&call.to_json());
        let response = match self.send(request, limit).await {
            Ok(response) => response,
            Err(Unanswered::Unsent(trouble)) => return CallOutcome::Undelivered(trouble),
            Err(Unanswered::Lost(why)) => return CallOutcome::Ambiguous(why),
        };
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(error) => return CallOutcome::Ambiguous(chain(&error)),
        };
        if status != 200 {
            return failed_call(&hub_error(status, &headers, &body), retry_after(&headers));
        }
        match MethodResult::from_json(&body) {
            Ok(result) => CallOutcome::Answered(result),
            Err(error) => CallOutcome::Ambiguous(error.to_string()),
        }
    }

    /// Writes the request that waits for a device into its desired properties, or removes it with
    /// `null`, if the twin still has this etag.
    pub async fn write_request(&self, device: &DeviceId, etag: &str, request: &Value) -> Written {
        let writing = self.patch_desired(device, etag, request);
        self.observe(Asked::TwinPatch, writing).await
    }

    async fn patch_desired(&self, device: &DeviceId, etag: &str, request: &Value) -> Written {
        let patch = json!({ "properties": { "desired": { "iothubDM": { "reboot": request } } } });
        let url = self.device_url(device, "");
        // Without its quotes the hub ignores the condition.
        let condition = format!("\"{etag}\"");
        let request = self
            .http
            .patch(url)
            .json(&patch)
            .header(IF_MATCH, condition);
        let response = match self.send(request, READ_LIMIT).await {
            Ok(response) => response,
            Err(Unanswered::Unsent(trouble)) => return Written::Not(trouble),
            Err(Unanswered::Lost(why)) => return Written::Unknown(why),
        };
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        match response.bytes().await {
            Ok(_) if status == 200 => Written::Done,
            Ok(_) if status == 412 => Written::Conflict,
            Ok(body) => {
                let error = hub_error(status, &headers, &body);
                let trouble = failed_read(&error, retry_after(&headers));
                if let Trouble::HubUnreachable(why) = trouble {
                    Written::Unknown(why)
                } else {
                    Written::Not(trouble)
                }
            }
            Err(error) => Written::Unknown(chain(&error)),
        }
    }

    /// Reads one page of a query.
    pub async fn query(
        &self,
        text: &str,
        page_size: u32,
        continuation: Option<&str>,
    ) -> Result<Page, Trouble> {
        let reading = self.read_page(text, page_size, continuation);
        self.observe(Asked::Query, reading).await
    }

    async fn read_page(
        &self,
        text: &str,
        page_size: u32,
        continuation: Option<&str>,
    ) -> Result<Page, Trouble> {
        let url = format!("{}/devices/query?api-version={API_VERSION}", self.base);
        let mut request = self
            .http
            .post(url)
            .json(&json!({ "query": text }))
            .header("x-ms-max-item-count", page_size);
        if let Some(continuation) = continuation {
            request = request.header("x-ms-continuation", continuation);
        }
        let response = self.send(request, READ_LIMIT).await?;
        let next = response.headers().get("x-ms-continuation");
        let continuation = next
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let body = read_body(response).await?;
        let rows = serde_json::from_slice(&body)
            .map_err(|error| Trouble::HubUnreachable(format!("read a query's rows: {error}")))?;
        Ok(Page { rows, continuation })
    }

    /// Makes a call and tells the instruments what came of it.
    async fn observe<T: HubResult>(&self, asked: Asked, call: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let span = child_span!(
            "hub",
            kind = asked.name(),
            result = Empty,
            otel.kind = "client"
        );
        let result = call.instrument(span.clone()).await;
        span.record("result", result.word());
        if let Some(instruments) = &self.instruments {
            instruments.hub_asked(asked, &result, begun.elapsed());
        }
        result
    }

    fn device_url(&self, device: &DeviceId, rest: &str) -> String {
        let device = utf8_percent_encode(device.as_str(), SEGMENT);
        format!(
            "{}/twins/{device}{rest}?api-version={API_VERSION}",
            self.base
        )
    }

    /// Sends a request with our credentials; once more with others when the hub refuses these, for
    /// then it has done nothing.
    async fn send(&self, request: RequestBuilder, limit: Duration) -> Result<Response, Unanswered> {
        let request = request.timeout(limit);
        let again = request.try_clone();
        let header = self.credential.header().await;
        let header = header.map_err(Unanswered::Unsent)?;
        let response = request.header(AUTHORIZATION, &header).send().await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        match (again, self.credential.instead_of(&header).await) {
            (Some(again), Some(header)) => Ok(again.header(AUTHORIZATION, header).send().await?),
            (None, _) | (_, None) => Ok(response),
        }
    }
}

impl From<reqwest::Error> for Unanswered {
    fn from(error: reqwest::Error) -> Self {
        // Without a connection nothing was sent.
        if error.is_connect() || error.is_builder() {
            Self::Unsent(unreachable_hub(&error))
        } else {
            Self::Lost(chain(&error))
        }
    }
}

/// For what may well be sent twice.
impl From<Unanswered> for Trouble {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Unsent(trouble) => trouble,
            Unanswered::Lost(why) => Self::HubUnreachable(why),
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// Reads the body of an answer, or what the hub says is wrong.
async fn read_body(response: Response) -> Result<Vec<u8>, Trouble> {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response
        .bytes()
        .await
        .map_err(|error| unreachable_hub(&error))?;
    if status == 200 {
        Ok(body.into())
    } else {
        Err(failed_read(
            &hub_error(status, &headers, &body),
            retry_after(&headers),
        ))
    }
}

fn hub_error(status: u16, headers: &HeaderMap, body: &[u8]) -> HubError {
    let header = headers
        .get(ERROR_CODE_HEADER)
        .and_then(|value| value.to_str().ok());
    HubError::parse(status, header, &String::from_utf8_lossy(body))
}

/// The header's other form, a date, is not used by the hub.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn unreachable_hub(error: &reqwest::Error) -> Trouble {
    Trouble::HubUnreachable(chain(error))
}

/// Says what an error answer to a read means.
fn failed_read(error: &HubError, retry_after: Option<Duration>) -> Trouble {
    match (error.status, error.code) {
        (404, Some(ErrorCode::DeviceNotFound)) => Trouble::NoDevice,
        (403, Some(ErrorCode::IotHubQuotaExceeded)) | (429, _) => {
            Trouble::Throttled { retry_after }
        }
        (401 | 403, _) => Trouble::HubDenied(error.to_string()),
        (400 | 402 | 405..=407 | 409..=428 | 430..=499, _) => {
            Trouble::HubRefused(error.to_string())
        }
        // A 404 without the code is not the hub speaking of the device.
        _ => Trouble::HubUnreachable(error.to_string()),
    }
}

/// How the hub words that a device was not there for the whole of the connect timeout. There are
/// reports of calls that were carried out and answered as not online all the same, so the code
/// without these words leaves open whether the device heard of the call.
const NEVER_CONNECTED: &str = "waiting for device to connect";

/// Says what an error answer to a method call means.
fn failed_call(error: &HubError, retry_after: Option<Duration>) -> CallOutcome {
    match (error.status, error.code) {
        (404, Some(ErrorCode::DeviceNotOnline)) if error.message.contains(NEVER_CONNECTED) => {
            CallOutcome::Undelivered(Trouble::Offline)
        }
        (404, Some(ErrorCode::DeviceNotFound)) => CallOutcome::Undelivered(Trouble::NoDevice),
        (
            403,
            Some(ErrorCode::IotHubQuotaExceeded | ErrorCode::DeviceMaximumInflightMethodExceeded),
        )
        | (429, _) => CallOutcome::Undelivered(Trouble::Throttled { retry_after }),
        (401 | 403, _) => CallOutcome::Undelivered(Trouble::HubDenied(error.to_string())),
        (300..=399 | 400 | 402 | 405..=407 | 409..=428 | 430..=499, _) => {
            CallOutcome::Undelivered(Trouble::HubRefused(error.to_string()))
        }
        // Above all 504101, a device that was gone while the hub waited for its answer, and 5xx.
        _ => CallOutcome::Ambiguous(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
