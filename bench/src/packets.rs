//! MQTT packets over a stream, as a client sends and gets them.

use anyhow::ensure;
use bytes::BytesMut;
use rumqttc::mqttbytes::{Error, v4::Packet};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const MAX_PACKET: usize = 256 * 1024;

/// A stream that carries packets.
#[derive(Debug)]
pub(crate) struct Packets<S> {
    stream: S,
    received: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Packets<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            received: BytesMut::new(),
        }
    }

    pub(crate) async fn send(&mut self, packets: &[Packet]) -> anyhow::Result<()> {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, MAX_PACKET)?;
        }
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Waits for the next packet. Nothing is lost when it is waited for no longer.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Packet> {
        loop {
            match Packet::read(&mut self.received, MAX_PACKET) {
                Ok(packet) => return Ok(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let count = self.stream.read_buf(&mut self.received).await?;
            ensure!(count > 0, "the connection ended");
        }
    }

    /// Keeps no room while nothing comes.
    pub(crate) fn rest(&mut self) {
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
    }
}
