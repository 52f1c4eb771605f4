//! Client certificates, from a CA to the caller: real TLS, with tonic's client and with grpcurl.

use std::path::{Path, PathBuf};
use std::time::Duration;

use presignd::proto::v1::PresignResponse;
use presignd::proto::v1::presign_service_client::PresignServiceClient;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    SanType,
};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Status};

use super::api_keys::new_key;
use crate::harness::presignd::{get_object, request, static_tenant};
use crate::harness::process::{PATIENCE, Process, with_config};
use crate::harness::refusal::refused;
use crate::harness::tools;

const GRANTS: &str = r#"grants: [{ commands: [read], resources: ["acme-files/*"] }]"#;

/// A CA, and what it issues.
struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
struct Issued {
    certificate: String,
    key: String,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a CA"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, names: &[SanType], common_name: &str) -> Issued {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    fn issue_spiffe(&self, id: &str) -> Issued {
        self.issue(&[SanType::URI(id.try_into().expect("ASCII"))], "")
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("ASCII"))
}

/// presignd over TLS, with its certificate and those of its clients from one CA.
struct Secured {
    process: Process,
    address: String,
    ca: Ca,
    folder: TempDir,
}

impl Secured {
    async fn start(callers: &str) -> Self {
        let (ca, folder) = (Ca::new(), tempfile::tempdir().expect("a folder"));
        let server = ca.issue(&[dns("localhost")], "presignd");
        let write = |name: &str, text: &str| write(folder.path(), name, text);
        let certificate = write("server.pem", &server.certificate);
        let key = write("server.key", &server.key);
        let client_ca = write("clients.pem", &ca.pem());
        let tenant = static_tenant(GRANTS).replace('\n', "\n    ");
        let config = format!(
            "server:
  listen: 127.0.0.1:0
  tls: {{ certificate: \"{}\", key: \"{}\", client_ca: \"{}\" }}
{callers}
tenants:
  acme:
    {tenant}
",
            certificate.display(),
            key.display(),
            client_ca.display()
        );
        let process = with_config("serve", &config).start();
        let address = process.address().await;
        Self {
            process,
            address,
            ca,
            folder,
        }
    }

    /// Asks for a URL on a connection of its own, with this certificate.
    async fn presign(&self, own: Option<&Issued>) -> Result<PresignResponse, Status> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.ca.pem()))
            .domain_name("localhost");
        if let Some(own) = own {
            tls = tls.identity(Identity::from_pem(&own.certificate, &own.key));
        }
        let channel = Channel::from_shared(format!("https://{}", self.address))
            .expect("a URL")
            .tls_config(tls)
            .expect("certificates")
            .connect()
            .await
            .map_err(|error| Status::unknown(format!("{error:?}")))?;
        let asked = request("acme", get_object("acme-files", "k"));
        let answer = PresignServiceClient::new(channel).presign(asked).await?;
        Ok(answer.into_inner())
    }

    async fn recorded(&self, issuance_id: &str) -> String {
        let line = self.process.stdout_line(issuance_id).await;
        let record: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        record["caller"].as_str().expect("a caller").to_owned()
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    // Replaced as a whole, as whoever renews certificates does it.
    let next = folder.join("next");
    std::fs::write(&next, text).expect("a file");
    std::fs::rename(&next, &path).expect("a file");
    path
}

