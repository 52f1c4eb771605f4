//! Forms as others read and sign them: an HTML parser, botocore, and the SDK for JavaScript.

use std::collections::BTreeMap;

use presignd::proto::v1::PresignPostRequest;
use serde_json::{Value, json};

use super::{everything, pairs};
use crate::harness::form::for_key;
use crate::harness::presignd::{Presignd, static_tenant};
use crate::harness::tools::{node, python, repository};

#[derive(Clone, Copy)]
enum Program {
    Python,
    Node,
}

/// What Python's own parser finds: the form's attributes, and every input's, in order.
const PARSE: &str = r#"
import html.parser, json, sys

class Parser(html.parser.HTMLParser):
    found = []
    def handle_starttag(self, tag, attributes):
        if tag in ("form", "input", "button"):
            self.found.append([tag, dict(attributes)])

parser = Parser()
parser.feed(open(sys.argv[1], encoding="utf-8", newline="").read())
parser.close()
print(json.dumps(parser.found))
"#;

/// The same form by botocore, from the conditions of presignd's policy: its policy and its signature of these very bytes.
const SIGN: &str = r#"
import base64, datetime, json, sys
import botocore.auth, botocore.awsrequest, botocore.credentials

given = json.load(open(sys.argv[1], encoding="utf-8"))
fields = given["fields"]
access_key, date, region, service, _ = fields["x-amz-credential"].split("/")
credentials = botocore.credentials.Credentials(access_key, given["secret"])
time = datetime.datetime.strptime(fields["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
botocore.auth.get_current_datetime = lambda *_: time
auth = botocore.auth.S3SigV4PostAuth(credentials, service, region)

def sign(fields, policy):
    request = botocore.awsrequest.AWSRequest(method="POST", url=given["url"])
    request.context["s3-presign-post-fields"] = dict(fields)
    request.context["s3-presign-post-policy"] = policy
    auth.add_auth(request)
    return request.context["s3-presign-post-fields"]

policy = json.loads(base64.b64decode(fields["policy"], validate=True))
own = {"x-amz-algorithm", "x-amz-credential", "x-amz-date"}
asked = [c for c in policy["conditions"] if not (isinstance(c, dict) and own & c.keys())]
signed = sign(given["asked"], {"expiration": policy["expiration"], "conditions": list(asked)})
theirs = json.loads(base64.b64decode(signed["policy"]))

timestamp = fields["x-amz-date"]
key = auth.signature(fields["policy"], type("Request", (), {"context": {"timestamp": timestamp}}))
print(json.dumps({"policy": theirs, "own": policy, "fields": signed, "signature": key}))
"#;

/// The same form by the SDK for JavaScript: its policy, and its signature of presignd's bytes. Its names have capitals, and it sends the
/// bucket, which presignd only has a condition for.
const SIGN_JS: &str = r#"
const fs = require("fs");
const { S3Client } = require("@aws-sdk/client-s3");
const { createPresignedPost } = require("@aws-sdk/s3-presigned-post");
const { getSigningKey } = require("@smithy/signature-v4");

const given = JSON.parse(fs.readFileSync(process.argv[1], "utf8"));
const [accessKeyId, date, region] = given.fields["x-amz-credential"].split("/");
const at = given.fields["x-amz-date"].replace(/^(....)(..)(..T..)(..)(..Z)$/, "$1-$2-$3:$4:$5");
Date.now = () => Date.parse(at);
const credentials = { accessKeyId, secretAccessKey: given.secret };
const client = new S3Client({ region, credentials, endpoint: new URL(given.url).origin, forcePathStyle: true });
const own = JSON.parse(Buffer.from(given.fields.policy, "base64").toString());
const ofTheSignature = ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "bucket", "key"];
const asked = own.conditions.filter((c) => Array.isArray(c) ? c[1] !== "$key" : !ofTheSignature.includes(Object.keys(c)[0]));
const { key, ...fields } = given.asked;
(async () => {
  const theirs = await createPresignedPost(client, {
    Bucket: "acme-files", Key: key, Fields: {}, Conditions: asked, Expires: (Date.parse(own.expiration) - Date.now()) / 1000,
  });
  const policy = JSON.parse(Buffer.from(theirs.fields.Policy, "base64").toString());
  policy.conditions = policy.conditions.map((c) => Array.isArray(c) ? c
    : Object.fromEntries(Object.entries(c).map(([n, v]) => [n.startsWith("X-Amz-") ? n.toLowerCase() : n, v])));
  const hmac = new client.config.sha256(await getSigningKey(client.config.sha256, credentials, date, region, "s3"));
  hmac.update(new TextEncoder().encode(given.fields.policy));
  const signature = Buffer.from(await hmac.digest()).toString("hex");
  console.log(JSON.stringify({ url: theirs.url, policy, own, signature }));
})();
"#;

async fn presignd() -> Presignd {
    let grants = r#"grants: [{ commands: [PutObject, PutObjectAcl, PutObjectTagging], resources: ["acme-files/*"] }]"#;
    Presignd::with_tenant("acme", &static_tenant(grants))
        .start()
        .await
}

fn hostile() -> PresignPostRequest {
    PresignPostRequest {
        metadata: pairs(&[
            ("a", "\"><script>alert('&amp;')</script>"),
            ("b", "&#39;&quot;\\u0041"),
        ]),
        success_action_redirect: Some("https://a.test/?x='&y=%0D%0A\"<>".to_owned()),
        ..for_key("acme-files", "in/\"'<&>é😀\u{a0}\\u0041 \u{2028}.txt")
    }
}

async fn run(program: Program, script: &str, input: &str) -> Value {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let output = match program {
        Program::Python => python(script, file.path()).await,
        Program::Node => node(script, file.path()).await,
    };
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn an_html_parser_gives_back_exactly_the_fields() {
    let presignd = presignd().await;
    for request in [hostile(), everything("in/")] {
        let request = PresignPostRequest {
            html_form: true,
            ..request
        };
        let issued = presignd.presign_post(request).await.unwrap();
        let found = run(Program::Python, PARSE, &issued.html_form).await;
        let found = found.as_array().unwrap();
        assert_eq!(found[0][0], "form");
        assert_eq!(found[0][1]["action"], issued.url);
        assert_eq!(found[0][1]["method"], "post");
        assert_eq!(found[0][1]["enctype"], "multipart/form-data");

        let of_type = |kind: &str| -> Vec<(String, String)> {
            let inputs = found
                .iter()
                .filter(|input| input[0] == "input" && input[1]["type"] == kind);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            inputs
                .map(|input| (text(&input[1]["name"]), text(&input[1]["value"])))
                .collect()
        };
        let fields = |fields: &[presignd::proto::v1::FormField]| -> Vec<(String, String)> {
            fields
                .iter()
                .map(|f| (f.name.clone(), f.value.clone()))
                .collect()
        };
        assert_eq!(of_type("hidden"), fields(&issued.fields));
        assert_eq!(of_type("text"), fields(&issued.fields_to_fill));
        let (file, button) = (&found[found.len() - 2], &found[found.len() - 1]);
        assert_eq!(
            (&file[1]["type"], &file[1]["name"]),
            (&"file".into(), &"file".into())
        );
        assert_eq!(
            (&button[0], button[1].get("name")),
            (&"button".into(), None)
        );
        let inputs = found.len() - 2;
        assert_eq!(
            inputs,
            issued.fields.len() + issued.fields_to_fill.len() + 1,
            "and nothing else"
        );
    }
}

/// A policy's conditions, in an order that does not depend on who wrote them.
fn sorted(policy: &Value) -> Vec<String> {
    let conditions = policy["conditions"].as_array().unwrap();
    let mut conditions: Vec<String> = conditions.iter().map(ToString::to_string).collect();
    conditions.sort();
    conditions
}

/// Asks for forms, and compares what another signer makes of each with what presignd did.
async fn compare(program: Program, script: &str) {
    let presignd = presignd().await;
    let secret = repository().join("tests/config/good/secrets/secret.txt");
    let secret = std::fs::read_to_string(secret).unwrap();
    for request in [hostile(), everything("in/"), for_key("acme-files", "k")] {
        let issued = presignd.presign_post(request).await.unwrap();
        let fields: BTreeMap<_, _> = issued
            .fields
            .iter()
            .map(|f| (f.name.as_str(), f.value.as_str()))
            .collect();
        let of_the_signature = |name: &str| {
            matches!(
                name,
                "policy"
                    | "x-amz-algorithm"
                    | "x-amz-credential"
                    | "x-amz-date"
                    | "x-amz-signature"
            )
        };
        let asked: BTreeMap<_, _> = fields
            .iter()
            .filter(|(name, _)| !of_the_signature(name))
            .collect();
        let given = json!({ "url": issued.url, "fields": fields, "asked": asked, "secret": secret.trim_end() });
        let theirs = run(program, script, &given.to_string()).await;
        assert_eq!(
            theirs["signature"], fields["x-amz-signature"],
            "of the same bytes"
        );
        assert_eq!(sorted(&theirs["policy"]), sorted(&theirs["own"]));
        assert_eq!(theirs["policy"]["expiration"], theirs["own"]["expiration"]);
        if let Some(url) = theirs["url"].as_str() {
            assert_eq!(url, issued.url);
        }
        for (name, value) in theirs["fields"].as_object().into_iter().flatten() {
            if !matches!(name.as_str(), "policy" | "x-amz-signature") {
                assert_eq!(value, fields[name.as_str()], "{name}");
            }
        }
    }
}

#[tokio::test]
async fn botocore_signs_the_same_form() {
    compare(Program::Python, SIGN).await;
}

#[tokio::test]
async fn the_sdk_for_javascript_signs_the_same_form() {
    compare(Program::Node, SIGN_JS).await;
}
