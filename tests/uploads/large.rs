//! A gibibyte in parts, several at once: one is sent twice, and one is signed anew after its URL ended.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::*;
use crate::harness::presignd::get_object;

const SIZE: u64 = 1 << 30;
const AT_ONCE: usize = 3;

/// The bytes of a part: the same for all, but for the first, which tell one part from another.
fn bytes_of(part: &PresignedPart, base: &[u8]) -> Bytes {
    let mut bytes = base[..usize::try_from(part.length()).unwrap()].to_vec();
    bytes[..4].copy_from_slice(&part.part_number.to_be_bytes());
    bytes.into()
}

async fn upload(part: &PresignedPart, body: Bytes) -> (u32, String) {
    let uploaded = put(part, body).await;
    assert_eq!(uploaded.status, 200, "{part:?}: {uploaded:?}");
    (part.part_number, uploaded.header("etag").to_owned())
}

/// The hash of what a URL gives, as it comes.
async fn hash_of(url: &str) -> (u64, Vec<u8>) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(url.parse().unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut body, mut hash, mut length) = (answer.into_body(), Context::new(&SHA256), 0);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.unwrap().into_data() {
            length += data.len() as u64;
            hash.update(&data);
        }
    }
    (length, hash.finish().as_ref().to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_comes_back_as_it_was_sent() {
    let grants = r#"[{ commands: [read, write, delete], resources: ["acme-files/*"] }]"#;
    let presignd = Presignd::with_ceph_tenant("acme", grants).start().await;
    let whole = tokio::time::timeout(Duration::from_mins(5), Box::pin(there_and_back(&presignd)));
    whole.await.expect("it takes a fraction of that");
}

async fn there_and_back(presignd: &Presignd) {
    let key = "uploads/large";
    let plan = begin(presignd, start(key, Extent::Size(SIZE))).await;
    let plan = plan.unwrap();
    assert_eq!((plan.part_count, plan.part_size), (128, 8 * MIB));
    let mut base = vec![0; 8 << 20];
    aws_lc_rs::rand::fill(&mut base).unwrap();
    let mut hash = Context::new(&SHA256);
    for part in &plan.parts {
        hash.update(&bytes_of(part, &base));
    }
    let sent = hash.finish().as_ref().to_vec();

    // One whose URL ends too early, as it does for whoever stops for a while.
    let mut short = further(key, &plan.upload_id);
    (short.part_numbers, short.size, short.expires_in) = (vec![77], SIZE, Some(seconds(1)));
    let ended = parts(presignd, short).await.unwrap().parts.remove(0);
    let others = plan.parts.iter().filter(|part| part.part_number != 77);
    let uploading = others.map(|part| upload(part, bytes_of(part, &base)));
    let uploading = stream::iter(uploading).buffer_unordered(AT_ONCE);
    let mut etags: Vec<(u32, String)> = uploading.map(Ok::<_, ()>).try_collect().await.unwrap();
    assert_eq!(etags.len(), 127);

    // Sent in vain the first time, as far as the client knows.
    let repeated = &plan.parts[40];
    let again = upload(repeated, bytes_of(repeated, &base)).await;
    assert!(etags.contains(&again), "the same bytes have the same tag");

    tokio::time::sleep(Duration::from_secs(2)).await;
    let late = put(&ended, bytes_of(&ended, &base)).await;
    assert_eq!(late.status, 403, "{late:?}");
    let mut anew = further(key, &plan.upload_id);
    (anew.part_numbers, anew.size, anew.complete_and_abort) = (vec![77], SIZE, true);
    let anew = parts(presignd, anew).await.unwrap();
    assert_eq!(anew.parts[0].offset(), 76 * 8 * MIB);
    etags.push(upload(&anew.parts[0], bytes_of(&anew.parts[0], &base)).await);

    etags.sort_unstable();
    let completed = finish(plan.complete.as_ref(), document(etags)).await;
    assert_eq!(completed.status, 200, "{completed:?}");
    assert_eq!(completed.s3_code(), "", "{completed:?}");

    let download = presignd.issue("acme", get_object(BUCKET, key)).await;
    assert_eq!(hash_of(&download.url).await, (SIZE, sent));
    // It is a quarter of what the store holds.
    let delete = command!(DeleteObject {
        bucket: BUCKET,
        key: key
    });
    assert_eq!(presignd.run("acme", delete, "").await.status, 204);
}
