//! An MQTT client for the tests of the endpoint and of its driver.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event as Incident, LastWill, MqttOptions,
    Packet, Publish, QoS, SubscribeReasonCode,
};
use tokio::{sync::mpsc, task::JoinHandle, time};

use super::{Event, Listener, LocalDevice};

/// How long anything in a test may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Waits for what has to come.
#[track_caller]
pub(crate) fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match time::timeout(LIMIT, future).await {
            Ok(output) => output,
            Err(_) => panic!("nothing came within {LIMIT:?} at {caller}"),
        }
    }
}

/// The device of tests that need only one, and its password.
pub(crate) const DEVICE: (&str, &str) = ("d1", "secret");

/// Everything that a device does from now on.
pub(crate) struct Heard {
    events: mpsc::UnboundedReceiver<Event>,
    _ear: Arc<Ear>,
}

#[derive(Debug)]
struct Ear(mpsc::UnboundedSender<Event>);

impl Listener for Ear {
    fn hear(&self, event: &Event) {
        // The test may have ended.
        let _ = self.0.send(event.clone());
    }
}

impl Heard {
    pub(crate) fn of(device: &LocalDevice) -> Self {
        let (told, events) = mpsc::unbounded_channel();
        let ear = Arc::new(Ear(told));
        device.listen(&ear);
        Self { events, _ear: ear }
    }

    /// The next thing it does.
    pub(crate) async fn next(&mut self) -> Event {
        soon(self.events.recv()).await.expect("an event")
    }

    /// The same, if it has done it.
    pub(crate) fn now(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}

/// A connected device.
pub(crate) struct TestDevice {
    id: String,
    client: AsyncClient,
    packets: mpsc::Receiver<Packet>,
    poll: JoinHandle<()>,
}

impl TestDevice {
    /// Connects as the contract asks for.
    pub(crate) async fn connect(address: SocketAddr, id: &str, password: &str) -> Self {
        let connected = Self::try_connect(options(address, id, id, password)).await;
        connected.unwrap_or_else(|code| panic!("refused: {code:?}"))
    }

    /// Connects as [`DEVICE`] with a last will of its own.
    pub(crate) async fn connect_with_will(address: SocketAddr, topic: &str, will: &str) -> Self {
        let (id, password) = DEVICE;
        let mut options = options(address, id, id, password);
        options.set_max_packet_size(2 << 20, 2 << 20);
        options.set_last_will(LastWill::new(topic, will, QoS::AtLeastOnce, true));
        let connected = Self::try_connect(options).await;
        connected.unwrap_or_else(|code| panic!("refused: {code:?}"))
    }

    /// Connects with whatever is to be tried.
    pub(crate) async fn try_connect(options: MqttOptions) -> Result<Self, ConnectReturnCode> {
        let id = options.client_id();
        let (client, mut event_loop) = AsyncClient::new(options, 64);
        match soon(event_loop.poll()).await {
            Ok(Incident::Incoming(Packet::ConnAck(_))) => {}
            Err(ConnectionError::ConnectionRefused(code)) => return Err(code),
            other => panic!("expected a CONNACK, got {other:?}"),
        }
        let (sender, packets) = mpsc::channel(256);
        let poll = tokio::spawn(async move {
            // One connection, and no other after it.
            while let Ok(event) = event_loop.poll().await {
                if let Incident::Incoming(packet) = event
                    && sender.send(packet).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Self {
            id,
            client,
            packets,
            poll,
        })
    }

    /// Publishes below its own topics, with QoS 1.
    pub(crate) async fn says(&self, name: &str, payload: impl ToString) {
        let topic = format!("dm/{}/{name}", self.id);
        let payload = payload.to_string();
        let queued = self.client.publish(topic, QoS::AtLeastOnce, false, payload);
        soon(queued).await.expect("publish");
    }

    /// Publishes anywhere.
    pub(crate) async fn publishes(&self, topic: &str, qos: QoS, retain: bool, payload: &str) {
        let queued = self.client.publish(topic, qos, retain, payload);
        soon(queued).await.expect("publish");
    }

    /// Subscribes to a filter, and waits for the answer.
    pub(crate) async fn subscribes(&mut self, filter: &str) -> SubscribeReasonCode {
        let queued = self.client.subscribe(filter, QoS::AtLeastOnce);
        soon(queued).await.expect("subscribe");
        let packet = self.packet().await;
        let Packet::SubAck(ack) = packet else {
            panic!("expected a SUBACK, got {packet:?}");
        };
        ack.return_codes[0]
    }

    /// The next packet it is sent.
    pub(crate) async fn packet(&mut self) -> Packet {
        soon(self.packets.recv()).await.expect("a packet")
    }

    /// The next message it is sent; acknowledgements are passed over.
    pub(crate) async fn message(&mut self) -> Publish {
        loop {
            if let Packet::Publish(publish) = self.packet().await {
                return publish;
            }
        }
    }

    /// Waits until the server hangs up.
    pub(crate) async fn ends(mut self) {
        soon(async { while self.packets.recv().await.is_some() {} }).await;
    }

    /// Says goodbye.
    pub(crate) async fn disconnects(self) {
        soon(self.client.disconnect()).await.expect("disconnect");
        self.ends().await;
    }

    /// Loses its power.
    pub(crate) async fn dies(self) {
        self.poll.abort();
        let _ = soon(self.poll).await;
    }
}

/// Options of a device with the will of the contract.
pub(crate) fn options(address: SocketAddr, id: &str, user: &str, password: &str) -> MqttOptions {
    let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
    options.set_credentials(user, password);
    let status = format!("dm/{id}/status");
    options.set_last_will(LastWill::new(status, "offline", QoS::AtLeastOnce, true));
    options
}
