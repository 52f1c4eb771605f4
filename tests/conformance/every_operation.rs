//! Every operation of aws-sdk-s3, against presignd, with the inputs of botocore's vectors.
//!
//! The SDK presigns six operations itself. For all others an interceptor turns its signer to the query, as the SDK's own presigning does,
//! takes away what the SDK adds to requests that it sends itself, and keeps what is signed. So an SDK that learns or unlearns a member,
//! a place or an endpoint shows here as soon as it is upgraded. Inputs come from `tools/commands/sdk_inputs.py`.

mod inputs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_runtime::auth::{HttpSignatureType, SigV4OperationSigningConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::{
    BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{
    BehaviorVersion, ConfigBag, Intercept, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents,
};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_sigv4::http_request::SignableBody;
use aws_smithy_async::time::StaticTimeSource;
use presignd::endpoint::options::Options;
use presignd::endpoint::{Endpoints, TenantEndpoint};
use presignd::proto::FILE_DESCRIPTOR_SET;
use presignd::sign::command::{BodyKind, BoundCommand, PathForm, QueryParameter, Value};
use presignd::sign::operations::{message, operation};
use presignd::sign::presign;
use prost_reflect::DescriptorPool;
use serde_json::Value as Json;

use super::operations::DEPRECATED;
use super::{EndpointOfCase, Url, headers, vectors};

/// Signs an input, and does not send it.
macro_rules! signed {
    ($request:expr, $signer:expr) => {{
        let sent = Box::pin($request.customize().interceptor($signer).send()).await;
        // What is signed is kept, and goes no further.
        assert!(sent.is_err(), "it was sent");
    }};
}
use signed;

/// What the SDK adds on its own to what it sends, besides what is asked.
const OWN_HEADERS: [&str; 4] = [
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "user-agent",
    "x-amz-user-agent",
];
/// What it adds to a request with a body, for the body that it has at hand.
const HEADERS_OF_ITS_BODY: [&str; 5] = [
    "content-length",
    "content-type",
    "x-amz-checksum-crc32",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-content-sha256",
];

/// One disagreement. The SDK's signer leaves this header of a URL unsigned, and S3 refuses a header `x-amz-` that is sent and not signed:
/// presignd signs it.
const UNSIGNED: &str = "x-amz-checksum-mode";

/// The other one. The SDK, as botocore, puts a route before an endpoint of one's own even if that is an address: nobody could send it.
const ROUTE_BEFORE_ADDRESS: (&str, &str) = ("WriteGetObjectResponse", "hard with path style");

/// A case, read as the SDK's types.
pub(super) struct Case {
    fields: Json,
    case: super::Case,
}

impl Case {
    pub(super) fn new(case: super::Case) -> Self {
        let command = case.request.as_object().expect("a command");
        let fields = command.values().next().expect("it has one").clone();
        Self { fields, case }
    }

    fn text<T: for<'a> From<&'a str>>(&self, field: &str) -> Option<T> {
        Some(T::from(self.fields.get(field)?.as_str().expect("text")))
    }

    /// An object, encoded as its header holds it: the SDK leaves that to its caller.
    fn reference(&self, header: &str) -> Option<String> {
        self.case.headers.get(header).cloned()
    }

    fn integer(&self, field: &str) -> Option<i32> {
        let number = self.fields.get(field)?.as_i64().expect("a number");
        Some(i32::try_from(number).expect("it fits"))
    }

    fn digits(&self, field: &str) -> Option<String> {
        self.integer(field).map(|number| number.to_string())
    }

    fn long(&self, field: &str) -> Option<i64> {
        let text = self.fields.get(field)?.as_str().expect("protobuf's JSON");
        Some(text.parse().expect("a number"))
    }

    fn flag(&self, field: &str) -> Option<bool> {
        self.fields.get(field)?.as_bool()
    }

    fn time(&self, field: &str) -> Option<DateTime> {
        let text = self.fields.get(field)?.as_str().expect("a time");
        Some(DateTime::from_str(text, DateTimeFormat::DateTime).expect("RFC 3339"))
    }

    fn list<T: for<'a> From<&'a str>>(&self, field: &str) -> Option<Vec<T>> {
        let items = self.fields.get(field)?.as_array().expect("a list");
        let item = |item: &Json| T::from(item.as_str().expect("text"));
        Some(items.iter().map(item).collect())
    }

    fn map(&self, field: &str) -> Option<std::collections::HashMap<String, String>> {
        serde_json::from_value(self.fields.get(field)?.clone()).ok()
    }
}

/// What the SDK signed.
#[derive(Debug, Default)]
pub(super) struct Signed {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: BTreeMap<String, String>,
}

/// Turns the SDK's signer to the query, and keeps what it signs.
#[derive(Debug, Clone)]
struct Signer {
    expires_in: Duration,
    /// The headers that are the SDK's own.
    own: BTreeSet<&'static str>,
    signed: Arc<Mutex<Option<Signed>>>,
}

impl Intercept for Signer {
    fn name(&self) -> &'static str {
        "Signer"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        for name in &self.own {
            context.request_mut().headers_mut().remove(*name);
        }
        let mut signing = config
            .load::<SigV4OperationSigningConfig>()
            .cloned()
            .ok_or("it signs nothing")?;
        let options = &mut signing.signing_options;
        options.expires_in = Some(self.expires_in);
        options.signature_type = HttpSignatureType::HttpRequestQueryParams;
        options.payload_override = Some(SignableBody::UnsignedPayload);
        options.content_sha256_header = false;
        config.interceptor_state().store_put(signing);
        Ok(())
    }

