//! The sandbox's STS: `AssumeRole`, in the Query protocol that AWS's SDKs speak.
//!
//! Only presignd's own identity may assume a role, and only a tenant's role with that tenant's external id. Parameters
//! that would narrow a session in a way the sandbox does not honour are refused, never ignored.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header::CONTENT_TYPE};
use jiff::Timestamp;
use s3s::route::S3Route;
use s3s::{Body, S3Request, S3Response, S3Result};
use secrecy::ExposeSecret;

use super::access::Claim;
use super::policy::{Policy, PolicyError};
use super::presented::Carrier;
use super::sessions::{Identity, Principal, RANDOM_LEN, Session, Sessions};
use super::{Random, SandboxClock, SandboxTenant};

/// The longest request body, in bytes: the S3 server hashes no more than this for STS either.
const MAX_BODY: usize = 8192;
/// The longest session policy, in characters.
const MAX_POLICY: usize = 2048;
const XML_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// The ARN that errors give presignd's own identity.
const PRESIGND_ARN: &str = "arn:aws:iam::000000000000:user/presignd";

/// Why STS refused; the codes and statuses are AWS's.
#[derive(Debug, thiserror::Error)]
pub(super) enum StsError {
    #[error("Request is missing Authentication Token")]
    Anonymous,
    #[error("User: {user} is not authorized to perform: sts:AssumeRole on resource: {role}")]
    NotAuthorized { user: String, role: String },
    #[error("1 validation error detected: {0}")]
    Validation(String),
    #[error("Could not find operation {0} for version 2011-06-15")]
    InvalidAction(String),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(
        "The request signature must be in the Authorization header, for the service sts, and cover the body"
    )]
    Signature,
    #[error("Rate exceeded")]
    Throttled,
    #[error("The sandbox has no randomness to make credentials with")]
    Internal,
}

impl StsError {
    fn code(&self) -> (&'static str, StatusCode) {
        match self {
            Self::Anonymous => ("MissingAuthenticationToken", StatusCode::FORBIDDEN),
            Self::NotAuthorized { .. } => ("AccessDenied", StatusCode::FORBIDDEN),
            Self::Validation(_) => ("ValidationError", StatusCode::BAD_REQUEST),
            Self::InvalidAction(_) => ("InvalidAction", StatusCode::BAD_REQUEST),
            Self::Policy(_) => ("MalformedPolicyDocument", StatusCode::BAD_REQUEST),
            Self::Signature => ("IncompleteSignature", StatusCode::BAD_REQUEST),
            Self::Throttled => ("Throttling", StatusCode::BAD_REQUEST),
            Self::Internal => ("InternalFailure", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

/// A call of `AssumeRole` whose parameters were found good.
#[derive(Debug)]
struct Assumption<'a> {
    tenant: usize,
    role: &'a SandboxTenant,
    session_name: String,
    duration: Duration,
    policy: Option<Policy>,
    /// Share of the longest policy that this one takes.
    packed_percent: usize,
    source_identity: Option<String>,
}

impl<'a> Assumption<'a> {
    fn parse(form: &[u8], tenants: &'a [Arc<SandboxTenant>]) -> Result<Self, StsError> {
        let parameters = Parameters::parse(form)?;
        let role_arn = parameters.required("RoleArn")?;
        let session_name = parameters.required("RoleSessionName")?;
        check_name("roleSessionName", session_name)?;
        let duration = match parameters.get("DurationSeconds") {
            None => 3600,
            Some(text) => text
                .parse()
                .ok()
                .filter(|seconds| (900..=43_200).contains(seconds))
                .ok_or_else(|| {
                    invalid(
                        "durationSeconds",
                        text,
                        "Member must be between 900 and 43200",
                    )
                })?,
        };
        let policy = parameters.get("Policy");
        let length = policy.map_or(0, |text| text.chars().count());
        if length > MAX_POLICY {
            let constraint = "Member must have length less than or equal to 2048";
            return Err(invalid(
                "policy",
                &format!("{length} characters"),
                constraint,
            ));
        }
        let policy = policy.map(Policy::parse).transpose()?;
        let source_identity = parameters.get("SourceIdentity");
        source_identity.map_or(Ok(()), |name| check_name("sourceIdentity", name))?;
        // AWS tells neither whether the role exists nor which condition failed.
        let not_authorized = || StsError::NotAuthorized {
            user: PRESIGND_ARN.to_owned(),
            role: role_arn.to_owned(),
        };
        let mut roles = tenants.iter().enumerate();
        let (tenant, role) = roles
            .find(|(_, tenant)| tenant.role_arn == role_arn)
            .ok_or_else(not_authorized)?;
        if parameters.get("ExternalId") != Some(&role.external_id) {
            return Err(not_authorized());
        }
        Ok(Self {
            tenant,
            role,
            session_name: session_name.to_owned(),
            duration: Duration::from_secs(duration),
            policy,
            packed_percent: (length * 100).div_ceil(MAX_POLICY),
            source_identity: source_identity.map(str::to_owned),
        })
    }

    /// `arn:aws:iam::ACCOUNT:role/ROLE` becomes `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
    fn arn(&self) -> String {
        let role = self.role.role_arn.replacen(":iam:", ":sts:", 1).replacen(
            ":role/",
            ":assumed-role/",
            1,
        );
        format!("{role}/{}", self.session_name)
    }
}

/// The form's parameters: each known, each at most once.
#[derive(Debug)]
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(form: &[u8]) -> Result<Self, StsError> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(form).into_owned().collect();
        let action = pairs
            .iter()
            .find(|(name, _)| name == "Action")
            .map_or("", |(_, value)| value);
        if action != "AssumeRole" {
            return Err(StsError::InvalidAction(action.to_owned()));
        }
        for (n, (name, value)) in pairs.iter().enumerate() {
            let known = [
                "Action",
                "Version",
                "RoleArn",
                "RoleSessionName",
                "DurationSeconds",
                "Policy",
                "ExternalId",
            ];
            // Tags and the source identity only describe the session.
            let describes = name == "SourceIdentity"
                || name.starts_with("Tags.")
                || name.starts_with("TransitiveTagKeys.");
            if !known.contains(&name.as_str()) && !describes {
                return Err(invalid(
                    name,
                    value,
                    "Member must be one that the sandbox knows",
                ));
            }
            if pairs[..n].iter().any(|(earlier, _)| earlier == name) {
                return Err(invalid(name, value, "Member must be given once"));
            }
        }
        Ok(Self(pairs))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(parameter, _)| parameter == name)
            .map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &str) -> Result<&str, StsError> {
        self.get(name)
            .ok_or_else(|| invalid(name, "null", "Member must not be null"))
    }
}

