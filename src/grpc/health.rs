//! Asking a presignd whether it serves, as probes and operators do.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How a presignd is reached.
#[derive(Debug, Clone)]
pub enum Reach {
    /// In plaintext.
    Plaintext,
    /// With TLS, whatever certificate it shows: for one on this machine, where nothing is sent that others must not have.
    AnyCertificate,
    /// With TLS, and a certificate that is good.
    Verified {
        /// A file with the roots that are trusted, in PEM.
        ca: PathBuf,
        /// The name that the certificate has to be for.
        name: String,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The roots cannot be used.
    #[error("{}: {why}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The name cannot be of a certificate.
    #[error("`{0}` is neither a host name nor an IP address")]
    Name(String),
    /// Nobody answers, or not in time.
    #[error("{address} does not answer: {why}")]
    Silent {
        /// Who was asked.
        address: SocketAddr,
        /// Why.
        why: String,
    },
}

/// The health of a service of the presignd at this address, or of presignd as a whole for the empty name, by the name of its status:
/// `SERVING`.
///
/// # Errors
/// If it does not say.
pub async fn health(
    address: SocketAddr,
    reach: &Reach,
    service: &str,
    patience: Duration,
) -> Result<&'static str, NoAnswer> {
    let tls = client(reach, address)?;
    let ask = async {
        let channel = connect(address, tls).await.map_err(whole)?;
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(channel).check(request).await;
        Ok(answer.map_err(whole)?.into_inner().status())
    };
    let silent = |why| NoAnswer::Silent { address, why };
    match tokio::time::timeout(patience, ask).await {
        Ok(Ok(ServingStatus::Serving)) => Ok(SERVING),
        Ok(Ok(status)) => Ok(status.as_str_name()),
        Ok(Err(why)) => Err(silent(why)),
        Err(_) => Err(silent(format!("not within {patience:?}"))),
    }
}

/// The status of a presignd that answers requests.
pub const SERVING: &str = "SERVING";

/// The error and what caused it: the outermost of a transport says little.
pub(super) fn whole(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

type Tls = Option<(TlsConnector, ServerName<'static>)>;

async fn connect(address: SocketAddr, tls: Tls) -> Result<Channel, tonic::transport::Error> {
    // The connector connects: of this, only the form counts.
    let endpoint = Endpoint::from_static("http://presignd");
    let connector = tower::service_fn(move |_: Uri| {
        let tls = tls.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let stream: Box<dyn Duplex> = match tls {
                Some((connector, name)) => Box::new(connector.connect(name, stream).await?),
                None => Box::new(stream),
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    endpoint.connect_with_connector(connector).await
}

/// A connection, encrypted or not.
trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Duplex for S {}

fn client(reach: &Reach, address: SocketAddr) -> Result<Tls, NoAnswer> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs has TLS 1.2 and 1.3");
    let (config, name) = match reach {
        Reach::Plaintext => return Ok(None),
        Reach::AnyCertificate => {
            let builder = builder.dangerous();
            let config = builder.with_custom_certificate_verifier(Arc::new(Any(provider)));
            (config, ServerName::from(address.ip()))
        }
        Reach::Verified { ca, name } => {
            let config = builder.with_root_certificates(roots(ca)?);
            let of = ServerName::try_from(name.clone());
            (config, of.map_err(|_| NoAnswer::Name(name.clone()))?)
        }
    };
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Some((TlsConnector::from(Arc::new(config)), name)))
}

fn roots(path: &Path) -> Result<RootCertStore, NoAnswer> {
    let failed = |why: String| NoAnswer::Roots {
        path: path.to_owned(),
        why,
    };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Takes whatever certificate is shown, if whoever shows it has its key.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
