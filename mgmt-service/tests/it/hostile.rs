//! Callers that mean harm, and the polite one beside them, which is served all the same.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, RecvStream, SendStream, client::SendRequest};
use iothubdm_proto::v1::{AttemptState, GetRebootRequest, OfflinePolicy, RebootRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};
use tonic::{Code, Request, codegen::http, metadata::MetadataValue};

use crate::world::{World, connect, details, request, within};

/// A world with limits, and an attempt that stays open.
async fn world(limits: &str) -> (World, String) {
    let mut world = World::with(&format!("[limits]\n{limits}")).await;
    world.emulator.register(&"asleep".parse().unwrap());
    let queued = RebootRequest {
        offline_policy: OfflinePolicy::Queue.into(),
        ..request("asleep")
    };
    let attempt = world.ask(queued).await.unwrap();
    (world, attempt.name)
}

/// Asserts that somebody else is served.
async fn serves_others(world: &mut World, name: &str) {
    world.client = connect(world.address).await;
    let attempt = within(world.get(name)).await.unwrap();
    assert_eq!(attempt.name, name);
}

/// A connection from an address that nobody else uses.
async fn dial(world: &World) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let own = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0));
    socket.bind(own).unwrap();
    within(socket.connect(world.address)).await.unwrap()
}

/// A connection that speaks HTTP/2 and no gRPC of its own accord.
pub(crate) async fn raw(
    world: &World,
    window: u32,
) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = dial(world).await;
    let builder = h2::client::Builder::new()
        .initial_window_size(window)
        .handshake(stream);
    let (sender, connection) = within(builder).await.unwrap();
    (sender, tokio::spawn(connection))
}

