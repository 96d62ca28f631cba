//! Very many streams of one gRPC method, through a client thin enough not to be what is measured.
//!
//! It speaks just enough HTTP/2: it opens streams, answers what has to be answered, and counts the
//! messages of each stream without looking into them or into any header.
//!
//! ```text
//!  preface, SETTINGS ─►        HEADERS + DATA (request) ─►        ◄─ HEADERS, DATA (messages) …
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How many requests of a connection wait for their first message at once.
const AT_ONCE: usize = 100;

/// As much as may be sent to us over one connection: all that there is.
const WINDOW: u32 = (1 << 31) - 1 - 65_535;

mod kind {
    //! The types of frames that are of interest.
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RESET: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GO_AWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
}

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Streams that are open, over some connections. They end when this is dropped.
pub(crate) struct Streams {
    connections: Vec<Connection>,
}

/// When the first and the last of all streams had a message.
pub(crate) struct Arrival {
    pub(crate) first: Instant,
    pub(crate) last: Instant,
}

impl Streams {
    /// Connects, without any stream yet.
    pub(crate) async fn connect(address: &str, connections: usize) -> anyhow::Result<Self> {
        let connect = (0..connections).map(|_| Connection::open(address));
        Ok(Self {
            connections: try_join_all(connect).await?,
        })
    }

    /// Opens so many more streams of a method with the same message, and waits until each of them has
    /// its first message.
    pub(crate) async fn open(
        &mut self,
        path: &str,
        message: &[u8],
        count: usize,
    ) -> anyhow::Result<()> {
        let connections = self.connections.len();
        let opening = self.connections.iter_mut().enumerate();
        let opening = opening.map(|(index, connection)| {
            let share = (count + connections - 1 - index) / connections;
            connection.open_streams(path, message, share)
        });
        try_join_all(opening).await?;
        Ok(())
    }

    /// Waits until nothing has arrived for a while; what arrives later is another message.
    pub(crate) async fn settle(&mut self, quiet: Duration) -> anyhow::Result<()> {
        loop {
            let before = self.count();
            let reading = try_join_all(self.connections.iter_mut().map(Connection::read_on));
            if let Ok(ended) = timeout(quiet, reading).await {
                ended?;
            }
            if self.count() == before {
                break;
            }
        }
        for stream in self.connections.iter_mut().flat_map(|one| &mut one.streams) {
            stream.awaited = stream.whole + 1;
        }
        Ok(())
    }

    /// Waits until every stream has another message.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Arrival> {
        let waiting = self.connections.iter_mut().map(Connection::complete);
        let arrivals: Vec<Arrival> = try_join_all(waiting).await?.into_iter().flatten().collect();
        let first = arrivals.iter().map(|arrival| arrival.first).min();
        let last = arrivals.iter().map(|arrival| arrival.last).max();
        let (first, last) = first.zip(last).context("there is no stream")?;
        Ok(Arrival { first, last })
    }

    /// How many messages there were.
    fn count(&self) -> u64 {
        let streams = self.connections.iter().flat_map(|one| &one.streams);
        streams.map(|stream| u64::from(stream.whole)).sum()
    }
}

struct Connection {
    socket: TcpStream,
    authority: String,
    /// By their ids: the first has 1, the next 3.
    streams: Vec<Messages>,
    received: Vec<u8>,
}

/// What has arrived of a stream's messages.
#[derive(Clone, Debug, Default, PartialEq)]
struct Messages {
    whole: u32,
    /// How many there have to be before anybody goes on.
    awaited: u32,
    /// The length that is being read, of five bytes.
    prefix: Vec<u8>,
    /// How much of the present message is missing.
    missing: usize,
}

impl Messages {
    fn is_complete(&self) -> bool {
        self.whole >= self.awaited
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.missing == 0 {
                self.prefix.push(bytes[0]);
                bytes = &bytes[1..];
                let [_, length @ ..] = self.prefix.as_slice() else {
                    continue;
                };
                let Ok(length) = <[u8; 4]>::try_from(length) else {
                    continue;
                };
                self.prefix = Vec::new();
                self.missing = u32::from_be_bytes(length) as usize;
            }
            let taken = self.missing.min(bytes.len());
            self.missing -= taken;
            bytes = &bytes[taken..];
            if self.missing == 0 && self.prefix.is_empty() {
                self.whole += 1;
            }
        }
    }
}

