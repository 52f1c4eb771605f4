//! HTTP/2 frame by frame, for what no well-behaved client says.

use std::time::Duration;

use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What every client says first, with empty settings.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of a call of `Presign`, whose message is still to come.
pub(crate) fn head(stream: u32) -> Vec<u8> {
    let path = b"/presignd.v1.PresignService/Presign";
    let mut headers = b"\x83\x86\x41\x01a\x44".to_vec();
    headers.push(u8::try_from(path.len()).expect("a short path"));
    headers.extend(path);
    headers.extend(b"\x5f\x10application/grpc");
    frame(HEADERS, END_HEADERS, stream, &headers)
}

/// All of a call's message.
pub(crate) fn message(stream: u32, message: &impl Message) -> Vec<u8> {
    body(stream, &message.encode_to_vec())
}

/// These bytes as a call's message.
pub(crate) fn body(stream: u32, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short message");
    let mut data = vec![0];
    data.extend(length.to_be_bytes());
    data.extend(bytes);
    frame(DATA, END_STREAM, stream, &data)
}

/// The beginning of a message of so many bytes, and no more of it than may be sent unasked.
pub(crate) fn beginning(stream: u32, of: u32) -> Vec<u8> {
    let mut data = vec![0];
    data.extend(of.to_be_bytes());
    data.resize(16 << 10, 0);
    let mut frames = frame(DATA, 0, stream, &data);
    let more = frame(DATA, 0, stream, &data);
    for _ in 0..2 {
        frames.extend(&more);
    }
    frames
}

/// The call is taken back.
pub(crate) fn reset(stream: u32) -> Vec<u8> {
    const CANCEL: u32 = 8;
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// A connection on which this was said.
pub(crate) async fn saying(address: &str, said: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // Refused at once, it may not hear all of it.
    let _ = stream.write_all(said).await;
    stream
}

/// Reads until the connection is closed; gives the reason of the last GOAWAY. Panics if it stays open for too long.
pub(crate) async fn closed(stream: &mut TcpStream) -> Option<u32> {
    let mut heard = Vec::new();
    // Reset or closed: both are an end.
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut heard)).await;
    assert!(end.is_ok(), "it stays open");
    let mut rest = &heard[..];
    let mut reason = None;
    while let [a, b, c, kind, _, _, _, _, _, payload @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, next)) = payload.split_at_checked(length) else {
            break;
        };
        if let (GOAWAY, [_, _, _, _, a, b, c, d, ..]) = (*kind, payload) {
            reason = Some(u32::from_be_bytes([*a, *b, *c, *d]));
        }
        rest = next;
    }
    reason
}
