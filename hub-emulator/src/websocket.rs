//! MQTT over WebSockets, on the service's port: `GET /$iothub/websocket`, subprotocol `mqtt`.
//!
//! A client may cut its MQTT packets into messages as it likes (Microsoft's Node SDK sends each
//! field as one of its own), so what comes out of here is a stream of bytes. Compression is not
//! spoken, whatever the client offers.

use axum::extract::Extension;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use mqtt_wire::{Content, bytes_inside};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::mqtt::MAX_PACKET;

/// Where clients ask for it. Java adds `?iothub-no-client-cert=true`, which changes nothing here.
pub(crate) const PATH: &str = "/$iothub/websocket";

/// The only protocol that is spoken inside.
const SUBPROTOCOL: &str = "mqtt";

/// Takes the connection from HTTP over to MQTT, in the same task: it then ends with the
/// emulator, like every other connection.
#[derive(Clone, Debug)]
pub(crate) struct Handover(mpsc::Sender<WebSocket>);

impl Handover {
    /// A way for the one upgrade that an HTTP connection can have.
    pub(crate) fn new() -> (Self, mpsc::Receiver<WebSocket>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }
}

/// Answers the request for an upgrade.
pub(crate) async fn upgrade(
    Extension(handover): Extension<Handover>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([SUBPROTOCOL]),
        Err(rejection) => return rejection.into_response(),
    };
    if upgrade.selected_protocol().is_none() {
        return (StatusCode::BAD_REQUEST, "the subprotocol must be mqtt").into_response();
    }
    upgrade
        .max_message_size(MAX_PACKET)
        .max_frame_size(MAX_PACKET)
        .on_upgrade(|socket| async move {
            // Nobody takes it when the connection's task has ended.
            let _ = handover.0.send(socket).await;
        })
}

/// The bytes inside a WebSocket.
pub(crate) fn into_bytes(socket: WebSocket) -> impl AsyncRead + AsyncWrite + Send + Sync + Unpin {
    bytes_inside(socket, Message::Binary, content)
}

fn content(message: Message) -> Content {
    match message {
        Message::Binary(bytes) => Content::Part(bytes),
        // Pings are answered below us.
        Message::Ping(_) | Message::Pong(_) => Content::Nothing,
        Message::Close(_) => Content::End,
        Message::Text(_) => Content::Foreign("a text message, where MQTT comes in binary ones"),
    }
}
