//! Local devices of a gateway, as docs/native-mqtt.md has them: they reboot when they are told to.

use std::time::Duration;

use anyhow::ensure;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, PubAck, Publish, Subscribe};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::{gateway::LOCAL_PASSWORD, packets::Packets};

/// For how long a device is away when it reboots.
const AWAY: Duration = Duration::from_millis(50);

/// A device of the local network.
#[derive(Debug)]
pub(crate) struct LocalDevice {
    id: String,
    broker: String,
    boots: u64,
    /// The command that caused the present boot.
    cause: Option<Value>,
}

/// A connection of it.
struct Connection {
    packets: Packets<TcpStream>,
    pkid: u16,
}

impl LocalDevice {
    pub(crate) fn new(id: &str, broker: &str) -> Self {
        Self {
            id: id.to_owned(),
            broker: broker.to_owned(),
            boots: 1,
            cause: None,
        }
    }

    /// Lives until it is dropped: boots, says so, reboots when told to, and reports what it is given.
    /// `up` hears of every boot.
    pub(crate) async fn live(
        mut self,
        up: mpsc::Sender<()>,
        mut reports: mpsc::Receiver<Value>,
    ) -> anyhow::Result<()> {
        loop {
            // The endpoint lets few in at once that have not signed in; the others come again.
            let mut connection = loop {
                match self.boot().await {
                    Ok(connection) => break connection,
                    Err(_) => tokio::time::sleep(AWAY).await,
                }
            };
            up.send(()).await?;
            let command = loop {
                tokio::select! {
                    packet = connection.packets.next() => {
                        if let Packet::Publish(command) = packet? {
                            break command;
                        }
                    }
                    Some(report) = reports.recv() => {
                        connection.publish(&self.topic("twin/reported"), &report).await?;
                    }
                }
            };
            let order: Value = serde_json::from_slice(&command.payload)?;
            let ack = json!({"v": 1, "id": order["id"], "accepted": true});
            connection
                .packets
                .send(&[Packet::PubAck(PubAck::new(command.pkid))])
                .await?;
            connection.publish(&self.topic("ack"), &ack).await?;
            drop(connection);
            tokio::time::sleep(AWAY).await;
            self.cause = Some(order["id"].clone());
            self.boots += 1;
        }
    }

    async fn boot(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(&self.broker).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection {
            packets: Packets::new(stream),
            pkid: 0,
        };
        let mut connect = Connect::new(&self.id);
        connect.set_login(&self.id, LOCAL_PASSWORD);
        connect.keep_alive = 600;
        connection.packets.send(&[Packet::Connect(connect)]).await?;
        let accepted = connection.packets.next().await?;
        ensure!(matches!(accepted, Packet::ConnAck(_)), "no CONNACK");
        let mut subscribe = Subscribe::new(self.topic("cmd/reboot"), QoS::AtLeastOnce);
        subscribe.pkid = connection.next_pkid();
        connection
            .packets
            .send(&[Packet::Subscribe(subscribe)])
            .await?;
        let mut birth = json!({"v": 1, "bootId": format!("{}-{}", self.id, self.boots)});
        if let Some(cause) = &self.cause {
            birth["causeId"] = cause.clone();
        }
        connection.publish(&self.topic("birth"), &birth).await?;
        let health = json!({"healthy": true});
        connection.publish(&self.topic("health"), &health).await?;
        Ok(connection)
    }

    fn topic(&self, name: &str) -> String {
        format!("dm/{}/{name}", self.id)
    }
}

impl Connection {
    async fn publish(&mut self, topic: &str, payload: &Value) -> anyhow::Result<()> {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload.to_string());
        publish.pkid = self.next_pkid();
        self.packets.send(&[Packet::Publish(publish)]).await
    }

    fn next_pkid(&mut self) -> u16 {
        self.pkid = self.pkid.checked_add(1).unwrap_or(1);
        self.pkid
    }
}