fn check_name(field: &str, value: &str) -> Result<(), StsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if (2..=64).contains(&value.len()) && value.chars().all(allowed) {
        return Ok(());
    }
    Err(invalid(
        field,
        value,
        "Member must be 2 to 64 characters of [\\w+=,.@-]",
    ))
}

fn invalid(field: &str, value: &str, constraint: &str) -> StsError {
    StsError::Validation(format!(
        "Value '{value}' at '{field}' failed to satisfy constraint: {constraint}"
    ))
}

/// The route that answers `POST /`.
pub(super) struct AssumeRole {
    pub(super) tenants: Arc<[Arc<SandboxTenant>]>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) clock: SandboxClock,
    pub(super) random: Random,
}

impl AssumeRole {
    async fn answer(&self, mut req: S3Request<Body>) -> Result<String, StsError> {
        let claim = req.extensions.get::<Claim>().ok_or(StsError::Anonymous)?;
        let (principal, signature) = claim
            .proven(req.credentials.as_ref())
            .ok_or(StsError::Anonymous)?;
        // A presigned POST, or one with an unsigned payload, would let anybody choose the parameters.
        let content_hash = req
            .headers
            .get("x-amz-content-sha256")
            .map(HeaderValue::as_bytes);
        let body_signed = content_hash
            .is_none_or(|hash| hash.len() == 64 && hash.iter().all(u8::is_ascii_hexdigit));
        let sts = signature.service == "sts"
            && signature.signed_headers.iter().any(|name| name == "host");
        if signature.carrier != Carrier::Header || !sts || !body_signed || req.uri.query().is_some()
        {
            return Err(StsError::Signature);
        }
        let caller = principal.clone();
        let form = req
            .input
            .store_all_limited(MAX_BODY)
            .await
            .map_err(|_| StsError::Signature)?;
        let assumption = Assumption::parse(&form, &self.tenants)?;
        if let Principal::Session(session) = caller {
            return Err(StsError::NotAuthorized {
                user: session.arn.clone(),
                role: assumption.role.role_arn.clone(),
            });
        }
        self.open(&assumption, (self.clock)())
    }

