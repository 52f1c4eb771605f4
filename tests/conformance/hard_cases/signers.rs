//! The others: botocore, the SDK for JavaScript and aws-sigv4, made to sign as S3 asks.

use std::time::Duration;

use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use presignd::sign::operations::message;
use prost_reflect::DescriptorPool;
use serde_json::{Value as Json, json};

use super::{Answer, Case, Own};
use crate::harness::tools::{node, python, repository};

/// Signs by botocore as for the vectors, whose script says what is switched off and why.
const BOTOCORE: &str = r#"
import datetime, json, sys
given = json.load(open(sys.argv[1], encoding="utf-8"))
sys.path.insert(0, given["tools"])
import vectors, model, botocore.auth

botocore.auth._get_body_as_dict = lambda request: {}
botocore.auth.get_current_datetime = lambda *_, **__: now
recorder = vectors.Recorder()
clients = {}
operations = {vectors.json_name(operation.field): operation for operation in model.load()}
answers = []
for case in given["cases"]:
    now = datetime.datetime.fromisoformat(case["time"])
    (name, fields), = case["request"].items()
    operation = operations[name]
    members = {vectors.json_name(member.field): member for member in operation.members}
    values = {members[field].name: int(value) if members[field].type == "long" else value for field, value in fields.items()}
    place = tuple(case["endpoint"].values())
    client = clients.get(place) or clients.setdefault(place, vectors.patched_client(case["endpoint"], case["token"]))
    shape = client.meta.service_model.operation_model(operation.name)
    parameters = {**vectors.body(shape), **vectors.parameters(operation, values)}
    url = client.generate_presigned_url(operation.field, parameters, ExpiresIn=case["expires_in"])
    answers.append({"url": url, "headers": recorder.headers})
print(json.dumps(answers))
"#;

/// Signs by the SDK for JavaScript: its serialisation of each command, with its signer told to move those headers alone that the case moves, to sign all others, and
/// that the payload is unsigned, which its presigner would say in a parameter of its own.
const JAVASCRIPT: &str = r#"
const fs = require("fs");
const s3 = require("@aws-sdk/client-s3");
const { SignatureV4 } = require("@smithy/signature-v4");

const given = JSON.parse(fs.readFileSync(process.argv[1], "utf8"));
const its_own = ["amz-sdk-invocation-id", "amz-sdk-request", "user-agent", "x-amz-user-agent", "x-amz-content-sha256"];
const of_its_body = ["content-length", "content-type", "content-md5", "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm"];

async function sign({ operation, request, endpoint, token, time, expires_in, asked, references, moved, region, id, secret }) {
  const [fields] = Object.values(request);
  const credentials = { accessKeyId: id, secretAccessKey: secret, sessionToken: token };
  let kept;
  const client = new s3.S3Client({
    region, credentials, forcePathStyle: endpoint.path_style, ...(endpoint.url ? { endpoint: endpoint.url } : {}),
    requestChecksumCalculation: "WHEN_REQUIRED", responseChecksumValidation: "WHEN_REQUIRED",
    signer: { sign: async (request) => request },
    requestHandler: { handle: async (request) => { kept = request; throw new Error("not to be sent"); } },
    maxAttempts: 1,
  });
  const Command = s3[`${operation}Command`];
  // The same names with other capitals.
  const schema = new Command({ Bucket: "b", Key: "k" }).schema;
  const input = typeof schema[4] === "function" ? schema[4]() : schema[4];
  const names = Object.fromEntries(input[4].map((name) => [name.toLowerCase(), name]));
  const parameters = {};
  for (const [field, value] of Object.entries(fields)) {
    const is_time = typeof value === "string" && /^\d{4}-\d\d-\d\dT[\d:]+Z$/.test(value);
    const name = names[field.toLowerCase()];
    parameters[name] = references[field] ?? (is_time ? new Date(value) : value);
  }
  await client.send(new Command(parameters)).catch((error) => { if (!kept) throw error; });
  for (const name of Object.keys(kept.headers)) {
    const lower = name.toLowerCase();
    if (!asked.includes(lower) && (its_own.includes(lower) || of_its_body.includes(lower))) delete kept.headers[name];
  }
  const signer = new SignatureV4({ region, service: "s3", credentials, sha256: client.config.sha256, uriEscapePath: false, applyChecksum: false });
  const canonical = signer.createCanonicalRequest;
  signer.createCanonicalRequest = function (request, headers) { return canonical.call(this, request, headers, "UNSIGNED-PAYLOAD"); };
  kept.body = undefined;
  const every = new Set(Object.keys(kept.headers).map((name) => name.toLowerCase()));
  const unhoistableHeaders = new Set([...every].filter((name) => !moved.includes(name)));
  const signed = await signer.presign(kept, {
    expiresIn: expires_in, signingDate: new Date(time), unhoistableHeaders, signableHeaders: every,
  });
  const encoded = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  const query = Object.entries(signed.query).flatMap(([name, value]) => [value ?? ""].flat().map((one) => `${encoded(name)}=${encoded(one)}`));
  const headers = Object.fromEntries(Object.entries(signed.headers).map(([name, value]) => [name.toLowerCase(), value]));
  delete headers.host;
  const port = signed.port ? `:${signed.port}` : "";
  return { url: `${signed.protocol}//${signed.hostname}${port}${signed.path}?${query.join("&")}`, headers };
}

