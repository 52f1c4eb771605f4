//! Messages in buffers of their own size.
//!
//! tonic's own codec sets 8 KiB aside for each message that comes and for each that goes, of which a request for a URL needs some
//! hundred bytes, and its answer some thousand; a large answer it copies whenever it outgrows its buffer.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// Room for most messages that come. More is taken as it is needed.
const DECODING_BYTES: usize = 256;
/// None before a message's size is known.
const ENCODING_BYTES: usize = 0;
/// Answers on one stream that go out together: as tonic has it.
const YIELD_BYTES: usize = 32 << 10;

/// Protobuf, as `prost` has it.
#[derive(Debug, Clone)]
pub struct ProtobufCodec<T, U>(PhantomData<(T, U)>);

/// Writes a message into as many bytes as it has.
#[derive(Debug, Clone)]
pub struct ExactEncoder<T>(PhantomData<T>);

impl<T, U> Default for ProtobufCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for ProtobufCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ExactEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ExactEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(DECODING_BYTES, YIELD_BYTES))
    }
}

impl<T: Message> Encoder for ExactEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode_raw(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(ENCODING_BYTES, YIELD_BYTES)
    }
}
