//! A local device that does what a test says, and what it told the hub.

use rumqttc::{AsyncClient, Event, LastWill, MqttOptions, Packet, QoS};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle, time};

use crate::{LOCAL_PASSWORD, PATIENCE, World, eventually};

/// A device of the test's own, where the gateway meets its devices.
#[derive(Debug)]
pub struct Pump {
    id: String,
    client: AsyncClient,
    packets: mpsc::UnboundedReceiver<Packet>,
    poll: JoinHandle<()>,
}

impl Pump {
    /// Connects.
    pub async fn connect(world: &World, id: &str) -> Self {
        Self::connect_with(world, id, None).await
    }

    /// Connects with a last will: its topic and its payload.
    pub async fn connect_with(world: &World, id: &str, will: Option<(&str, &str)>) -> Self {
        let address = world.local_mqtt_address();
        let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
        options.set_credentials(id, LOCAL_PASSWORD);
        options.set_max_packet_size(512 * 1024, 512 * 1024);
        if let Some((topic, payload)) = will {
            options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, true));
        }
        let (client, mut events) = AsyncClient::new(options, 256);
        let (sender, packets) = mpsc::unbounded_channel();
        let poll = tokio::spawn(async move {
            // One connection, and no other after it.
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(packet) = event {
                    let _ = sender.send(packet);
                }
            }
        });
        let mut pump = Self {
            id: id.to_owned(),
            client,
            packets,
            poll,
        };
        assert!(matches!(pump.packet().await, Some(Packet::ConnAck(_))));
        pump
    }

    /// The next packet; none any more once the connection has ended.
    pub async fn packet(&mut self) -> Option<Packet> {
        let packet = time::timeout(PATIENCE, self.packets.recv()).await;
        packet.expect("a packet comes")
    }

    /// Says something on a topic below its own.
    pub async fn says(&self, name: &str, payload: impl Into<Vec<u8>>) {
        let topic = format!("dm/{}/{name}", self.id);
        self.publishes(&topic, payload).await;
    }

    /// Says something anywhere.
    pub async fn publishes(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        let sent = self.client.publish(topic, QoS::AtLeastOnce, false, payload);
        sent.await.expect("publish");
    }

    /// Waits until so many messages are acknowledged.
    pub async fn acknowledged(&mut self, mut count: usize) {
        while count > 0 {
            if let Packet::PubAck(_) = self.packet().await.expect("it stays connected") {
                count -= 1;
            }
        }
    }

    /// Subscribes below its own topics.
    pub async fn hears(&self, filter: &str) {
        self.subscribes(&format!("dm/{}/{filter}", self.id)).await;
    }

    /// Subscribes to a filter.
    pub async fn subscribes(&self, filter: &str) {
        let sent = self.client.subscribe(filter, QoS::AtLeastOnce);
        sent.await.expect("subscribe");
    }

    /// The next word of whether a gateway is at its broker.
    pub async fn says_of_gateway(&mut self) -> String {
        loop {
            if let Some(Packet::Publish(publish)) = self.packet().await
                && publish.topic.starts_with("dm-gateway/")
            {
                return String::from_utf8_lossy(&publish.payload).into_owned();
            }
        }
    }

    /// The next message on a topic below its own.
    pub async fn told(&mut self, name: &str) -> Value {
        let topic = format!("dm/{}/{name}", self.id);
        loop {
            if let Some(Packet::Publish(publish)) = self.packet().await
                && publish.topic == topic
            {
                return serde_json::from_slice(&publish.payload).expect("JSON");
            }
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

impl World {
    /// The numbers that the hub got as telemetry, in the order in which it got each for the first time.
    pub fn arrived(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        for message in self.emulator.telemetry() {
            let number = serde_json::from_slice(&message.payload).expect("a number");
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        numbers
    }

    /// Waits until the hub has so many numbers, and asserts that they are those.
    pub async fn all_arrived(&self, expected: &[u64]) {
        eventually("the telemetry arrives", PATIENCE, async || {
            (self.arrived().len() >= expected.len()).then_some(())
        })
        .await;
        assert_eq!(self.arrived(), expected);
    }
}
