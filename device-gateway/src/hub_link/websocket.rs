//! MQTT in a WebSocket, whose port is open where MQTT's own is not.

use std::io;

use http::HeaderValue;
use mqtt_wire::{Content, bytes_inside};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::WebSocketConfig},
};

use super::{
    dial::{ByteStream, Stream},
    packets::MAX_PACKET,
};

/// Where hubs and the provisioning service have it.
const PATH: &str = "/$iothub/websocket";

/// Upgrades a connection to a host.
pub(super) async fn open(stream: impl ByteStream + 'static, host: &str) -> io::Result<Stream> {
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let request = format!("wss://{host}{PATH}").into_client_request();
    let mut request = request.map_err(io::Error::other)?;
    let protocol = HeaderValue::from_static("mqtt");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol);
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_PACKET))
        .max_frame_size(Some(MAX_PACKET));
    let upgraded = client_async_with_config(request, stream, Some(config)).await;
    let (socket, _) = upgraded.map_err(io::Error::other)?;
    Ok(Box::new(bytes_inside(socket, Message::Binary, content)))
}

fn content(message: Message) -> Content {
    match message {
        Message::Binary(bytes) => Content::Part(bytes),
        // Pings are answered below us.
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Content::Nothing,
        Message::Close(_) => Content::End,
        Message::Text(_) => Content::Foreign("a text message, where MQTT comes in binary ones"),
    }
}
