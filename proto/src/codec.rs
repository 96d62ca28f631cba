//! The codec of every call: protobuf with small buffers.

use std::{fmt, marker::PhantomData};

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// A stream holds on to its buffer while it is idle, and most streams are idle watches: a buffer of
/// the usual eight kilobytes would be most of what a watcher costs. A larger message makes its
/// buffer as large as itself.
const BUFFER: usize = 64;

/// How much is gathered before it is handed on: each message is, by itself. A watch begins with all
/// that has happened so far, and the room for that would stay with it.
const YIELD_AT: usize = 1;

/// Protobuf with small buffers.
pub struct LeanCodec<T, U> {
    messages: PhantomData<fn(T) -> U>,
}

impl<T, U> Default for LeanCodec<T, U> {
    fn default() -> Self {
        Self {
            messages: PhantomData,
        }
    }
}

impl<T, U> fmt::Debug for LeanCodec<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeanCodec")
    }
}

impl<T, U> Codec for LeanCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = LeanEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        LeanEncoder(ProstCodec::<T, U>::raw_encoder(BufferSettings::new(
            BUFFER, YIELD_AT,
        )))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER, YIELD_AT))
    }
}

/// Makes room for a message before it is written: left to grow while it is written, a buffer doubles
/// until it is up to twice as large as needed.
#[derive(Debug)]
pub struct LeanEncoder<T>(ProstEncoder<T>);

impl<T: Message> Encoder for LeanEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        self.0.encode(message, buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
