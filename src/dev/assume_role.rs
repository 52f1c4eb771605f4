//! The sandbox's STS: `AssumeRole`, in the Query protocol that AWS's SDKs speak.
//!
//! Only presignd's own identity may assume a role, and only a tenant's role with that tenant's external id. Parameters
//! that would narrow a session in a way the sandbox does not honour are refused, never ignored.

mod parameters;
mod reply;

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header::CONTENT_TYPE};
use jiff::Timestamp;
use s3s::route::S3Route;
use s3s::{Body, S3Request, S3Response, S3Result};

use self::parameters::Assumption;
pub(super) use self::reply::restate_error;
use self::reply::{answer_xml, error_xml, escape};
use super::access::Claim;
use super::policy::PolicyError;
use super::presented::Carrier;
use super::sessions::{Identity, Principal, RANDOM_LEN, Session, Sessions};
use super::{Random, SandboxClock, SandboxTenant};

/// The longest request body, in bytes: the S3 server hashes no more than this for STS either.
const MAX_BODY: usize = 8192;
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

/// Whether a request is for STS rather than for S3.
pub(super) fn is_sts(method: &Method, uri: &Uri) -> bool {
    method == Method::POST && uri.path() == "/"
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
