//! AssumeRole by aws-sdk-sts.
//!
//! The SDK signs, retries with jitter and times out; here its answers become a session, or one of two kinds of failure: STS is not
//! there, or STS refuses. Stores other than AWS answer in S3's error form, which the SDK does not read, so that the HTTP status
//! decides.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use aws_sdk_sts::config::Region;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::operation::assume_role::{AssumeRoleError, AssumeRoleOutput};
use secrecy::SecretString;

use super::{AssumeRole, AssumeRoleCall, BoxFuture, ScopeError, StsEndpoint};
use crate::sign::Credentials;

/// How long one attempt may take, and all of them together.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ATTEMPTS: u32 = 3;
/// How much of an unreadable answer goes into the log.
const SHOWN_BODY: usize = 300;

/// The real STS, or the STS of a compatible store.
#[derive(Debug)]
pub struct Sts {
    base: aws_config::SdkConfig,
    /// One client for each endpoint, so that connections are kept.
    clients: Mutex<HashMap<StsEndpoint, aws_sdk_sts::Client>>,
}

impl Sts {
    /// Calls STS with presignd's own credentials, which are the configuration's.
    #[must_use]
    pub fn new(base: aws_config::SdkConfig) -> Self {
        Self {
            base,
            clients: Mutex::default(),
        }
    }

    fn client(&self, endpoint: &StsEndpoint) -> aws_sdk_sts::Client {
        let mut clients = self
            .clients
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let make = || {
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .operation_timeout(CALL_TIMEOUT);
            let mut config = aws_sdk_sts::config::Builder::from(&self.base)
                .region(Region::new(endpoint.region.clone()))
                .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
                .timeout_config(timeouts.build());
            if let Some(url) = &endpoint.url {
                config = config.endpoint_url(url);
            }
            aws_sdk_sts::Client::from_conf(config.build())
        };
        clients.entry(endpoint.clone()).or_insert_with(make).clone()
    }
}

impl AssumeRole for Sts {
    fn assume_role<'a>(
        &'a self,
        call: &'a AssumeRoleCall,
    ) -> BoxFuture<'a, Result<Credentials, ScopeError>> {
        Box::pin(async move {
            let answer = self
                .client(&call.endpoint)
                .assume_role()
                .role_arn(&call.role_arn)
                .role_session_name(&call.session_name)
                .set_external_id(call.external_id.clone())
                .duration_seconds(i32::try_from(call.duration).unwrap_or(i32::MAX))
                .policy(&*call.policy)
                .send()
                .await;
            match answer {
                Ok(output) => credentials(output),
                Err(error) => Err(failure(&error)),
            }
        })
    }
}

fn credentials(output: AssumeRoleOutput) -> Result<Credentials, ScopeError> {
    let incomplete = || ScopeError::Unavailable {
        detail: "STS answered without credentials".into(),
    };
    let given = output.credentials.ok_or_else(incomplete)?;
    if given.access_key_id.is_empty()
        || given.secret_access_key.is_empty()
        || given.session_token.is_empty()
    {
        return Err(incomplete());
    }
    let expires_at = SystemTime::try_from(given.expiration).map_err(|_| incomplete())?;
    Ok(Credentials::new(
        given.access_key_id,
        SecretString::from(given.secret_access_key),
        Some(SecretString::from(given.session_token)),
        Some(expires_at),
    ))
}

fn failure(error: &SdkError<AssumeRoleError>) -> ScopeError {
    let SdkError::ServiceError(service) = error else {
        return ScopeError::Unavailable {
            detail: causes(error).into(),
        };
    };
    let status = service.raw().status().as_u16();
    if (200..300).contains(&status) {
        // The body may hold a secret key, and stays out of the log.
        return ScopeError::Unavailable {
            detail: format!("STS answered {status} and nothing that reads as a session").into(),
        };
    }
    let body = service.raw().body().bytes().unwrap_or_default();
    let body = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BODY)]);
    let code = service
        .err()
        .code()
        .or_else(|| {
            body.split_once("<Code>")?
                .1
                .split_once('<')
                .map(|(code, _)| code)
        })
        .unwrap_or("no code")
        .to_owned();
    let message = service.err().message().unwrap_or(&body);
    let detail = format!("STS answered {status} {code}: {message}").into();
    let throttled = matches!(
        code.as_str(),
        "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "SlowDown"
            | "TooManyRequests"
    );
    if (400..500).contains(&status) && !throttled && !matches!(status, 408 | 429) {
        ScopeError::Refused { detail }
    } else {
        ScopeError::Unavailable { detail }
    }
}

/// An error and what caused it, in their own words: their debug form would hold what STS answered, secrets included.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += ": ";
        text += &cause.to_string();
        source = cause.source();
    }
    text
}
