//! A front door: accepts TCP connections, completes TLS, and hands each to its protocol.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mqtt_wire::tls::ServerStream;
use rustls::{HandshakeKind, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::counters::{Meter, Meters};
use crate::switchboard::Switchboard;

/// How long to let others close their files when there are none left to open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One listening port and what its connections need.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) switchboard: Arc<Switchboard>,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

impl Door {
    /// Serves connections until shutdown, each in a task of its own. A connection's task is
    /// dropped where it stands on shutdown and when the hub becomes unreachable.
    pub(crate) async fn serve<F, Fut>(self, connections: fn(&mut Meters) -> &mut Meter, serve: F)
    where
        F: Fn(ServerStream<TcpStream>, Arc<Switchboard>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        while let Some(accepted) = self
            .shutdown
            .run_until_cancelled(self.listener.accept())
            .await
        {
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let paused = self.switchboard.paused();
            if *paused.borrow() {
                continue;
            }
            let open = Open::new(&self.switchboard, connections);
            let (tls, switchboard) = (self.tls.clone(), self.switchboard.clone());
            let serve = serve.clone();
            let shutdown = self.shutdown.clone();
            let task = async move {
                let _open = open;
                let mut paused = paused;
                tokio::select! {
                    // Made here: what is moved into a task has its room twice.
                    () = serve_one(socket, tls, switchboard, serve) => {}
                    () = shutdown.cancelled() => {}
                    _ = paused.wait_for(|paused| *paused) => {}
                }
            };
            self.tasks
                .spawn(task.instrument(tracing::debug_span!("connection", %peer)));
        }
    }
}

/// A connection that counts as open until it is dropped.
struct Open(Arc<Switchboard>);

impl Open {
    fn new(switchboard: &Arc<Switchboard>, connections: fn(&mut Meters) -> &mut Meter) -> Self {
        switchboard.change(|state, now| {
            connections(&mut state.meters).count_one(now.instant);
            state.open_connections += 1;
        });
        Self(Arc::clone(switchboard))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.change(|state, _| state.open_connections -= 1);
    }
}

async fn serve_one<F, Fut>(
    socket: TcpStream,
    tls: Arc<ServerConfig>,
    switchboard: Arc<Switchboard>,
    serve: F,
) where
    F: Fn(ServerStream<TcpStream>, Arc<Switchboard>) -> Fut,
    Fut: Future<Output = ()>,
{
    // Boxed, because the connection's task would keep the room for it as long as the device stays.
    let handshake = Box::pin(handshake(socket, tls, switchboard.config.limits.handshake));
    match handshake.await {
        Ok(stream) => {
            let resumed = stream.state().handshake_kind() == Some(HandshakeKind::Resumed);
            switchboard.change(|state, now| {
                state.meters.tls_handshakes.count_one(now.instant);
                if resumed {
                    state.meters.tls_resumed.count_one(now.instant);
                }
            });
            serve(stream, switchboard).await;
        }
        Err(error) => tracing::debug!(%error, "no TLS connection came about"),
    }
}

async fn handshake(
    socket: TcpStream,
    tls: Arc<ServerConfig>,
    limit: Duration,
) -> io::Result<ServerStream<TcpStream>> {
    // Small answers must not wait for more bytes to fill a packet.
    socket.set_nodelay(true)?;
    match tokio::time::timeout(limit, ServerStream::accept(tls, socket)).await {
        Ok(stream) => stream,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "handshake not finished in time",
        )),
    }
}
