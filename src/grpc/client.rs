//! Asking a presignd, in JSON: for callers that are people, or pages.
//!
//! Messages are read by the descriptors that the server answers reflection with, so that every method and field of the protos can be
//! asked for without code of its own. Invariant: a caller's credentials are in no error and in no `Debug`.

mod codec;
mod refused;

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tonic::metadata::{AsciiMetadataValue, MetadataKey};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use self::codec::DynamicCodec;
pub use self::refused::Refused;
use super::SERVICE;
use super::health::whole;
use crate::proto::FILE_DESCRIPTOR_SET;

/// Every message and method, with the options that describe them.
pub static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the compiler wrote the descriptors")
});

/// Where a presignd is, and how to know it.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// `http://HOST:PORT`, or `https://HOST:PORT` for TLS.
    pub url: String,
    /// A file with the roots that are trusted, in PEM; the machine's own, if it is left out.
    pub ca: Option<PathBuf>,
    /// The name that the certificate has to be for; the URL's host, if it is left out.
    pub server_name: Option<String>,
    /// Files with a client certificate and its key, in PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

/// What a caller shows of who they are, besides a certificate.
#[derive(Debug, Clone)]
pub enum Proof {
    /// Nothing.
    None,
    /// A JSON Web Token.
    Token(SecretString),
    /// An API key.
    ApiKey(SecretString),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error(
        "`{0}` is not where a presignd can be: write http://HOST:PORT, or https://HOST:PORT for TLS"
    )]
    Address(String),
    /// TLS was configured for an address without.
    #[error("a CA or a certificate is for https://, and the server is {0}")]
    NoTls(String),
    /// A file cannot be used.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// TLS cannot be set up from the files.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// What was to be shown is no header's value.
    #[error("the {0} holds characters that no header can carry")]
    Proof(&'static str),
    /// There is no such method.
    #[error("PresignService has no method {0} that answers one message with one")]
    Method(String),
    /// The request is no message of the method.
    #[error("the request is no {message}: {why}")]
    Request {
        /// The message's name.
        message: String,
        /// Why.
        why: String,
    },
    /// Nobody answers.
    #[error("{url} does not answer: {why}")]
    Silent {
        /// Who was asked.
        url: String,
        /// Why.
        why: String,
    },
    /// presignd says no.
    #[error("{0}")]
    Refused(Box<Refused>),
}

/// A caller of one presignd. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    url: String,
    timeout: Duration,
    channel: Channel,
    proof: Option<(&'static str, AsciiMetadataValue)>,
}

impl Client {
    /// A caller who connects when first asked to.
    ///
    /// # Errors
    /// If the target or the proof cannot be used.
    pub fn new(target: &Target, proof: &Proof) -> Result<Self, ClientError> {
        let url = target.url.trim_end_matches('/').to_owned();
        let address = || ClientError::Address(url.clone());
        let secure = url.starts_with("https://");
        if !secure && !url.starts_with("http://") {
            return Err(address());
        }
        let mut endpoint = Endpoint::from_shared(url.clone())
            .map_err(|_| address())?
            .connect_timeout(target.timeout)
            .timeout(target.timeout);
        if secure {
            let tls = tls(target)?;
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| ClientError::Tls(whole(error)))?;
        } else if target.ca.is_some() || target.certificate.is_some() {
            return Err(ClientError::NoTls(url));
        }
        Ok(Self {
            channel: endpoint.connect_lazy(),
            timeout: target.timeout,
            proof: header(proof)?,
            url,
        })
    }

    /// The answer to a request of this method of PresignService, such as `Presign`, both in protobuf's JSON.
    ///
    /// # Errors
    /// If the request is none, if nobody answers, or if presignd refuses.
    pub async fn call(&self, method: &str, request: &Value) -> Result<Value, ClientError> {
        let method = method_of(method)?;
        let message = message(method.input(), request)?;
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        if let Some((name, value)) = &self.proof {
            let name = MetadataKey::from_static(name);
            request.metadata_mut().insert(name, value.clone());
        }
        let path = format!("/{SERVICE}/{}", method.name());
        let path = PathAndQuery::try_from(path)
            .map_err(|_| ClientError::Method(method.name().to_owned()))?;
        let answer = self.unary(request, path, method.output()).await;
        answer
            .map(|message| json(&message))
            .map_err(|status| self.failed(&status))
    }

    async fn unary(
        &self,
        request: Request<DynamicMessage>,
        path: PathAndQuery,
        answer: MessageDescriptor,
    ) -> Result<DynamicMessage, Status> {
        // An answer may be a batch of 500 URLs.
        let mut grpc =
            tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        let ready = grpc.ready().await;
        ready.map_err(|error| Status::from_error(error.into()))?;
        let answered = grpc.unary(request, path, DynamicCodec(answer)).await?;
        Ok(answered.into_inner())
    }

    /// A status that has a cause was made on this side, where the connection failed.
    fn failed(&self, status: &Status) -> ClientError {
        match status.source() {
            Some(cause) => ClientError::Silent {
                url: self.url.clone(),
                why: whole(cause),
            },
            None => ClientError::Refused(Box::new(Refused::read(status))),
        }
    }
}

