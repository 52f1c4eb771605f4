//! TLS on the real process: who is served, what a new certificate changes, and what a broken one does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use presignd::proto::v1::presign_service_client::PresignServiceClient;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::harness::certificates::{Authority, Mounted};
use crate::harness::presignd::{get_object, request};
use crate::harness::process::{Process, presignd, static_tenant, with_config};
use crate::harness::tools;

fn serve(mounted: &Mounted) -> Process {
    let config = static_tenant("[GetObject]", &mounted.setting());
    with_config("serve", &config).start()
}

async fn connect(
    presignd: &Process,
    authority: &Authority,
) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("https://{}", presignd.address().await));
    let endpoint = endpoint.expect("a URL").tls_config(authority.trusted())?;
    endpoint.connect().await
}

async fn presign(channel: &Channel) -> Result<(), Status> {
    let asked = request("acme", get_object("acme-files", "k"));
    let mut client = PresignServiceClient::new(channel.clone());
    client.presign(asked).await.map(|_| ())
}

/// A handshake as a client makes it, and what it came to.
async fn handshake(
    presignd: &Process,
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
    protocols: &[&str],
) -> std::io::Result<(Vec<u8>, Option<Vec<u8>>)> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM");
    roots.add(root).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(presignd.address().await).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await?;
    let (_, session) = stream.get_ref();
    let certificates = session.peer_certificates().expect("certificates");
    let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
    Ok((certificates[0].to_vec(), alpn))
}

/// The certificate that new connections are shown.
async fn shown(presignd: &Process, authority: &Authority) -> Vec<u8> {
    let handshake = handshake(presignd, authority, rustls::ALL_VERSIONS, &["h2"]);
    handshake.await.expect("a handshake").0
}

async fn until_shown(presignd: &Process, authority: &Authority, der: &[u8]) {
    let shown = async {
        while shown(presignd, authority).await != der {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), shown)
        .await
        .expect("the new certificate is shown");
}

#[tokio::test]
async fn clients_of_tls_are_served_and_others_are_not() {
    let authority = Authority::new();
    let mounted = Mounted::new(&authority.issue());
    let presignd = serve(&mounted);
    presign(&connect(&presignd, &authority).await.unwrap())
        .await
        .unwrap();

    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (_, alpn) = handshake(&presignd, &authority, &[version], &["http/1.1", "h2"])
            .await
            .unwrap();
        assert_eq!(alpn.as_deref(), Some(&b"h2"[..]), "{version:?}");
    }
    let other = handshake(&presignd, &authority, rustls::ALL_VERSIONS, &["http/1.1"]).await;
    other.expect_err("there is no HTTP/1");
    let stranger = connect(&presignd, &Authority::new()).await;
    stranger.expect_err("the certificate is not of that authority");
    let plain = PresignServiceClient::connect(format!("http://{}", presignd.address().await)).await;
    if let Ok(mut client) = plain {
        let asked = request("acme", get_object("acme-files", "k"));
        client
            .presign(asked)
            .await
            .expect_err("plaintext is not served");
    }
    let ended = presignd.terminated().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn grpcurl_asks_over_tls() {
    let authority = Authority::new();
    let mounted = Mounted::new(&authority.issue());
    let presignd = serve(&mounted);
    let ca = mounted.path("ca.crt");
    std::fs::write(&ca, authority.pem()).unwrap();
    let address = presignd.address().await;
    let script = format!(
        "grpcurl -cacert '{}' -servername localhost -max-time 60 {address} grpc.health.v1.Health/Check",
        ca.display()
    );
    let output = tools::bash(&script).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("\"SERVING\""), "{output:?}");
}

