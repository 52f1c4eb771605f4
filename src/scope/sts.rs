//! AssumeRole and `AssumeRoleWithWebIdentity` by aws-sdk-sts.
//!
//! The SDK signs, retries with jitter and times out; here its answers become a session, or one of two kinds of failure, and their dates a
//! measure of the clocks. An attempt that fails is followed by two at most, within half a second: what comes after that is the circuit
//! breaker's.

mod chaining;
mod date;
mod failure;
mod web_identity;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_sdk_sts::config::Region;
use aws_sdk_sts::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::types::{Credentials as Given, PolicyDescriptorType, Tag};
use secrecy::{ExposeSecret as _, SecretString};

use self::chaining::{CHAINED, Chaining};
use self::date::DateReader;
use self::failure::{Failure, failure};
use super::clock_skew::ClockSkews;
use super::identity::{Identity, OwnIdentity, SessionTag};
use super::{AssumeRole, AssumeRoleCall, Assumed, BoxFuture, NarrowedTo, ScopeError, StsEndpoint};
use crate::sign::Credentials;

/// How long one attempt may take, and all of them together.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ATTEMPTS: u32 = 3;
/// What the pause before the first retry is drawn from, and that before any.
const FIRST_PAUSE: Duration = Duration::from_millis(75);
const LONGEST_PAUSE: Duration = Duration::from_millis(150);
/// As whom presignd asks for the time: nobody. Any answer will do.
const NO_AUTH: &str = "noAuth";

/// The real STS, or the STS of a compatible store.
#[derive(Debug)]
pub struct Sts {
    base: aws_config::SdkConfig,
    /// One client for each endpoint, so that connections are kept.
    clients: Mutex<HashMap<StsEndpoint, aws_sdk_sts::Client>>,
    /// Takes note of the endpoints' clocks.
    skews: Arc<ClockSkews>,
    /// Which roles give short sessions only.
    chaining: Chaining,
}

impl Sts {
    /// Calls STS with presignd's own credentials, which are the configuration's, and tells what time it is there.
    #[must_use]
    pub fn new(base: aws_config::SdkConfig, skews: Arc<ClockSkews>) -> Self {
        Self {
            base,
            clients: Mutex::default(),
            skews,
            chaining: Chaining::default(),
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
            let retries = RetryConfig::standard()
                .with_max_attempts(MAX_ATTEMPTS)
                .with_initial_backoff(FIRST_PAUSE)
                .with_max_backoff(LONGEST_PAUSE);
            // The SDK's own quota is one for all the tenants of a region, and one whose calls fail would use up the others' retries.
            // Each tenant's circuit breaker bounds them instead.
            let quota = RetryPartition::custom("presignd").token_bucket(TokenBucket::unlimited());
            let mut config = aws_sdk_sts::config::Builder::from(&self.base)
                .region(Region::new(endpoint.region.clone()))
                .retry_config(retries)
                .retry_partition(quota.build())
                .timeout_config(timeouts.build())
                .interceptor(DateReader {
                    endpoint: endpoint.clone(),
                    skews: Arc::clone(&self.skews),
                });
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
            let duration = self.chaining.duration(call);
            let result = match self.call(call, duration).await {
                Err(failure) if duration > CHAINED && failure.is_chaining_limit() => {
                    self.chaining.note(call);
                    self.call(call, CHAINED).await
                }
                result => result,
            };
            result.map_err(|failure| explained(failure, &call.identity))
        })
    }

    fn ask_the_time<'a>(&'a self, endpoint: &'a StsEndpoint) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let unsigned = aws_sdk_sts::config::Builder::new()
                .allow_no_auth()
                .auth_scheme_preference([NO_AUTH.into()])
                .retry_config(RetryConfig::disabled());
            let asked = self
                .client(endpoint)
                .get_caller_identity()
                .customize()
                .config_override(unsigned)
                .send()
                .await;
            // Whatever the answer is, its date was read.
            drop(asked);
        })
    }
}

impl Sts {
    async fn call(&self, call: &AssumeRoleCall, duration: u32) -> Result<Assumed, Failure> {
        match &call.identity {
            Identity::Own(own) => self.as_itself(call, duration, own).await,
            Identity::Web { token_file } => self.with_token(call, duration, token_file).await,
        }
    }

