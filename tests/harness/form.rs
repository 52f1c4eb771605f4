//! Upload forms: asked for, changed as a client might, and sent by curl as a browser would.

use std::ffi::OsString;

use hyper::body::Bytes;
use hyper::http::{HeaderMap, HeaderName, HeaderValue};
use presignd::proto::v1::presign_post_request::KeyRule;
use presignd::proto::v1::{ContentLengthRange, FormField, PresignPostRequest, PresignPostResponse};

use super::http::Response;
use super::presignd::Presignd;
use super::tools::curl;

/// A request for a form of acme's, for five minutes, with nothing else set.
pub(crate) fn form(bucket: &str, key_rule: KeyRule) -> PresignPostRequest {
    PresignPostRequest {
        tenant: "acme".to_owned(),
        bucket: bucket.to_owned(),
        key_rule: Some(key_rule),
        expires_in: Some(prost_types::Duration {
            seconds: 300,
            nanos: 0,
        }),
        ..PresignPostRequest::default()
    }
}

/// For one key, or with `${filename}` for many.
pub(crate) fn for_key(bucket: &str, key: &str) -> PresignPostRequest {
    form(bucket, KeyRule::Key(key.to_owned()))
}

/// For every key that begins so.
pub(crate) fn for_keys(bucket: &str, prefix: &str) -> PresignPostRequest {
    form(bucket, KeyRule::KeyStartsWith(prefix.to_owned()))
}

/// With at least and at most so many bytes.
pub(crate) fn of_bytes(min: u64, max: u64, request: PresignPostRequest) -> PresignPostRequest {
    PresignPostRequest {
        content_length_range: Some(ContentLengthRange { min, max }),
        ..request
    }
}

/// A form in a client's hands.
#[derive(Clone)]
pub(crate) struct Form {
    pub(crate) url: String,
    pub(crate) fields: Vec<FormField>,
    pub(crate) filename: &'static str,
}

impl Form {
    /// Asks for a form. Panics if it is refused.
    pub(crate) async fn issue(presignd: &Presignd, request: PresignPostRequest) -> Self {
        let asked = format!("{request:?}");
        let issued = presignd.presign_post(request).await;
        Self::of(&issued.unwrap_or_else(|status| panic!("{asked}: {status:?}")))
    }

    pub(crate) fn of(issued: &PresignPostResponse) -> Self {
        Self {
            url: issued.url.clone(),
            fields: issued.fields.clone(),
            filename: "file.bin",
        }
    }

    /// With a field changed, or added.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if let Some(field) = self.fields.iter_mut().find(|field| field.name == name) {
            value.clone_into(&mut field.value);
        } else {
            let field = FormField {
                name: name.to_owned(),
                value: value.to_owned(),
            };
            self.fields.insert(0, field);
        }
        self
    }

    /// Without a field that it had.
    pub(crate) fn without(mut self, name: &str) -> Self {
        let before = self.fields.len();
        self.fields.retain(|field| field.name != name);
        assert_eq!(self.fields.len() + 1, before, "{name}");
        self
    }

    /// The value of a field. Panics if it is missing.
    pub(crate) fn field(&self, name: &str) -> &str {
        let field = self.fields.iter().find(|field| field.name == name);
        &field.unwrap_or_else(|| panic!("no field {name}")).value
    }

    /// Sends the fields in their order, and the file last.
    pub(crate) async fn upload(&self, file: &[u8]) -> Response {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let [content, headers, body] =
            ["content", "headers", "body"].map(|f| folder.path().join(f));
        std::fs::write(&content, file).expect("the folder is writable");
        let mut arguments: Vec<OsString> = Vec::new();
        for FormField { name, value } in &self.fields {
            arguments.extend(["--form-string".into(), format!("{name}={value}").into()]);
        }
        let mut part = OsString::from("file=@");
        part.push(&content);
        part.push(format!(";filename=\"{}\"", self.filename));
        arguments.extend(["-F".into(), part]);
        arguments.extend(["-D".into(), headers.clone().into()]);
        arguments.extend([
            "-o".into(),
            body.clone().into(),
            "--".into(),
            (&self.url).into(),
        ]);
        let output = curl(arguments).await;
        assert!(output.status.success(), "{output:?}");
        let headers = std::fs::read_to_string(headers).expect("curl wrote the headers");
        Response {
            body: std::fs::read(body).unwrap_or_default().into(),
            ..last_answer(&headers)
        }
    }
}

/// Status and headers of the last answer: one to `Expect` may come before it.
fn last_answer(text: &str) -> Response {
    let last = text
        .trim_end()
        .rsplit("\r\n\r\n")
        .next()
        .expect("an answer");
    let mut lines = last.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name: HeaderName = name.parse().expect("a header's name");
        headers.append(
            name,
            HeaderValue::from_str(value).expect("a header's value"),
        );
    }
    Response {
        status: status.and_then(|s| s.parse().ok()).expect("a status"),
        headers,
        body: Bytes::new(),
    }
}
