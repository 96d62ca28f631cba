//! Clients that are slow, many, rude or gone: none of them ends the emulator or makes it grow.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use hub_emulator::{ClientLimits, Emulator, EmulatorConfig, Holdings};
use rumqttc::mqttbytes::v4::Packet;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::device::{Credentials, DEADLINE, Device, METHODS, TWIN_ANSWERS, dial, dial_https};
use crate::service::Service;

/// Short enough to wait for in a test, long enough for an honest client on a busy machine.
const HASTY: ClientLimits = ClientLimits {
    handshake: Duration::from_secs(5),
    connect: Duration::from_secs(5),
    http_header: Duration::from_secs(3),
    http_body: Duration::from_secs(3),
    write: Duration::from_secs(3),
};

async fn tcp(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

/// Sends `bytes` one by one, slowly and for ever, and returns what came until the hub had enough.
async fn drip(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    let mut received = Vec::new();
    let endless = bytes.iter().chain(std::iter::repeat(&b'x'));
    let ended = async {
        for byte in endless {
            // The pause is the client's slowness, not a guess about the hub's.
            let mut answer = [0; 1024];
            tokio::select! {
                read = stream.read(&mut answer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(count) => received.extend_from_slice(&answer[..count]),
                },
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    if stream.write_all(std::slice::from_ref(byte)).await.is_err() {
                        return;
                    }
                    let _ = stream.flush().await;
                }
            }
        }
    };
    tokio::time::timeout(DEADLINE, ended)
        .await
        .expect("the hub has enough of it");
    String::from_utf8_lossy(&received).into_owned()
}

/// Waits until nothing is held for any client, and says what is when that takes too long.
async fn deserted(emulator: &Emulator) {
    let waited = tokio::time::timeout(DEADLINE, emulator.deserted()).await;
    assert!(waited.is_ok(), "{:?}", emulator.holdings());
}

/// Waits for the hub to close a connection on which nobody says anything.
async fn ends(mut stream: impl AsyncRead + Unpin) {
    let mut answer = [0; 8];
    let read = tokio::time::timeout(DEADLINE, stream.read(&mut answer));
    assert!(matches!(read.await.expect("the end"), Ok(0) | Err(_)));
}