#[tokio::test]
async fn certificates_say_who_calls() {
    let presignd = Secured::start(
        "callers:
  - { match: { spiffe: \"spiffe://cluster.local/ns/media/*\" }, tenants: [acme] }
  - { match: { dns: api.media.example }, tenants: [acme], name: media-api }
  - { match: { subject: \"CN=batch\\\\, nightly\" }, tenants: [acme] }",
    )
    .await;
    let ca = &presignd.ca;
    for (own, name) in [
        (
            ca.issue_spiffe("spiffe://cluster.local/ns/media/sa/api"),
            "spiffe://cluster.local/ns/media/sa/api",
        ),
        (
            ca.issue(&[dns("other.example"), dns("API.media.example")], ""),
            "media-api",
        ),
        (
            ca.issue(&[], "batch, nightly"),
            r"subject.CN=batch\, nightly",
        ),
    ] {
        let issued = presignd.presign(Some(&own)).await.unwrap();
        assert_eq!(presignd.recorded(&issued.issuance_id).await, name);
    }
    // Known, and not on the list.
    let other = ca.issue_spiffe("spiffe://cluster.local/ns/other/sa/api");
    let denied = refused(presignd.presign(Some(&other)).await);
    assert_eq!(denied.why(), (Code::PermissionDenied, "TENANT_DENIED"));
    assert_eq!(
        presignd.recorded(&denied.issuance_id).await,
        "spiffe://cluster.local/ns/other/sa/api"
    );

    let nobody = refused(presignd.presign(None).await);
    assert_eq!(nobody.why(), (Code::Unauthenticated, "UNAUTHENTICATED"));
    assert!(
        nobody.message.contains("a client certificate"),
        "{}",
        nobody.message
    );

    // Of another CA: no connection, whatever it says.
    let forged = Ca::new().issue_spiffe("spiffe://cluster.local/ns/media/sa/api");
    let refused = presignd.presign(Some(&forged)).await.unwrap_err();
    assert!(refused.details().is_empty(), "{refused:?}");
    let ended = presignd.process.terminated().await;
    assert_eq!(ended.stdout.lines().count(), 5, "{}", ended.stdout);
}

#[tokio::test]
async fn a_new_ca_counts_for_new_connections() {
    let presignd =
        Secured::start("callers: [{ match: { spiffe: \"spiffe://a/b\" }, tenants: [acme] }]").await;
    let (new_ca, id) = (Ca::new(), "spiffe://a/b");
    let (old, new) = (presignd.ca.issue_spiffe(id), new_ca.issue_spiffe(id));
    presignd.presign(Some(&old)).await.unwrap();
    presignd.presign(Some(&new)).await.unwrap_err();

    write(presignd.folder.path(), "clients.pem", &new_ca.pem());
    let accepted = async {
        while presignd.presign(Some(&new)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, accepted)
        .await
        .expect("the new CA is noticed");
    presignd.presign(Some(&old)).await.unwrap_err();

    // What is no CA changes nothing.
    write(presignd.folder.path(), "clients.pem", "nonsense");
    presignd.process.stderr_line("server.tls.client_ca").await;
    presignd.presign(Some(&new)).await.unwrap();
}

#[tokio::test]
async fn grpcurl_calls_with_a_certificate_and_with_a_key_instead() {
    let (key, hash) = new_key().await;
    let callers = format!(
        "authentication: {{ api_keys: {{ media: [\"{hash}\"] }} }}
callers:
  - {{ match: {{ dns: api.media.example }}, tenants: [acme] }}
  - {{ match: {{ api_key: media }}, tenants: [acme] }}"
    );
    let presignd = Secured::start(&callers).await;
    let own = presignd.ca.issue(&[dns("api.media.example")], "");
    let folder = presignd.folder.path();
    let ca = write(folder, "ca.pem", &presignd.ca.pem());
    let certificate = write(folder, "own.pem", &own.certificate);
    let key_file = write(folder, "own.key", &own.key);
    let common = format!(
        "-cacert '{}' -authority localhost -d '{{\"tenant\":\"acme\",\"command\":{{\"getObject\":{{\"bucket\":\"acme-files\",\"key\":\"k\"}}}}}}' {} \
         presignd.v1.PresignService/Presign",
        ca.display(),
        presignd.address
    );
    let certificate = format!(
        "-cert '{}' -key '{}'",
        certificate.display(),
        key_file.display()
    );
    let api_key = format!("-H 'x-api-key: {key}'");
    // A key that is shown decides, also beside a certificate.
    let both = format!("{certificate} {api_key}");
    for (shown, name) in [
        (&certificate, "dns.api.media.example"),
        (&api_key, "key.media"),
        (&both, "key.media"),
    ] {
        let output = tools::bash(&format!("grpcurl {shown} {common}")).await;
        assert!(output.status.success(), "{output:?}");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let id = answer["issuanceId"].as_str().expect("an id");
        assert_eq!(presignd.recorded(id).await, name);
    }
    let wrong = format!("{certificate} -H 'x-api-key: presignd_wrong'");
    let output = tools::bash(&format!("grpcurl {wrong} {common}")).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Code: Unauthenticated"), "{said}");
}