impl Connection {
    async fn open(address: &str) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(address).await.context("connect")?;
        socket.set_nodelay(true)?;
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut hello, kind::SETTINGS, 0, 0, &[]);
        frame(&mut hello, kind::WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
        socket.write_all(&hello).await?;
        Ok(Self {
            socket,
            authority: address.to_owned(),
            streams: Vec::new(),
            received: Vec::new(),
        })
    }

    async fn open_streams(
        &mut self,
        path: &str,
        message: &[u8],
        count: usize,
    ) -> anyhow::Result<()> {
        let headers = headers(path, &self.authority);
        let mut body = vec![0];
        body.extend(u32::try_from(message.len())?.to_be_bytes());
        body.extend(message);
        let mut left = count;
        while left > 0 {
            let now = left.min(AT_ONCE);
            let mut requests = Vec::new();
            for _ in 0..now {
                let id = u32::try_from(self.streams.len())? * 2 + 1;
                frame(&mut requests, kind::HEADERS, END_HEADERS, id, &headers);
                frame(&mut requests, kind::DATA, END_STREAM, id, &body);
                self.streams.push(Messages {
                    awaited: 1,
                    ..Messages::default()
                });
            }
            self.socket.write_all(&requests).await?;
            self.complete().await?;
            left -= now;
        }
        Ok(())
    }

    /// Waits until every stream has the messages that are awaited; none of them is no arrival.
    async fn complete(&mut self) -> anyhow::Result<Option<Arrival>> {
        let mut missing = self.streams.iter().filter(|one| !one.is_complete()).count();
        let mut first = None;
        while missing > 0 {
            let completed = self.read().await?;
            missing -= completed;
            if completed > 0 {
                first.get_or_insert_with(Instant::now);
            }
        }
        let last = Instant::now();
        Ok(first.map(|first| Arrival { first, last }))
    }

    /// Reads whatever comes; ends with the connection.
    async fn read_on(&mut self) -> anyhow::Result<()> {
        loop {
            self.read().await?;
        }
    }

    /// Reads what has come, and answers it. Returns how many streams are complete by that.
    async fn read(&mut self) -> anyhow::Result<usize> {
        let count = self.socket.read_buf(&mut self.received).await?;
        ensure!(count > 0, "the connection ended");
        let (mut completed, mut answers) = (0, Vec::new());
        let mut rest = self.received.as_slice();
        while let Some((header, payload, after)) = split(rest) {
            rest = after;
            let stream = header.stream as usize / 2;
            match header.kind {
                kind::DATA => {
                    ensure!(header.flags & PADDED == 0, "padded data");
                    let stream = self.streams.get_mut(stream);
                    let stream = stream.context("data of an unknown stream")?;
                    let was_complete = stream.is_complete();
                    stream.take(payload);
                    completed += usize::from(!was_complete && stream.is_complete());
                }
                kind::HEADERS if header.flags & END_STREAM != 0 => {
                    let ended_well = self.streams.get(stream).is_some_and(Messages::is_complete);
                    ensure!(ended_well, "a stream ended early");
                }
                kind::SETTINGS if header.flags & ACK == 0 => {
                    frame(&mut answers, kind::SETTINGS, ACK, 0, &[]);
                }
                kind::PING if header.flags & ACK == 0 => {
                    frame(&mut answers, kind::PING, ACK, 0, payload);
                }
                kind::RESET => bail!("a stream was reset"),
                kind::GO_AWAY => bail!("the connection is given up"),
                _ => {}
            }
        }
        let taken = self.received.len() - rest.len();
        self.received.drain(..taken);
        if !answers.is_empty() {
            self.socket.write_all(&answers).await?;
        }
        Ok(completed)
    }
}

/// The beginning of a frame.
#[derive(Debug, PartialEq)]
struct Header {
    kind: u8,
    flags: u8,
    stream: u32,
}

/// The first frame of some bytes, and what follows it, if all of it is there.
fn split(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<9>()?;
    let [a, b, c, kind, flags, stream @ ..] = *header;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let (payload, rest) = rest.split_at_checked(length)?;
    let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
    let header = Header {
        kind,
        flags,
        stream,
    };
    Some((header, payload, rest))
}

/// Appends a frame; the payload is shorter than 16 KiB.
fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or_default();
    bytes.extend(&length.to_be_bytes()[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
}

/// The headers of a gRPC request, none of them to be remembered by the server.
fn headers(path: &str, authority: &str) -> Vec<u8> {
    // `:method POST` and `:scheme http` are in the table that every server knows.
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend(name);
        // They are shorter than 127 bytes.
        block.push(u8::try_from(value.len()).unwrap_or_default());
        block.extend(value.as_bytes());
    };
    // The names are the 4th, the 1st and the 31st of that table, and one that is not in it.
    literal(&[0x04], path);
    literal(&[0x01], authority);
    literal(&[0x0f, 0x10], "application/grpc");
    literal(b"\x00\x02te", "trailers");
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written_and_not_before_it_is_whole() {
        let mut bytes = Vec::new();
        frame(&mut bytes, kind::DATA, END_STREAM, 7, b"abc");
        frame(&mut bytes, kind::PING, 0, 0, &[0; 8]);
        let (header, payload, rest) = split(&bytes).unwrap();
        let expected = Header {
            kind: kind::DATA,
            flags: END_STREAM,
            stream: 7,
        };
        assert_eq!((header, payload), (expected, b"abc".as_slice()));
        assert_eq!(split(rest).unwrap().0.kind, kind::PING);
        for length in 0..12 {
            assert!(split(&bytes[..length]).is_none());
        }
    }

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        // Three bytes, nothing, and one byte.
        let bytes = [0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        let mut whole = Messages::default();
        whole.take(&bytes);
        assert_eq!(whole.whole, 3);
        for cut in 0..bytes.len() {
            let mut messages = Messages::default();
            messages.take(&bytes[..cut]);
            messages.take(&bytes[cut..]);
            assert_eq!(messages, whole, "{cut}");
        }
        let mut half = Messages::default();
        half.take(&bytes[..7]);
        assert_eq!(half.whole, 0);
    }
}
