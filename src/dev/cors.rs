//! A bucket's CORS rules, and what S3 answers browsers by them.
//!
//! Pure. Source: "Using cross-origin resource sharing (CORS)" and "Elements of a CORS configuration" in Amazon S3's user guide.

use std::fmt::Write as _;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

/// One rule: which pages' scripts may send what, and read which headers of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsRule {
    /// Origins of pages, such as `https://app.example.com`, with one `*` at most.
    pub allowed_origins: Vec<String>,
    /// Methods.
    pub allowed_methods: Vec<String>,
    /// Headers of requests, with one `*` at most.
    pub allowed_headers: Vec<String>,
    /// Headers of answers that scripts may read.
    pub expose_headers: Vec<String>,
    /// For how long a browser may remember the answer to a preflight, in seconds.
    pub max_age_seconds: u32,
}

impl CorsRule {
    /// What pages of these origins need to download, upload, and upload in parts.
    #[must_use]
    pub fn for_pages(origins: &[String]) -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Self {
            allowed_origins: origins.to_vec(),
            allowed_methods: texts(&["GET", "HEAD", "PUT", "POST", "DELETE"]),
            allowed_headers: texts(&["*"]),
            // Each part's ETag is needed to complete an upload.
            expose_headers: texts(&["ETag"]),
            max_age_seconds: 3000,
        }
    }

    /// As `aws s3api put-bucket-cors --cors-configuration` takes it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "CORSRules": [{
            "AllowedOrigins": self.allowed_origins,
            "AllowedMethods": self.allowed_methods,
            "AllowedHeaders": self.allowed_headers,
            "ExposeHeaders": self.expose_headers,
            "MaxAgeSeconds": self.max_age_seconds,
        }] })
    }

    /// As the body of `PutBucketCors`.
    #[must_use]
    pub fn xml(&self) -> String {
        let mut text = String::from("<CORSConfiguration>\n  <CORSRule>\n");
        for (element, values) in [
            ("AllowedOrigin", &self.allowed_origins),
            ("AllowedMethod", &self.allowed_methods),
            ("AllowedHeader", &self.allowed_headers),
            ("ExposeHeader", &self.expose_headers),
        ] {
            for value in values {
                let value = value.replace('&', "&amp;").replace('<', "&lt;");
                let _ = writeln!(text, "    <{element}>{value}</{element}>");
            }
        }
        let age = self.max_age_seconds;
        let _ = writeln!(text, "    <MaxAgeSeconds>{age}</MaxAgeSeconds>");
        text + "  </CORSRule>\n</CORSConfiguration>\n"
    }

    fn allows(&self, asked: &Asked) -> bool {
        let any = |patterns: &[String], text: &str| patterns.iter().any(|p| matches(p, text));
        any(&self.allowed_origins, &asked.origin)
            && self.allowed_methods.contains(&asked.method)
            && asked
                .headers
                .iter()
                .all(|header| any(&self.allowed_headers, header))
    }
}

/// What a browser says of the page that sends a request.
#[derive(Debug)]
pub(super) struct Asked {
    origin: String,
    method: String,
    /// In lower case.
    headers: Vec<String>,
    preflight: bool,
}

impl Asked {
    /// `None` where no other origin's page is behind the request, or no browser.
    pub(super) fn read(method: &Method, headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let origin = text(ORIGIN)?.to_owned();
        let wanted = text(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| method == Method::OPTIONS);
        let headers = text(ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
        let headers = headers
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase());
        Some(Self {
            origin,
            method: wanted.unwrap_or(method.as_str()).to_owned(),
            headers: headers
                .filter(|name| wanted.is_some() && !name.is_empty())
                .collect(),
            preflight: wanted.is_some(),
        })
    }

    /// Whether the browser only asks whether it may.
    pub(super) fn is_preflight(&self) -> bool {
        self.preflight
    }

