//! The page's own small API: what there is, and what presignd answers.

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Ask, Shown};
use crate::dev::cors::CorsRule;

/// The largest request, in bytes.
const MAX_REQUEST: usize = 1 << 20;

/// What the page has to know, as its scripts read it.
pub(super) fn setup(shown: &Shown, origins: &[String]) -> Value {
    let tenants = shown.tenants.iter().map(|tenant| {
        json!({ "tenant": tenant.tenant, "bucket": tenant.bucket, "prefix": tenant.prefix })
    });
    let rule = CorsRule::for_pages(origins);
    json!({
        "sandbox": shown.sandbox,
        "grpcurl": shown.grpcurl,
        "tenants": tenants.collect::<Vec<_>>(),
        "cors": { "json": rule.json(), "xml": rule.xml(), "state": shown.cors },
    })
}

/// A request of the page's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    method: String,
    request: Value,
}

/// Asks presignd, and says what it answered.
pub(super) async fn ask(ask: &Ask, body: Incoming) -> Result<Value, String> {
    let body = Limited::new(body, MAX_REQUEST).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    let wanted: Wanted = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let answered = ask(wanted.method, wanted.request).await;
    Ok(match answered {
        Ok(answer) => json!({ "answer": answer }),
        Err(refused) => json!({ "refused": refused }),
    })
}
