//! A connection that has a place, and ends when it makes no use of it.
//!
//! What many streams have to say at the same moment leaves it together. HTTP/2's library writes as
//! soon as the first of them has something, and the streams' tasks run one after the other: so the
//! first write waits until the tasks that are ready by then have had their turn. And it writes a
//! payload of more than 256 bytes by itself where it may write in pieces, so it may not: then it
//! gathers those of up to a kilobyte, and a watch's messages are of that size. A write is a call of
//! the kernel that wakes the other end.

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
    /// Others have had their turn to say something, too.
    yielded: bool,
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
            yielded: false,
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
        if !self.yielded {
            self.yielded = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.yielded = false;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{super::Door, *};
    use crate::{config::Limits, wakes::Wakes};

    /// Keeps each write by itself.
    #[derive(Debug, Default)]
    struct Written(Vec<Vec<u8>>);

    impl AsyncWrite for Written {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn the_first_write_after_a_flush_lets_others_speak_first() {
        let seat = Door::new(Limits::default()).enter(None::<IpAddr>).unwrap();
        let mut guarded = Guarded::new(Written::default(), seat);
        let (wakes, waker) = Wakes::counted();
        let mut context = Context::from_waker(&waker);
        for round in 1..=2 {
            let first = Pin::new(&mut guarded).poll_write(&mut context, b"one");
            assert!(first.is_pending());
            assert_eq!(wakes.count(), round, "it goes on by itself");
            assert_eq!(guarded.io.0.len(), 2 * (round - 1));
            for bytes in [b"one", b"two"] {
                let written = Pin::new(&mut guarded).poll_write(&mut context, bytes);
                assert!(matches!(written, Poll::Ready(Ok(3))));
            }
            let flushed = Pin::new(&mut guarded).poll_flush(&mut context);
            assert!(matches!(flushed, Poll::Ready(Ok(()))));
        }
        assert_eq!(guarded.io.0, [b"one", b"two", b"one", b"two"]);
        assert!(!guarded.is_write_vectored(), "small payloads are gathered");
    }
}
