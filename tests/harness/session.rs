//! The session inside a URL, without presignd's decisions in front of it.
//!
//! What presignd refuses never shows whether the session would have stopped it too. Here the session is got as presignd gets it,
//! by its own rooms and from the same configuration, and then signs whatever a test says.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use presignd::admit::expiry::{Asked, Mode};
use presignd::admit::policy::Called;
use presignd::admit::quota::limit::Counting;
use presignd::admit::quota::{Payer, Quotas, Told};
use presignd::admit::{Admitted, Authorized};
use presignd::app::{callers, tenants};
use presignd::authenticate::{Caller, Presented, Right};
use presignd::clock::{Clock as _, SharedClock, SystemClock};
use presignd::endpoint::options::Options;
use presignd::endpoint::{Endpoints, TenantEndpoint};
use presignd::names::TenantId;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::{FormField, PresignPostRequest, PresignPostResponse, PresignResponse};
use presignd::scope::clock_skew::ClockSkews;
use presignd::scope::sts::Sts;
use presignd::scope::{ScopeError, ScopedCredentials, Scoper};
use presignd::sign::command::BoundCommand;
use presignd::sign::{self, Credentials, operations, post_policy};
use presignd::tenant::Tenant;

use super::ceph::Ceph;
use super::http::Response;
use super::presignd::{aws_of, fetch, parse};
use super::relay::Relay;
use super::url::Presigned;

/// Longer than any test takes.
const EXPIRES_IN: u32 = 300;

/// A session of a tenant's role, narrowed as presignd narrows it.
pub(crate) struct HeldSession {
    endpoint: TenantEndpoint,
    credentials: Held,
    endpoints: Endpoints,
}

enum Held {
    Scoped(ScopedCredentials),
    Taken(Credentials),
}

impl HeldSession {
    /// The very session that a URL of Ceph's was signed with, whose secret the relay heard from STS.
    pub(crate) fn behind(url: &str, sts: &Relay) -> Self {
        let url = Presigned::read(url);
        let scope = url.parameter("X-Amz-Credential");
        let (access_key_id, _) = scope.split_once('/').expect("a credential scope");
        let answer = sts.answer_with(&format!("<AccessKeyId>{access_key_id}</AccessKeyId>"));
        let (_, secret) = answer.split_once("<SecretAccessKey>").expect("a secret");
        let (secret, _) = secret.split_once('<').expect("its end");
        let token = url.parameter("X-Amz-Security-Token").to_owned();
        Self {
            endpoint: TenantEndpoint::new("us-east-1".to_owned(), Some(url.origin.clone()), true),
            credentials: Held::Taken(Credentials::new(
                access_key_id.to_owned(),
                secret.to_owned().into(),
                Some(token.into()),
                None,
            )),
            endpoints: Endpoints::default(),
        }
    }

    /// The session that presignd would sign `command` with. `yaml` is the tenant's configuration.
    pub(crate) async fn of(tenant: &str, yaml: &str, command: &Variant) -> Self {
        Self::request(tenant, yaml, command)
            .await
            .unwrap_or_else(|e| panic!("{command:?} with {yaml}: {e}"))
    }

    /// The same, if STS gives it.
    pub(crate) async fn request(
        tenant: &str,
        yaml: &str,
        command: &Variant,
    ) -> Result<Self, ScopeError> {
        let bound = operations::message(command).to_bound().expect("valid");
        Self::holding(tenant, yaml, &bound).await
    }

    /// The session that presignd would sign the form with.
    pub(crate) async fn of_form(tenant: &str, yaml: &str, request: &PresignPostRequest) -> Self {
        let form = post_policy::bind::bind(request).expect("valid");
        Self::holding(tenant, yaml, &form.command)
            .await
            .unwrap_or_else(|e| panic!("{request:?} with {yaml}: {e}"))
    }

