//! How streams end: by their client, with what their caller has shown, in time, and with their connection.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Status};

use super::{GRANTS, METHOD, Stream, asked, get, start};
use crate::harness::issuer::{FakeIssuer, SigningKey};
use crate::harness::presignd::{Presignd, reason, static_tenant};
use crate::harness::process::{self, with_config};
use crate::harness::refusal::Refused;

fn assert_closed(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason(status), "STREAM_CLOSED");
}

/// A presignd that knows tokens, their issuer, and one of them.
async fn with_token() -> (Presignd, FakeIssuer, String) {
    let signing = SigningKey::ec("e");
    let issuer = FakeIssuer::start(&[&signing]).await;
    let callers = format!(
        "authentication:
  jwt: {{ users: {{ issuer: \"{}\", audiences: [presignd], jwks: {{ url: \"{}\" }} }} }}
callers: [{{ match: {{ jwt: {{ issuer: users, subject: ann }} }}, tenants: [acme] }}]",
        issuer.name(),
        issuer.keys_url()
    );
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_callers(&callers)
        .start()
        .await;
    let token = signing.token(&issuer.claims(&*presignd.clock, "ann"));
    (presignd, issuer, format!("Bearer {token}"))
}

#[tokio::test]
async fn nobody_opens_a_stream_without_a_credential() {
    let (presignd, _issuer, token) = with_token().await;
    for headers in [vec![], vec![("authorization", "Bearer nonsense")]] {
        let Err(status) = Stream::open_with(&presignd.client, &headers).await else {
            panic!("it is refused");
        };
        let refused = Refused::read(&status);
        assert_eq!(refused.why(), (Code::Unauthenticated, "UNAUTHENTICATED"));
        let record = presignd.records.of(&refused.issuance_id);
        assert_eq!(record["method"], METHOD);
        assert_eq!(record["caller"], "unknown");
    }
    let headers = [("authorization", &*token)];
    let mut stream = Stream::open_with(&presignd.client, &headers).await.unwrap();
    stream.ask("1", get("k")).await;
    let id = stream.issued("1").await;
    assert_eq!(presignd.records.of(&id)["caller"], "jwt.users.ann");
}

#[tokio::test]
async fn a_token_that_ends_ends_its_stream() {
    let (presignd, _issuer, token) = with_token().await;
    let headers = [("authorization", &*token)];
    let mut stream = Stream::open_with(&presignd.client, &headers).await.unwrap();
    stream.ask("1", get("k")).await;
    stream.issued("1").await;
    presignd.clock.advance(Duration::from_hours(25));
    stream.ask("2", get("k")).await;
    let (id, result) = stream.next().await.unwrap();
    assert_eq!(id, "2");
    let super::ItemResult::Error(status) = result else {
        panic!("{result:?}");
    };
    let refused = Refused::read_item(&status);
    assert_eq!(refused.why(), (Code::Unauthenticated, "UNAUTHENTICATED"));
    assert_eq!(
        presignd.records.of(&refused.issuance_id)["outcome"],
        "denied"
    );
    let end = stream.end().await;
    assert_eq!(end.code(), Code::Unauthenticated, "{end:?}");
    assert_eq!(presignd.records.all().len(), 2);
}

#[tokio::test]
async fn a_stream_without_requests_ends_and_one_with_some_does_not() {
    let presignd = start("connections: { idle_timeout: 1s }").await;
    let mut stream = Stream::open(&presignd.client).await;
    for n in 0..8 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let id = n.to_string();
        stream.ask(&id, get("k")).await;
        stream.issued(&id).await;
    }
    assert_closed(&stream.end().await);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_with_its_connections_age_and_all_that_it_read_is_answered() {
    let presignd = start("connections: { max_age: 1s }").await;
    // The connection of the client may be about to end.
    let mut stream = loop {
        if let Ok(stream) = Stream::open_with(&presignd.client, &[]).await {
            break stream;
        }
    };
    let mut answered = 0;
    let end = loop {
        if stream.asking.send(asked("r", get("k"))).await.is_err() {
            break stream.end().await;
        }
        match stream.next().await {
            Ok(_) => answered += 1,
            Err(status) => break status,
        }
    };
    assert_closed(&end);
    assert!(answered > 0);
    assert_eq!(presignd.records.all().len(), answered);
}

#[tokio::test]
async fn a_clients_deadline_is_the_streams() {
    let presignd = start("").await;
    let headers = [("grpc-timeout", "1S")];
    let mut stream = Stream::open_with(&presignd.client, &headers).await.unwrap();
    stream.ask("1", get("k")).await;
    stream.issued("1").await;
    let end = stream.end().await;
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end:?}");
    assert_eq!(presignd.records.all().len(), 1);
}

/// Sends what it is given as a stream's bytes, at its time, and gives the stream's end.
async fn send(presignd: &Presignd, pieces: &[&[u8]], pause: Duration) -> (Vec<u8>, Status) {
    let connection = TcpStream::connect(&presignd.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(connection).await.unwrap();
    tokio::spawn(connection);
    let call = http::Request::post(format!("http://presignd/{METHOD}"))
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (response, mut sending) = client.send_request(call, false).unwrap();
    let answers = tokio::spawn(async move {
        let mut body = response.await.unwrap().into_body();
        let mut answers = Vec::new();
        while let Some(data) = body.data().await {
            answers.extend(data.unwrap());
        }
        let trailers = body.trailers().await.unwrap().expect("trailers");
        (answers, Status::from_header_map(&trailers).unwrap())
    });
    for piece in pieces {
        sending
            .send_data(Bytes::copy_from_slice(piece), false)
            .unwrap();
        tokio::time::sleep(pause).await;
    }
    let ended = tokio::time::timeout(process::PATIENCE, answers).await;
    ended.expect("it ends").unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

#[tokio::test]
async fn half_a_message_is_not_waited_for_and_none_is() {
    let presignd = start("request_timeout: 1s").await;
    let message = framed(&asked("1", get("k")).encode_to_vec());
    let pieces = [&message[..], &message, &message[..7]];
    let (answers, status) = send(&presignd, &pieces, Duration::from_millis(1500)).await;
    let refused = Refused::read(&status);
    assert_eq!(refused.why(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    let record = presignd.records.of(&refused.issuance_id);
    assert_eq!(record["outcome"], "failed");
    // Both of the whole ones, with the pause between them, were answered.
    let urls = String::from_utf8_lossy(&answers).matches("http://").count();
    assert_eq!(urls, 2);
    assert_eq!(presignd.records.all().len(), 3);
}

#[tokio::test]
async fn what_cannot_be_read_ends_the_stream_with_a_record() {
    let presignd = start("max_request_bytes: 1KiB").await;
    let good = framed(&asked("1", get("k")).encode_to_vec());
    let rubbish = framed(b"\xff\xff\xff");
    let large = framed(&asked("1", get(&"k".repeat(1024))).encode_to_vec());
    for (bad, words) in [(&rubbish, "no message"), (&large, "1024 bytes")] {
        let said = [&good[..], bad].concat();
        let (answers, status) = send(&presignd, &[&said], Duration::ZERO).await;
        let refused = Refused::read(&status);
        assert_eq!(refused.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
        assert!(refused.message.contains(words), "{refused:?}");
        assert_eq!(presignd.records.of(&refused.issuance_id)["method"], METHOD);
        assert!(!answers.is_empty(), "the one before is answered");
    }
    assert_eq!(presignd.records.all().len(), 4);
}

#[tokio::test]
async fn at_the_end_requests_under_way_are_answered_and_idle_streams_hold_nothing_up() {
    // An STS that answers when the test says so.
    let sts = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let role = format!(
        r#"assume_role: {{ role_arn: "arn:aws:iam:::role/acme", sts_endpoint: "http://{}" }}"#,
        sts.local_addr().unwrap()
    );
    let config = process::static_tenant("[GetObject]", "grace: 1h");
    let (start, rest) = config.split_once("static:").unwrap();
    let (_, grants) = rest.split_once("    grants:").unwrap();
    let config = format!("{start}{role}\n    grants:{grants}");
    let presignd = with_config("serve", &config)
        .env("AWS_ACCESS_KEY_ID", "AKID")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .start();
    let mut idle = Stream::open(&presignd.client().await).await;
    let mut stream = Stream::open(&presignd.client().await).await;
    stream.ask("1", get("k")).await;
    stream.ask("2", get("k")).await;
    let (mut asking, _) = sts.accept().await.unwrap();
    let mut read = vec![0; 64 << 10];
    assert!(asking.read(&mut read).await.unwrap() > 0);

    presignd.signal("TERM");
    assert_closed(&idle.end().await);
    let body = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>\
        <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
        <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
    let reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    asking.write_all(reply.as_bytes()).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (_, result) = stream.next().await.unwrap();
        let super::ItemResult::Response(issued) = result else {
            panic!("{result:?}");
        };
        ids.push(issued.issuance_id);
    }
    assert_closed(&stream.end().await);
    let ended = presignd.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for id in ids {
        assert!(ended.stdout.contains(&id), "{}", ended.stdout);
    }
}
