//! A plain HTTP/1.1 client that sends a URL exactly as it was given.
//!
//! Invariant: no part of the path or query is decoded, collapsed or encoded again, unlike in clients that parse URLs by
//! the WHATWG's rules. What a presigned URL says is what the store gets.

use ::http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

/// For requests that need no header beside `host`.
pub(crate) const NO_HEADERS: [(&str, &str); 0] = [];

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status code, such as 403.
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    /// The body as text, with what is no UTF-8 replaced.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value. Panics unless it is there and text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name} in {self:?}"))
            .to_str()
            .unwrap_or_else(|e| panic!("header {name}: {e}"))
    }

    /// The text of the body's first XML element of this name, entities left as they are.
    pub(crate) fn xml(&self, element: &str) -> Option<String> {
        let text = self.text();
        let start = text.find(&format!("<{element}>"))? + element.len() + 2;
        let end = start + text[start..].find(&format!("</{element}>"))?;
        Some(text[start..end].to_owned())
    }

    /// S3's error code, such as `AccessDenied`: empty where the body names none. Messages differ between stores, codes do
    /// not.
    pub(crate) fn s3_code(&self) -> String {
        self.xml("Code").unwrap_or_default()
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn send(
    method: &str,
    url: &str,
    headers: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    body: impl Into<Bytes>,
) -> Response {
    let uri: Uri = url.parse().unwrap_or_else(|e| panic!("{url}: {e}"));
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(name.as_ref(), value.as_ref());
    }
    let body = body.into();
    // RFC 9110, section 8.6; hyper leaves it out where there is no body.
    let states_length = request
        .headers_ref()
        .is_some_and(|headers| headers.contains_key("content-length"));
    if body.is_empty() && !states_length && matches!(method, "PUT" | "POST") {
        request = request.header("content-length", "0");
    }
    let request = request
        .body(Full::new(body))
        .unwrap_or_else(|e| panic!("{method} {url}: {e}"));

    // A pooled connection would belong to the runtime of the test that opened it.
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http();
    let response = client
        .request(request)
        .await
        .unwrap_or_else(|e| panic!("{method} {url}: {e:?}"));
    let (parts, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .unwrap_or_else(|e| panic!("{method} {url}: {e}"))
        .to_bytes();
    Response {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}