    async fn as_itself(
        &self,
        call: &AssumeRoleCall,
        duration: u32,
        own: &OwnIdentity,
    ) -> Result<Assumed, Failure> {
        let (policy, policy_arns) = narrowing(call);
        let tags: Vec<Tag> = own.session_tags.iter().filter_map(tag).collect();
        let transitive = own.session_tags.iter().filter(|tag| tag.transitive);
        let transitive: Vec<String> = transitive.map(|tag| tag.key.clone()).collect();
        let answer = self
            .client(&call.endpoint)
            .assume_role()
            .role_arn(&call.role_arn)
            .role_session_name(&call.session_name)
            .set_external_id(own.external_id.clone())
            .set_source_identity(own.source_identity.clone())
            .set_tags((!tags.is_empty()).then_some(tags))
            .set_transitive_tag_keys((!transitive.is_empty()).then_some(transitive))
            .duration_seconds(i32::try_from(duration).unwrap_or(i32::MAX))
            .set_policy(policy)
            .set_policy_arns(policy_arns)
            .send()
            .await;
        let output = answer.map_err(|error| failure(&error, |_| false))?;
        #[expect(deprecated, reason = "older STS answers hold only this one")]
        let packed = output.packed_policy_size;
        assumed(output.credentials, packed, output.session_token_utilization)
    }

    /// Nobody signs this call: the token is all that STS looks at.
    async fn with_token(
        &self,
        call: &AssumeRoleCall,
        duration: u32,
        token_file: &Path,
    ) -> Result<Assumed, Failure> {
        let token = web_identity::token(token_file).await?;
        let (policy, policy_arns) = narrowing(call);
        let answer = self
            .client(&call.endpoint)
            .assume_role_with_web_identity()
            .role_arn(&call.role_arn)
            .role_session_name(&call.session_name)
            .web_identity_token(token.expose_secret())
            .duration_seconds(i32::try_from(duration).unwrap_or(i32::MAX))
            .set_policy(policy)
            .set_policy_arns(policy_arns)
            .send()
            .await;
        let holds_token = |words: &str| web_identity::holds(words, &token);
        let output = answer.map_err(|error| failure(&error, holds_token))?;
        #[expect(deprecated, reason = "older STS answers hold only this one")]
        let packed = output.packed_policy_size;
        assumed(output.credentials, packed, output.session_token_utilization)
    }
}

/// The parameters that narrow a session.
fn narrowing(call: &AssumeRoleCall) -> (Option<String>, Option<Vec<PolicyDescriptorType>>) {
    match &call.narrowed_to {
        NarrowedTo::Policy(policy) => (Some(policy.text.clone()), None),
        NarrowedTo::Managed(arns) => {
            let managed = |arn: &String| PolicyDescriptorType::builder().arn(arn).build();
            (None, Some(arns.iter().map(managed).collect()))
        }
    }
}

fn tag(tag: &SessionTag) -> Option<Tag> {
    // Fails only where the key or the value is not set.
    let built = Tag::builder().key(&tag.key).value(&tag.value).build();
    built.ok()
}

/// A refusal, with what else the role's trust policy would have to allow.
fn explained(failure: Failure, identity: &Identity) -> ScopeError {
    let denied = failure.is_access_denied();
    match failure.error {
        ScopeError::Refused {
            detail,
            asked_again_in,
            ..
        } if denied && !identity.rights().is_empty() => {
            let needs = identity.rights();
            let detail = format!(
                "{detail} (the session tags or source identity of this tenant need {} in the role's trust policy)",
                needs.join(" and ")
            );
            ScopeError::Refused {
                detail: detail.into(),
                needs,
                asked_again_in,
            }
        }
        error => error,
    }
}

fn assumed(
    given: Option<Given>,
    packed_policy_size: Option<i32>,
    session_token_utilization: Option<i32>,
) -> Result<Assumed, Failure> {
    let incomplete = || ScopeError::unavailable("STS answered without credentials");
    let given = given.ok_or_else(incomplete)?;
    if given.access_key_id.is_empty()
        || given.secret_access_key.is_empty()
        || given.session_token.is_empty()
    {
        return Err(incomplete().into());
    }
    let expires_at = SystemTime::try_from(given.expiration).map_err(|_| incomplete())?;
    let credentials = Credentials::new(
        given.access_key_id,
        SecretString::from(given.secret_access_key),
        Some(SecretString::from(given.session_token)),
        Some(expires_at),
    );
    let percent = |size: Option<i32>| size.and_then(|size| u32::try_from(size).ok());
    Ok(Assumed {
        credentials,
        packed_policy_size: percent(packed_policy_size),
        session_token_utilization: percent(session_token_utilization),
    })
}
