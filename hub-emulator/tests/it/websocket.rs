//! MQTT over WebSockets on the HTTPS port.

use std::io;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use hub_emulator::{Emulator, EmulatorConfig};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use crate::device::{ByteStream, Credentials, DEADLINE, Device, METHODS, dial_https};
use crate::service::Service;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

const PLAIN: &str = "wss://localhost/$iothub/websocket";
/// As the Java SDK asks.
const WITHOUT_CERTIFICATE: &str = "wss://localhost/$iothub/websocket?iothub-no-client-cert=true";

async fn emulator() -> Emulator {
    Emulator::start(EmulatorConfig::default()).await.unwrap()
}

fn request(url: &str, headers: &[(&'static str, &'static str)]) -> Request {
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request
            .headers_mut()
            .insert(*name, HeaderValue::from_static(value));
    }
    request
}

async fn open(emulator: &Emulator, request: Request) -> Result<(Socket, Response), Error> {
    client_async(request, dial_https(emulator).await).await
}

/// A WebSocket that speaks MQTT.
async fn open_mqtt(emulator: &Emulator, url: &str) -> Socket {
    let offer = [
        ("Sec-WebSocket-Protocol", "mqtt"),
        // What Node offers.
        (
            "Sec-WebSocket-Extensions",
            "permessage-deflate; client_max_window_bits",
        ),
    ];
    let (socket, response) = open(emulator, request(url, &offer)).await.unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mqtt");
    assert!(!response.headers().contains_key("Sec-WebSocket-Extensions"));
    socket
}

/// The socket as a stream that sends its bytes in messages of so many.
fn in_messages_of(size: usize, socket: Socket) -> Box<dyn ByteStream> {
    let (sink, stream) = socket.split();
    let sink = sink
        .with_flat_map(move |bytes: Bytes| {
            let pieces: Vec<_> = bytes
                .chunks(size)
                .map(|piece| Ok::<_, Error>(Message::Binary(Bytes::copy_from_slice(piece))))
                .collect();
            stream::iter(pieces)
        })
        .sink_map_err(io::Error::other);
    let payloads = stream.map(|message| {
        let message = message.map_err(io::Error::other)?;
        assert!(message.is_binary(), "{message:?}");
        Ok::<_, io::Error>(message.into_data())
    });
    Box::new(tokio::io::join(
        StreamReader::new(payloads),
        SinkWriter::new(CopyToBytes::new(sink)),
    ))
}

#[tokio::test]
async fn packets_are_a_byte_stream_however_the_messages_are_cut() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    for (id, url, size) in [
        ("whole", PLAIN, usize::MAX),
        ("threes", WITHOUT_CERTIFICATE, 3),
        ("bytes", PLAIN, 1),
    ] {
        let credentials = Credentials::new(&emulator.device(id));
        let socket = open_mqtt(&emulator, url).await;
        let mut device = Device::connect_over(in_messages_of(size, socket), &credentials)
            .await
            .unwrap();
        device.subscribe(METHODS).await;
        let (answer, ()) = tokio::join!(service.invoke(id, "m", json!("x")), async {
            let (_, rid, payload) = device.method().await;
            assert_eq!(payload, "x");
            device.answer(&rid, 200, "7").await;
        });
        assert_eq!(answer.json(), json!({"status": 200, "payload": 7}));
        let topic = format!("devices/{id}/messages/events/");
        let packet_id = device.publish_qos1(&topic, vec![b'x'; 5_000]).await;
        device.acknowledged(packet_id).await;
        assert!(emulator.is_connected(id));
        drop(device);
        emulator.disconnected(id).await;
    }
    assert_eq!(emulator.telemetry().len(), 3);
}

#[tokio::test]
async fn both_roads_lead_to_the_same_session() {
    let emulator = emulator().await;
    let credentials = Credentials::new(&emulator.device("d1"));
    let socket = open_mqtt(&emulator, PLAIN).await;
    let mut over_websocket = Device::connect_over(in_messages_of(usize::MAX, socket), &credentials)
        .await
        .unwrap();
    over_websocket.subscribe(METHODS).await;
    let over_tcp = Device::connect_with(&emulator, &credentials).await.unwrap();
    assert!(over_tcp.session_present);
    over_websocket.closed().await;
}

#[tokio::test]
async fn what_is_no_websocket_for_mqtt_is_refused() {
    let emulator = emulator().await;
    for request in [
        request(PLAIN, &[]),
        request(PLAIN, &[("Sec-WebSocket-Protocol", "amqp")]),
    ] {
        match open(&emulator, request).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 400),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
    let service = Service::owner(&emulator);
    let plain = service.bare(reqwest::Method::GET, "/$iothub/websocket");
    assert_eq!(Service::answer(plain).await.unwrap().status, 400);
}

#[tokio::test]
async fn text_malformed_bytes_and_the_hubs_end_close_the_socket() {
    let emulator = emulator().await;
    let ended = async |mut socket: Socket| {
        let next = tokio::time::timeout(DEADLINE, socket.next());
        let next = next.await.expect("the end in time");
        assert!(
            matches!(next, None | Some(Err(_) | Ok(Message::Close(_)))),
            "{next:?}"
        );
    };
    for message in [
        Message::text("hello"),
        Message::binary(vec![0xff; 20]),
        Message::binary(vec![0; 300 * 1024]),
    ] {
        let mut socket = open_mqtt(&emulator, PLAIN).await;
        // The hub may close while a large message is still on its way.
        let _ = socket.send(message).await;
        ended(socket).await;
    }
    let waiting = open_mqtt(&emulator, PLAIN).await;
    emulator.shutdown().await;
    ended(waiting).await;
}