    fn read_after_signing(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in request.headers() {
            // It sends each entry of a list as a header of its own, and signs them as one.
            let joined = headers.entry(name.to_owned());
            let joined = joined.and_modify(|joined| *joined += &format!(",{value}"));
            joined.or_insert_with(|| value.to_owned());
        }
        *self.signed.lock().unwrap() = Some(Signed {
            method: request.method().to_owned(),
            url: request.uri().to_owned(),
            headers,
        });
        Err("it is not to be sent".into())
    }
}

fn client(case: &super::Case) -> Client {
    let credentials = aws_credential_types::Credentials::new(
        case.access_key_id.clone(),
        case.secret_access_key.clone(),
        case.session_token.clone(),
        None,
        "test",
    );
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(case.region.clone()))
        .credentials_provider(credentials)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .disable_s3_express_session_auth(true)
        .time_source(StaticTimeSource::new(case.signed_at()))
        .force_path_style(case.endpoint.path_style);
    config.set_endpoint_url(case.endpoint.url.clone());
    Client::from_conf(config.build())
}

/// What the SDK makes of a case, or `None` if it has no such operation.
pub(super) async fn signed_by_the_sdk(name: &str, case: &Case) -> Option<Signed> {
    let body = operation(name).expect("it is known").body;
    let of_body = HEADERS_OF_ITS_BODY
        .iter()
        .filter(|_| body != BodyKind::None);
    let asked = |header: &&str| case.case.headers.contains_key(*header);
    let own = OWN_HEADERS
        .iter()
        .chain(of_body)
        .copied()
        .filter(|header| !asked(header));
    let kept: Arc<Mutex<Option<Signed>>> = Arc::default();
    let turned = Signer {
        expires_in: Duration::from_secs(case.case.expires_in.into()),
        own: own.collect(),
        signed: Arc::clone(&kept),
    };
    if !Box::pin(inputs::sign(&client(&case.case), name, case, turned)).await {
        return None;
    }
    let answer = kept.lock().unwrap().take();
    Some(answer.unwrap_or_else(|| panic!("{name}, {}: nothing was signed", case.case.name)))
}

#[tokio::test]
async fn the_sdk_signs_every_operation_the_same() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the contract is valid");
    let endpoints = Endpoints::default();
    let (mut compared, mut unlike) = (0, 0);
    let mut unknown = Vec::new();
    for (name, cases) in vectors() {
        for case in cases {
            let case = Case::new(case);
            let at = format!("{name}, {}", case.case.name);
            let Some(mut theirs) = signed_by_the_sdk(&name, &case).await else {
                unknown.push(name.clone());
                break;
            };
            let case = case.case;
            let command = case.command(&pool);
            let variant = command.command.as_ref().expect("a request has a command");
            let mut bound = message(variant).to_bound().expect("it is valid");
            let own_headers = headers(&bound);
            theirs
                .headers
                .retain(|header, _| !OWN_HEADERS.contains(&&**header));

            let EndpointOfCase { url, path_style } = &case.endpoint;
            let tenant = TenantEndpoint::new(case.region.clone(), url.clone(), *path_style);
            let endpoint = endpoints
                .resolve(&tenant, bound.operation, bound.bucket, Options::default())
                .await
                .unwrap_or_else(|e| panic!("{at}: {e}"));
            // The SDK's habits, into which S3 reads nothing.
            if theirs.url.contains("x-id=") {
                bound.query.push(QueryParameter {
                    name: "x-id",
                    value: Value::Text(bound.operation.name.into()),
                });
            }
            if bound.operation.path == PathForm::Bucket {
                bound.bucket = None;
            }
            let sign = |bound: &BoundCommand<'_>| {
                let time = case.signed_at();
                let url = presign(bound, &endpoint, &case.credentials(), time, case.expires_in);
                Url::parse(url.as_str())
            };
            let url = Url::parse(&theirs.url);
            if theirs.headers.contains_key(UNSIGNED) {
                assert_ne!(sign(&bound), url, "{at}: it is signed now");
                bound.headers.retain(|header| header.name != UNSIGNED);
                unlike += 1;
            }
            assert_eq!(theirs.method, bound.operation.method, "{at}");
            assert_eq!(theirs.headers, own_headers, "{at}");
            compared += 1;
            if (&*name, &*case.name) == ROUTE_BEFORE_ADDRESS {
                assert_eq!(url.host, "io-cell1-001.127.0.0.1:9000");
                assert_eq!(
                    (sign(&bound).host, sign(&bound).path),
                    ("127.0.0.1:9000".to_owned(), url.path)
                );
                continue;
            }
            assert_eq!(url, sign(&bound), "{at}");
        }
    }
    assert_eq!(unknown, DEPRECATED);
    // The full case and the two hard ones of three operations.
    assert_eq!((compared, unlike), (464, 9));
}
