//! Getting an issuer's keys: from a URL, by OIDC discovery, or from a file.
//!
//! Invariant: keys that come over a network come over TLS, unless from this machine itself; and whatever the other side does, a fetch ends
//! in time and holds little.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;

use super::key_set::{BadKeySet, KeySet};

/// The longest that one answer may take, name resolution and TLS included.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer or file, in bytes. A set of ten RSA keys with their certificates is a tenth of it.
const MAX_BYTES: usize = 256 << 10;

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// At this URL.
    Url(String, Trust),
    /// Where the issuer's `/.well-known/openid-configuration` says; the issuer is a URL.
    Discovery(Trust),
    /// In this file.
    File(PathBuf),
}

/// How presignd knows the server that has the keys, and the server presignd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// The CAs that may have issued the server's certificate, as PEM, read for each fetch; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// A bearer token to show, read for each fetch. It is sent to the URL, or to the issuer and where it says that its keys are.
    pub token_file: Option<PathBuf>,
}

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0} is neither https nor on this machine")]
    Insecure(String),
    #[error("{0} is no URL")]
    NoUrl(String),
    #[error("{url} did not answer within {TIMEOUT:?}")]
    Slow { url: String },
    #[error("{url} cannot be reached: {why}")]
    Unreachable { url: String, why: String },
    #[error("{url} answered with HTTP status {status}")]
    Status { url: String, status: u16 },
    #[error("the answer of {url} is larger than {} KiB", MAX_BYTES >> 10)]
    Large { url: String },
    #[error("the answer of {url} broke off: {why}")]
    Broken { url: String, why: String },
    #[error("{url} is no OpenID configuration")]
    NoConfiguration { url: String },
    #[error("{url} speaks for another issuer")]
    OtherIssuer { url: String },
    #[error("what {place} holds is of no use: {why}")]
    BadKeys { place: String, why: BadKeySet },
    #[error("{} cannot be read: {why}", .path.display())]
    File { path: PathBuf, why: std::io::Error },
    #[error("{} is larger than {} KiB", .0.display(), MAX_BYTES >> 10)]
    LargeFile(PathBuf),
    #[error("{} holds no CA certificates in PEM", .0.display())]
    NoCertificates(PathBuf),
    #[error("{} holds no token", .0.display())]
    NoToken(PathBuf),
    #[error("the system's CA certificates cannot be used: {0}")]
    SystemCertificates(String),
}

impl Location {
    /// The keys that are there now.
    pub(super) async fn fetch(&self, issuer: &str) -> Result<KeySet, FetchError> {
        let (place, json) = match self {
            Self::Url(url, trust) => (url.clone(), trust.get(url).await?),
            Self::Discovery(trust) => {
                let url = discover(issuer, trust).await?;
                let json = trust.get(&url).await?;
                (url, json)
            }
            Self::File(path) => (path.display().to_string(), read(path).await?),
        };
        KeySet::parse(&json).map_err(|why| FetchError::BadKeys { place, why })
    }

    /// Whether it is cheap to look again.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

/// Where the issuer says that its keys are.
async fn discover(issuer: &str, trust: &Trust) -> Result<String, FetchError> {
    #[derive(Deserialize)]
    struct Configuration {
        issuer: String,
        jwks_uri: String,
    }
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let json = trust.get(&url).await?;
    let Ok(configuration) = serde_json::from_slice::<Configuration>(&json) else {
        return Err(FetchError::NoConfiguration { url });
    };
    // OpenID Connect Discovery 1.0, section 4.3: exactly.
    if configuration.issuer != issuer {
        return Err(FetchError::OtherIssuer { url });
    }
    Ok(configuration.jwks_uri)
}

impl Trust {
    /// What is at this URL now. Redirections are not followed: they lead where nobody configured.
    async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        match tokio::time::timeout(TIMEOUT, self.get_unhurried(url)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::Slow {
                url: url.to_owned(),
            }),
        }
    }

    async fn get_unhurried(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError::NoUrl(url.to_owned()))?;
        if !is_protected(&uri) {
            return Err(FetchError::Insecure(url.to_owned()));
        }
        let url = || url.to_owned();
        let mut request = Request::get(uri).header(ACCEPT, "application/json");
        if let Some(path) = &self.token_file {
            request = request.header(AUTHORIZATION, bearer(path).await?);
        }
        let request = request
            .body(Empty::<&[u8]>::new())
            .map_err(|_| FetchError::NoUrl(url()))?;
        // A client of its own for each fetch: they are rare, and a file of CAs may have changed.
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls().await?)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let answer = client.request(request).await;
        let answer = answer.map_err(|error| FetchError::Unreachable {
            url: url(),
            why: causes(&error),
        })?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(FetchError::Status { url: url(), status });
        }
        match Limited::new(answer.into_body(), MAX_BYTES).collect().await {
            Ok(body) => Ok(body.to_bytes().to_vec()),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::Large { url: url() }),
            Err(error) => Err(FetchError::Broken {
                url: url(),
                why: causes(&*error),
            }),
        }
    }

    async fn tls(&self) -> Result<ClientConfig, FetchError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| FetchError::SystemCertificates(error.to_string()))?;
        let Some(path) = &self.ca_file else {
            // The system's files are many, and reading them blocks.
            let system = tokio::task::spawn_blocking(|| builder.with_native_roots()).await;
            let error = |error: &dyn ToString| FetchError::SystemCertificates(error.to_string());
            let trusting = system.map_err(|panic| error(&panic))?;
            return Ok(trusting.map_err(|why| error(&why))?.with_no_client_auth());
        };
        let none = || FetchError::NoCertificates(path.clone());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&read(path).await?) {
            roots
                .add(certificate.map_err(|_| none())?)
                .map_err(|_| none())?;
        }
        if roots.is_empty() {
            return Err(none());
        }
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// The header that shows the token in this file.
async fn bearer(path: &Path) -> Result<HeaderValue, FetchError> {
    let no_token = || FetchError::NoToken(path.to_owned());
    let token = String::from_utf8(read(path).await?).map_err(|_| no_token())?;
    let token = token.trim();
    if token.is_empty() {
        return Err(no_token());
    }
    let header = HeaderValue::try_from(format!("Bearer {token}"));
    let mut header = header.map_err(|_| no_token())?;
    header.set_sensitive(true);
    Ok(header)
}

async fn read(path: &Path) -> Result<Vec<u8>, FetchError> {
    let failed = |why| FetchError::File {
        path: path.to_owned(),
        why,
    };
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut limited = file.take(MAX_BYTES as u64 + 1);
    limited.read_to_end(&mut bytes).await.map_err(failed)?;
    if bytes.len() > MAX_BYTES {
        return Err(FetchError::LargeFile(path.to_owned()));
    }
    Ok(bytes)
}

/// Whether nobody on a network can change what is fetched: over TLS, or without a network.
fn is_protected(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => here,
        _ => false,
    }
}

/// An error with its causes, which hyper leaves out of its own words.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for (url, protected) in [
            ("https://issuer.example/keys", true),
            ("http://issuer.example/keys", false),
            ("http://127.0.0.1:8080/keys", true),
            ("http://[::1]:8080/keys", true),
            ("http://localhost/keys", true),
            ("http://localhost.example/keys", false),
            ("http://127.0.0.1.example/keys", false),
            ("http://127.0.0.1@issuer.example/keys", false),
            ("ftp://127.0.0.1/keys", false),
            ("/keys", false),
        ] {
            assert_eq!(is_protected(&url.parse().unwrap()), protected, "{url}");
        }
    }
}
