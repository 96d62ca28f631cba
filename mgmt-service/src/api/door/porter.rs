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
    body::{Held, InTime, code},
    guarded::Origin,
};
use crate::{access::policy, api::watch_reboot::unpack, metrics::Instruments};

/// Where the paths of the API's calls begin.
const API: &str = "/iothubdm.v1.DeviceManagement/";

/// Puts a [`Porter`] before a service. `P` is what the connections below tell of their peers.
#[derive(Debug)]
pub(in crate::api) struct PorterLayer<P> {
    patience: Duration,
    instruments: Instruments,
    peer: PhantomData<fn() -> P>,
}

/// Lets calls in.
#[derive(Debug)]
pub(in crate::api) struct Porter<S, P> {
    inner: S,
    patience: Duration,
    instruments: Instruments,
    peer: PhantomData<fn() -> P>,
}

impl<P> PorterLayer<P> {
    /// Gives requests so long to come, and has calls counted.
    pub(in crate::api) fn new(patience: Duration, instruments: Instruments) -> Self {
        Self {
            patience,
            instruments,
            peer: PhantomData,
        }
    }
}

impl<P> Clone for PorterLayer<P> {
    fn clone(&self) -> Self {
        Self::new(self.patience, self.instruments.clone())
    }
}

impl<S: Clone, P> Clone for Porter<S, P> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            patience: self.patience,
            instruments: self.instruments.clone(),
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
            instruments: self.instruments.clone(),
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
        let mut rpc = self.instruments.rpc(method(request.uri().path()));
        let call = match seat.call() {
            Ok(call) => call,
            Err(error) => {
                let status = Status::from(error);
                rpc.ends(status.code() as i32);
                return Box::pin(async move { Ok(status.into_http()) });
            }
        };
        request.extensions_mut().insert(peer);
        let patience = self.patience;
        let answer = self
            .inner
            .call(request.map(|body| InTime::body(body, patience)));
        Box::pin(async move {
            let mut answer = answer.await?;
            if let Some(code) = code(answer.headers()) {
                rpc.ends(code);
            }
            Ok(match unpack(&mut answer) {
                Some(watch) => answer.map(|_| Held::body(watch, call, rpc)),
                None => answer.map(|body| Held::body(body, call, rpc)),
            })
        })
    }
}

/// The name of a call of the API; whatever else callers think of is one.
fn method(path: &str) -> &'static str {
    let known = path.strip_prefix(API).and_then(policy::call);
    known.map_or("other", |(name, _)| name)
}
