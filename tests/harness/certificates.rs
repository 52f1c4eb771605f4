//! Certificates: an authority that tests trust, what it issues, and the folder where presignd finds it.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, IsCa, KeyPair,
};
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig};

/// An authority of its own for each test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// What tells the certificate from others, as clients see it.
    pub(crate) der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names are good names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name = DistinguishedName::new();
        let name = rcgen::DnType::CommonName;
        parameters
            .distinguished_name
            .push(name, "the tests' authority");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(parameters, key).expect("a certificate"))
    }

    /// Its own certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// What a client trusts.
    pub(crate) fn trusted(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.pem()))
            .domain_name("localhost")
    }

    /// A certificate for this machine.
    pub(crate) fn issue(&self) -> Pair {
        self.issue_until(2090)
    }

    /// One that ends with the year before.
    pub(crate) fn issue_until(&self, year: i32) -> Pair {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut parameters = CertificateParams::new(names.to_vec()).expect("good names");
        parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.0).expect("a certificate");
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }
}

/// A folder as Kubernetes mounts a Secret: the files are links through `..data`, which is replaced as a whole.
pub(crate) struct Mounted {
    folder: TempDir,
    generation: usize,
}

impl Mounted {
    pub(crate) fn new(pair: &Pair) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        for name in ["tls.crt", "tls.key"] {
            let target = Path::new("..data").join(name);
            std::os::unix::fs::symlink(target, folder.path().join(name)).expect("a link");
        }
        let mut mounted = Self {
            folder,
            generation: 0,
        };
        mounted.replace(pair);
        mounted
    }

    /// Puts other files there, both at once.
    pub(crate) fn replace(&mut self, pair: &Pair) {
        self.replace_with(&pair.certificate, &pair.key);
    }

    /// Puts other files there, whatever they hold.
    pub(crate) fn replace_with(&mut self, certificate: &str, key: &str) {
        self.generation += 1;
        let path = self.folder.path();
        let name = format!("..{}", self.generation);
        std::fs::create_dir(path.join(&name)).expect("a folder");
        std::fs::write(path.join(&name).join("tls.crt"), certificate).expect("a file");
        std::fs::write(path.join(&name).join("tls.key"), key).expect("a file");
        std::os::unix::fs::symlink(&name, path.join("..data_new")).expect("a link");
        std::fs::rename(path.join("..data_new"), path.join("..data")).expect("it is replaced");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The section `server.tls`.
    pub(crate) fn setting(&self) -> String {
        format!(
            "tls: {{ certificate: \"{}\", key: \"{}\" }}",
            self.path("tls.crt").display(),
            self.path("tls.key").display()
        )
    }
}
