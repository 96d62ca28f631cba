//! TLS between a device and its hub, for either end, with no room set aside while nothing comes or goes.
//!
//! The buffered connections of rustls keep 4 KiB to read into for as long as they live, which is more
//! than the rest of an idle device's TLS. Through its unbuffered interface the buffers are ours: what is
//! read into is on the stack of the thread that reads, and what is kept is what is unfinished.

use std::{
    io,
    ops::DerefMut,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use futures_util::future::poll_fn;
use rustls::{
    ClientConfig, CommonState, Error, ServerConfig,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::ServerName,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{
        ConnectionState, EncodeError, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus,
    },
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is read at once.
const READ: usize = 4096;

/// How much is encrypted at once.
const WRITE: usize = 16 * 1024;

/// What a record has beside its content, at most.
const AROUND: usize = 64;

/// The client's end of a connection, to a server that has shown who it is.
pub type ClientStream<S> = TlsStream<S, UnbufferedClientConnection>;

/// The server's end of a connection.
pub type ServerStream<S> = TlsStream<S, UnbufferedServerConnection>;

/// One end of a connection.
#[derive(Debug)]
pub struct TlsStream<S, E> {
    io: S,
    tls: E,
    /// The beginning of a record that has not arrived whole.
    received: Vec<u8>,
    /// What the other end said and nobody has read.
    said: BytesMut,
    /// What is encrypted and has not left.
    unsent: BytesMut,
    /// The other end has said that it says no more.
    ended: bool,
    /// It broke a rule of TLS, or is not trusted.
    failed: bool,
}

/// What a connection is ready for when all that has arrived is worked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    /// More of the handshake.
    Handshake,
    /// What the other side says, and what we say.
    Traffic,
    /// Nothing any more.
    End,
}

/// What is asked of either end, for which rustls has two types and no trait.
pub trait End: DerefMut<Target = UnbufferedConnectionCommon<Self::Data>> + Unpin {
    /// What it holds of its side alone.
    type Data;

    /// Looks at what has arrived.
    fn process<'c, 'i>(
        &'c mut self,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl End for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }
}

impl End for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientStream<S> {
    /// Shakes hands with a server of that name.
    pub async fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        io: S,
    ) -> io::Result<Self> {
        let tls = UnbufferedClientConnection::new(config, name).map_err(invalid)?;
        Self::shaken(tls, io).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ServerStream<S> {
    /// Shakes hands with a client.
    pub async fn accept(config: Arc<ServerConfig>, io: S) -> io::Result<Self> {
        let tls = UnbufferedServerConnection::new(config).map_err(invalid)?;
        Self::shaken(tls, io).await
    }
}

impl<S, E: End> TlsStream<S, E> {
    /// What is known of the other end.
    pub fn state(&self) -> &CommonState {
        &self.tls
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, E: End> TlsStream<S, E> {
    async fn shaken(tls: E, io: S) -> io::Result<Self> {
        let mut stream = Self {
            io,
            tls,
            received: Vec::new(),
            said: BytesMut::new(),
            unsent: BytesMut::new(),
            ended: false,
            failed: false,
        };
        loop {
            let ready = stream.work(Say::Nothing);
            // Also what TLS has to say to an error.
            poll_fn(|context| stream.poll_send(context)).await?;
            match ready? {
                Ready::Traffic => return Ok(stream),
                Ready::Handshake => {}
                Ready::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            if poll_fn(|context| stream.poll_receive(context)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Works through what has arrived, and encrypts what is to be said once that is possible.
    ///
    /// After an error there is nothing more to be asked of TLS, which no longer knows where it is in
    /// what has arrived, but for what it has to say to that.
    fn work(&mut self, mut say: Say<'_>) -> io::Result<Ready> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process(&mut self.received);
            let mut ready = None;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        self.said.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encrypted(&mut self.unsent, AROUND, |room| data.encode(room))?;
                }
                // It leaves before anything that is encrypted later.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::BlockedHandshake) => ready = Some(Ready::Handshake),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    match std::mem::replace(&mut say, Say::Nothing) {
                        Say::Nothing => {}
                        Say::This(content) => {
                            let room = content.len() + AROUND;
                            encrypted(&mut self.unsent, room, |room| {
                                traffic.encrypt(content, room)
                            })?;
                        }
                        Say::Farewell => {
                            encrypted(&mut self.unsent, AROUND, |room| {
                                traffic.queue_close_notify(room)
                            })?;
                        }
                    }
                    ready = Some(Ready::Traffic);
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.ended = true;
                    ready = Some(Ready::End);
                }
                Ok(other) => return Err(io::Error::other(format!("TLS asks for {other:?}"))),
                Err(error) => {
                    self.failed = true;
                    self.object()?;
                    return Err(invalid(error));
                }
            }
            self.received.drain(..discard);
            if self.received.is_empty() {
                self.received = Vec::new();
            }
            if let Some(ready) = ready {
                return Ok(ready);
            }
        }
    }

    /// Encrypts what the other end is told of an error, if anything.
    fn object(&mut self) -> io::Result<()> {
        // Without that it would look at what has arrived.
        if self.tls.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) = self.tls.process(&mut []).state
        {
            encrypted(&mut self.unsent, AROUND, |room| data.encode(room))?;
        }
        Ok(())
    }

    /// Takes in what there is; nothing, when the other end has hung up.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [0; READ];
        let mut read = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.io).poll_read(context, &mut read))?;
        self.received.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Sends what is encrypted.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(context, &self.unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(sent);
        }
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

/// What is to be said to the other end.
#[derive(Debug)]
enum Say<'a> {
    Nothing,
    This(&'a [u8]),
    /// That no more will be said.
    Farewell,
}

impl<S: AsyncRead + AsyncWrite + Unpin, E: End> AsyncRead for TlsStream<S, E> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = &mut *self;
        while stream.said.is_empty() && !stream.ended {
            if ready!(stream.poll_receive(context))? == 0 {
                // Whoever ends a conversation says so; this may be somebody who cuts it.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let worked = stream.work(Say::Nothing);
            // An answer of TLS itself. Where there is no room now, it leaves with what is said next.
            if let Poll::Ready(Err(error)) = stream.poll_send(context) {
                worked?;
                return Poll::Ready(Err(error));
            }
            worked?;
        }
        let length = stream.said.len().min(into.remaining());
        into.put_slice(&stream.said[..length]);
        stream.said.advance(length);
        if stream.said.is_empty() {
            stream.said = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, E: End> AsyncWrite for TlsStream<S, E> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<io::Result<usize>> {
        // No more is encrypted than the other end takes.
        ready!(self.poll_send(context))?;
        let content = &content[..content.len().min(WRITE)];
        if self.work(Say::This(content))? != Ready::Traffic {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if let Poll::Ready(Err(error)) = self.poll_send(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(content.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.work(Say::Farewell)?;
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Something that TLS writes tells how much room it needs.
trait Needs {
    fn room(&self) -> Option<usize>;
}

impl Needs for EncodeError {
    fn room(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(error) => Some(error.required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Needs for EncryptError {
    fn room(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(error) => Some(error.required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// Adds what TLS writes into the room it is given; with more room, where it needs that.
fn encrypted<E>(
    unsent: &mut BytesMut,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> io::Result<()>
where
    E: Needs + std::error::Error + Send + Sync + 'static,
{
    let before = unsent.len();
    unsent.resize(before + room, 0);
    let mut written = write(&mut unsent[before..]);
    if let Err(error) = &written
        && let Some(room) = error.room()
    {
        unsent.resize(before + room, 0);
        written = write(&mut unsent[before..]);
    }
    unsent.truncate(before + written.as_ref().copied().unwrap_or_default());
    written.map(drop).map_err(io::Error::other)
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