/// The method of PresignService by this name.
fn method_of(name: &str) -> Result<MethodDescriptor, ClientError> {
    let service = DESCRIPTORS.get_service_by_name(SERVICE);
    let method = service.and_then(|service| {
        let mut methods = service.methods();
        methods.find(|method| method.name() == name)
    });
    method
        .filter(|method| !method.is_client_streaming() && !method.is_server_streaming())
        .ok_or_else(|| ClientError::Method(name.to_owned()))
}

fn message(of: MessageDescriptor, json: &Value) -> Result<DynamicMessage, ClientError> {
    let name = of.name().to_owned();
    DynamicMessage::deserialize(of, json).map_err(|error| ClientError::Request {
        message: name,
        why: error.to_string(),
    })
}

/// The message in protobuf's JSON. What cannot be told so, such as details of an unknown type, is left out.
fn json(message: &DynamicMessage) -> Value {
    serde_json::to_value(message).unwrap_or_default()
}

fn tls(target: &Target) -> Result<ClientTlsConfig, ClientError> {
    let mut tls = ClientTlsConfig::new();
    tls = match &target.ca {
        Some(path) => tls.ca_certificate(Certificate::from_pem(roots(path)?)),
        None => tls.with_native_roots(),
    };
    if let Some(name) = &target.server_name {
        tls = tls.domain_name(name);
    }
    if let Some((certificate, key)) = &target.certificate {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

/// Roots without a certificate would be none at all, and every server unknown.
fn roots(path: &Path) -> Result<Vec<u8>, ClientError> {
    let pem = read(path)?;
    let mut certificates = CertificateDer::pem_slice_iter(&pem);
    match certificates.next() {
        Some(Ok(_)) => Ok(pem),
        _ => Err(ClientError::File {
            path: path.to_owned(),
            why: "it holds no certificate in PEM".to_owned(),
        }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|error| ClientError::File {
        path: path.to_owned(),
        why: error.to_string(),
    })
}

fn header(proof: &Proof) -> Result<Option<(&'static str, AsciiMetadataValue)>, ClientError> {
    let (name, what, text) = match proof {
        Proof::None => return Ok(None),
        Proof::Token(token) => {
            let text = SecretString::from(format!("Bearer {}", token.expose_secret()));
            ("authorization", "token", text)
        }
        Proof::ApiKey(key) => ("x-api-key", "API key", key.clone()),
    };
    let value = AsciiMetadataValue::try_from(text.expose_secret());
    let mut value = value.map_err(|_| ClientError::Proof(what))?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(url: &str) -> Target {
        Target {
            url: url.to_owned(),
            timeout: Duration::from_secs(1),
            ..Target::default()
        }
    }

    #[test]
    fn methods_and_messages_are_known_by_their_descriptors() {
        assert_eq!(
            method_of("Presign").unwrap().input().name(),
            "PresignRequest"
        );
        assert!(matches!(method_of("Sign"), Err(ClientError::Method(_))));
        let of = method_of("Presign").unwrap().input();
        let request = json!({ "tenant": "acme", "command": { "getObject": { "bucket": "b", "key": "k" } }, "expiresIn": "5s" });
        assert_eq!(
            super::json(&message(of.clone(), &request).unwrap()),
            request
        );
        let error = message(of, &json!({ "tenat": "acme" }))
            .unwrap_err()
            .to_string();
        assert!(error.contains("tenat"), "{error}");
    }

    #[tokio::test]
    async fn addresses_and_proofs_are_checked_and_not_shown() {
        for url in ["127.0.0.1:50051", "ftp://x", "http://"] {
            let error = Client::new(&target(url), &Proof::None).unwrap_err();
            assert!(matches!(error, ClientError::Address(_)), "{url}: {error}");
        }
        let proof = Proof::Token("PLANTED\n".to_owned().into());
        let error = Client::new(&target("http://127.0.0.1:1"), &proof).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("PLANTED"));
        let proof = Proof::ApiKey("PLANTED".to_owned().into());
        let client = Client::new(&target("http://127.0.0.1:1"), &proof).unwrap();
        assert!(!format!("{client:?}").contains("PLANTED"), "{client:?}");
        let error = client.call("Presign", &json!({})).await.unwrap_err();
        assert!(matches!(error, ClientError::Silent { .. }), "{error:?}");
    }
}
