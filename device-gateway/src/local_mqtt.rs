//! The MQTT endpoint for devices on the local network.
//!
//! It is not a broker. Every device has an account and a corner of its own, the topics below
//! `dm/{its id}/`, and nobody in that corner but itself and the gateway. So no device can see,
//! speak for, slow down or fill up another. A device whose protocol has other names for its topics
//! has those besides; nothing is retained there, since nobody else could read it.
//!
//! ```text
//!   device ══ TCP, MQTT 3.1.1 ══► connection ──► session ──► events ──► driver
//!                                     ▲             ▲                      │
//!                                     └── wake ─────┴────── publish ◄──────┘
//! ```
//!
//! - [`LocalMqtt`] listens; [`LocalDevice`] is what a driver gets of it.
//! - `session`: the protocol's rules for one connection, as a pure state machine.
//! - `connection`: sign-in, deadlines, take-over, and the socket.
//!
//! - `broker`: somebody else's broker instead, with the same accounts and no connections of devices.
//!
//! Everything that a device can make grow has a bound, and a device that breaks a rule loses its
//! connection and nothing else.

mod account;
mod accounts;
mod broker;
mod connection;
mod session;
mod strangers;
mod topics;

pub(crate) use session::fuzz;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use account::Account;
pub(crate) use accounts::Accounts;
pub(crate) use broker::{BrokerClient, BrokerSettings};
use bytes::Bytes;
use connection::Ended;
use secrecy::SecretString;
use strangers::Strangers;
use tokio::{net::TcpListener, sync::oneshot, time};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
pub use topics::Elsewhere;
pub(crate) use topics::own_prefix;

use crate::queue::Receiver;

/// How long to wait when no connection can be accepted, as when there are no file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The endpoint, bound and not yet serving.
#[derive(Debug)]
pub struct LocalMqtt {
    listener: TcpListener,
    address: SocketAddr,
    accounts: Accounts,
}

/// Why the endpoint cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LocalMqttError {
    /// The address cannot be listened on.
    #[error("listen on {address}")]
    Bind {
        /// The address as configured.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A device id that cannot be a part of a topic.
    #[error("device id {0:?} cannot be used on MQTT: it has to be free of '/', '+' and '#'")]
    DeviceId(String),
}

impl LocalMqtt {
    /// Listens for those devices, each with its password. Nothing is accepted before
    /// [`LocalMqtt::serve`], so that drivers can subscribe first.
    pub async fn bind(
        address: SocketAddr,
        devices: impl IntoIterator<Item = (String, SecretString)>,
    ) -> Result<Self, LocalMqttError> {
        let accounts = Accounts::default();
        for (device, password) in devices {
            accounts.admit(&device, Some(password), Elsewhere::default())?;
        }
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = bound
            .await
            .map_err(|source| LocalMqttError::Bind { address, source })?;
        Ok(Self {
            listener,
            address,
            accounts,
        })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The gateway's end of one device.
    pub fn device(&self, device: &str) -> Option<LocalDevice> {
        self.accounts.device(device)
    }

    /// Who may sign in, to be changed at any time.
    pub(crate) fn accounts(&self) -> Accounts {
        self.accounts.clone()
    }

    /// Serves until told to stop; then every connection is closed.
    pub async fn serve(self, shutdown: CancellationToken) {
        let mut strangers = Strangers::default();
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a local device");
                    time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let stranger = strangers.admit();
            // Messages are small and their order matters more than their packing.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            let served = connection::serve(stream, self.accounts.clone(), stranger);
            let shutdown = shutdown.clone();
            connections.spawn(async move {
                let ended = tokio::select! {
                    ended = served => ended,
                    () = shutdown.cancelled() => return,
                };
                match ended {
                    // There may be any number of them, and they are told of together.
                    Ok(()) | Err(Ended::Crowded) => {}
                    Err(error) => {
                        tracing::info!(%peer, %error, "closed a local device's connection");
                    }
                }
            });
        }
        connections.close();
        connections.wait().await;
    }
}