    fn open(&self, assumption: &Assumption<'_>, now: SystemTime) -> Result<String, StsError> {
        let mut random = [0; RANDOM_LEN];
        (self.random)(&mut random).map_err(|_| StsError::Internal)?;
        let mut request_id = [0; 16];
        (self.random)(&mut request_id).map_err(|_| StsError::Internal)?;
        // STS tells whole seconds: the session ends at the second that it tells.
        let expiration =
            Timestamp::try_from(now + assumption.duration).map_err(|_| StsError::Internal)?;
        let expiration =
            Timestamp::from_second(expiration.as_second()).map_err(|_| StsError::Internal)?;
        let session = Session {
            identity: Identity::new("ASIA", &random),
            tenant: assumption.tenant,
            arn: assumption.arn(),
            expires_at: SystemTime::try_from(expiration).map_err(|_| StsError::Internal)?,
            policy: assumption.policy.clone(),
        };
        let session = self
            .sessions
            .insert(session, now)
            .map_err(|_| StsError::Throttled)?;
        Ok(answer_xml(
            assumption,
            &session,
            expiration,
            uuid::Builder::from_random_bytes(request_id).into_uuid(),
        ))
    }
}

fn answer_xml(
    assumption: &Assumption<'_>,
    session: &Session,
    expiration: Timestamp,
    request_id: uuid::Uuid,
) -> String {
    let mut xml = format!("<AssumeRoleResponse xmlns=\"{XML_NAMESPACE}\"><AssumeRoleResult>");
    xml.push_str("<AssumedRoleUser>");
    element(&mut xml, "Arn", &session.arn);
    element(
        &mut xml,
        "AssumedRoleId",
        &format!("AROASANDBOX:{}", assumption.session_name),
    );
    xml.push_str("</AssumedRoleUser><Credentials>");
    element(&mut xml, "AccessKeyId", &session.identity.access_key_id);
    element(
        &mut xml,
        "SecretAccessKey",
        session.identity.secret_access_key.expose_secret(),
    );
    element(
        &mut xml,
        "SessionToken",
        session.identity.session_token.expose_secret(),
    );
    element(&mut xml, "Expiration", &expiration.to_string());
    xml.push_str("</Credentials>");
    if session.policy.is_some() {
        element(
            &mut xml,
            "PackedPolicySize",
            &assumption.packed_percent.to_string(),
        );
    }
    if let Some(identity) = &assumption.source_identity {
        element(&mut xml, "SourceIdentity", identity);
    }
    xml.push_str("</AssumeRoleResult><ResponseMetadata>");
    element(&mut xml, "RequestId", &request_id.to_string());
    xml.push_str("</ResponseMetadata></AssumeRoleResponse>");
    xml
}

