//! Pages that may not call are refused before the API hears of their calls.
//!
//! CORS alone leaves that to the browser, which has no reason to refuse a page whose host's name was made to
//! point at this service after it was loaded: to the browser the two are one.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use tonic::codegen::{
    Service,
    http::{Request, Response, StatusCode, header},
};
use tower::Layer;

use crate::config::Origin;

/// Puts [`Pages`] before a service.
#[derive(Debug, Clone)]
pub(in crate::api) struct PagesLayer {
    allowed: Arc<[Origin]>,
}

/// Refuses the calls of pages that may not call. What is no page names no origin.
#[derive(Debug, Clone)]
pub(in crate::api) struct Pages<S> {
    inner: S,
    allowed: Arc<[Origin]>,
}

impl PagesLayer {
    /// Lets these through.
    pub(super) fn new(allowed: &[Origin]) -> Self {
        Self {
            allowed: allowed.into(),
        }
    }
}

impl<S> Layer<S> for PagesLayer {
    type Service = Pages<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Pages {
            inner,
            allowed: self.allowed.clone(),
        }
    }
}

impl<S, B, A> Service<Request<B>> for Pages<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    A: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<S::Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut origins = request.headers().get_all(header::ORIGIN).iter();
        let is_allowed = |origin: &[u8]| {
            let mut allowed = self.allowed.iter();
            allowed.any(|allowed| allowed.as_ref().as_bytes() == origin)
        };
        if origins.all(|origin| is_allowed(origin.as_bytes())) {
            return Either::Right(self.inner.call(request));
        }
        let mut refused = Response::new(A::default());
        *refused.status_mut() = StatusCode::FORBIDDEN;
        Either::Left(ready(Ok(refused)))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn only_the_calls_of_pages_that_may_call_are_made() {
        let api = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(7)));
        let allowed = "https://console.example".parse().unwrap();
        let mut pages = PagesLayer::new(&[allowed]).layer(api);
        for (origins, made) in [
            (&[][..], true),
            (&["https://console.example"], true),
            (&["https://evil.example"], false),
            (&["https://console.example:8443"], false),
            (&["http://127.0.0.1:50051"], false),
            (&["null"], false),
            (&["https://console.example", "https://evil.example"], false),
        ] {
            let mut request = Request::builder();
            for origin in origins {
                request = request.header(header::ORIGIN, *origin);
            }
            let answer = pages.call(request.body(()).unwrap()).await.unwrap();
            let told = (answer.status() == StatusCode::FORBIDDEN, *answer.body());
            assert_eq!(
                told,
                if made { (false, 7) } else { (true, 0) },
                "{origins:?}"
            );
        }
    }
}
