//! A certificate with its chain, and its key: two PEM files that belong together.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use zeroize::Zeroizing;

/// A certificate that ends within this time is warned of.
const SOON: Duration = Duration::from_hours(24 * 14);

/// Where the certificate and its key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate first, then the rest of its chain, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Files that cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum BadPair {
    /// A file cannot be read.
    #[error("{setting}: cannot read {}: {source}", path.display())]
    Unreadable {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no certificate in the file.
    #[error(
        "server.tls.certificate: {} holds no certificate that can be read: it has to be PEM, with the server's certificate first and \
         those that lead to its root after it",
        .0.display()
    )]
    NoCertificate(PathBuf),
    /// There is no key in the file.
    #[error(
        "server.tls.key: {} holds no private key that can be read: it has to be PEM, without a passphrase, of RSA, ECDSA or Ed25519",
        .0.display()
    )]
    NoKey(PathBuf),
    /// They are not of one pair.
    #[error(
        "server.tls: the key in {} is not that of the first certificate in {}: replace both files together, and let the server's own \
         certificate come first",
        key.display(), certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
    },
}

/// What the files hold.
#[derive(Debug)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

/// Tells contents from others without holding them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

/// A certificate and its key.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: CertifiedKey,
    names: Vec<String>,
    begins: Timestamp,
    ends: Timestamp,
}

impl TlsFiles {
    /// Reads both.
    pub(super) async fn read(&self) -> Result<Contents, BadPair> {
        let certificate = read("server.tls.certificate", &self.certificate).await?;
        let key = Zeroizing::new(read("server.tls.key", &self.key).await?);
        Ok(Contents { certificate, key })
    }

    /// The pair in these contents.
    pub(super) fn pair(&self, contents: &Contents) -> Result<Pair, BadPair> {
        let no_certificate = || BadPair::NoCertificate(self.certificate.clone());
        let no_key = || BadPair::NoKey(self.key.clone());
        let chain = CertificateDer::pem_slice_iter(&contents.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| no_certificate())?;
        let first = chain.first().ok_or_else(no_certificate)?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|_| no_certificate())?;
        let time = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::MAX)
        };
        let validity = parsed.validity();
        let (begins, ends) = (time(validity.not_before), time(validity.not_after));
        let names = names(&parsed);

        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|_| no_key())?;
        let provider = aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => BadPair::Mismatch {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
            },
            rustls::Error::InvalidCertificate(_) => no_certificate(),
            _ => no_key(),
        })?;
        Ok(Pair {
            key,
            names,
            begins,
            ends,
        })
    }
}

async fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, BadPair> {
    let read = tokio::fs::read(path).await;
    read.map_err(|source| BadPair::Unreadable {
        setting,
        path: path.to_owned(),
        source,
    })
}

/// The names that clients may know the server by.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    names
        .map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress([a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
            GeneralName::IPAddress(bytes) => <[u8; 16]>::try_from(*bytes)
                .map(|bytes| std::net::Ipv6Addr::from(bytes).to_string())
                .unwrap_or_default(),
            other => other.to_string(),
        })
        .collect()
}

impl Contents {
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        // Which file a byte is of counts as well.
        hash.update(self.certificate.len().to_be_bytes());
        hash.update(&self.certificate);
        hash.update(&*self.key);
        Fingerprint(hash.finalize().into())
    }
}

impl Pair {
    pub(super) fn valid_until(&self) -> Timestamp {
        self.ends
    }

    /// For a person to read.
    pub(super) fn description(&self) -> String {
        let names = if self.names.is_empty() {
            "no name".to_owned()
        } else {
            self.names.join(", ")
        };
        format!("TLS: a certificate for {names}, valid until {}", self.ends)
    }

    /// What clients will, or will soon, complain of.
    pub(super) fn warning(&self, file: &Path, now: SystemTime) -> Option<String> {
        let now = Timestamp::try_from(now).unwrap_or(Timestamp::MAX);
        let (begins, ends) = (self.begins, self.ends);
        let what = if now > ends {
            format!("ended at {ends}: clients refuse it, so replace it")
        } else if now < begins {
            format!("begins at {begins}: clients refuse it until then")
        } else if ends.duration_since(now).unsigned_abs() < SOON {
            format!("ends at {ends}: replace it before")
        } else if self.names.is_empty() {
            "has no subject alternative name: clients do not take it for any host".to_owned()
        } else {
            return None;
        };
        let file = file.display();
        Some(format!(
            "server.tls.certificate: the certificate in {file} {what}"
        ))
    }
}