fn element(xml: &mut String, name: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = write!(xml, "<{name}>{}</{name}>", escape(text));
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no way to write the other control characters.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// An error in STS's form; `message` is XML text already.
fn error_xml(code: &str, message: &str, status: StatusCode) -> String {
    let kind = if status.is_server_error() {
        "Receiver"
    } else {
        "Sender"
    };
    format!(
        "<ErrorResponse xmlns=\"{XML_NAMESPACE}\"><Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
}

/// Whether a request is for STS rather than for S3.
pub(super) fn is_sts(method: &Method, uri: &Uri) -> bool {
    method == Method::POST && uri.path() == "/"
}

/// Puts an error that the S3 server made before the route was reached into STS's form, or leaves the body alone.
pub(super) fn restate_error(body: &str, status: StatusCode) -> Option<String> {
    let (_, error) = body.split_once("<Error>")?;
    let text = |name: &str| {
        let (_, rest) = error.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    if body.contains("<ErrorResponse") {
        return None;
    }
    let code = match text("Code")? {
        "InvalidAccessKeyId" | "InvalidToken" => "InvalidClientTokenId",
        "RequestTimeTooSkewed" => "SignatureDoesNotMatch",
        code => code,
    };
    Some(error_xml(code, text("Message").unwrap_or(code), status))
}

#[async_trait::async_trait]
impl S3Route for AssumeRole {
    fn is_match(
        &self,
        method: &Method,
        uri: &Uri,
        _: &HeaderMap,
        _: &mut http::Extensions,
    ) -> bool {
        is_sts(method, uri)
    }

    /// Left to the call, whose refusals are in STS's form.
    async fn check_access(&self, _: &mut S3Request<Body>) -> S3Result<()> {
        Ok(())
    }

    async fn call(&self, req: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let (status, xml) = match self.answer(req).await {
            Ok(xml) => (StatusCode::OK, xml),
            Err(error) => {
                let (code, status) = error.code();
                (status, error_xml(code, &escape(&error.to_string()), status))
            }
        };
        let mut response = S3Response::with_status(Body::from(xml), status);
        response
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(changes: &[(&str, Option<&str>)]) -> Vec<u8> {
        let mut pairs = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", "arn:aws:iam::111122223333:role/presignd-acme"),
            ("RoleSessionName", "acme.web+1"),
            ("ExternalId", "acme-7f3a"),
        ];
        for (name, value) in changes {
            pairs.retain(|(pair, _)| pair != name);
            pairs.extend(value.map(|value| (*name, value)));
        }
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
            .into_bytes()
    }

    fn parse(form: &[u8]) -> Result<(String, u64, usize), &'static str> {
        let tenants = crate::dev::demo_tenants();
        let assumption = Assumption::parse(form, &tenants).map_err(|error| error.code().0)?;
        Ok((
            assumption.arn(),
            assumption.duration.as_secs(),
            assumption.packed_percent,
        ))
    }

    #[test]
    fn good_parameters_make_a_session_of_the_role() {
        let arn = "arn:aws:sts::111122223333:assumed-role/presignd-acme/acme.web+1".to_owned();
        assert_eq!(parse(&form(&[])), Ok((arn.clone(), 3600, 0)));
        let policy = r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
        let narrowed = form(&[("DurationSeconds", Some("900")), ("Policy", Some(policy))]);
        assert_eq!(parse(&narrowed), Ok((arn, 900, 4)));
    }

    #[test]
    fn each_bad_parameter_is_refused() {
        let long = "x".repeat(65);
        let large = format!(r#"{{"Statement":[]{}}}"#, " ".repeat(2033));
        for (name, value, expected) in [
            ("Action", Some("GetCallerIdentity"), "InvalidAction"),
            ("Action", None, "InvalidAction"),
            (
                "RoleArn",
                Some("arn:aws:iam::111122223333:role/other"),
                "AccessDenied",
            ),
            (
                "RoleArn",
                Some("arn:aws:iam::444455556666:role/presignd-globex"),
                "AccessDenied",
            ),
            ("RoleArn", None, "ValidationError"),
            ("ExternalId", Some("acme-7f3b"), "AccessDenied"),
            ("ExternalId", None, "AccessDenied"),
            ("RoleSessionName", None, "ValidationError"),
            ("RoleSessionName", Some("x"), "ValidationError"),
            ("RoleSessionName", Some("a/b"), "ValidationError"),
            ("RoleSessionName", Some("é€"), "ValidationError"),
            ("RoleSessionName", Some(&long), "ValidationError"),
            ("DurationSeconds", Some("899"), "ValidationError"),
            ("DurationSeconds", Some("43201"), "ValidationError"),
            ("DurationSeconds", Some("-1"), "ValidationError"),
            ("Policy", Some("{"), "MalformedPolicyDocument"),
            ("Policy", Some(&large), "ValidationError"),
            (
                "PolicyArns.member.1.arn",
                Some("arn:aws:iam::aws:policy/ReadOnly"),
                "ValidationError",
            ),
            ("SourceIdentity", Some("a b"), "ValidationError"),
        ] {
            assert_eq!(
                parse(&form(&[(name, value)])),
                Err(expected),
                "{name} {value:?}"
            );
        }
        let twice = [form(&[]), b"&ExternalId=acme-7f3a".to_vec()].concat();
        assert_eq!(parse(&twice), Err("ValidationError"));
        assert_eq!(large.chars().count(), 2049);
    }

    #[test]
    fn errors_of_the_s3_server_take_the_form_of_sts() {
        let body = "<?xml version=\"1.0\"?><Error><Code>InvalidAccessKeyId</Code><Message>a &lt; b</Message></Error>";
        let restated = restate_error(body, StatusCode::FORBIDDEN).unwrap();
        assert!(
            restated.contains("<Code>InvalidClientTokenId</Code><Message>a &lt; b</Message>"),
            "{restated}"
        );
        assert!(restate_error(&restated, StatusCode::FORBIDDEN).is_none());
        assert!(restate_error("", StatusCode::FORBIDDEN).is_none());
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b>&\"\u{1}é"), "a&lt;b&gt;&amp;&quot;\u{fffd}é");
    }
}