/// Keeps asking, and counts. `afresh` takes a new connection for each call.
fn load(
    presignd: &Process,
    authority: &Authority,
    address: &str,
    afresh: bool,
    stop: &Arc<AtomicBool>,
    calls: &Arc<AtomicUsize>,
) -> tokio::task::JoinHandle<()> {
    let _ = presignd;
    let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("a URL");
    let endpoint = endpoint.tls_config(authority.trusted()).expect("TLS");
    let (stop, calls) = (Arc::clone(stop), Arc::clone(calls));
    tokio::spawn(async move {
        let mut channel = endpoint.connect().await.expect("a connection");
        while !stop.load(Ordering::Relaxed) {
            if afresh {
                channel = endpoint.connect().await.expect("a connection");
            }
            presign(&channel).await.expect("no call fails");
            calls.fetch_add(1, Ordering::Relaxed);
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_under_load_fails_no_call_and_closes_no_connection() {
    let authority = Authority::new();
    let mut mounted = Mounted::new(&authority.issue());
    let presignd = serve(&mounted);
    let address = presignd.address().await;
    let (stop, calls) = (Arc::default(), Arc::default());
    let clients: Vec<_> = [false, false, false, false, true, true]
        .into_iter()
        .map(|afresh| load(&presignd, &authority, &address, afresh, &stop, &calls))
        .collect();
    // Idle all the while, on the first certificate.
    let idle = connect(&presignd, &authority).await.unwrap();
    presign(&idle).await.unwrap();
    for _ in 0..4 {
        let next = authority.issue();
        mounted.replace(&next);
        until_shown(&presignd, &authority, &next.der).await;
        let before = calls.load(Ordering::Relaxed);
        while calls.load(Ordering::Relaxed) < before + 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(clients.iter().all(|client| !client.is_finished()));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no call failed");
    }
    presign(&idle).await.unwrap();
    assert!(
        !presignd.stderr().contains("ERROR"),
        "{}",
        presignd.stderr()
    );
}

#[tokio::test]
async fn a_broken_pair_leaves_the_last_good_one_and_is_told_of_once() {
    let authority = Authority::new();
    let (good, other) = (authority.issue(), authority.issue());
    let mut mounted = Mounted::new(&good);
    let presignd = serve(&mounted);
    assert_eq!(shown(&presignd, &authority).await, good.der);

    mounted.replace_with(&other.certificate, &good.key);
    let line = presignd
        .stderr_line("is not that of the first certificate")
        .await;
    assert!(line.contains("ERROR") && line.contains("tls.key"), "{line}");
    assert_eq!(shown(&presignd, &authority).await, good.der);

    mounted.replace_with("PLANTED0SECRET", &good.key);
    let line = presignd.stderr_line("holds no certificate").await;
    assert!(line.contains("tls.crt"), "{line}");
    // The same again is nothing new.
    mounted.replace_with("PLANTED0SECRET", &good.key);
    assert_eq!(shown(&presignd, &authority).await, good.der);

    mounted.replace(&other);
    until_shown(&presignd, &authority, &other.der).await;
    let said = presignd.stderr();
    assert_eq!(said.matches("holds no certificate").count(), 1, "{said}");
    assert!(
        !said.contains("PLANTED") && !said.contains("PRIVATE KEY"),
        "{said}"
    );
}

/// Files that are replaced one after the other, in place: the pair does not fit for a moment.
#[tokio::test]
async fn files_that_are_written_in_place_are_taken_as_well() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |pair: &crate::harness::certificates::Pair| {
        std::fs::write(path("cert.pem"), &pair.certificate).unwrap();
        std::fs::write(path("key.pem"), &pair.key).unwrap();
    };
    write(&authority.issue());
    let setting = format!(
        "tls: {{ certificate: \"{}\", key: \"{}\" }}",
        path("cert.pem").display(),
        path("key.pem").display()
    );
    let config = static_tenant("[GetObject]", &setting);
    let presignd = with_config("serve", &config).start();
    presignd.address().await;
    let next = authority.issue();
    write(&next);
    until_shown(&presignd, &authority, &next.der).await;
}

#[tokio::test]
async fn what_cannot_be_served_with_is_told_before_anything_listens() {
    let authority = Authority::new();
    let (pair, other) = (authority.issue(), authority.issue());
    for (certificate, key, told) in [
        ("", &*pair.key, "tls.crt holds no certificate"),
        (&*pair.key, &*pair.key, "tls.crt holds no certificate"),
        (
            &*pair.certificate,
            &*pair.certificate,
            "tls.key holds no private key",
        ),
        (
            &*pair.certificate,
            "PLANTED0SECRET",
            "tls.key holds no private key",
        ),
        (
            &*other.certificate,
            &*pair.key,
            "replace both files together",
        ),
    ] {
        let mut mounted = Mounted::new(&pair);
        mounted.replace_with(certificate, key);
        for command in ["serve", "check"] {
            let config = static_tenant("[GetObject]", &mounted.setting());
            let ended = with_config(command, &config).run().await;
            assert_eq!(ended.code, Some(1), "{command}: {}", ended.stderr);
            assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
            assert!(!ended.stderr.contains("PLANTED"), "{}", ended.stderr);
        }
        std::fs::remove_file(mounted.path("tls.crt")).unwrap();
        let config = static_tenant("[GetObject]", &mounted.setting());
        let ended = with_config("serve", &config).run().await;
        assert!(
            ended.stderr.contains("server.tls.certificate: cannot read"),
            "{}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn check_tells_of_certificates_and_of_their_end() {
    let authority = Authority::new();
    for (year, warned) in [(2090, None), (2020, Some("ended at 2020-01-01"))] {
        let mounted = Mounted::new(&authority.issue_until(year));
        let config = static_tenant("[GetObject]", &mounted.setting());
        let ended = with_config("check", &config).run().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let line = format!("TLS: a certificate for localhost, 127.0.0.1, valid until {year}-01-01");
        assert!(ended.stdout.contains(&line), "{}", ended.stdout);
        match warned {
            Some(warning) => assert!(ended.stderr.contains(warning), "{}", ended.stderr),
            None => assert_eq!(ended.stderr, ""),
        }
    }
}

#[tokio::test]
async fn with_tls_others_may_be_served_without_insecure() {
    let authority = Authority::new();
    let mounted = Mounted::new(&authority.issue());
    let config = static_tenant("[GetObject]", &mounted.setting());
    let config = config.replace("listen: 127.0.0.1:0", "listen: 0.0.0.0:50051");
    let ended = with_config("check", &config).run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn health_is_asked_over_tls() {
    let authority = Authority::new();
    let mounted = Mounted::new(&authority.issue());
    let ca = mounted.path("ca.crt");
    std::fs::write(&ca, authority.pem()).unwrap();
    let presignd_ = serve(&mounted);
    let address = presignd_.address().await;
    let ca = ca.to_str().unwrap();
    let verified = [
        "health",
        "--address",
        &address,
        "--ca",
        ca,
        "--timeout",
        "30",
    ];
    let asked = presignd(verified).run().await;
    assert_eq!(
        (asked.code, &*asked.stdout),
        (Some(0), "SERVING\n"),
        "{}",
        asked.stderr
    );
    let named = presignd(
        verified
            .into_iter()
            .chain(["--server-name", "elsewhere.example"]),
    );
    let asked = named.run().await;
    assert_eq!(asked.code, Some(1));
    assert!(asked.stderr.contains("does not answer"), "{}", asked.stderr);
    let plain = presignd(["health", "--address", &address]).run().await;
    assert_eq!(plain.code, Some(1), "{}", plain.stdout);

    // As a probe asks, who has the configuration and need not know the certificate's names.
    let port = address.rsplit_once(':').unwrap().1;
    let config = static_tenant("[GetObject]", &mounted.setting());
    let config = config.replace("127.0.0.1:0", &format!("0.0.0.0:{port}"));
    let asked = with_config("health", &config).run().await;
    assert_eq!(
        (asked.code, &*asked.stdout),
        (Some(0), "SERVING\n"),
        "{}",
        asked.stderr
    );
}
