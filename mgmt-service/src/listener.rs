//! Accepts connections, and shakes hands with each beside the others.
//!
//! ```text
//!   accept ──► handshake (a task each, with a limit) ──► queue ──► the server
//!      ▲            │ too slow, too many, not TLS
//!      └────────────┴─► closed
//! ```
//!
//! A slow or hostile peer holds up nobody but itself: handshakes under way are bounded in all and for
//! each address.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{access::Acquaintance, certificate::Certificate, tls::Tls, vital::Vital};

/// How many connections may wait for the server to take them.
const QUEUE: usize = 64;

/// How many handshakes may be under way, in all and with one address. Beyond, new connections are
/// closed at once: whoever means well tries again.
const MAX_HANDSHAKES: usize = 1024;
const MAX_HANDSHAKES_OF_ONE: usize = 128;

/// How long to pause when no connection can be accepted, for want of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How connections are secured.
#[derive(Debug, Clone)]
pub struct Secured {
    /// What is spoken with new ones.
    pub tls: watch::Receiver<Tls>,
    /// How long a handshake may take.
    pub handshake_limit: Duration,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate, if it showed one.
    pub certificate: Option<Arc<Certificate>>,
    /// As whom it has called.
    pub callers: Acquaintance,
}

/// A connection, secured or not.
#[derive(Debug)]
pub struct Connection {
    io: Io,
    peer: Peer,
    /// Ends the connection.
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Accepts connections until the shutdown.
pub fn accept(
    listener: TcpListener,
    secured: Option<Secured>,
    vital: &Vital,
    shutdown: CancellationToken,
) -> mpsc::Receiver<Connection> {
    let (queue, accepted) = mpsc::channel(QUEUE);
    vital.spawn("listener", async move {
        tokio::select! {
            () = accept_each(&listener, secured.as_ref(), &queue) => {}
            () = shutdown.cancelled() => {}
        }
    });
    accepted
}

async fn accept_each(
    listener: &TcpListener,
    secured: Option<&Secured>,
    queue: &mpsc::Sender<Connection>,
) {
    let under_way = Arc::new(UnderWay::default());
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small messages are not to wait for more. A connection that is gone already says so later.
        let _ = stream.set_nodelay(true);
        match secured {
            None => {
                let connection = Connection::plain(stream, address);
                if queue.send(connection).await.is_err() {
                    return;
                }
            }
            Some(secured) => match UnderWay::begin(&under_way, address.ip()) {
                Some(place) => {
                    let (secured, queue) = (secured.clone(), queue.clone());
                    tokio::spawn(async move {
                        let connection = shake_hands(&secured, stream, address).await;
                        drop(place);
                        if let Some(connection) = connection {
                            // A server that is gone takes no more.
                            let _ = queue.send(connection).await;
                        }
                    });
                }
                None => tracing::debug!(%address, "closed a connection: too many handshakes"),
            },
        }
    }
}

async fn shake_hands(
    secured: &Secured,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<Connection> {
    let tls = secured.tls.borrow().clone();
    let acceptor = TlsAcceptor::from(tls.config.clone());
    match timeout(secured.handshake_limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(Connection::secured(stream, address, tls.callers_checked)),
        // A peer that goes wrong is no matter for whoever runs the service, unless it is looked into.
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "failed to shake hands");
            None
        }
        Err(_) => {
            tracing::debug!(%address, "closed a connection: its handshake took too long");
            None
        }
    }
}

impl Connection {
    fn plain(stream: TcpStream, address: SocketAddr) -> Self {
        Self {
            io: Io::Plain(stream),
            peer: Peer {
                address,
                certificate: None,
                callers: Acquaintance::default(),
            },
            cut: None,
        }
    }

    fn secured(stream: TlsStream<TcpStream>, address: SocketAddr, cut: CancellationToken) -> Self {
        let (_, session) = stream.get_ref();
        let certificate = session
            .peer_certificates()
            .and_then(|chain| Certificate::read(chain.first()?))
            .map(Arc::new);
        Self {
            io: Io::Tls(Box::new(stream)),
            peer: Peer {
                address,
                certificate,
                callers: Acquaintance::default(),
            },
            cut: Some(Box::pin(cut.cancelled_owned())),
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Ends in an error once the connection has been cut.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(cut) = &mut self.cut else {
            return Ok(());
        };
        match cut.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                let why = "those who sign callers' certificates have changed";
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(context),
            Io::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

/// The handshakes under way, by address.
#[derive(Debug, Default)]
struct UnderWay {
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// One handshake's place among those under way, until it is dropped.
#[derive(Debug)]
struct Place {
    under_way: Arc<UnderWay>,
    address: IpAddr,
}

impl UnderWay {
    /// Takes a place, if there is one.
    fn begin(this: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut by_address = this.lock();
        let all: usize = by_address.values().sum();
        let of_one = by_address.get(&address).copied().unwrap_or_default();
        if all >= MAX_HANDSHAKES || of_one >= MAX_HANDSHAKES_OF_ONE {
            return None;
        }
        by_address.insert(address, of_one + 1);
        drop(by_address);
        Some(Place {
            under_way: this.clone(),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        match self.by_address.lock() {
            Ok(by_address) => by_address,
            // Each holder changes one number in one step.
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.under_way.lock();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place() {
        let under_way = Arc::new(UnderWay::default());
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let places: Vec<_> = (0..MAX_HANDSHAKES_OF_ONE)
            .map(|_| UnderWay::begin(&under_way, one).unwrap())
            .collect();
        assert!(UnderWay::begin(&under_way, one).is_none());
        assert!(UnderWay::begin(&under_way, other).is_some());
        drop(places);
        assert!(UnderWay::begin(&under_way, one).is_some());
        assert!(under_way.lock().is_empty(), "places are given back");
    }

    #[test]
    fn all_addresses_together_have_a_limit() {
        let under_way = Arc::new(UnderWay::default());
        let address = |n: usize| IpAddr::from([192, 0, 2, u8::try_from(n % 100).unwrap()]);
        let places: Vec<_> = (0..MAX_HANDSHAKES)
            .map(|n| UnderWay::begin(&under_way, address(n)).unwrap())
            .collect();
        assert!(UnderWay::begin(&under_way, "198.51.100.1".parse().unwrap()).is_none());
        drop(places);
    }
}
