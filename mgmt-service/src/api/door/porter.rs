//! Lets calls in, one after the other, before anything is read of them.

use std::{
    convert::Infallible,
    marker::PhantomData,
    task::{Context, Poll},
    time::Duration,
};

use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
};
use tower::Layer;

use super::{
    body::{Held, InTime},
    guarded::Origin,
};

/// Puts a [`Porter`] before a service. `P` is what the connections below tell of their peers.
#[derive(Debug)]
pub(in crate::api) struct PorterLayer<P> {
    patience: Duration,
    peer: PhantomData<fn() -> P>,
}

/// Lets calls in.
#[derive(Debug)]
pub(in crate::api) struct Porter<S, P> {
    inner: S,
    patience: Duration,
    peer: PhantomData<fn() -> P>,
}

impl<P> PorterLayer<P> {
    /// Gives requests so long to come.
    pub(in crate::api) fn new(patience: Duration) -> Self {
        Self {
            patience,
            peer: PhantomData,
        }
    }
}

impl<P> Clone for PorterLayer<P> {
    fn clone(&self) -> Self {
        Self::new(self.patience)
    }
}

impl<S: Clone, P> Clone for Porter<S, P> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            patience: self.patience,
            peer: PhantomData,
        }
    }
}

impl<S, P> Layer<S> for PorterLayer<P> {
    type Service = Porter<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Porter {
            inner,
            patience: self.patience,
            peer: PhantomData,
        }
    }
}

impl<S, P> Service<http::Request<Body>> for Porter<S, P>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
    P: Clone + Send + Sync + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let Some(Origin { seat, peer }) = request.extensions_mut().remove::<Origin<P>>() else {
            // Every connection comes through the door.
            let status = Status::internal("the call has no connection");
            return Box::pin(async move { Ok(status.into_http()) });
        };
        let call = match seat.call() {
            Ok(call) => call,
            Err(error) => {
                let status = Status::from(error);
                return Box::pin(async move { Ok(status.into_http()) });
            }
        };
        request.extensions_mut().insert(peer);
        let patience = self.patience;
        let answer = self
            .inner
            .call(request.map(|body| InTime::body(body, patience)));
        Box::pin(async move { Ok(answer.await?.map(|body| Held::body(body, call))) })
    }
}
