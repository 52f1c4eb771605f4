//! What the page needs done at a store before a browser can do anything there: CORS rules on the buckets.
//!
//! Done with a URL of presignd's own, so that a tenant has to be granted it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64_simd::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use serde_json::{Value, json};

use super::{Ask, ShownTenant};
use crate::dev::cors::CorsRule;

/// For how long a store may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// As much of an answer as is shown.
const MAX_ANSWER: usize = 64 << 10;

/// Gives the tenant's bucket the rules that pages of these origins need, in place of those that it had.
///
/// # Errors
/// What presignd or the store said instead, for a person to read.
pub async fn put_cors(ask: &Ask, tenant: &ShownTenant, origins: &[String]) -> Result<(), String> {
    let rules = CorsRule::for_pages(origins).xml();
    let request = json!({
        "tenant": tenant.tenant,
        // presignd signs the body too, with the checksum that S3 wants of rules.
        "command": {
            "payload": { "content": STANDARD.encode_to_string(&rules) },
            "putBucketCors": { "bucket": tenant.bucket },
        },
        "reason": "presignd dev --set-cors",
    });
    let answer = ask("Presign".to_owned(), request).await;
    let issued = answer.map_err(|refused| words(&refused))?;
    let sent = tokio::time::timeout(PATIENCE, send(&issued, rules.into()));
    let (status, body) = sent
        .await
        .map_err(|_| "the store takes too long".to_owned())??;
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("the store answered {status}: {body}"))
    }
}

/// A refusal in words.
fn words(refused: &Value) -> String {
    let mut text = format!(
        "presignd refuses: {}",
        refused["message"].as_str().unwrap_or_default()
    );
    let details = refused["details"].as_array().into_iter().flatten();
    for reason in details.filter_map(|detail| detail["reason"].as_str()) {
        let _ = write!(text, " ({reason})");
    }
    text
}

async fn send(issued: &Value, body: Bytes) -> Result<(http::StatusCode, String), String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut request = Request::builder()
        .method(text(&issued["method"]).as_str())
        .uri(text(&issued["url"]));
    for (name, value) in issued["headers"].as_object().into_iter().flatten() {
        request = request.header(name, text(value));
    }
    let request = request.body(Full::new(body));
    let request = request.map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_native_roots()
        .map_err(|error| error.to_string())?
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let answer = client.request(request).await;
    let answer = answer.map_err(|error| format!("the store does not answer: {error}"))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    Ok((status, body.unwrap_or_default()))
}
