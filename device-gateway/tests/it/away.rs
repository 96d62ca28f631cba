//! A hub that stops, and is there again later: what happened meanwhile arrives then.

use std::mem;

use device_gateway::config::Config;
use hub_emulator::{Emulator, EmulatorConfig};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tempfile::TempDir;
use tokio::{
    io,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    device::Script,
    world::{ID, World, within},
};

/// A device that speaks for itself.
const LAMP: &str = "lamp";

/// A world whose hub may stop. The gateway finds it at a port that stays.
struct Away {
    world: World,
    config: EmulatorConfig,
    /// Where the hub is.
    port: watch::Sender<Option<u16>>,
    door: JoinHandle<()>,
    _kept: TempDir,
}

impl Away {
    async fn start() -> Self {
        let kept = tempfile::tempdir().unwrap();
        let config = EmulatorConfig {
            ca_dir: Some(kept.path().join("ca")),
            state_file: Some(kept.path().join("hub.json")),
            ..EmulatorConfig::default()
        };
        let mut world = World::prepare("", config.clone()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = watch::Sender::new(Some(world.hub.mqtt_port()));
        let own = |port| format!("mqtt_port = {port}");
        let stays = listener.local_addr().unwrap().port();
        let text = world
            .text()
            .replace(&own(world.hub.mqtt_port()), &own(stays));
        let lamp = world.hub.device(LAMP);
        let text = format!(
            "{text}[local_mqtt]\nlisten = \"127.0.0.1:0\"\n[[device]]\nid = \"{LAMP}\"\n\
             connection_string = \"{lamp}\"\n[device.mqtt]\npassword = \"x\"\n"
        );
        world.start_with(Config::parse(&text, world.state_dir()).unwrap());
        let away = Self {
            world,
            config,
            door: tokio::spawn(lead(listener, port.subscribe())),
            port,
            _kept: kept,
        };
        away.connected().await;
        away
    }

    async fn connected(&self) {
        self.world.connected().await;
        within(self.world.hub.callable(LAMP)).await;
    }

    async fn leave(&mut self) {
        self.port.send_replace(None);
        let nobody = Emulator::start(EmulatorConfig::default()).await.unwrap();
        let hub = mem::replace(&mut self.world.hub, nobody);
        within(hub.shutdown()).await;
    }

    async fn come_back(&mut self) {
        self.world.hub = Emulator::start(self.config.clone()).await.unwrap();
        self.port.send_replace(Some(self.world.hub.mqtt_port()));
        self.connected().await;
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.door.abort();
    }
}

/// Leads to the hub; while it is away, to nobody.
async fn lead(door: TcpListener, port: watch::Receiver<Option<u16>>) {
    loop {
        let (mut gateway, _) = door.accept().await.unwrap();
        let Some(port) = *port.borrow() else { continue };
        tokio::spawn(async move {
            // It may have stopped just now.
            if let Ok(mut hub) = TcpStream::connect(("127.0.0.1", port)).await {
                let _ = io::copy_bidirectional(&mut gateway, &mut hub).await;
            }
        });
    }
}

#[tokio::test]
async fn what_happened_while_the_hub_was_away_arrives_in_its_order() {
    let mut away = Away::start().await;
    away.world.device.follow(Script::Waits);
    away.world.reboot().await;
    within(away.world.device.ordered()).await;
    away.world.state("REBOOTING").await;
    away.leave().await;

    away.world.device.boot(Some(ID.parse().unwrap()));
    let address = away.world.local_mqtt();
    let mut options = MqttOptions::new(LAMP, address.ip().to_string(), address.port());
    options.set_credentials(LAMP, "x");
    let (client, mut events) = AsyncClient::new(options, 64);
    let said: Vec<_> = (0..30_u8).map(|number| vec![number]).collect();
    for said in &said {
        let topic = format!("dm/{LAMP}/telemetry");
        let publish = client.publish(topic, QoS::AtLeastOnce, false, said.clone());
        publish.await.unwrap();
    }
    let mut stored = 0;
    while stored < said.len() {
        let event = within(events.poll()).await.unwrap();
        stored += usize::from(matches!(event, Event::Incoming(Packet::PubAck(_))));
    }
    away.come_back().await;

    let report = away.world.state("SUCCEEDED").await;
    for state in ["ACCEPTED", "REBOOTING", "VERIFYING", "SUCCEEDED"] {
        assert!(report["timeline"][state].is_string(), "{state}: {report}");
    }
    let all = u64::try_from(said.len()).unwrap();
    within(
        away.world
            .hub
            .counted(|counters| counters.telemetry.total >= all),
    )
    .await;
    let heard = away.world.hub.telemetry();
    let mut heard: Vec<_> = heard
        .iter()
        .map(|message| message.payload.to_vec())
        .collect();
    // One whose acknowledgement was lost comes twice.
    heard.dedup();
    assert_eq!(heard, said);
    assert_eq!(away.world.device.orders().len(), 1);
}