    /// The headers by which the first rule that allows it lets the browser go on; `None` if none does.
    pub(super) fn answer(&self, rules: &[CorsRule]) -> Option<HeaderMap> {
        let rule = rules.iter().find(|rule| rule.allows(self))?;
        let mut answer = HeaderMap::new();
        let mut set = |name: HeaderName, value: &str| {
            if let (false, Ok(value)) = (value.is_empty(), HeaderValue::from_str(value)) {
                answer.insert(name, value);
            }
        };
        if rule.allowed_origins.iter().any(|origin| origin == "*") {
            set(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        } else {
            set(ACCESS_CONTROL_ALLOW_ORIGIN, &self.origin);
            set(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        set(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            &rule.expose_headers.join(", "),
        );
        if self.preflight {
            set(
                ACCESS_CONTROL_ALLOW_METHODS,
                &rule.allowed_methods.join(", "),
            );
            set(ACCESS_CONTROL_ALLOW_HEADERS, &self.headers.join(", "));
            set(ACCESS_CONTROL_MAX_AGE, &rule.max_age_seconds.to_string());
        }
        let varies = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
        set(VARY, varies);
        Some(answer)
    }
}

/// Whether a text is what a pattern with one `*` at most says, whatever the case.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "http://127.0.0.1:8080";

    fn asked(method: &Method, headers: &[(&'static str, &str)]) -> Option<Asked> {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).unwrap())
        });
        Asked::read(method, &headers.collect())
    }

    fn rules() -> Vec<CorsRule> {
        vec![CorsRule::for_pages(&[PAGE.to_owned()])]
    }

    #[test]
    fn a_preflight_is_answered_for_the_pages_of_a_rule_and_no_others() {
        let preflight = |origin: &str, method: &str| {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", method),
                (
                    "access-control-request-headers",
                    "content-type, X-Amz-Meta-A",
                ),
            ];
            let asked = asked(&Method::OPTIONS, &headers).unwrap();
            assert!(asked.is_preflight());
            asked.answer(&rules())
        };
        let answer = preflight(PAGE, "PUT").unwrap();
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
        assert_eq!(
            answer[ACCESS_CONTROL_ALLOW_HEADERS],
            "content-type, x-amz-meta-a"
        );
        assert_eq!(answer[ACCESS_CONTROL_MAX_AGE], "3000");
        for (origin, method) in [
            ("http://127.0.0.1:8081", "PUT"),
            ("http://127.0.0.1:8080.example.com", "PUT"),
            ("https://127.0.0.1:8080", "PUT"),
            ("null", "PUT"),
            (PAGE, "PATCH"),
        ] {
            assert_eq!(preflight(origin, method), None, "{origin} {method}");
        }
    }

    #[test]
    fn answers_expose_what_a_rule_says() {
        let put = asked(&Method::PUT, &[("origin", PAGE)]).unwrap();
        assert!(!put.is_preflight());
        let answer = put.answer(&rules()).unwrap();
        assert_eq!(answer[ACCESS_CONTROL_EXPOSE_HEADERS], "ETag");
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_METHODS));
        assert_eq!(put.answer(&[]), None);
        assert!(asked(&Method::PUT, &[]).is_none());
        let options = asked(&Method::OPTIONS, &[("origin", PAGE)]).unwrap();
        assert!(!options.is_preflight());
    }

    #[test]
    fn a_pattern_has_one_star() {
        for (pattern, text, fits) in [
            ("*", "anything", true),
            ("http://*.example.com", "http://a.example.com", true),
            ("http://*.example.com", "http://example.com", false),
            ("x-amz-*", "X-Amz-Date", true),
            ("ab*ba", "aba", false),
            ("etag", "ETag", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn both_forms_say_the_same() {
        let rule = CorsRule::for_pages(&["http://a&b".to_owned()]);
        assert!(
            rule.xml()
                .contains("<AllowedOrigin>http://a&amp;b</AllowedOrigin>")
        );
        assert_eq!(rule.xml().matches("<AllowedMethod>").count(), 5);
        assert_eq!(
            rule.json()["CORSRules"][0]["ExposeHeaders"],
            json!(["ETag"])
        );
    }
}
