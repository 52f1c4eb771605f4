//! The configuration as a whole, over the files of `tests/config`.
//!
//! `good/NAME.yaml` loads, with the warnings of `good/NAME.expected` or none. `bad/NAME.yaml` fails, with the mistakes of
//! `bad/NAME.expected`, one a line: there is one such file for each way to be wrong. After a change of messages
//! `UPDATE_EXPECTED=1 cargo test config::` writes the `.expected` files anew, for a reader to judge the difference.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::*;

/// Stands, in the bad files, wherever a secret might be put, and must stand in no message.
const PLANTED: &str = "PLANTED0SECRET";

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config")
        .join(kind)
}

fn files(kind: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder(kind))
        .expect("the folder is there")
        .map(|entry| entry.expect("the entry is readable").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn environment(name: &str) -> Option<String> {
    match name {
        "GOOD_SECRET" => Some(PLANTED.to_owned()),
        "GOOD_HASH" => Some(format!("sha256:{}", "2".repeat(64))),
        "GOOD_KEY_ID" => Some("AKIDFROMENVIRONMENT".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse_file(path: &Path) -> Result<Settings, Vec<Mistake>> {
    let text = std::fs::read_to_string(path).expect("the file is readable");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().expect("the file is in a folder");
    parse(&text, &name, folder, &environment)
}

fn good(name: &str) -> Settings {
    let path = folder("good").join(name).with_extension("yaml");
    parse_file(&path).unwrap_or_else(|mistakes| panic!("{}", one_a_line(&mistakes)))
}

fn parse_text(text: &str) -> Result<Settings, Vec<Mistake>> {
    parse(text, "presignd.yaml", &folder("good"), &environment)
}

/// Compares messages with those of the file beside `path`, which need not be there if there are none.
fn assert_expected(path: &Path, messages: &[Mistake]) {
    let expected = path.with_extension("expected");
    // The other files that a file names are in its folder.
    let folder = path.parent().expect("the file is in a folder");
    let mut actual = one_a_line(messages).replace(&format!("{}/", folder.display()), "");
    if !actual.is_empty() {
        actual.push('\n');
    }
    if std::env::var_os("UPDATE_EXPECTED").is_some() && !actual.is_empty() {
        std::fs::write(&expected, &actual).expect("the expectation is writable");
    }
    let wanted = std::fs::read_to_string(&expected).unwrap_or_default();
    assert_eq!(actual, wanted, "messages of {}", path.display());
}

#[test]
fn good_files_load_with_their_warnings() {
    for path in files("good") {
        match parse_file(&path) {
            Ok(settings) => assert_expected(&path, &settings.warnings),
            Err(mistakes) => panic!("{}:\n{}", path.display(), one_a_line(&mistakes)),
        }
    }
}

#[test]
fn bad_files_fail_with_every_mistake() {
    for path in files("bad") {
        match parse_file(&path) {
            Ok(_) => panic!("{} loads", path.display()),
            Err(mistakes) => {
                assert!(!mistakes.is_empty(), "{}", path.display());
                assert_expected(&path, &mistakes);
            }
        }
    }
}

#[test]
fn no_message_and_no_debug_output_holds_a_secret() {
    let mut planted = 0;
    for path in files("bad").iter().chain(&files("good")) {
        let text = std::fs::read_to_string(path).expect("the file is readable");
        planted += usize::from(text.contains(PLANTED) || text.contains("GOOD_SECRET"));
        let shown = match parse_file(path) {
            Ok(settings) => format!("{settings:?} {settings:#?}"),
            Err(mistakes) => format!("{mistakes:?} {}", one_a_line(&mistakes)),
        };
        assert!(!shown.contains(PLANTED), "{}: {shown}", path.display());
    }
    assert!(planted >= 5, "the secret is planted in {planted} files");
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let settings = good("smallest");
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:50051");
    assert!(!settings.server.insecure);
    assert!(settings.server.reflection);
    assert_eq!(settings.server.grace, Duration::from_secs(30));
    assert_eq!(settings.server.max_request_bytes, 4_194_304);
    assert_eq!(settings.server.request_timeout, Duration::from_secs(10));
    assert_eq!(settings.server.max_clock_skew, Duration::from_secs(30));
    assert_eq!(settings.server.max_requests_in_flight, 2048);
    assert_eq!(settings.server.tls, None);
    let connections = &settings.server.connections;
    assert_eq!((connections.max, connections.max_per_peer), (4096, 1024));
    assert_eq!(
        (connections.max_streams, connections.max_header_bytes),
        (200, 16_384)
    );
    assert_eq!(connections.handshake_timeout, Duration::from_secs(10));
    assert_eq!(connections.idle_timeout, Duration::from_mins(10));
    assert_eq!(connections.keepalive_interval, Duration::from_secs(30));
    assert_eq!(connections.keepalive_timeout, Duration::from_secs(20));
    assert_eq!(connections.max_age, Duration::from_hours(1));
    assert_eq!(connections.max_age_grace, Duration::from_mins(1));
    assert_eq!(settings.telemetry, Telemetry::default());
    assert_eq!(settings.telemetry.service_name, "presignd");
    let tenant = &settings.tenants["acme"].value;
    assert_eq!(tenant.endpoint, Endpoint::default());
    assert_eq!(tenant.session.scope, SessionScope::Tenant);
    assert_eq!(tenant.expiry.default, Duration::from_mins(15));
    assert_eq!(tenant.expiry.max, Duration::from_hours(12));
    assert_eq!(tenant.expiry.backdate, Duration::ZERO);
    let role = tenant.credentials.role().expect("a role");
    assert_eq!(role.duration.value, Duration::from_hours(1));
    assert!(role.policy_arns.is_none());
    let Identity::AssumeRole(own) = &role.identity else {
        panic!("{:?}", role.identity);
    };
    assert_eq!(own.external_id, None);
    assert_eq!(own.session_tags, []);
    assert_eq!(own.source_identity, None);
    assert_eq!(role.sts_endpoint, None);
}

#[test]
fn every_key_reaches_its_setting() {
    let settings = good("every-key");
    let server = &settings.server;
    assert_eq!(server.listen.to_string(), "[::]:50051");
    assert!(server.insecure);
    assert_eq!(server.grace, Duration::from_secs(90));
    assert_eq!(server.workers.map(NonZeroUsize::get), Some(6));
    assert_eq!(server.max_request_bytes, 512 << 10);
    assert_eq!(server.request_timeout, Duration::from_secs(30));
    assert_eq!(server.max_clock_skew, Duration::from_mins(1));
    assert_eq!(server.max_requests_in_flight, 500);
    let tls = server.tls.as_ref().expect("a certificate is named");
    assert_eq!(tls.certificate, folder("good").join("tls/tls.crt"));
    assert_eq!(tls.key, Path::new("/etc/tls/tls.key"));
    let connections = Connections {
        max: 100,
        max_per_peer: 10,
        max_streams: 20,
        max_header_bytes: 32 << 10,
        handshake_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_hours(1),
        keepalive_interval: Duration::from_mins(1),
        keepalive_timeout: Duration::from_secs(10),
        max_age: Duration::from_hours(2),
        max_age_grace: Duration::from_secs(30),
    };
    assert_eq!(server.connections, connections);
    let telemetry = &settings.telemetry;
    let otlp = telemetry.otlp.as_ref().expect("spans are exported");
    assert_eq!(otlp.endpoint.as_str(), "http://collector:4317");
    assert_eq!(otlp.timeout, Duration::from_secs(2));
    assert_eq!(otlp.metrics_interval, Duration::from_secs(15));
    let prometheus = telemetry.prometheus.expect("metrics can be fetched");
    assert_eq!(prometheus.listen.to_string(), "0.0.0.0:9464");
    assert!(prometheus.insecure);
    assert_eq!(telemetry.service_name, "presignd-eu");
    assert_eq!(telemetry.log.format, LogFormat::Json);
    assert_eq!(telemetry.log.level, LogLevel::Debug);
    let tenant = &settings.tenants["acme"].value;
    assert_eq!(tenant.region, "eu-west-1");
    let url = tenant.endpoint.url.as_ref().expect("a store is given");
    assert_eq!(url.as_str(), "http://store.example.com");
    let endpoint = Endpoint {
        url: Some(url.clone()),
        path_style: true,
        signing_region: Some("default".to_owned()),
        use_arn_region: true,
        requester_pays: true,
        ..Endpoint::default()
    };
    assert_eq!(tenant.endpoint, endpoint);
    let endpoint = Endpoint {
        dual_stack: true,
        fips: true,
        ..Endpoint::default()
    };
    let bucket = &tenant.buckets[0].value;
    assert_eq!(bucket.endpoint.as_ref(), Some(&endpoint));
    let accelerated = tenant.buckets[1].value.endpoint.as_ref();
    assert!(accelerated.is_some_and(|endpoint| endpoint.accelerate));
    let role = tenant.credentials.role().expect("a role");
    assert_eq!(role.role_arn.value.role_name(), "presignd-acme");
    assert_eq!(role.duration.value, Duration::from_hours(12));
    let Identity::AssumeRole(own) = &role.identity else {
        panic!("{:?}", role.identity);
    };
    assert_eq!(own.external_id.as_deref(), Some("acme-7f3a"));
    let tag = |key: &str, value: &str, transitive| SessionTag {
        key: key.to_owned(),
        value: value.to_owned(),
        transitive,
    };
    assert_eq!(
        own.session_tags,
        [
            tag("presignd:tenant", "{tenant}", true),
            tag("team", "files and more", false)
        ]
    );
    assert_eq!(own.source_identity.as_deref(), Some("{tenant}.{caller}"));
    let sts = role.sts_endpoint.as_ref().map(BaseUrl::as_str);
    assert_eq!(sts, Some("http://127.0.0.1:9000"));
    assert_eq!(tenant.session.scope, SessionScope::Bucket);
    let age = tenant.session.signature_age.as_ref().map(|age| age.value);
    assert_eq!(age, Some(Duration::from_mins(390)));
    let deny = tenant.session.deny.as_ref().expect("statements");
    assert_eq!(deny.value[0].json()["Sid"], "legal");
    assert_eq!(tenant.expiry.default, Duration::from_mins(10));
    assert_eq!(tenant.expiry.max, Duration::from_hours(6));
    assert_eq!(tenant.expiry.backdate, Duration::from_secs(30));
    let texts = |list: &[Located<String>]| -> Vec<String> {
        list.iter().map(|text| text.value.clone()).collect()
    };
    let grant = &tenant.grants[0].value;
    assert_eq!(texts(&grant.commands), ["read", "list", "PutObject"]);
    assert_eq!(texts(&grant.resources), ["acme-files/*", "acme-logs"]);
    let max_expiry = grant.max_expiry.as_ref().map(|expiry| expiry.value);
    assert_eq!(max_expiry, Some(Duration::from_hours(1)));
    assert_eq!(grant.max_upload, Some(10 << 20));
    let denial = &tenant.deny[0].value;
    assert_eq!(texts(&denial.commands), ["delete", "PutObjectAcl"]);
    assert_eq!(
        texts(&denial.resources),
        ["acme-files/legal/*", "acme-logs"]
    );
    let not_after = grant.not_after.as_ref().map(|end| end.value.time);
    let end = std::time::UNIX_EPOCH + Duration::from_hours(500_393);
    assert_eq!(not_after, Some(end));
    let source_ip = grant
        .source_ip
        .as_ref()
        .map(|networks| texts(&networks.value));
    assert_eq!(
        source_ip.unwrap_or_default(),
        ["203.0.113.0/24", "2001:db8::1"]
    );
    assert_eq!(tenant.grants.len(), 3);
    let headers = &tenant.grants[2].value.headers;
    let headers = &headers.as_ref().expect("rules").value;
    let values = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
    assert_eq!(
        headers.server_side_encryption,
        Some(HeaderRule::Require(values(&["aws:kms"])))
    );
    assert_eq!(headers.kms_keys, ["media"]);
    assert_eq!(headers.acl, Some(HeaderRule::Forbid));
    let classes = values(&["STANDARD", "INTELLIGENT_TIERING"]);
    assert_eq!(headers.storage_class, Some(HeaderRule::Allow(classes)));
    let limits: Vec<_> = tenant
        .limits
        .iter()
        .filter_map(|Located { value, .. }| match &value.amount {
            LimitAmount::Rate { rate, burst } => Some((value.name.as_str(), rate.per, burst.get())),
            _ => None,
        })
        .collect();
    assert_eq!(
        limits,
        [
            ("reads", RatePeriod::Second, 1000),
            ("all", RatePeriod::Minute, 100),
            ("deletes", RatePeriod::Hour, 1),
        ]
    );
    let commands = tenant.limits[0].value.commands.as_deref().map(texts);
    assert_eq!(commands, Some(vec!["read".to_owned()]));
    assert!(tenant.limits[1].value.commands.is_none());
    assert_eq!(tenant.kms_keys.len(), 1);
}

#[test]
fn every_key_about_redis_reaches_its_setting() {
    let redis = good("every-key").state.redis.expect("a Redis");
    let servers = [("redis-1.example.com", 26379), ("::1", 26380)];
    assert_eq!(
        redis.servers,
        servers.map(|(host, port)| (host.to_owned(), port))
    );
    let RedisMode::Sentinel {
        master,
        username,
        password,
    } = redis.mode
    else {
        panic!("{:?}", redis.mode);
    };
    assert_eq!(master, "presignd");
    assert_eq!(username.as_deref(), Some("watcher"));
    assert_eq!(password.expect("one").expose_secret(), PLANTED);
    assert_eq!(redis.username.as_deref(), Some("presignd"));
    assert_eq!(redis.password.expect("one").expose_secret(), PLANTED);
    let tls = redis.tls.expect("TLS");
    let file = |name| folder("good").join(name);
    assert_eq!(tls.ca, Some(file("redis-ca.pem")));
    let identity = (file("redis.crt"), file("redis.key"));
    assert_eq!(tls.identity, Some(identity));
    assert_eq!(redis.database, 3);
    assert_eq!(redis.prefix, "presignd-eu");
    assert_eq!(redis.timeout, Duration::from_millis(75));
    assert_eq!(redis.replicas.get(), 4);
    let life = Duration::from_secs(5);
    assert_eq!(redis.lease, RedisLease { share: 5, life });
}

#[test]
fn every_key_about_limits_reaches_its_setting() {
    let settings = good("every-key");
    let limits = &settings.tenants["acme"].value.limits;
    let [.., daily, bytes, calls] = &limits[..] else {
        panic!("{limits:?}");
    };
    let daily = &daily.value;
    let LimitAmount::Urls(window) = &daily.amount else {
        panic!("{daily:?}");
    };
    assert_eq!((window.most, window.per), (100_000, Per::Day));
    assert_eq!(window.zone.iana_name(), Some("Europe/Berlin"));
    assert!(daily.each_caller && daily.shadow);
    assert_eq!(daily.when_away, WhenAway::Local);
    let weights = daily.weights.iter();
    let weights: Vec<_> = weights.map(|(name, n)| (name.value.as_str(), *n)).collect();
    // A command's own weight is found before that of its class.
    assert_eq!(weights, [("DeleteObjects", 10), ("write", 2)]);
    let LimitAmount::UploadBytes(window) = &bytes.value.amount else {
        panic!("{bytes:?}");
    };
    assert_eq!((window.most, window.per), (1 << 40, Per::Month));
    assert_eq!(window.zone, jiff::tz::TimeZone::UTC);
    assert_eq!(bytes.value.when_away, WhenAway::Open);
    assert!(!bytes.value.each_caller && !bytes.value.shadow);
    assert!(matches!(calls.value.amount, LimitAmount::StsCalls(n) if n.get() == 4));
    assert_eq!(settings.limits[0].value.name, "everybody");
    let folder = settings.state.dir.as_deref();
    assert_eq!(folder, Some(Path::new("/var/lib/presignd")));
}

#[test]
fn every_key_about_callers_reaches_its_setting() {
    let settings = good("callers");
    assert!(!settings.server.reflection);
    let tls = settings
        .server
        .tls
        .as_ref()
        .expect("a certificate is named");
    assert_eq!(tls.client_ca, Some(folder("good").join("clients.pem")));
    let Authentication {
        jwt,
        api_keys,
        failures,
    } = &settings.authentication;
    let cluster = &jwt["cluster"].value;
    assert_eq!(
        *cluster,
        JwtIssuer {
            issuer: "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".to_owned(),
            audiences: vec!["presignd".to_owned()],
            algorithms: vec![JwtAlgorithm::RS256, JwtAlgorithm::ES256],
            jwks: Jwks::Discovery(FetchTrust::default()),
            leeway: Duration::from_secs(30),
            caller_claim: ClaimPath("sub".to_owned()),
            tenant_claim: None,
        }
    );
    let keys = folder("good").join("keys/jwks.json");
    let users = &jwt["users"].value;
    assert_eq!(
        *users,
        JwtIssuer {
            issuer: "urn:users".to_owned(),
            audiences: vec!["presignd".to_owned(), "files".to_owned()],
            algorithms: vec![JwtAlgorithm::EdDSA, JwtAlgorithm::PS384],
            jwks: Jwks::Url(
                "https://users.example:8443/keys".to_owned(),
                FetchTrust {
                    ca_file: Some(keys.clone()),
                    token_file: Some(keys.clone()),
                }
            ),
            leeway: Duration::ZERO,
            caller_claim: ClaimPath("email".to_owned()),
            tenant_claim: Some(ClaimPath("/example.com/tenants".to_owned())),
        }
    );
    assert_eq!(jwt["local"].value.jwks, Jwks::File(keys));
    assert_eq!(
        api_keys["media-api"].value,
        [[0x11; 32], [0x22; 32], [0x33; 32]]
    );
    assert_eq!((failures.rate.count.get(), failures.burst.get()), (5, 7));

    let shown: Vec<String> = settings
        .callers
        .iter()
        .map(|rule| {
            let rule = &rule.value;
            let tenants: Vec<String> = rule.tenants.iter().map(|t| t.value.to_string()).collect();
            let may: Vec<&str> = rule.may.iter().map(|right| right.name()).collect();
            let name = rule.name.as_ref().map_or("", |name| name.value.as_str());
            format!(
                "{} | {} | {} | {name}",
                rule.matches.value,
                tenants.join(" "),
                may.join(" ")
            )
        })
        .collect();
    let wanted = [
        "system:serviceaccount:media:* by a token of cluster | acme media-* | sign explain usage operate | ",
        "ann@example.com by a token of users | * | sign | ann",
        "ann@example.com by a token of users | acme | usage | ann",
        "* by a token of local | acme | sign | ",
        "the holder of the API key media-api | acme | sign | media",
        "spiffe://cluster.local/ns/media/* by a client certificate | acme | sign | ",
        "spiffe://cluster.local/ns/media/sa/api by a client certificate | acme | sign | media-api",
        "the DNS name api.media.example by a client certificate | acme | sign | ",
        "the subject CN=media-api,O=Acme by a client certificate | acme | sign | ",
        "anyone | media-1 | sign | ",
    ];
    assert_eq!(shown, wanted);
    let anyone = &good("smallest").callers[0].value;
    let tenants: Vec<String> = anyone.tenants.iter().map(|t| t.value.to_string()).collect();
    assert_eq!(
        (tenants, &anyone.may[..]),
        (vec!["*".to_owned()], &[Right::Sign][..])
    );
}

#[test]
fn buckets_and_rules_on_content_reach_their_settings() {
    let settings = good("buckets-and-content");
    let tenant = &settings.tenants["acme"].value;
    let buckets: Vec<_> = tenant
        .buckets
        .iter()
        .map(|Located { value, .. }| {
            let endpoint = value.endpoint.as_ref().and_then(|e| e.url.as_ref());
            let endpoint = endpoint.map(BaseUrl::as_str);
            let region = value.region.as_deref();
            (value.name.as_str(), value.bucket.as_str(), region, endpoint)
        })
        .collect();
    let (media, region) = ("acme-media-prod-7f", Some("eu-central-1"));
    let store = Some("https://store.example");
    assert_eq!(
        buckets,
        [
            ("media", media, region, None),
            ("pictures", media, region, None),
            ("acme-logs", "acme-logs", Some("us-east-1"), store),
            ("unused", "acme-unused", None, None),
        ]
    );
    let texts = |list: &[Located<String>]| -> Vec<String> {
        list.iter().map(|text| text.value.clone()).collect()
    };
    let [reading, uploading, silent] = &tenant.grants[..] else {
        panic!("three grants");
    };
    let ResponseHeaders::Types(types) = &reading.value.response_headers else {
        panic!("{reading:?}");
    };
    assert_eq!(texts(types), ["image/*", "text/html"]);
    assert!(reading.value.content_types.is_none());
    let types = uploading.value.content_types.as_deref().map(texts);
    assert_eq!(types.unwrap(), ["image/*", "application/pdf"]);
    let (uploading, silent) = (&uploading.value, &silent.value);
    assert!(matches!(uploading.response_headers, ResponseHeaders::Inert));
    assert!(matches!(silent.response_headers, ResponseHeaders::Denied));
}

#[test]
fn settings_know_their_places() {
    let settings = good("every-key");
    let tenant = &settings.tenants["acme"];
    assert_eq!(tenant.at.to_string(), "every-key.yaml:28:3");
    assert_eq!(&*tenant.path, "tenants.acme");
    let command = &tenant.value.grants[0].value.commands[2];
    assert_eq!(
        command.mistake("is unknown").to_string(),
        "every-key.yaml:50:34: tenants.acme.grants[0].commands[2]: is unknown"
    );
    let role = tenant.value.credentials.role().expect("a role");
    assert_eq!(
        role.role_arn.mistake("is refused").to_string(),
        "every-key.yaml:36:19: tenants.acme.credentials.assume_role.role_arn: is refused"
    );
    assert_eq!(&*tenant.value.limits[1].path, "tenants.acme.limits[1]");
}

#[test]
fn secrets_come_from_where_they_are_kept() {
    let settings = good("static-credentials");
    let keys = |id: &str| match &settings.tenants[id].value.credentials {
        Credentials::Static(keys) => keys.clone(),
        Credentials::Role(role) => panic!("{role:?}"),
    };
    let from_env = keys("from-env");
    assert_eq!(
        from_env.access_key_id.expose_secret(),
        "AKIAIOSFODNN7EXAMPLE"
    );
    assert_eq!(from_env.secret_access_key.expose_secret(), PLANTED);
    assert!(from_env.session_token.is_none());
    let from_file = keys("from-file");
    assert_eq!(
        from_file.access_key_id.expose_secret(),
        "AKIDFROMENVIRONMENT"
    );
    assert_eq!(
        from_file.secret_access_key.expose_secret(),
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    );
    let token = from_file.session_token.expect("a token is named");
    assert_eq!(token.expose_secret(), "AQoDYXdzEPT//////////wEXAMPLE");
}

#[test]
fn a_file_is_loaded_from_its_path() {
    let path = folder("good").join("static-credentials.yaml");
    let settings = load(&path, &environment).expect("the file is good");
    assert_eq!(settings.tenants.len(), 2);
}

#[test]
fn tenants_of_a_folder_are_those_that_would_stand_in_the_file() {
    let settings = good("tenants-dir");
    let ids: Vec<&str> = settings.tenants.keys().map(String::as_str).collect();
    assert_eq!(ids, ["acme", "globex", "initech"]);
    let at = |id: &str| settings.tenants[id].value.grants[0].value.commands[0].clone();
    let (apart, here) = (at("acme"), at("globex"));
    assert_eq!(&*apart.path, "tenants.acme.grants[0].commands[0]");
    assert_eq!(&*here.path, "tenants.globex.grants[0].commands[0]");
    let file = folder("good").join("tenants-dir/acme.yaml");
    assert_eq!(apart.at.to_string(), format!("{}:4:18", file.display()));
    assert_eq!(
        settings.sources.folder(),
        Some(&*folder("good").join("tenants-dir"))
    );
}

#[test]
fn a_volume_of_kubernetes_is_a_folder_of_tenants() {
    let volume = tempfile::tempdir().expect("a folder");
    let held = volume.path().join("..2026_01_01_00_00_00.1");
    std::fs::create_dir(&held).expect("a folder");
    let acme = folder("good").join("tenants-dir/acme.yaml");
    std::fs::copy(acme, held.join("acme.yaml")).expect("a copy");
    let link = |to: &str, at: &str| {
        std::os::unix::fs::symlink(to, volume.path().join(at)).expect("a link");
    };
    link("..2026_01_01_00_00_00.1", "..data");
    link("..data/acme.yaml", "acme.yaml");
    let text = format!(
        "callers: [{{ match: anyone }}]\ntenants_dir: {}\n",
        volume.path().display()
    );
    let settings = parse_text(&text).expect("the folder is good");
    assert_eq!(settings.tenants.keys().collect::<Vec<_>>(), ["acme"]);
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);

    // A link to nothing, and what would be waited for.
    link("..data/globex.yaml", "globex.yaml");
    std::fs::create_dir(volume.path().join("initech.yaml")).expect("a folder");
    let mistakes = parse_text(&text).expect_err("neither is a file");
    let said: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].contains("/globex.yaml:1:1: tenants.globex: the file cannot be read"),
        "{said:?}"
    );
    assert!(
        said[1].contains("/initech.yaml:1:1: tenants.initech: this is not a file"),
        "{said:?}"
    );
}

#[test]
fn several_threads_read_a_folder_as_one_does() {
    let tenants = tempfile::tempdir().expect("a folder");
    let acme = folder("good").join("tenants-dir/acme.yaml");
    let acme = std::fs::read_to_string(acme).expect("a file");
    let write = |n: usize, text: &str| {
        let file = tenants.path().join(format!("customer-{n:04}.yaml"));
        std::fs::write(file, text).expect("a file can be written");
    };
    (0..1_000).for_each(|n| write(n, &acme));
    let text = format!(
        "callers: [{{ match: anyone }}]\ntenants_dir: {}\n",
        tenants.path().display()
    );
    let read = |threads| {
        let threads = NonZeroUsize::new(threads).expect("some");
        let mut reader = Reader::new(Report::new("a.yaml"), Path::new(""), &environment);
        reader.threads = threads;
        parse_all(&text, reader, SystemTime::UNIX_EPOCH, &|_, tenant| tenant)
    };
    let (one, several) = (read(1).expect("good"), read(3).expect("good"));
    assert_eq!(several.tenants.len(), 1_000);
    for ((id, one), (same, other)) in one.tenants.iter().zip(&several.tenants) {
        assert_eq!((id, &one.at), (same, &other.at));
        assert_eq!(one.value.fingerprint, other.value.fingerprint);
    }

    // In the shares of different threads.
    for n in [3, 500, 999] {
        write(n, &format!("{acme}colour: red\n"));
    }
    let (one, several) = (read(1).expect_err("bad"), read(3).expect_err("bad"));
    assert_eq!(several.len(), 3, "{several:?}");
    assert_eq!(one, several);
}

#[test]
fn an_unreadable_file_is_named() {
    let path = folder("good").join("no-such-file.yaml");
    let error = load(&path, &environment).expect_err("there is no such file");
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    assert!(error.to_string().contains("no-such-file.yaml"), "{error}");
}

#[test]
fn a_file_that_is_not_utf8_is_wrong_at_a_place() {
    let mut report = Report::new("presignd.yaml");
    assert_eq!(decode(b"a: b\nc: \xc3\xa9\xff", &mut report), None);
    let said = report.mistakes[0].to_string();
    assert!(said.starts_with("presignd.yaml:2:5: "), "{said}");
}

#[test]
fn a_duration_that_role_chaining_cuts_is_warned_of_where_the_environment_shows_it() {
    let warnings = |role: &str, environment: &'static [(&str, &str)]| {
        let text = format!(
            "callers: [{{ match: anyone }}]\ntenants: {{ a: {{ region: eu-west-1, credentials: {{ {role} }}, grants: [{{ commands: [read], resources: [a/*] }}] }} }}"
        );
        let environment = |name: &str| {
            let mut known = environment.iter();
            let value = known.find(|(known, _)| *known == name);
            value.map(|(_, value)| (*value).to_owned())
        };
        let settings = parse(&text, "presignd.yaml", Path::new(""), &environment);
        let warnings = settings.expect("the file is good").warnings;
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let assume = |duration: &str| {
        format!(
            "assume_role: {{ role_arn: \"arn:aws:iam::111122223333:role/x\", duration: {duration} }}"
        )
    };
    let web = "web_identity: { role_arn: \"arn:aws:iam::111122223333:role/x\", token_file: t, duration: 12h }";
    let irsa = &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")];
    let sessions: [&'static [(&str, &str)]; 3] = [
        irsa,
        &[(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23",
        )],
        &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")],
    ];
    for environment in sessions {
        let [said] = &warnings(&assume("2h"), environment)[..] else {
            panic!("one warning for {environment:?}");
        };
        let at = "tenants.a.credentials.assume_role.duration: 2h is longer";
        for words in [at, environment[0].0, "web_identity"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(warnings(&assume("1h"), environment).is_empty());
        assert!(warnings(web, environment).is_empty());
    }
    let others: [&'static [(&str, &str)]; 3] = [
        &[],
        &[("AWS_WEB_IDENTITY_TOKEN_FILE", "")],
        // The SDK takes these first.
        &[
            ("AWS_ACCESS_KEY_ID", "AKID"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
        ],
    ];
    for environment in others {
        assert!(
            warnings(&assume("12h"), environment).is_empty(),
            "{environment:?}"
        );
    }
}

#[test]
fn the_documented_example_loads() {
    let documentation = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = std::fs::read_to_string(documentation).expect("the documentation is there");
    let examples: Vec<&str> = text
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|example| example.contains("\ntenants:"))
        .collect();
    assert_eq!(examples.len(), 1, "one complete example");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token.txt"), "token\n").expect("a file");
    let environment = |name: &str| (name == "GLOBEX_SECRET").then(|| "secret".to_owned());
    match parse(examples[0], "presignd.yaml", folder.path(), &environment) {
        Ok(settings) => assert_eq!(one_a_line(&settings.warnings), ""),
        Err(mistakes) => panic!("{}", one_a_line(&mistakes)),
    }
}

#[test]
fn many_tenants_are_read() {
    let tenant = |number: u32| {
        format!(
            "  t{number}:\n    region: eu-west-1\n    credentials: {{ assume_role: {{ role_arn: \
             \"arn:aws:iam::111122223333:role/t{number}\" }} }}\n    grants: [{{ commands: [read], resources: [a/*] }}]\n"
        )
    };
    let tenants: String = (0..2_000).map(tenant).collect();
    let text = format!("callers: [{{ match: anyone }}]\ntenants:\n{tenants}");
    let settings = parse_text(&text).expect("the file is good");
    assert_eq!(settings.tenants.len(), 2_000);
}

/// What a mutation may put into a file: pieces of YAML and of the settings' own syntax.
const PIECES: [&str; 24] = [
    "\n",
    "  ",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "#",
    "&a ",
    "*a",
    "!!str ",
    "<<: ",
    "|",
    ">",
    "---\n",
    "? ",
    "~",
    "\u{0}",
    "\u{feff}",
    "99999999999999999999",
    "é",
];

/// One of these files in which some places are cut out and others put in.
fn mutated(files: Vec<PathBuf>) -> impl Strategy<Value = String> {
    let edits = prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            0_usize..12,
            prop::sample::select(PIECES.to_vec()),
        ),
        1..6,
    );
    (prop::sample::select(files), edits).prop_map(|(path, edits)| {
        let text = std::fs::read_to_string(path).expect("the file is readable");
        let mut characters: Vec<char> = text.chars().collect();
        for (place, cut, piece) in edits {
            let start = place.index(characters.len() + 1);
            let end = (start + cut).min(characters.len());
            characters.splice(start..end, piece.chars());
        }
        characters.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(text) = decode(&bytes, &mut Report::new("presignd.yaml"))
            && let Err(mistakes) = parse_text(text)
        {
            prop_assert!(!mistakes.is_empty());
        }
    }

    #[test]
    fn no_text_panics(text in "[\\[\\]{}:,?&*!|>'\"%#@` a-z0-9\\n~-]{0,120}") {
        if let Err(mistakes) = parse_text(&text) {
            prop_assert!(!mistakes.is_empty());
        }
    }

    #[test]
    fn no_mutation_panics_and_what_fails_says_why(text in mutated(files("good"))) {
        if let Err(mistakes) = parse_text(&text) {
            prop_assert!(!mistakes.is_empty());
            prop_assert!(mistakes.is_sorted());
            let lines = u32::try_from(text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count()).unwrap();
            for mistake in mistakes {
                prop_assert!(mistake.at.line >= 1 && mistake.at.line <= lines + 1, "{}", mistake);
                prop_assert!(!mistake.to_string().contains('\n'), "{}", mistake);
            }
        }
    }

    #[test]
    fn no_mutation_shows_a_secret(text in mutated(vec![folder("bad").join("static-literal-secret.yaml")])) {
        let shown = match parse_text(&text) {
            Ok(settings) => format!("{settings:?}"),
            Err(mistakes) => one_a_line(&mistakes),
        };
        prop_assert!(!shown.contains(PLANTED), "{}\n{}", shown, text);
    }

    #[test]
    fn depth_does_not_matter(depth in 1_usize..20_000, form in 0_usize..4) {
        let opening = ["[", "{a: ", "- ", "? "][form];
        let text = format!("tenants:\n {}", opening.repeat(depth));
        prop_assert!(parse_text(&text).is_err());
    }
}
