//! AssumeRole by aws-sdk-sts.
//!
//! The SDK signs, retries with jitter and times out; here its answers become a session, or one of two kinds of failure.

mod failure;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use aws_sdk_sts::config::Region;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use secrecy::SecretString;

use self::failure::failure;
use super::{AssumeRole, AssumeRoleCall, Assumed, BoxFuture, ScopeError, StsEndpoint};
use crate::sign::Credentials;

/// How long one attempt may take, and all of them together.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ATTEMPTS: u32 = 3;

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
    ) -> BoxFuture<'a, Result<Assumed, ScopeError>> {
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
                Ok(output) => assumed(output),
                Err(error) => Err(failure(&error)),
            }
        })
    }
}

fn assumed(output: AssumeRoleOutput) -> Result<Assumed, ScopeError> {
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
    let credentials = Credentials::new(
        given.access_key_id,
        SecretString::from(given.secret_access_key),
        Some(SecretString::from(given.session_token)),
        Some(expires_at),
    );
    let percent = |size: Option<i32>| size.and_then(|size| u32::try_from(size).ok());
    #[expect(deprecated, reason = "older STS answers hold only this one")]
    let packed_policy_size = percent(output.packed_policy_size);
    Ok(Assumed {
        credentials,
        packed_policy_size,
        session_token_utilization: percent(output.session_token_utilization),
    })
}
