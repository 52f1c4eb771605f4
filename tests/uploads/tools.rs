//! Uploads in parts by hand: grpcurl and curl, on Ceph and in the sandbox.

use serde_json::Value;

use super::*;
use crate::harness::process::presignd;
use crate::harness::tools;

/// What grpcurl answers. Panics if it fails.
async fn grpcurl(address: &str, method: &str, request: &str) -> Value {
    let method = format!("presignd.v1.PresignService/{method}");
    let output = tools::grpcurl(["-d", request, address, &method]).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Uploads a text as the one part of an upload that grpcurl begins, signs the completion anew, and reads the object.
async fn upload_by_hand(address: &str) {
    let object = r#""bucket":"acme-files","key":"uploads/by hand""#;
    let request = format!(r#"{{"tenant":"acme","create":{{{object}}},"size":"5","maxParts":1}}"#);
    let plan = grpcurl(address, "StartMultipartUpload", &request).await;
    assert_eq!(plan["partSize"], "8388608", "{plan:#}");
    assert_eq!(plan["parts"][0]["length"], "5", "{plan:#}");
    assert_eq!(plan["parts"][0]["offset"], "0");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let id = text(&plan["uploadId"]);
    let request = format!(
        r#"{{"tenant":"acme","upload":{{{object},"uploadId":"{id}"}},"completeAndAbort":true}}"#
    );
    let ends = grpcurl(address, "PresignParts", &request).await;
    let (part, complete) = (
        text(&plan["parts"][0]["url"]),
        text(&ends["complete"]["url"]),
    );
    let script = format!(
        r#"set -eu
        file=$(mktemp); trap 'rm "$file"' EXIT
        printf hello > "$file"
        etag=$(curl -fsS -T "$file" -D - -o /dev/null '{part}' | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')
        curl -fsS -X POST '{complete}' -d "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>$etag</ETag></Part></CompleteMultipartUpload>""#
    );
    let output = tools::bash(&script).await;
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(answer.contains("CompleteMultipartUploadResult"), "{answer}");
    let request = format!(r#"{{"tenant":"acme","command":{{"getObject":{{{object}}}}}}}"#);
    let download = grpcurl(address, "Presign", &request).await;
    let got = tools::bash(&format!("curl -fsS '{}'", text(&download["url"]))).await;
    assert_eq!(got.stdout, b"hello", "{got:?}");
}

#[tokio::test]
async fn grpcurl_and_curl_upload_in_parts() {
    let grants = r#"[{ commands: [read, write, delete], resources: ["acme-files/*"] }]"#;
    let presignd = Presignd::with_ceph_tenant("acme", grants).start().await;
    upload_by_hand(&presignd.address).await;
}

#[tokio::test]
async fn the_sandbox_begins_uploads_too() {
    let sandbox = presignd(["dev", "--grpc", "127.0.0.1:0", "--s3", "127.0.0.1:0"]).start();
    sandbox.stderr_line("Ctrl-C stops the sandbox").await;
    let line = sandbox.stderr_line("PresignService ").await;
    let address = line.split_whitespace().nth(1).expect("an address");
    upload_by_hand(address).await;
    let record = sandbox.stdout_line("CreateMultipartUpload").await;
    let record: Value = serde_json::from_str(&record).expect("a record is JSON");
    assert_eq!(record["outcome"], "issued", "{record:#}");
}
