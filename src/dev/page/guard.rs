//! Who may speak to the page's server: a browser that has the page from it.
//!
//! Pure. Any web page can send a browser's requests here. One whose name was made to lead to this machine (DNS rebinding) says its own name
//! in `Host`; one that asks across origins says its origin, and cannot send JSON without being asked first, which is never answered.

use std::net::SocketAddr;

use http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Method};

/// The names under which a browser on this machine has what listens there.
pub(super) fn hosts(address: SocketAddr) -> Vec<String> {
    let named = format!("localhost:{}", address.port());
    vec![address.to_string(), named]
}

/// Lets the page's own requests through.
#[derive(Debug)]
pub(super) struct Guard {
    hosts: Vec<String>,
}

impl Guard {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            hosts: hosts(address),
        }
    }

    /// Whether the page itself can have sent this.
    pub(super) fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<(), &'static str> {
        let one = |name: HeaderName| {
            let mut values = headers.get_all(name).iter();
            let first = values.next().and_then(|value| value.to_str().ok());
            first.filter(|_| values.next().is_none())
        };
        let host = one(HOST).filter(|host| self.hosts.iter().any(|known| known == host));
        let Some(host) = host else {
            return Err(
                "this is not the name of this server: use the address that presignd dev printed",
            );
        };
        if matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        let own = one(ORIGIN).and_then(|origin| origin.strip_prefix("http://")) == Some(host);
        let json = one(CONTENT_TYPE) == Some("application/json");
        if own && json {
            Ok(())
        } else {
            Err("only the page itself may ask")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const HERE: &str = "127.0.0.1:8080";

    fn admit(method: &Method, headers: &[(HeaderName, &'static str)]) -> bool {
        let headers = headers.iter().cloned();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        Guard::new(HERE.parse().unwrap())
            .admit(method, &map)
            .is_ok()
    }

    #[test]
    fn the_page_is_read_under_its_own_names_only() {
        for (host, read) in [
            (HERE, true),
            ("localhost:8080", true),
            ("127.0.0.1:8081", false),
            ("127.0.0.1", false),
            ("rebound.example.com:8080", false),
            ("127.0.0.1:8080.example.com", false),
            ("", false),
        ] {
            assert_eq!(admit(&Method::GET, &[(HOST, host)]), read, "{host}");
        }
        assert!(!admit(&Method::GET, &[]));
        assert!(!admit(&Method::GET, &[(HOST, HERE), (HOST, "example.com")]));
    }

    #[test]
    fn only_the_page_asks() {
        let json = (CONTENT_TYPE, "application/json");
        let asks =
            |host, origin, kind| admit(&Method::POST, &[(HOST, host), (ORIGIN, origin), kind]);
        assert!(asks(HERE, "http://127.0.0.1:8080", json.clone()));
        assert!(asks(
            "localhost:8080",
            "http://localhost:8080",
            json.clone()
        ));
        for (host, origin) in [
            (HERE, "http://localhost:8080"),
            (HERE, "https://127.0.0.1:8080"),
            (HERE, "http://127.0.0.1:8081"),
            (HERE, "http://example.com"),
            (HERE, "null"),
            ("example.com", "http://example.com"),
        ] {
            assert!(!asks(host, origin, json.clone()), "{host} {origin}");
        }
        assert!(!admit(&Method::POST, &[(HOST, HERE), json]));
        let form = (CONTENT_TYPE, "text/plain");
        assert!(!asks(HERE, "http://127.0.0.1:8080", form));
        assert!(!admit(
            &Method::OPTIONS,
            &[(HOST, HERE), (ORIGIN, "http://example.com")]
        ));
    }
}