    async fn holding(
        tenant: &str,
        yaml: &str,
        bound: &BoundCommand<'_>,
    ) -> Result<Self, ScopeError> {
        let yaml = yaml.replace('\n', "\n    ");
        let settings = parse(&format!(
            "callers: [{{ match: anyone }}]\ntenants:\n  {tenant}:\n    {yaml}\n"
        ));
        let clock: SharedClock = Arc::new(SystemClock::new());
        let anyone = callers::authenticator(&settings, &clock)
            .authenticate(&Presented::default())
            .await
            .expect("anyone may ask");
        let tenant = tenants::build(&settings.tenants, &Counting::new(Arc::clone(&clock)))
            .expect("the tenant adds up")
            .of(
                &anyone,
                Right::Sign,
                &TenantId::parse(tenant).expect("an id"),
            )
            .expect("it was configured");

        let asked = Asked {
            expires_in: Some(EXPIRES_IN),
            mode: Mode::Reject,
        };
        let (rules, called) = (&tenant.rules, Called::default());
        let standing = rules.standing(clock.now(), anyone.name());
        let authorized = rules.authorize(&standing, bound, called, asked, None);
        let authorized = authorized.expect("granted");
        let admitted = admitted(&tenant, &anyone, authorized).await;
        let aws = aws_of(Ceph::shared().presignd_credentials().clone()).await;
        let skews = ClockSkews::new(Arc::clone(&clock), Duration::from_secs(30));
        let skews = Arc::new(skews);
        let sts = Arc::new(Sts::new(aws, Arc::clone(&skews)));
        let scoped = Scoper::new(sts, skews, clock)
            .scope(&admitted, &anyone, &tenant.session, &[bound])
            .await?;
        let place = tenant.buckets.place(bound.bucket);
        Ok(Self {
            endpoint: TenantEndpoint::new(
                place.region.clone(),
                place.url.clone(),
                place.path_style,
            ),
            credentials: Held::Scoped(scoped),
            endpoints: Endpoints::default(),
        })
    }

    /// Signs a command, granted or not.
    pub(crate) async fn sign(&self, command: &Variant) -> PresignResponse {
        let bound = operations::message(command).to_bound().expect("valid");
        let endpoint = self
            .endpoints
            .resolve(
                &self.endpoint,
                bound.operation,
                bound.bucket,
                Options::default(),
            )
            .await
            .expect("an endpoint");
        let url = sign::presign(
            &bound,
            &endpoint,
            self.credentials(),
            SystemClock::new().now(),
            EXPIRES_IN,
        );
        let headers = bound.headers.iter();
        PresignResponse {
            url: url.into_string(),
            method: bound.operation.method.to_owned(),
            headers: headers
                .map(|h| {
                    let name = format!("{}{}", h.name, h.suffix);
                    (name, h.value.as_str().to_owned())
                })
                .collect(),
            ..PresignResponse::default()
        }
    }

    fn credentials(&self) -> &Credentials {
        match &self.credentials {
            Held::Scoped(scoped) => scoped.credentials(),
            Held::Taken(credentials) => credentials,
        }
    }

    /// Signs a form, granted or not.
    pub(crate) async fn sign_form(&self, request: &PresignPostRequest) -> PresignPostResponse {
        let form = post_policy::bind::bind(request).expect("valid");
        let command = &form.command;
        let endpoint = self
            .endpoints
            .resolve(
                &self.endpoint,
                command.operation,
                command.bucket,
                Options::default(),
            )
            .await
            .expect("an endpoint");
        let now = SystemClock::new().now();
        let signed = post_policy::presign_post(
            &form,
            &endpoint,
            self.credentials(),
            now,
            now + Duration::from_secs(EXPIRES_IN.into()),
        );
        let field = |(name, value): (&str, &str)| FormField {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        PresignPostResponse {
            url: signed.url(),
            fields: signed.fields().map(field).collect(),
            ..PresignPostResponse::default()
        }
    }

    /// Signs a command, granted or not, and sends it to the store.
    pub(crate) async fn run(&self, command: &Variant, body: impl Into<Bytes>) -> Response {
        fetch(&self.sign(command).await, body).await
    }
}

/// The proof that what was allowed is admitted, for a tenant without limits.
pub(crate) async fn admitted(tenant: &Tenant, caller: &Caller, authorized: Authorized) -> Admitted {
    let payer = Payer {
        tenant: &tenant.id,
        limits: &tenant.rules.limits,
        caller: caller.name(),
    };
    let (quotas, told) = (Quotas::default(), Told::default());
    let admitted = quotas.admit(payer, &told, authorized).await;
    admitted.expect("no limits")
}
