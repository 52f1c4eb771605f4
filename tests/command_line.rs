//! The command line: what it says of itself, of good and bad configurations, and when it cannot start.

use std::net::TcpListener;

use crate::harness::process::{Ended, presignd, with_config};

/// Everything that `check` has to tell of.
const GOOD: &str = r#"
server:
  listen: 127.0.0.1:0
callers: [{ match: anyone }]
tenants:
  acme:
    region: eu-west-1
    credentials:
      assume_role: { role_arn: "arn:aws:iam::111122223333:role/presignd-acme", duration: 2h }
    expiry: { default: 10m, max: 2h }
    grants:
      - { commands: [read, list, PutObject], resources: ["acme-files/*"], max_expiry: 1h, max_upload: 1KiB }
      - { commands: [delete], resources: ["acme-files/tmp/*", acme-logs/today] }
    limits:
      - { name: reads, commands: [read], rate: 500/s, burst: 1000 }
      - { name: all, rate: 30/m }
  globex:
    region: us-east-1
    endpoint: { url: "http://127.0.0.1:9000", path_style: true }
    credentials:
      assume_role: { role_arn: "arn:aws:iam:::role/presignd-globex", sts_endpoint: "http://127.0.0.1:9000" }
    session: { scope: bucket }
    grants:
      - { commands: [GetObject], resources: ["globex-files/*", globex-logs/*] }
  initech:
    region: us-east-1
    endpoint: { url: "https://s3.initech.example" }
    credentials:
      static: { access_key_id: AKID, secret_access_key: { env: INITECH_SECRET } }
"#;

const STATIC: &str = "
    region: us-east-1
    endpoint: { url: \"http://127.0.0.1:9\" }
    credentials:
      static: { access_key_id: AKID, secret_access_key: { env: INITECH_SECRET } }
    grants:
      - { commands: [GetObject], resources: [files/*] }
";

/// With a tenant whose URLs need nobody's help, and this section `server`.
fn serving(server: &str) -> String {
    format!("server: {server}\ncallers: [{{ match: anyone }}]\ntenants:\n  initech:{STATIC}")
}

/// Who may what, by which lines.
const ASKED_ABOUT: &str = r#"server: { listen: 127.0.0.1:0 }
authentication:
  api_keys: { media: ["sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"] }
callers:
  - { match: { api_key: media }, tenants: [acme], name: media-api }
  - { match: anyone, tenants: [globex], may: [explain] }
tenants:
  acme:
    region: eu-west-1
    credentials:
      assume_role: { role_arn: "arn:aws:iam::111122223333:role/presignd-acme", duration: 2h }
    expiry: { default: 10m, max: 2h }
    grants:
      - { commands: [read], resources: ["acme-files/*"], max_expiry: 1h }
      - commands: [PutObject]
        resources: ["acme-files/in/{caller}/*"]
        headers: { acl: forbid, storage_class: { allow: [STANDARD] } }
    deny:
      - { commands: [read], resources: ["acme-files/legal/*"] }
  globex:
    region: us-east-1
    credentials:
      assume_role: { role_arn: "arn:aws:iam::111122223333:role/presignd-globex" }
    grants: [{ commands: [read], resources: ["globex-files/{caller}/*"] }]
"#;

/// Asks `check` about a command.
async fn ask(arguments: &[&str]) -> Ended {
    let mut start = with_config("check", ASKED_ABOUT);
    for argument in arguments {
        start = start.argument(argument);
    }
    start.run().await
}

#[tokio::test]
async fn check_says_whether_a_caller_may_and_by_which_lines() {
    const LETS: &str = "  presignd.yaml:5:5: callers[0]: lets media-api sign for acme\n";
    for (arguments, code, said) in [
        (
            &["--as", "media-api", "--tenant", "acme", "get", "s3://acme-files/a b"][..],
            0,
            format!(
                "allowed: media-api may have GetObject on \"acme-files\", key \"a b\" signed for acme, for 10m unless asked otherwise
{LETS}  presignd.yaml:14:9: tenants.acme.grants[0]: allows GetObject on \"acme-files\", key \"a b\"\n"
            ),
        ),
        (
            &["--as", "key.media", "--tenant", "acme", "get", "s3://acme-files/k", "--expires-in", "2h"],
            1,
            format!(
                "denied: expires_in of 7200 s is above the grant's max_expiry of 3600 s: ask for less, leave it out, or set expiry_mode to CLAMP
{LETS}  presignd.yaml:14:9: tenants.acme.grants[0]: allows GetObject on \"acme-files\", key \"k\"
  presignd.yaml:14:70: tenants.acme.grants[0].max_expiry: caps the expiry at 1h
  presignd.yaml:8:3: tenants.acme: caps the expiry at 2h\n"
            ),
        ),
        (
            &["--as", "media-api", "--tenant", "acme", "get", "s3://acme-files/legal/x"],
            1,
            format!(
                "denied: deny[0] of the tenant denies GetObject on \"acme-files\", key \"legal/x\", whatever its grants say
{LETS}  presignd.yaml:19:9: tenants.acme.deny[0]: denies GetObject on \"acme-files\", key \"legal/x\"\n"
            ),
        ),
        (
            &["--as", "media-api", "--tenant", "acme", "put", "s3://acme-files/in/media-api/x"],
            0,
            format!(
                "allowed: media-api may have PutObject on \"acme-files\", key \"in/media-api/x\" signed for acme, for 10m unless asked otherwise
{LETS}  presignd.yaml:15:9: tenants.acme.grants[1]: allows PutObject on \"acme-files\", key \"in/media-api/x\"\n"
            ),
        ),
        (
            &["--as", "media-api", "--tenant", "acme", "put", "s3://acme-files/in/media-apis/x"],
            1,
            format!(
                "denied: no grant allows PutObject on \"acme-files\", key \"in/media-apis/x\"
{LETS}  presignd.yaml:14:9: tenants.acme.grants[0]: does not allow PutObject: it is not of PutObject
  presignd.yaml:15:9: tenants.acme.grants[1]: does not allow PutObject: it does not cover \"acme-files\", key \"in/media-apis/x\"\n"
            ),
        ),
        (
            &["--as", "media-api", "--tenant", "acme", "put", "s3://acme-files/in/media-api/x", "--set", "StorageClass=GLACIER"],
            1,
            format!(
                "denied: no grant of PutObject there allows these fields: command.put_object.storage_class: is not one of STANDARD
{LETS}  presignd.yaml:14:9: tenants.acme.grants[0]: does not allow PutObject: it is not of PutObject
  presignd.yaml:15:9: tenants.acme.grants[1]: does not allow PutObject: storage_class is not one of STANDARD\n"
            ),
        ),
        (
            &["--as", "anyone", "--tenant", "globex", "get", "s3://globex-files/anyone/x"],
            1,
            "denied: no entry of `callers` lets anyone sign for globex
  presignd.yaml:6:5: callers[1]: does not let anyone sign for globex\n"
                .to_owned(),
        ),
    ] {
        let ended = ask(arguments).await;
        assert_eq!(ended.stdout, said, "{arguments:?}: {ended:?}");
        assert_eq!(ended.code, Some(code), "{arguments:?}");
        assert_eq!(ended.stderr, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn check_says_what_it_cannot_answer() {
    let asking =
        |name, tenant, command, location| ["--as", name, "--tenant", tenant, command, location];
    let place = "s3://acme-files/k";
    for (arguments, said) in [
        (
            asking("nobody", "acme", "get", place),
            "nobody is called `nobody`",
        ),
        (
            asking("media-api", "acm", "get", place),
            "there is no tenant `acm`: did you mean `acme`?",
        ),
        (
            asking("media-api", "acme", "gett", place),
            "`gett` is no command, did you mean `get`?",
        ),
        (
            asking("media-api", "acme", "get", "s3://acme-files"),
            "command.get_object.key: is required",
        ),
        (
            asking("media-api", "acme", "get", "acme-files/k"),
            "write s3://BUCKET/KEY",
        ),
        (
            asking("media-api", "acme", "post", place),
            "forms are not explained",
        ),
    ] {
        let ended = ask(&arguments).await;
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{ended:?}");
        assert_says(&ended.stderr, &[said]);
    }
    for arguments in [
        &["--as", "media-api", "get", place][..],
        &["--tenant", "acme", "get", place],
        &["get", place],
        &["--as", "media-api", "--tenant", "acme"],
    ] {
        let ended = ask(arguments).await;
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{ended:?}");
        assert_says(&ended.stderr, &["Usage: presignd check"]);
    }
    let broken = with_config("check", "callers: [")
        .argument("--as")
        .argument("a");
    let broken = broken.argument("--tenant").argument("b").argument("get");
    assert_eq!(broken.run().await.code, Some(2));

    let described = ask(&[]).await.stdout;
    let wanted = "may PutObject on acme-files/in/{caller}/*, without acl, with storage_class STANDARD or none\n";
    assert_says(&described, &[wanted, "for a caller with a name of 32"]);
}

async fn run(command: &str, yaml: &str) -> Ended {
    let start = with_config(command, yaml).env("INITECH_SECRET", "PLANTED0SECRET");
    let ended = start.run().await;
    let said = format!("{ended:?}");
    assert!(!said.contains("PLANTED0SECRET"), "{said}");
    ended
}

fn assert_says(said: &str, wanted: &[&str]) {
    for words in wanted {
        assert!(said.contains(words), "no {words:?} in\n{said}");
    }
}

#[tokio::test]
async fn help_says_what_each_command_is_for() {
    let wanted: [(&[&str], &[&str]); 10] = [
        (
            &["--help"],
            &["presigned S3 URLs", "serve", "check", "aws", "dev"],
        ),
        (
            &["aws", "--help"],
            &["IAM documents", "trust-policy", "role-policy"],
        ),
        (
            &["aws", "trust-policy", "--help"],
            &[
                "--tenant <TENANT>",
                "--config <FILE>",
                "--principal <ARN>",
                "--oidc-provider <URL>",
                "--subject <SUBJECT>",
                "--audience <AUDIENCE>",
            ],
        ),
        (
            &["aws", "role-policy", "--help"],
            &["--tenant <TENANT>", "--config <FILE>", "KMS keys"],
        ),
        (&["api-key", "new", "--help"], &["Makes a key", "SHA-256"]),
        (
            &["serve", "--help"],
            &[
                "PresignService over gRPC",
                "--config <FILE>",
                "PRESIGND_CONFIG",
                "standard output",
            ],
        ),
        (
            &["check", "--help"],
            &[
                "every mistake",
                "who may ask and what each",
                "--config <FILE>",
                "--live",
            ],
        ),
        (
            &["dev", "--help"],
            &[
                "sandbox",
                "--grpc <ADDRESS>",
                "127.0.0.1:50051",
                "--s3 <ADDRESS>",
                "127.0.0.1:9000",
                "--data <FOLDER>",
                "--page <ADDRESS>",
                "--config <FILE>",
                "--set-cors",
            ],
        ),
        (
            &["presign", "--help"],
            &[
                "Examples:",
                "curl -T report.pdf",
                "--param <NAME=VALUE>",
                "PRESIGND_API_KEY",
                "--expires-in <DURATION>",
            ],
        ),
        (&["help", "check"], &["every mistake"]),
    ];
    for (arguments, words) in wanted {
        let ended = presignd(arguments.iter().copied()).run().await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_says(&ended.stdout, words);
        assert_eq!(ended.stderr, "");
    }
}

#[tokio::test]
async fn the_version_is_that_of_the_package() {
    let ended = presignd(["--version"]).run().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(
        ended.stdout,
        format!("presignd {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn what_is_no_command_is_refused_with_a_way_out() {
    for (arguments, words) in [
        (&["server"][..], "'serve'"),
        (&[][..], "Usage: presignd"),
        (&["serve"][..], "--config <FILE>"),
        (&["check", "--confg", "x"][..], "--config"),
    ] {
        let ended = presignd(arguments.iter().copied()).run().await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert_says(&ended.stderr, &[words]);
        assert_eq!(ended.stdout, "");
    }
}

#[tokio::test]
async fn check_prints_what_each_tenant_may_do() {
    let ended = run("check", GOOD).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // A tenant's lines begin with a space, but for its first.
    let mut rest = &*ended.stdout;
    let mut tenant = |wanted: &[&str]| {
        let end = rest.match_indices('\n').map(|(at, _)| at + 1);
        let end = end.into_iter().find(|&at| !rest[at..].starts_with(' '));
        let (said, after) = rest.split_at(end.expect("one more tenant"));
        assert_says(said, wanted);
        rest = after;
        said.to_owned()
    };
    tenant(&[
        "acme: AWS, region eu-west-1\n",
        "  signs as arn:aws:iam::111122223333:role/presignd-acme, in sessions of 2h\n",
        " of 2048 characters\n",
        "  URLs live 10m unless asked otherwise, and at most 2h\n",
        "  may read, list, PutObject on acme-files/*, for at most 1h, with uploads of at most 1024 bytes\n",
        "  may delete on acme-files/tmp/*, acme-logs/today\n",
        "  limit reads: 500/s of read, 1000 at once\n",
        "  limit all: 30/m of all commands, 1 at once",
    ]);
    let globex = tenant(&[
        "globex: http://127.0.0.1:9000 (path style), region us-east-1\n",
        "  session policy for globex-files: ",
        "  session policy for globex-logs: ",
        "  URLs live 15m unless asked otherwise, and at most 12h\n",
        "  may GetObject on globex-files/*, globex-logs/*",
    ]);
    assert!(!globex.contains("limit"), "{globex}");
    tenant(&[
        "initech: https://s3.initech.example, region us-east-1\n",
        "static credentials",
        "  may do nothing",
    ]);
    assert_eq!(rest, "callers:\n  anyone may sign for every tenant\n");
    let [warning] = ended.stderr.lines().collect::<Vec<_>>()[..] else {
        panic!("one warning:\n{}", ended.stderr);
    };
    assert!(
        warning.starts_with("warning: presignd.yaml:25:3: tenants.initech: "),
        "{warning}"
    );
}

#[tokio::test]
async fn check_prints_what_sessions_say_and_what_narrows_them() {
    let config = r#"
tenants:
  acme:
    region: eu-west-1
    credentials:
      assume_role:
        role_arn: "arn:aws:iam::111122223333:role/presignd-acme"
        duration: 2h
        session_tags: { team: files, who: "{caller}" }
        transitive_tags: [who]
        source_identity: "{caller}"
    expiry: { backdate: 30s }
    grants: [{ commands: [read], resources: ["acme-files/*"] }]
  globex:
    region: eu-west-1
    credentials:
      web_identity:
        role_arn: "arn:aws:iam::111122223333:role/presignd-globex"
        token_file: /var/run/token
        policy_arns: ["arn:aws:iam::111122223333:policy/globex"]
    grants: [{ commands: [read], resources: ["globex-files/*"] }]
callers: [{ match: anyone }]
"#;
    let start = with_config("check", config).env("AWS_WEB_IDENTITY_TOKEN_FILE", "/token");
    let ended = start.run().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let (acme, globex) = ended.stdout.split_once("globex: ").expect("two tenants");
    assert_says(
        acme,
        &[
            "in sessions of 2h\n",
            "tagged team = files\n",
            "tagged who = {caller}, transitive\n",
            "source identity {caller}\n",
            "session policy",
            "dated 30s earlier\n",
        ],
    );
    assert_says(
        globex,
        &[
            "in sessions of 1h, with the token in /var/run/token\n",
            "managed policies, and not by the grants",
            "arn:aws:iam::111122223333:policy/globex\n",
        ],
    );
    assert!(!globex.contains("session policy"), "{globex}");
    let warned: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(warned.len(), 2, "{warned:#?}");
    assert_says(warned[0], &["acme", "duration", "IRSA", "web_identity"]);
    assert_says(warned[1], &["globex", "policy_arns", "no session policy"]);
}

#[tokio::test]
async fn check_prints_what_buckets_are_called_and_what_browsers_may_be_told() {
    let config = r#"
tenants:
  acme:
    region: eu-west-1
    credentials:
      assume_role: { role_arn: "arn:aws:iam::111122223333:role/presignd-acme" }
    session: { scope: bucket }
    buckets:
      media: { bucket: acme-media-prod-7f, region: eu-central-1 }
      acme-here: { endpoint: { url: "http://127.0.0.1:9000", path_style: true } }
    grants:
      - { commands: [PutObject], resources: ["media/*"], content_types: ["image/*", application/pdf], max_expiry: 1h }
      - { commands: [read], resources: ["media/*"], response_content_types: [Image/PNG] }
      - { commands: [read], resources: ["acme-here/*"], response_headers: deny }
callers: [{ match: anyone }]
"#;
    let ended = run("check", config).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let wanted = [
        "  session policy for acme-media-prod-7f: ",
        "  bucket media is acme-media-prod-7f, in region eu-central-1\n",
        "  bucket acme-here, at http://127.0.0.1:9000 (path style)\n",
        "  may PutObject on media/*, for at most 1h, uploads of image/*, application/pdf only\n",
        "  may read on media/*, with a response_content_type of Image/PNG only\n",
        "  may read on acme-here/*, without response headers\n",
    ];
    assert_says(&ended.stdout, &wanted);
    assert!(!ended.stdout.contains("policy for media"), "{ended:?}");
}

#[tokio::test]
async fn check_prints_what_is_known_of_sessions_of_one_request() {
    let config = r#"
tenants:
  acme:
    region: eu-west-1
    credentials: { assume_role: { role_arn: "arn:aws:iam::111122223333:role/presignd-acme" } }
    session:
      scope: object
      signature_age: 10m
      deny: '{ "Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::acme-files/legal/*" }'
    expiry: { max: 10m }
    grants:
      - { commands: [read], resources: ["acme-files/*"], source_ip: [10.0.0.0/8, 192.0.2.7] }
      - { commands: [delete], resources: ["acme-files/tmp/*", acme-logs/today] }
callers: [{ match: anyone }]
"#;
    let ended = run("check", config).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "");
    assert_says(
        &ended.stdout,
        &[
            "session policy for each request: ",
            " of 2048 characters without its names\n",
            "session policy for DeleteObjects in acme-files: ",
            "session policy for DeleteObjects in acme-logs: ",
            "no signature is good for longer than 10m\n",
            "1 statement of the operator's denies more\n",
            "may read on acme-files/*, from 10.0.0.0/8, 192.0.2.7 only\n",
        ],
    );
}

#[tokio::test]
async fn check_does_not_mind_a_reader_who_has_seen_enough() {
    let start = with_config("check", GOOD).env("INITECH_SECRET", "s");
    let ended = start.with_closed_stdout().run().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
}

#[tokio::test]
async fn check_reports_mistakes_of_every_kind_in_one_run() {
    let bad = r#"
server:
  listen: localhost:50051
tenants:
  acme:
    regoin: eu-west-1
    credentials:
      assume_role: { role_arn: "arn:aws:iam::111122223333:role/presignd-acme" }
    grants:
      - { commands: [Read, GetObjct, getObject], resources: ["*/x", "files/*/x"] }
      - { commands: [write], resources: ["a/*"], content_types: ["*/*", image/p*, "multipart/*"] }
    limits:
      - { name: all, commands: [put], rate: 5 }
callers: [{ match: anyone }]
"#;
    let ended = run("check", bad).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "");
    let said: Vec<&str> = ended.stderr.lines().collect();
    let wanted: [(&str, &[&str]); 12] = [
        ("3:11: server.listen: ", &["localhost:50051"]),
        ("5:3: tenants.acme: ", &["region"]),
        ("6:5: tenants.acme: ", &["`region`"]),
        (
            "10:22: tenants.acme.grants[0].commands[0]: ",
            &["`Read`", "did you mean `read`?"],
        ),
        (
            "10:28: tenants.acme.grants[0].commands[1]: ",
            &["`GetObjct`", "did you mean `GetObject`?"],
        ),
        (
            "10:38: tenants.acme.grants[0].commands[2]: ",
            &["`getObject`", "did you mean `GetObject`?"],
        ),
        (
            "10:62: tenants.acme.grants[0].resources[0]: ",
            &["`*/x`", "bucket/*"],
        ),
        (
            "10:69: tenants.acme.grants[0].resources[1]: ",
            &["`files/*/x`", "bucket/prefix/*"],
        ),
        (
            "11:66: tenants.acme.grants[1].content_types[0]: ",
            &["`*/*`", "image/*"],
        ),
        (
            "11:73: tenants.acme.grants[1].content_types[1]: ",
            &["`image/p*`", "not a media type"],
        ),
        (
            "11:83: tenants.acme.grants[1].content_types[2]: ",
            &["`multipart/*`", "browsers run"],
        ),
        (
            "13:33: tenants.acme.limits[0].commands[0]: ",
            &["`put`", "read, write, list, delete, admin"],
        ),
    ];
    for (place, words) in wanted {
        let place = format!("presignd.yaml:{place}");
        let line = said.iter().find(|line| line.starts_with(&place));
        let line = line.unwrap_or_else(|| panic!("nothing at {place} in\n{}", ended.stderr));
        assert_says(line, words);
    }
    assert_eq!(
        said.len(),
        wanted.len() + 1,
        "and the rate:\n{}",
        ended.stderr
    );

    let served = run("serve", bad).await;
    assert_eq!((served.code, served.stdout.as_str()), (Some(1), ""));
    assert_eq!(served.stderr, format!("presignd: {}", ended.stderr));
}

#[tokio::test]
async fn a_session_policy_that_sts_would_refuse_is_a_mistake() {
    let many: Vec<String> = (0..60)
        .map(|n| format!("acme-files/a-rather-long-prefix-{n}/*"))
        .collect();
    let config = |session: &str| {
        format!(
            r#"
tenants:
  small: {{ region: eu-west-1, credentials: {{ assume_role: {{ role_arn: "arn:aws:iam::111122223333:role/small" }} }} }}
  acme:
    region: eu-west-1
    credentials:
      assume_role: {{ role_arn: "arn:aws:iam::111122223333:role/presignd-acme" }}
    session: {session}
    grants:
      - {{ commands: [read], resources: {many:?} }}
      - {{ commands: [read], resources: [other/*] }}
callers: [{{ match: anyone }}]
"#
        )
    };
    for (scope, words) in [
        (
            "{ scope: tenant }",
            &["set session.scope to bucket or object"][..],
        ),
        (
            "{ scope: bucket }",
            &["bucket \"acme-files\"", "fewer commands or resources"],
        ),
    ] {
        let ended = run("check", &config(scope)).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{ended:?}"
        );
        let [line] = ended.stderr.lines().collect::<Vec<_>>()[..] else {
            panic!("one mistake:\n{}", ended.stderr);
        };
        assert!(
            line.starts_with("presignd.yaml:4:3: tenants.acme: "),
            "{line}"
        );
        assert_says(line, &["session policy", "2048"]);
        assert_says(line, words);
    }
}

#[tokio::test]
async fn serve_says_why_it_cannot_read_its_configuration() {
    let missing = presignd(["serve", "--config", "no/such/presignd.yaml"])
        .run()
        .await;
    assert_eq!((missing.code, missing.stdout.as_str()), (Some(1), ""));
    assert_says(
        &missing.stderr,
        &["presignd: ", "no/such/presignd.yaml", "No such file"],
    );

    let broken = run("serve", "tenants: [").await;
    assert_eq!((broken.code, broken.stdout.as_str()), (Some(1), ""));
    assert_says(&broken.stderr, &["presignd: presignd.yaml:"]);

    let without_secret = with_config("serve", &serving("{ listen: 127.0.0.1:0 }"))
        .run()
        .await;
    assert_eq!(
        (without_secret.code, without_secret.stdout.as_str()),
        (Some(1), "")
    );
    assert_says(
        &without_secret.stderr,
        &[
            "presignd.yaml:8:",
            "secret_access_key.env",
            "environment variable",
        ],
    );
}

#[tokio::test]
async fn plaintext_leaves_this_machine_only_when_told_to() {
    let refused = run("serve", &serving("{ listen: 0.0.0.0:0 }")).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert_says(
        &refused.stderr,
        &[
            "presignd.yaml:1:",
            "server.listen",
            "0.0.0.0:0",
            "insecure: true",
        ],
    );

    let told = serving("{ listen: 0.0.0.0:0, insecure: true }");
    let told = with_config("serve", &told)
        .env("INITECH_SECRET", "s")
        .start();
    assert!(told.address().await.starts_with("0.0.0.0:"));
    assert_eq!(told.terminated().await.code, Some(0));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let ended = run("serve", &serving(&format!("{{ listen: \"{taken}\" }}"))).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert_says(&ended.stderr, &[&taken, "server.listen", "in use"]);
}

#[tokio::test]
async fn the_configuration_may_be_named_by_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("any.yaml");
    std::fs::write(&file, serving("{ listen: 127.0.0.1:0 }")).unwrap();
    let named = presignd(["check"])
        .env("PRESIGND_CONFIG", &file)
        .env("INITECH_SECRET", "s");
    let ended = named.run().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_says(&ended.stdout, &["initech: http://127.0.0.1:9"]);
}