(async () => {
  const answers = [];
  for (const one of given) answers.push(await sign(one).catch((error) => { throw new Error(`${one.operation}: ${error.stack}`); }));
  console.log(JSON.stringify(answers));
})();
"#;

fn answers(output: &std::process::Output) -> Vec<Answer> {
    assert!(output.status.success(), "{output:?}");
    let answers: Vec<Json> = serde_json::from_slice(&output.stdout).expect("JSON");
    let answer = |answer: Json| Answer {
        url: answer["url"].as_str().expect("a URL").to_owned(),
        headers: serde_json::from_value(answer["headers"].clone()).expect("headers"),
    };
    answers.into_iter().map(answer).collect()
}

fn written(text: &Json) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text.to_string()).expect("it can be written");
    file
}

fn described(case: &Case) -> Json {
    json!({
        "time": case.time, "request": case.request, "expires_in": case.expires_in, "token": case.session_token,
        "endpoint": { "url": case.endpoint.url, "path_style": case.endpoint.path_style },
        "region": case.region, "id": case.access_key_id, "secret": case.secret_access_key,
    })
}

pub(super) async fn botocore(cases: &[Case]) -> Vec<Answer> {
    let described: Vec<Json> = cases.iter().map(described).collect();
    let tools = repository().join("tools/commands");
    let given = written(&json!({ "tools": tools, "cases": described }));
    answers(&python(BOTOCORE, given.path()).await)
}

/// With these headers in the query.
pub(super) async fn javascript(
    cases: &[Case],
    pool: &DescriptorPool,
    moved: &[&str],
) -> Vec<Answer> {
    let described = cases.iter().map(|case| {
        let mut described = described(case);
        let command = case.command(pool);
        let operation = message(command.command.as_ref().expect("a command")).operation();
        described["operation"] = operation.name.into();
        described["asked"] = case.headers.keys().cloned().collect();
        described["moved"] = moved.into();
        // Encoded, as the header holds it.
        let source = case.headers.get("x-amz-copy-source");
        described["references"] = json!({ "copySource": source });
        described
    });
    let given = written(&described.collect());
    answers(&node(JAVASCRIPT, given.path()).await)
}

/// The signature that aws-sigv4 gives the request that a URL holds.
pub(super) fn aws_sigv4(own: &Own<'_>, url: &str) -> String {
    let case = own.case;
    let identity = aws_credential_types::Credentials::new(
        case.access_key_id.clone(),
        case.secret_access_key.clone(),
        case.session_token.clone(),
        None,
        "test",
    )
    .into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_secs(case.expires_in.into()));
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&case.region)
        .name("s3")
        .time(case.signed_at())
        .settings(settings)
        .build()
        .expect("all is set")
        .into();
    // Without what it adds itself.
    let (target, query) = url.split_once('?').expect("it has a query");
    let asked: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.starts_with("X-Amz-"))
        .collect();
    let unsigned = format!("{target}?{}", asked.join("&"));
    let headers = case.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
    let body = SignableBody::UnsignedPayload;
    let request = SignableRequest::new(own.bound.operation.method, unsigned, headers, body);
    let signed = sign(request.expect("a request"), &params).expect("it can be signed");
    signed.signature().to_owned()
}