#[tokio::test]
async fn whoever_never_finishes_what_it_began_is_shown_the_door() {
    let config = EmulatorConfig {
        limits: HASTY,
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    let mut witness = Device::connect(&emulator, "witness").await;
    witness.subscribe(TWIN_ANSWERS).await;
    let authorization = Service::owner(&emulator).authorization().to_owned();
    let body = format!(
        "PUT /devices/d?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: {authorization}\r\nContent-Length: 1000000\r\n\r\n"
    );
    // A body that goes on for ever after a header that came at once.
    let mut slow_body = dial_https(&emulator).await;
    slow_body.write_all(body.as_bytes()).await.unwrap();
    // 16 KiB are a TLS record's most, so these say that a handshake of that size begins.
    let hello = [22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc];
    // A CONNECT of 16,383 bytes.
    let connect = [
        0x10, 0xff, 0x7f, 0, 4, b'M', b'Q', b'T', b'T', 4, 0xc0, 0, 60,
    ];
    let header = b"GET /devices?api-version=2021-04-12 HTTP/1.1\r\nX-Slow: ";

    let half_a_hello = drip(tcp(emulator.mqtt_port()).await, &hello);
    let half_a_hello_https = drip(tcp(emulator.https_port()).await, &hello);
    let half_a_connect = drip(dial(&emulator).await, &connect);
    let half_a_header = drip(dial_https(&emulator).await, header);
    let (_, _, mqtt, _, http, ..) = tokio::join!(
        half_a_hello,
        half_a_hello_https,
        half_a_connect,
        half_a_header,
        drip(slow_body, b""),
        // Those who say nothing at all.
        ends(tcp(emulator.mqtt_port()).await),
        ends(tcp(emulator.https_port()).await),
        ends(dial(&emulator).await),
        ends(dial_https(&emulator).await),
    );
    assert_eq!(mqtt, "");
    assert!(http.starts_with("HTTP/1.1 400"), "{http}");

    witness.twin().await;
    drop(witness);
    deserted(&emulator).await;
}

#[tokio::test]
async fn whoever_takes_no_answers_is_shown_the_door() {
    let config = EmulatorConfig {
        limits: HASTY,
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    let _ = emulator.device("d1");
    let service = Service::owner(&emulator);
    // Large answers, so that it does not take many to fill what lies between the two.
    let desired: serde_json::Map<_, _> = (0..7)
        .map(|number| (format!("p{number}"), json!("x".repeat(4096))))
        .collect();
    let change = json!({"properties": {"desired": desired}});
    assert_eq!(service.patch("/twins/d1", &change).await.status, 200);

    let mut stream = dial_https(&emulator).await;
    let authorization = service.authorization();
    let request = format!(
        "GET /twins/d1?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: {authorization}\r\n\r\n"
    );
    let asked = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    let ended = tokio::time::timeout(DEADLINE, asked).await;
    ended.expect("the hub has enough of it");
    drop(service);
    deserted(&emulator).await;
}

#[tokio::test]
async fn a_thousand_clients_leave_nothing_behind() {
    const CLIENTS: usize = 1_000;
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let emulator = &emulator;
    let mut witness = Device::connect(emulator, "witness").await;
    witness.subscribe(TWIN_ANSWERS).await;
    let only_the_witness = emulator.holdings();
    assert_eq!(
        only_the_witness,
        Holdings {
            connections: 1,
            devices: 1,
            ..Holdings::default()
        }
    );

    let good = &Credentials::new(&emulator.device("d1"));
    let wrong = &Credentials {
        password: "SharedAccessSignature sr=x&sig=x&se=1".to_owned(),
        ..good.clone()
    };
    let client = |number: usize| async move {
        match number % 5 {
            // Each takes over from the one before, or finds nobody there.
            0 => drop(Device::connect_with(emulator, good).await),
            1 => {
                let mut device = Device::connect(emulator, &format!("d{number}")).await;
                device.send(Packet::Disconnect).await;
                device.closed().await;
            }
            2 => assert!(Device::connect_with(emulator, wrong).await.is_err()),
            3 => drop(tcp(emulator.mqtt_port()).await),
            _ => {
                let mut stream = dial_https(emulator).await;
                let _ = stream.write_all(b"\x10\xff\xff\xff\xff\r\n\r\n").await;
            }
        }
    };
    stream::iter(0..CLIENTS)
        .for_each_concurrent(8, client)
        .await;

    witness.twin().await;
    drop(witness);
    deserted(emulator).await;
    assert!(emulator.counters().mqtt_connections.total > 700);
    Device::connect(emulator, "d1").await;
}

/// The same ten thousand times, and five thousand that stay: both ends of each are in this process,
/// which may not have many more files open. Ten thousand stay in `cargo xtask bench --only
/// emulator-idle`, which shows what they take of memory. By hand, because it takes minutes:
/// `cargo test -p hub-emulator --test it -- --ignored ten_thousand`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn ten_thousand_clients_come_and_go_and_five_thousand_stay() {
    const CLIENTS: usize = 10_000;
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let emulator = &emulator;
    let credentials = &Credentials::new(&emulator.device("d1"));
    let memory = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.unwrap().split_whitespace().next().unwrap();
        number.parse::<u64>().unwrap()
    };
    let come_and_go = async |count: usize| {
        stream::iter(0..count)
            .for_each_concurrent(8, |_| async move {
                drop(Device::connect_with(emulator, credentials).await);
            })
            .await;
        deserted(emulator).await;
    };
    // What is made once, is made by then.
    come_and_go(CLIENTS / 10).await;
    let before = memory();
    come_and_go(CLIENTS).await;
    let grown = memory().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more than before");

    let held: Vec<Device> = stream::iter(0..CLIENTS / 2)
        .map(|number| async move { Device::connect(emulator, &format!("d{number}")).await })
        .buffer_unordered(8)
        .collect()
        .await;
    assert_eq!(emulator.holdings().devices, CLIENTS / 2);
    drop(held);
    deserted(emulator).await;
}

#[tokio::test]
async fn a_packet_that_says_it_is_large_ends_its_connection_before_it_is_one() {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let mut witness = Device::connect(&emulator, "witness").await;
    witness.subscribe(TWIN_ANSWERS).await;
    // 256 MiB less one byte, the most that MQTT can say: as the first packet, and as a later one.
    let mut first = dial(&emulator).await;
    first
        .write_all(&[0x10, 0xff, 0xff, 0xff, 0x7f])
        .await
        .unwrap();
    ends(first).await;
    let mut device = Device::connect(&emulator, "d1").await;
    let large = vec![0; 256 * 1024 + 1];
    device.publish("devices/d1/messages/events/", large).await;
    device.closed().await;
    witness.twin().await;
    assert_eq!(emulator.telemetry().len(), 0);
}

/// Connections whose other end vanishes without a word: no FIN, no RST, no packet.
#[tokio::test]
async fn a_device_that_vanishes_is_let_go_when_its_keep_alive_is_over() {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let mut credentials = Credentials::new(&emulator.device("d1"));
    credentials.keep_alive = 1;
    let device = Device::connect_with(&emulator, &credentials).await.unwrap();
    // It is kept open, and nobody reads or writes.
    let gone = tokio::time::timeout(DEADLINE, emulator.disconnected("d1"));
    gone.await.expect("the hub lets go of it");
    deserted(&emulator).await;
    drop(device);
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_not_waited_for() {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(METHODS).await;
    let service = Service::owner(&emulator);
    let rid = {
        let call = std::pin::pin!(service.invoke("d1", "m", json!(null)));
        let (_, rid, _) = tokio::select! {
            _ = call => panic!("nobody answered"),
            method = device.method() => method,
        };
        assert_eq!(emulator.holdings().callers, 1);
        rid
    };
    drop(service);
    // The late answer reaches nobody.
    device.answer(&rid, 200, "").await;
    drop(device);
    deserted(&emulator).await;
}
