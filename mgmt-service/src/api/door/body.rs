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
pub(super) struct Held<B> {
    body: B,
    _call: OpenCall,
    rpc: OpenRpc,
}

impl<B> Held<B>
where
    B: HttpBody<Data = Bytes, Error = Status> + Send + Unpin + 'static,
{
    pub(super) fn body(body: B, call: OpenCall, rpc: OpenRpc) -> Body {
        Body::new(Self {
            body,
            _call: call,
            rpc,
        })
    }
}

/// The code of a call, where its headers or trailers tell it.
pub(super) fn code(headers: &HeaderMap) -> Option<i32> {
    let status = Status::from_header_map(headers)?;
    Some(status.code() as i32)
}

impl<B: HttpBody<Data = Bytes, Error = Status> + Unpin> HttpBody for Held<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let code = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.trailers_ref().and_then(code),
            Poll::Ready(Some(Err(status))) => Some(status.code() as i32),
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

#[cfg(test)]
mod tests {
    use daemon::admin::Pages as _;
    use tonic::Code;

    use crate::metrics::Instruments;

    #[test]
    fn a_call_is_counted_by_the_name_of_its_code() {
        let instruments = Instruments::new(std::time::Duration::MAX, &[]);
        for code in 0..=16 {
            instruments.rpc("Reboot").ends(code);
        }
        drop(instruments.rpc("WatchReboot"));
        let metrics = instruments.metrics();
        for code in (0..=16).map(Code::from_i32) {
            let counted = format!("{{method=\"Reboot\",code=\"{code:?}\"}} 1");
            assert!(metrics.contains(&counted), "{counted}: {metrics}");
        }
        let given_up = "{method=\"WatchReboot\",code=\"Cancelled\"} 1";
        assert!(metrics.contains(given_up), "{metrics}");
    }
}
