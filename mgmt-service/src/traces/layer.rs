//! What each call of the API runs in: a span, and the caller's place in its own trace.

use std::task::{self, Poll};

use ::http::{HeaderMap, Request};
use iot_hub::reboot::TraceParent;
use tokio::task::futures::TaskLocalFuture;
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, instrument::Instrumented};

/// Where the paths of the API begin; health and reflection are not worth a span.
const API: &str = "/iothubdm.";

/// The longest name of a method that is told; there is no such method with a longer one.
const MAX_METHOD: usize = 64;

tokio::task_local! {
    static CALLER: Option<TraceParent>;
}

/// Runs each call in a span of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceLayer;

/// A service whose calls run in spans.
#[derive(Debug, Clone)]
pub struct Traced<S>(S);

/// Where the caller of the present call stands in its trace.
pub(super) fn callers() -> Option<TraceParent> {
    CALLER.try_with(|caller| *caller).ok().flatten()
}

impl<S> Layer<S> for TraceLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Traced(inner)
    }
}

impl<S, B> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<TaskLocalFuture<Option<TraceParent>, S::Future>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let caller = traceparent(request.headers());
        let span = span(request.uri().path(), caller);
        let call = span.in_scope(|| self.0.call(request));
        CALLER.scope(caller, call).instrument(span)
    }
}

fn span(path: &str, caller: Option<TraceParent>) -> Span {
    let method = path.rsplit('/').next().unwrap_or_default();
    if !path.starts_with(API) || method.len() > MAX_METHOD {
        return Span::none();
    }
    let trace_id = caller.map(|caller| caller.trace());
    let span = tracing::info_span!("rpc", method, trace_id, otel.kind = "server");
    if let Some(caller) = caller {
        super::put_under(&span, caller);
    }
    span
}

/// What the caller says; two of them are as good as none.
fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt as _, service_fn};

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// What a call learns of its caller that sends these headers.
    async fn learnt(values: &[&str]) -> Option<TraceParent> {
        let mut request = Request::builder().uri("/iothubdm.v1.DeviceManagement/Reboot");
        for value in values {
            request = request.header("traceparent", *value);
        }
        let handler =
            service_fn(async |_: Request<()>| Ok::<_, Infallible>(super::super::current()));
        let traced = TraceLayer.layer(handler);
        traced.oneshot(request.body(()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn the_callers_place_is_known_while_its_call_runs() {
        assert_eq!(learnt(&[GOOD]).await, GOOD.parse().ok());
        assert_eq!(learnt(&[]).await, None);
        assert_eq!(learnt(&["nonsense"]).await, None);
        assert_eq!(learnt(&[GOOD, GOOD]).await, None);
        assert_eq!(super::super::current(), None);
    }
}