/// Opens a call by hand.
pub(crate) fn open(
    sender: &mut SendRequest<Bytes>,
    method: &str,
) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
    let request = http::Request::post(format!(
        "http://service/iothubdm.v1.DeviceManagement/{method}"
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .body(())
    .unwrap();
    sender.send_request(request, false).unwrap()
}

/// A request's message in its gRPC frame.
pub(crate) fn framed(name: &str) -> Bytes {
    let request = GetRebootRequest { name: name.into() };
    let message = prost::Message::encode_to_vec(&request);
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

/// Reads until the connection is closed.
async fn closed(stream: &mut TcpStream) {
    let mut bytes = [0; 1024];
    // A reset says the same.
    within(async { while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {} }).await;
}

#[tokio::test]
async fn messages_and_headers_have_a_size() {
    let (mut world, name) = world("message_bytes = 4096\nheader_bytes = 4096").await;
    let huge = RebootRequest {
        reason: "x".repeat(100_000),
        ..request("asleep")
    };
    let status = world.ask(huge).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    let mut huge = Request::new(GetRebootRequest { name: name.clone() });
    let value = MetadataValue::try_from("x".repeat(100_000)).unwrap();
    huge.metadata_mut().insert("x-huge", value);
    assert!(within(world.client.get_reboot(huge)).await.is_err());
    serves_others(&mut world, &name).await;
}

#[tokio::test]
async fn open_calls_are_bounded_in_all() {
    let (mut world, name) = world("calls = 4").await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(world.watch(&name, "").await.unwrap());
    }
    let status = world.watch(&name, "").await.err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let (reason, details) = details(&status);
    assert_eq!(reason, "LIMIT_REACHED");
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    held.pop();
    // Its place is free once the service has heard that it is gone.
    within(async { while world.get(&name).await.is_err() {} }).await;
}

#[tokio::test]
async fn one_connection_holds_no_more_calls_than_it_may() {
    let (mut world, name) = world("calls_per_connection = 4").await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(world.watch(&name, "").await.unwrap());
    }
    // The next one waits in its own client until there is room.
    let mut client = world.client.clone();
    let asked = GetRebootRequest { name: name.clone() };
    let waiting = tokio::spawn(async move { client.get_reboot(asked).await });
    serves_others(&mut world, &name).await;
    assert!(!waiting.is_finished());
    held.pop();
    within(waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_calls_too_fast_is_slowed_down_alone() {
    let (mut world, name) = world("calls_per_second = 5").await;
    let mut refused = None;
    for _ in 0..1000 {
        if let Err(status) = world.get(&name).await {
            refused = Some(status);
            break;
        }
    }
    let status = refused.expect("a limit");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let (reason, details) = details(&status);
    assert_eq!(reason, "LIMIT_REACHED");
    let wait = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO);
    serves_others(&mut world, &name).await;
}

#[tokio::test]
async fn one_address_holds_no_more_connections_than_it_may() {
    let (mut world, name) = world("connections_per_address = 3").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(dial(&world).await);
    }
    closed(&mut dial(&world).await).await;
    serves_others(&mut world, &name).await;
    held.clear();
    // A place is free once the service has heard that its holder is gone.
    within(async {
        loop {
            let stream = dial(&world).await;
            let handshake = h2::client::handshake(stream);
            let Ok((mut sender, connection)) = handshake.await else {
                continue;
            };
            let connection = tokio::spawn(connection);
            let (answer, _) = open(&mut sender, "GetReboot");
            let served = tokio::select! {
                _ = connection => false,
                answer = answer => answer.is_ok(),
                // It holds the connection open until the request would have come.
                () = tokio::time::sleep(Duration::from_millis(200)) => true,
            };
            if served {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_does_nothing_is_closed() {
    let (mut world, name) = world("patience = \"300ms\"\nidle_timeout = \"600ms\"").await;
    let mut watch = world.watch(&name, "").await.unwrap();
    closed(&mut dial(&world).await).await;
    // Says hello, and goes on answering pings.
    let (_sender, connection) = raw(&world, 65_535).await;
    let _ = within(connection).await.unwrap();
    serves_others(&mut world, &name).await;
    // A watch is something, however quiet.
    world.cancel_and_expect(&mut watch, &name).await;
}

#[tokio::test]
async fn a_connection_that_is_old_takes_no_new_calls_and_keeps_the_open_ones() {
    let (mut world, name) = world("connection_age = \"3s\"").await;
    let mut watch = world.watch(&name, "").await.unwrap();
    let (_sender, connection) = raw(&world, 65_535).await;
    let told = within(connection).await.unwrap();
    assert!(told.is_ok(), "it is told to go, and not cut off: {told:?}");
    // By now that of the watch is as old.
    serves_others(&mut world, &name).await;
    world.cancel_and_expect(&mut watch, &name).await;
}

#[tokio::test]
async fn a_request_that_does_not_come_ends_its_call() {
    let (mut world, name) = world("patience = \"300ms\"").await;
    let (mut sender, _connection) = raw(&world, 65_535).await;
    let mut calls = Vec::new();
    for _ in 0..50 {
        let (answer, mut body) = open(&mut sender, "GetReboot");
        let whole = framed(&name);
        body.send_data(whole.slice(..7), false).unwrap();
        calls.push((answer, body));
    }
    for (answer, _body) in calls {
        let answer = within(answer).await.unwrap();
        let code = match answer.headers().get("grpc-status") {
            Some(code) => code.to_str().unwrap().to_owned(),
            None => {
                let mut body: RecvStream = answer.into_body();
                let trailers = within(body.trailers()).await.unwrap().unwrap();
                trailers["grpc-status"].to_str().unwrap().to_owned()
            }
        };
        assert_eq!(code, (Code::DeadlineExceeded as i32).to_string());
    }
    serves_others(&mut world, &name).await;
}

#[tokio::test]
async fn a_flood_of_reset_calls_ends_its_connection() {
    let (mut world, name) = world("").await;
    let stream = dial(&world).await;
    let (mut reading, mut writing) = tokio::io::split(stream);
    let flood = tokio::spawn(async move {
        // The preface and empty settings.
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        for stream in (1_u32..).step_by(2) {
            // A call's header, by the numbers of the static table, and its reset.
            let header = b"\x83\x86\x04\x02/x\x01\x01a";
            bytes.extend([0, 0, 9, 1, 4]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend(header);
            bytes.extend([0, 0, 4, 3, 0]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend(8_u32.to_be_bytes());
            if bytes.len() > 4096 {
                if writing.write_all(&bytes).await.is_err() {
                    return stream;
                }
                bytes.clear();
            }
        }
        0
    });
    let mut bytes = [0; 1024];
    within(async { while reading.read(&mut bytes).await.is_ok_and(|read| read > 0) {} }).await;
    let streams = within(flood).await.unwrap();
    assert!(streams > 1, "{streams}");
    serves_others(&mut world, &name).await;
}

#[tokio::test]
async fn a_reader_that_never_reads_holds_up_nobody() {
    let (mut world, name) = world("").await;
    let (mut sender, _connection) = raw(&world, 0).await;
    let mut stuck = Vec::new();
    for _ in 0..200 {
        let (answer, mut body) = open(&mut sender, "WatchReboot");
        body.send_data(framed(&name), true).unwrap();
        stuck.push(within(answer).await.unwrap().into_body());
    }
    let mut watch = world.watch(&name, "").await.unwrap();
    world.cancel_and_expect(&mut watch, &name).await;
    drop(stuck);
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_let_go_and_one_that_pings_is_not() {
    let keepalive = "keepalive_interval = \"200ms\"\nkeepalive_timeout = \"200ms\"";
    let (mut world, name) = world(keepalive).await;
    let mut dead = dial(&world).await;
    // The preface and empty settings, and then not a word.
    dead.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    closed(&mut dead).await;

    let stream = dial(&world).await;
    let (_sender, mut connection) = within(h2::client::handshake(stream)).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..50 {
        within(pings.ping(Ping::opaque())).await.unwrap();
    }
    assert!(!connection.is_finished());
    serves_others(&mut world, &name).await;
}

impl World {
    /// Cancels the attempt, and waits until a watcher has seen that.
    pub(crate) async fn cancel_and_expect(&mut self, watch: &mut crate::world::Watch, name: &str) {
        let cancel = iothubdm_proto::v1::CancelRebootRequest {
            name: name.into(),
            ..Default::default()
        };
        self.client = connect(self.address).await;
        let cancelled = self
            .client
            .cancel_reboot(cancel)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(cancelled.state(), AttemptState::Cancelled);
        let mut last = None;
        while let Some(event) = watch.next_event().await {
            last = Some(event);
        }
        assert_eq!(last.unwrap().revision, cancelled.revision);
    }
}

#[tokio::test]
async fn a_page_from_elsewhere_makes_no_call() {
    const PAGE: &str = "https://console.example";
    let web = format!("[web]\nenabled = true\nallowed_origins = [\"{PAGE}\"]");
    let world = World::with(&web).await;
    let calls = || {
        let metrics = world.metrics();
        let counted =
            |line: &&str| line.starts_with("mgmt_service_rpcs_total{method=\"GetReboot\"");
        metrics.lines().filter(counted).count()
    };
    for (origin, status) in [
        ("https://evil.example", "403"),
        // Its host's name points here by now, and its browser takes it for one of ours.
        ("http://evil.example:50051", "403"),
        (PAGE, "200"),
    ] {
        let request = format!(
            "POST /iothubdm.v1.DeviceManagement/GetReboot HTTP/1.1\r\nHost: evil.example:50051\r\n\
             Origin: {origin}\r\nContent-Type: application/grpc-web+proto\r\n\
             Content-Length: 5\r\nConnection: close\r\n\r\n\0\0\0\0\0"
        );
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{origin}: {answer}"
        );
        assert_eq!(calls(), usize::from(status == "200"), "{origin}");
    }
}
