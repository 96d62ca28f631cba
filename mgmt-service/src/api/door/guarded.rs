//! A connection that has a place, and ends when it makes no use of it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tonic::transport::server::Connected;

use super::Seat;

/// A connection with its place.
#[derive(Debug)]
pub(in crate::api) struct Guarded<IO> {
    io: IO,
    seat: Arc<Seat>,
    timer: Pin<Box<Sleep>>,
    /// Something was received.
    heard: bool,
}

/// What a call knows of its connection.
#[derive(Debug, Clone)]
pub(in crate::api) struct Origin<P> {
    pub(super) seat: Arc<Seat>,
    pub(super) peer: P,
}

impl<IO> Guarded<IO> {
    /// Guards a connection.
    pub(in crate::api) fn new(io: IO, seat: Arc<Seat>) -> Self {
        let patience = seat.door.limits.patience;
        Self {
            timer: Box::pin(sleep_until(Instant::now() + patience)),
            io,
            seat,
            heard: false,
        }
    }

    /// Ends in an error once the connection has made no use of its place for too long.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let limits = &self.seat.door.limits;
            let now = Instant::now();
            let ends_at = match self.seat.ends_at() {
                _ if !self.heard => now,
                Some(at) => at.into(),
                // A call is open; when it ends, the time begins anew.
                None => now + limits.idle,
            };
            if ends_at <= now {
                let why = "the connection made no use of its place";
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            self.timer.as_mut().reset(ends_at);
        }
    }
}

impl<IO: Connected> Connected for Guarded<IO> {
    type ConnectInfo = Origin<IO::ConnectInfo>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Origin {
            seat: self.seat.clone(),
            peer: self.io.connect_info(),
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.io).poll_read(context, buffer) {
            Poll::Ready(result) => {
                if buffer.filled().len() > before && !self.heard {
                    self.heard = true;
                }
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_idle(context).map(Err),
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
