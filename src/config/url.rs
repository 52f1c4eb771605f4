//! The address of a service: a scheme, a host and perhaps a port.
//!
//! Invariant: a [`BaseUrl`] is in the form in which HTTP clients send it as their `Host`: lower case, without the port that
//! the scheme implies, without a final slash. What is signed over it is what arrives. Bad ones are never repeated in messages,
//! since they may hold a password.

use std::net::{Ipv4Addr, Ipv6Addr};

/// `http://` or `https://`, a host and perhaps a port; nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    text: String,
    scheme_length: usize,
}

impl BaseUrl {
    /// The whole URL, without a final slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.scheme() == "https"
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme_length]
    }

    /// Host and port, as in the `Host` header.
    pub fn authority(&self) -> &str {
        &self.text[self.scheme_length + "://".len()..]
    }
}

pub(super) fn base_url(text: &str) -> Result<BaseUrl, String> {
    let form = "write it as `https://host` or `http://host:port`";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("a URL starts with http:// or https://: {form}"));
    };
    let (scheme, implied_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => ("http", 80),
        "https" => ("https", 443),
        _ => {
            return Err(format!(
                "the scheme of this URL is neither http nor https: {form}"
            ));
        }
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    for (separator, part) in [('@', "user name"), ('?', "query"), ('#', "fragment")] {
        if rest.contains(separator) {
            return Err(format!("this URL holds a {part}: {form}"));
        }
    }
    if rest.contains(['/', '\\']) {
        return Err(format!("this URL holds a path: {form}"));
    }
    let (host, port) = split_port(rest);
    if !is_host(host) {
        return Err(format!(
            "the host of this URL is neither a name nor an IP address: {form}"
        ));
    }
    let mut url = format!("{scheme}://{}", host.to_ascii_lowercase());
    if let Some(port) = port {
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse::<u16>() {
            Ok(port) if digits && port != 0 => {
                if port != implied_port {
                    url.push(':');
                    url.push_str(&port.to_string());
                }
            }
            _ => return Err(format!("the port of this URL is not 1 to 65535: {form}")),
        }
    }
    Ok(BaseUrl {
        text: url,
        scheme_length: scheme.len(),
    })
}

/// Splits `[::1]:80` and `host:80`.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let host_end = match authority.rfind(']') {
        Some(bracket) => authority[bracket..].find(':').map(|colon| bracket + colon),
        None => authority.find(':'),
    };
    match host_end {
        Some(end) => (&authority[..end], Some(&authority[end + 1..])),
        None => (authority, None),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // A name whose last label is a number is an IPv4 address to every client.
    let numeric = host
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if numeric {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.len() <= 253 && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_take_the_form_that_clients_send() {
        for (text, normal) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("HTTPS://S3.Example.COM/", "https://s3.example.com"),
            ("https://s3.example.com:443", "https://s3.example.com"),
            ("http://store:80/", "http://store"),
            ("https://store:80", "https://store:80"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("http://[::1]", "http://[::1]"),
            ("http://minio_1.svc:9000", "http://minio_1.svc:9000"),
        ] {
            assert_eq!(base_url(text).expect(text).as_str(), normal);
        }
    }

    #[test]
    fn a_url_knows_its_parts() {
        let url = base_url("https://s3.example.com:8443").unwrap();
        assert!(url.is_https());
        assert_eq!(url.authority(), "s3.example.com:8443");
    }

    #[test]
    fn other_urls_are_explained_and_not_repeated() {
        for (text, why) in [
            ("", "starts with"),
            ("s3.example.com:9000", "starts with"),
            ("ftp://s3.example.com", "neither http nor https"),
            ("http://user:pass@host", "user name"),
            ("http://host/path", "a path"),
            ("http://host//", "a path"),
            ("http://host?x=1", "a query"),
            ("http://host#x", "a fragment"),
            ("http://", "neither a name nor"),
            ("http://:80", "neither a name nor"),
            ("http://a..b", "neither a name nor"),
            ("http://256.1.1.1", "neither a name nor"),
            ("http://1", "neither a name nor"),
            ("http://[::g]", "neither a name nor"),
            ("http://[::1]x:80", "neither a name nor"),
            ("http://ho st", "neither a name nor"),
            ("http://host:", "port"),
            ("http://host:0", "port"),
            ("http://host:+80", "port"),
            ("http://host:65536", "port"),
            ("http://::1", "neither a name nor"),
        ] {
            let message = base_url(text).expect_err(text);
            assert!(message.contains(why), "{text}: {message}");
            assert!(!message.contains("pass"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", tail in ".*") {
            let _ = base_url(&text);
            let _ = base_url(&format!("http://{tail}"));
        }

        #[test]
        fn a_normal_url_stays_as_it_is(host in "[a-zA-Z][a-z0-9]{0,9}(\\.[a-z]{1,5})?", port in 1_u16..) {
            let url = base_url(&format!("https://{host}:{port}")).unwrap();
            prop_assert_eq!(base_url(url.as_str()).unwrap(), url);
        }
    }
}
