//! The ways to a hub where MQTT's own port is closed.

use hub_emulator::EmulatorConfig;
use tokio::net::TcpListener;

use crate::{
    proxy::{Proxy, Tinyproxy},
    world::{DEVICE, World, within},
};

/// A gateway that finds the hub by these lines of `[hub]`.
async fn start(lines: impl FnOnce(&World) -> String) -> World {
    let mut world = World::prepare("", EmulatorConfig::default()).await;
    let identity = format!("connection_string = \"{}\"", world.hub.device(DEVICE));
    let config = world.config_with(&lines(&world), &identity, "");
    world.start_with(config);
    world
}

fn websocket_port(world: &World) -> String {
    format!("websocket_port = {}", world.hub.https_port())
}

/// A port where nobody speaks TLS.
async fn closed_port() -> (TcpListener, String) {
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = door.local_addr().unwrap().port();
    (door, format!("mqtt_port = {port}"))
}

#[tokio::test]
async fn websockets_carry_a_reboot() {
    let world =
        start(|world| format!("transport = \"websockets\"\n{}", websocket_port(world))).await;
    world.connected().await;
    world.reboot().await;
    world.state("SUCCEEDED").await;
    let counters = world.hub.counters();
    assert_eq!(counters.mqtt_connections.total, 0);
}

#[tokio::test]
async fn another_way_is_tried_where_that_is_asked_for() {
    let (door, closed) = closed_port().await;
    tokio::spawn(async move { while door.accept().await.is_ok() {} });
    let lines =
        |world: &World| format!("transport = \"auto\"\n{closed}\n{}", websocket_port(world));
    let world = start(lines).await;
    world.connected().await;
}

#[tokio::test]
async fn no_other_way_is_tried_where_nobody_asked_for_it() {
    let (door, closed) = closed_port().await;
    let world = start(|world| format!("{closed}\n{}", websocket_port(world))).await;
    for _ in 0..4 {
        drop(within(door.accept()).await.unwrap());
    }
    assert!(!world.hub.is_connected(DEVICE));
    assert_eq!(world.hub.counters().connects.total, 0);
}

#[tokio::test]
async fn a_proxy_leads_to_the_hub_by_either_way() {
    for transport in ["mqtt", "websockets"] {
        let proxy = Proxy::start(Some("Proxy-Authorization: Basic dXNlcjpwOmFzcw==")).await;
        let world = start(|world| {
            format!(
                "transport = \"{transport}\"\nproxy = \"http://user:p%3Aass@{}\"\nmqtt_port = {}\n{}",
                proxy.address,
                world.hub.mqtt_port(),
                websocket_port(world)
            )
        })
        .await;
        world.connected().await;
        world.reboot().await;
        world.state("SUCCEEDED").await;
        let port = match transport {
            "mqtt" => world.hub.mqtt_port(),
            _ => world.hub.https_port(),
        };
        assert_eq!(
            proxy.asked(),
            [format!("CONNECT localhost:{port} HTTP/1.1")]
        );
    }
}

#[tokio::test]
async fn a_real_proxy_leads_to_the_hub() {
    let proxy = Tinyproxy::start();
    let world = start(|world| {
        let port = world.hub.mqtt_port();
        format!(
            "proxy = \"http://user:pass@{}\"\nmqtt_port = {port}",
            proxy.address
        )
    })
    .await;
    world.connected().await;
    world.reboot().await;
    world.state("SUCCEEDED").await;
    let asked = format!("CONNECT localhost:{}", world.hub.mqtt_port());
    assert!(proxy.log().contains(&asked), "{}", proxy.log());
}

#[tokio::test]
async fn a_proxy_that_refuses_the_login_is_tried_again_and_nothing_goes_around_it() {
    let mut proxy = Proxy::start(Some("Proxy-Authorization: none")).await;
    let world = start(|world| {
        let port = world.hub.mqtt_port();
        format!("proxy = \"http://{}\"\nmqtt_port = {port}", proxy.address)
    })
    .await;
    proxy.asked_at_least(3).await;
    assert_eq!(world.hub.counters().mqtt_connections.total, 0);
}

#[tokio::test]
async fn the_way_to_a_host_that_is_named_goes_around_the_proxy() {
    let proxy = Proxy::start(None).await;
    let world = start(|world| {
        let port = world.hub.mqtt_port();
        format!(
            "proxy = \"http://{}\"\nno_proxy = [\"localhost\"]\nmqtt_port = {port}",
            proxy.address
        )
    })
    .await;
    world.connected().await;
    assert!(proxy.asked().is_empty());
}
