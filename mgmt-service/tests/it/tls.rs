//! The listener's TLS: who is shaken hands with, for how long, and what changes without a restart.

use std::time::Duration;

use iothubdm_proto::v1::{GetDeviceRequest, device_management_client::DeviceManagementClient};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use crate::{
    secured::{
        ACCESS, Authority, STATIC, Secured, TLS, client_config, client_config_of, shake_hands,
    },
    world::within,
};

fn pump() -> GetDeviceRequest {
    GetDeviceRequest {
        name: "devices/pump-1".into(),
    }
}

#[tokio::test]
async fn slow_hands_hold_up_nobody_and_are_let_go() {
    let tls = format!("{TLS}handshake_timeout = \"1s\"\n");
    let world = Secured::with(&tls, ACCESS).await;
    world.emulator.register(&"pump-1".parse().unwrap());
    let mut slow = Vec::new();
    for _ in 0..64 {
        slow.push(TcpStream::connect(world.address).await.unwrap());
    }
    let mut client = world.bearer(STATIC).await;
    within(client.get_device(pump())).await.unwrap();
    for stream in &mut slow {
        let mut byte = [0];
        let end = within(stream.read(&mut byte)).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
}

#[tokio::test]
async fn what_is_no_tls_ends_that_connection_alone() {
    let world = Secured::start().await;
    world.emulator.register(&"pump-1".parse().unwrap());
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &[0xff; 100],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // An alert, or nothing; and then the end.
        let _ = within(stream.read_to_end(&mut answer)).await;
        assert!(answer.len() < 16, "{answer:?}");
    }
    let mut client = world.bearer(STATIC).await;
    client.get_device(pump()).await.unwrap();
}

#[tokio::test]
async fn tls_1_2_and_1_3_and_only_http_2() {
    let world = Secured::start().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = client_config_of(&[version], &world.authority, None);
        let stream = shake_hands(config, world.address).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(session.protocol_version(), Some(version.version));
    }
    let mut old = client_config(&world.authority, None);
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert!(shake_hands(old, world.address).await.is_err());
}

#[tokio::test]
async fn a_certificate_can_be_asked_of_everybody() {
    let tls = format!("{TLS}client_certificates = \"required\"\n");
    let world = Secured::with(&tls, ACCESS).await;
    world.emulator.register(&"pump-1".parse().unwrap());
    let certified = world.authority.certify_uri("spiffe://example.com/rollout");
    let mut good = world.client(Some(&certified), None).await.unwrap();
    good.get_device(pump()).await.unwrap();
    // With TLS 1.3 the client learns of the refusal after its own part of the handshake.
    if let Ok(mut client) = world.client(None, Some(STATIC)).await {
        let status = client.get_device(pump()).await.unwrap_err();
        assert_ne!(status.code(), Code::NotFound);
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_a_bad_one_never() {
    let world = Secured::start().await;
    world.emulator.register(&"pump-1".parse().unwrap());
    let mut before = world.bearer(STATIC).await;
    before.get_device(pump()).await.unwrap();
    let next = Authority::new("next");
    world.renew(&next);
    let channel = within(async {
        loop {
            if let Ok(channel) = world.channel(&next, None).await {
                return channel;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut after = DeviceManagementClient::new(channel.await);
    let status = after.get_device(pump()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    // An open connection goes on.
    before.get_device(pump()).await.unwrap();
    world.write("server.key", "no key");
    world.reload.now();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(world.channel(&next, None).await.is_ok());
}

#[tokio::test]
async fn connections_of_an_authority_that_is_gone_are_ended() {
    let world = Secured::start().await;
    world.emulator.register(&"pump-1".parse().unwrap());
    let certified = world.authority.certify_uri("spiffe://example.com/rollout");
    let mut client = world.client(Some(&certified), None).await.unwrap();
    client.get_device(pump()).await.unwrap();
    let next = Authority::new("next");
    world.write("callers.pem", &next.pem());
    within(async {
        while client.get_device(pump()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let renewed = next.certify_uri("spiffe://example.com/rollout");
    let mut client = world.client(Some(&renewed), None).await.unwrap();
    client.get_device(pump()).await.unwrap();
}
