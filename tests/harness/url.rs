//! A presigned URL, taken apart.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// What a URL says. Every parameter stands in it once.
#[derive(Debug)]
pub(crate) struct Presigned {
    /// Scheme and host.
    pub(crate) origin: String,
    /// The path, still encoded.
    pub(crate) path: String,
    /// The query, decoded.
    pub(crate) query: BTreeMap<String, String>,
}

impl Presigned {
    pub(crate) fn read(url: &str) -> Self {
        let (head, query) = url.split_once('?').expect("a query");
        let path_at = head.find("://").expect("a scheme") + 3;
        let path_at = path_at + head[path_at..].find('/').expect("a path");
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            let before = parameters.insert(name.clone(), value);
            assert_eq!(before, None, "{name} stands twice in {url}");
        }
        Self {
            origin: head[..path_at].to_owned(),
            path: head[path_at..].to_owned(),
            query: parameters,
        }
    }

    /// A parameter. Panics if it is missing.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.query
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// `X-Amz-Expires`.
    pub(crate) fn expires_in(&self) -> u64 {
        self.parameter("X-Amz-Expires").parse().expect("a number")
    }

    /// When the URL ends: `X-Amz-Date` and `X-Amz-Expires` later.
    pub(crate) fn expires_at(&self) -> SystemTime {
        let signed: Timestamp = self.parameter("X-Amz-Date").parse().expect("a date");
        let seconds = u64::try_from(signed.as_second()).expect("after 1970");
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds + self.expires_in())
    }

    /// `X-Amz-SignedHeaders`, in order.
    pub(crate) fn signed_headers(&self) -> Vec<&str> {
        self.parameter("X-Amz-SignedHeaders").split(';').collect()
    }
}
