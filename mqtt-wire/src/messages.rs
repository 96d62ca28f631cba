//! MQTT inside messages, as a WebSocket carries it: a stream of bytes, however it was cut.

use std::io;

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _, future};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

/// What a message means to MQTT.
#[derive(Debug)]
pub enum Content {
    /// A part of the stream.
    Part(Bytes),
    /// Nothing.
    Nothing,
    /// The end of the stream.
    End,
    /// It has no place there; what it is.
    Foreign(&'static str),
}

/// The bytes inside the messages of a socket. `wrap` makes a message of some of them, `unwrap` says
/// what one that came means.
pub fn bytes_inside<S, M, E>(
    socket: S,
    wrap: fn(Bytes) -> M,
    unwrap: fn(M) -> Content,
) -> impl AsyncRead + AsyncWrite + Send + Sync + Unpin
where
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Send,
    M: Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
{
    let (sink, stream) = socket.split();
    let sink = sink
        .with(move |bytes: Bytes| future::ready(Ok::<_, E>(wrap(bytes))))
        .sink_map_err(io::Error::other);
    let contents = stream.map(move |message| message.map(unwrap));
    let parts = contents
        .take_while(|content| future::ready(!matches!(content, Ok(Content::End))))
        .filter_map(|content| {
            future::ready(match content {
                // An empty read would count as the end.
                Ok(Content::Part(bytes)) => (!bytes.is_empty()).then_some(Ok(bytes)),
                Ok(Content::Nothing | Content::End) => None,
                Ok(Content::Foreign(what)) => {
                    Some(Err(io::Error::new(io::ErrorKind::InvalidData, what)))
                }
                Err(error) => Some(Err(io::Error::other(error))),
            })
        });
    tokio::io::join(
        StreamReader::new(Box::pin(parts)),
        SinkWriter::new(CopyToBytes::new(Box::pin(sink))),
    )
}