/// What a device did, in the order it did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It signed in.
    Connected,
    /// Its connection ended, for whatever reason.
    Disconnected,
    /// Nothing is known of it until it is heard again: the line to its broker is cut.
    Unheard,
    /// It sent a message, or left one as its last will. It is news at this moment: what a device
    /// retained on an earlier connection is never told again.
    Message {
        /// The topic, without the device's prefix.
        name: String,
        /// The payload, of which nothing is known.
        payload: Bytes,
    },
    /// The same where the device's protocol has names of its own.
    Elsewhere {
        /// The topic.
        topic: String,
        /// The payload, of which nothing is known.
        payload: Bytes,
    },
}

/// Somebody who has to know what a device does.
///
/// It is a call and neither a queue nor a task: each device has a listener, most of them nothing to say,
/// and a queue with its task would be half a kilobyte for each.
pub(crate) trait Listener: fmt::Debug + Send + Sync {
    /// The device did that just now. Its connection waits meanwhile, so this takes a look and no more. Should
    /// it panic, it is told that the device is unheard, and the device has to connect anew.
    fn hear(&self, event: &Event);
}

/// A message of a device for the hub.
#[derive(Debug)]
pub struct Inbound {
    /// The topic, without the device's prefix.
    pub name: String,
    /// The payload, of which nothing is known.
    pub payload: Bytes,
    kept: oneshot::Sender<bool>,
}

impl Inbound {
    /// Says whether the message need not be sent again: it is kept, or refused for good. Without an
    /// answer it is not acknowledged.
    pub fn answer(self, kept: bool) {
        // The device's connection may have ended meanwhile.
        let _ = self.kept.send(kept);
    }
}

/// Says whether messages on the topic of that name are for the hub.
fn is_for_hub(name: &str) -> bool {
    name == "twin/reported" || name == "telemetry" || name.starts_with("telemetry/")
}

/// The gateway's end of one device.
#[derive(Debug, Clone)]
pub struct LocalDevice {
    account: Arc<Account>,
}

/// Why a message was not sent to a device. In each case it certainly did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It is not there.
    #[error("it is not connected")]
    NotConnected,
    /// It would not get the message.
    #[error("it has not subscribed to the message's topic")]
    NotSubscribed,
    /// It does not read.
    #[error("it does not read what it is sent")]
    Busy,
    /// Nobody knows whether it is there.
    #[error("its broker cannot be reached")]
    NoBroker,
}

impl LocalDevice {
    /// Has somebody hear everything the device does from now on, for as long as that somebody lives.
    pub(crate) fn listen<L: Listener + 'static>(&self, listener: &Arc<L>) {
        let listener = Arc::downgrade(listener);
        self.account.listen(listener);
    }

    /// It is the same device with the same right to sign in.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.account, &other.account)
    }

    /// Everything the device has for the hub from now on; the device's connection waits for the answer
    /// to each. One receiver takes over from the one before.
    pub(crate) fn bridge(&self) -> Receiver<Inbound> {
        self.account.bridge()
    }

    /// Says whether nothing that the device has for the hub can be kept, for a reason of its own, until
    /// there is a [bridge](Self::bridge) again. At the endpoint it then keeps that itself; at a broker,
    /// where others would wait behind it, it is lost.
    pub(crate) fn bar(&self, barred: bool) {
        self.account.bar(barred);
    }

    #[cfg(test)]
    pub(crate) fn is_barred(&self) -> bool {
        self.account.is_barred()
    }

    /// Sends the device a message, and keeps it for when the device subscribes: it gets the newest.
    pub fn retain(&self, name: &str, payload: impl Into<Bytes>) {
        self.account.retain(name, payload.into());
    }

    /// The whole of a topic below its own.
    pub(crate) fn own_topic(&self, name: &str) -> String {
        self.account.own_topic(name)
    }

    /// Sends the device a message on the topic of that name below its own, once; with QoS 1 if
    /// that is what it subscribed with. There is no word of its arrival.
    pub fn publish(&self, name: &str, payload: impl Into<Bytes>) -> Result<(), PublishError> {
        let topic = self.own_topic(name);
        self.publish_elsewhere(&topic, payload)
    }

    /// The same on any topic of the device.
    pub fn publish_elsewhere(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
    ) -> Result<(), PublishError> {
        self.account.publish(topic, &payload.into())
    }
}

#[cfg(test)]
pub(crate) mod test_device;

#[cfg(test)]
#[path = "local_mqtt/tests.rs"]
mod tests;
