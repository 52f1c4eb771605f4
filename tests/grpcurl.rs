//! presignd by hand: `presignd serve` with a configuration file, asked by grpcurl through reflection, on Ceph.

use crate::harness::ceph::Ceph;
use crate::harness::presignd::ceph_tenant;
use crate::harness::process::{Process, with_config};
use crate::harness::tools;

const PRESIGN: &str = "presignd.v1.PresignService/Presign";

/// presignd on Ceph for the tenant `acme`, its own credentials in its environment.
fn serve() -> Process {
    let ceph = Ceph::shared();
    let grants = r#"[{ commands: [GetObject], resources: ["acme-files/*"], max_expiry: 1h }]"#;
    let tenant = ceph_tenant(ceph.tenant("acme"), grants).replace('\n', "\n    ");
    let config = format!(
        "server:\n  listen: 127.0.0.1:0\ncallers: [{{ match: anyone }}]\ntenants:\n  acme:\n    {tenant}\n"
    );
    let keys = ceph.presignd_credentials();
    with_config("serve", &config)
        .env("AWS_ACCESS_KEY_ID", keys.access_key_id())
        .env("AWS_SECRET_ACCESS_KEY", keys.secret_access_key())
        .start()
}

/// What grpcurl prints. Panics if it fails.
async fn grpcurl<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    let output = tools::grpcurl(arguments).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// What grpcurl complains of. Panics unless it does.
async fn grpcurl_error<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    let output = tools::grpcurl(arguments).await;
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"", "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn assert_holds(text: &str, wanted: &[&str]) {
    for words in wanted {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[tokio::test]
async fn the_services_are_listed() {
    let presignd = serve();
    let services = grpcurl([&*presignd.address().await, "list"]).await;
    let services: Vec<&str> = services.lines().collect();
    assert_eq!(
        services,
        [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "presignd.v1.OperationsService",
            "presignd.v1.PresignService",
        ]
    );
}

#[tokio::test]
async fn the_contract_is_described_with_its_options() {
    let presignd = serve();
    let address = presignd.address().await;
    let describe = async |name| grpcurl([&*address, "describe", name]).await;
    assert_holds(
        &describe("presignd.v1.PresignService").await,
        &[
            "rpc Presign ( .presignd.v1.PresignRequest ) returns ( .presignd.v1.PresignResponse );",
            "rpc BatchPresign (",
        ],
    );
    assert_holds(
        &describe("presignd.v1.Command").await,
        &[
            "reserved 3 to 99;",
            "oneof command {",
            ".presignd.s3.v1.GetObject get_object = ",
            ".presignd.s3.v1.WriteGetObjectResponse write_get_object_response = ",
        ],
    );
    assert_holds(
        &describe("presignd.s3.v1.GetObject").await,
        &[
            r#"option (.presignd.s3.v1.operation) = { method:"GET" path:PATH_FORM_OBJECT class:COMMAND_CLASS_READ"#,
            r#"action:"s3:GetObjectVersion" resource:IAM_RESOURCE_OBJECT when_present:"version_id""#,
            r#"(.presignd.s3.v1.binding) = { place:PLACE_PATH name:"Key" required:true }"#,
        ],
    );
}

#[tokio::test]
async fn a_url_asked_for_in_json_works_with_curl() {
    let body = "bytes for grpcurl";
    Ceph::shared()
        .put_object("acme-files", "grpcurl/a key+é", body)
        .await;
    let presignd = serve();
    let request = r#"{"tenant":"acme","command":{"getObject":{"bucket":"acme-files","key":"grpcurl/a key+é"}},"expiresIn":"900s"}"#;
    let answer = grpcurl(["-d", request, &presignd.address().await, PRESIGN]).await;
    let answer = json(&answer);
    assert_eq!(answer["method"], "GET");
    assert_eq!(answer["expiryBound"], "EXPIRY_BOUND_REQUEST");

    let url = answer["url"].as_str().expect("a URL");
    assert!(!url.contains('\''), "{url}");
    let got = tools::bash(&format!("curl -fsS '{url}'")).await;
    assert_eq!(String::from_utf8_lossy(&got.stdout), body, "{got:?}");

    let id = answer["issuanceId"].as_str().expect("an id");
    let record = json(&presignd.stdout_line(id).await);
    assert_eq!(record["expires_in"], 900);
    assert_eq!(record["key"], "grpcurl/a key+é");
}

#[tokio::test]
async fn a_refusal_shows_its_details_readably() {
    let presignd = serve();
    let address = presignd.address().await;
    let request =
        r#"{"tenant":"acme","command":{"getObject":{"bucket":"acme-files"}},"expiresIn":"0.5s"}"#;
    let refused = grpcurl_error(["-d", request, &address, PRESIGN]).await;
    assert_holds(
        &refused,
        &[
            "Code: InvalidArgument",
            r#""@type":"type.googleapis.com/google.rpc.ErrorInfo","domain":"presignd","reason":"INVALID_REQUEST""#,
            r#""@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"#,
            r#""@type":"type.googleapis.com/google.rpc.RequestInfo","requestId":""#,
        ],
    );
    // The id of the refusal leads to its record.
    let (_, id) = refused.split_once(r#""requestId":""#).expect("seen above");
    let record = json(&presignd.stdout_line(&id[..36]).await);
    assert_eq!(record["outcome"], "denied");

    let request =
        r#"{"tenant":"globex","command":{"getObject":{"bucket":"globex-files","key":"k"}}}"#;
    let refused = grpcurl_error(["-d", request, &address, PRESIGN]).await;
    assert_holds(
        &refused,
        &["Code: PermissionDenied", r#""reason":"TENANT_DENIED""#],
    );
}

#[tokio::test]
async fn a_batch_answers_each_command() {
    let presignd = serve();
    let request = r#"{"tenant":"acme","commands":[
        {"getObject":{"bucket":"acme-files","key":"k"}},
        {"putObject":{"bucket":"acme-files","key":"k"}},
        {"getObject":{"bucket":"acme-files","key":"a/../k"}}]}"#;
    let method = "presignd.v1.PresignService/BatchPresign";
    let answer = grpcurl(["-d", request, &presignd.address().await, method]).await;
    let answer = json(&answer);
    let [issued, denied, invalid] = answer["results"].as_array().expect("results").as_slice()
    else {
        panic!("{answer:#}");
    };
    let url = issued["response"]["url"].as_str().expect("a URL");
    assert!(url.contains("/acme-files/k?"), "{url}");
    let reason = |result: &serde_json::Value| {
        let details = result["error"]["details"].as_array().expect("details");
        let infos = details.iter().find_map(|d| d["reason"].as_str());
        infos.expect("an ErrorInfo").to_owned()
    };
    assert_eq!(denied["error"]["code"], 7);
    assert_eq!(reason(denied), "COMMAND_DENIED");
    assert_eq!(invalid["error"]["code"], 3);
    assert_eq!(reason(invalid), "INVALID_REQUEST");
}

#[tokio::test]
async fn health_is_asked_like_any_service() {
    let presignd = serve();
    let address = presignd.address().await;
    for request in ["{}", r#"{"service":"presignd.v1.PresignService"}"#] {
        let answer = grpcurl(["-d", request, &address, "grpc.health.v1.Health/Check"]).await;
        assert_eq!(json(&answer)["status"], "SERVING", "{request}");
    }
    let unknown = r#"{"service":"presignd.v1.Nothing"}"#;
    let refused = grpcurl_error(["-d", unknown, &address, "grpc.health.v1.Health/Check"]).await;
    assert_holds(&refused, &["Code: NotFound"]);
}
