//! A request that has to come in time, and an answer that holds its call's place.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::{
    Status,
    body::Body,
    codegen::{Bytes, http::HeaderMap},
};

use super::OpenCall;
use crate::metrics::OpenRpc;

/// A request's body that has to come in time.
#[derive(Debug)]
pub(super) struct InTime {
    body: Body,
    limit: Pin<Box<Sleep>>,
}

impl InTime {
    pub(super) fn body(body: Body, limit: Duration) -> Body {
        Body::new(Self {
            body,
            limit: Box::pin(sleep(limit)),
        })
    }
}

impl HttpBody for InTime {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => self.limit.as_mut().poll(context).map(|()| {
                let message = "the request did not come in time";
                Some(Err(Status::deadline_exceeded(message)))
            }),
            ready @ Poll::Ready(_) => ready,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body that holds its call's place until it is over, and tells how it ended.
#[derive(Debug)]
pub(super) struct Held {
    body: Body,
    _call: OpenCall,
    rpc: OpenRpc,
}

impl Held {
    pub(super) fn body(body: Body, call: OpenCall, rpc: OpenRpc) -> Body {
        Body::new(Self {
            body,
            _call: call,
            rpc,
        })
    }
}

/// The code of a call, where its headers or trailers tell it.
pub(super) fn code(headers: &HeaderMap) -> Option<String> {
    let status = Status::from_header_map(headers)?;
    Some(format!("{:?}", status.code()))
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let code = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.trailers_ref().and_then(code),
            Poll::Ready(Some(Err(status))) => Some(format!("{:?}", status.code())),
            Poll::Ready(None) | Poll::Pending => None,
        };
        if let Some(code) = code {
            self.rpc.ends(code);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
