//! The session inside a URL, without presignd's decisions in front of it.
//!
//! What presignd refuses never shows whether the session would have stopped it too. Here the session is got as presignd gets it,
//! by its own rooms and from the same configuration, and then signs whatever a test says.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use presignd::admit::expiry::{Asked, Mode};
use presignd::app::tenants;
use presignd::authenticate::Caller;
use presignd::clock::{Clock as _, SharedClock, SystemClock};
use presignd::endpoint::Endpoints;
use presignd::names::TenantId;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::{FormField, PresignPostRequest, PresignPostResponse, PresignResponse};
use presignd::scope::sts::Sts;
use presignd::scope::{ScopeError, ScopedCredentials, Scoper};
use presignd::sign::{self, operations, post_policy};
use presignd::tenant::Tenant;

use super::ceph::Ceph;
use super::http::Response;
use super::presignd::{aws_of, fetch, parse};

/// Longer than any test takes.
const EXPIRES_IN: u32 = 300;

/// A session of a tenant's role, narrowed as presignd narrows it.
pub(crate) struct HeldSession {
    tenant: Arc<Tenant>,
    scoped: ScopedCredentials,
    endpoints: Endpoints,
}

impl HeldSession {
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
        let yaml = yaml.replace('\n', "\n    ");
        let settings = parse(&format!("tenants:\n  {tenant}:\n    {yaml}\n"));
        let clock: SharedClock = Arc::new(SystemClock::new());
        let tenant = tenants::build(&settings.tenants, &clock)
            .expect("the tenant adds up")
            .of(&Caller::Anyone, &TenantId::parse(tenant).expect("an id"))
            .expect("it was configured");

        let bound = operations::message(command).to_bound().expect("valid");
        let asked = Asked {
            expires_in: Some(EXPIRES_IN),
            mode: Mode::Reject,
        };
        let authorized = tenant.rules.authorize(&bound, asked).expect("granted");
        let admitted = tenant.rules.admit(authorized).expect("no limits");
        let aws = aws_of(Ceph::shared().presignd_credentials().clone()).await;
        let scoped = Scoper::new(Arc::new(Sts::new(aws)), clock)
            .scope(&admitted, &Caller::Anyone, &tenant.session, &bound)
            .await?;
        Ok(Self {
            tenant,
            scoped,
            endpoints: Endpoints::default(),
        })
    }

    /// Signs a command, granted or not.
    pub(crate) async fn sign(&self, command: &Variant) -> PresignResponse {
        let bound = operations::message(command).to_bound().expect("valid");
        let endpoint = self
            .endpoints
            .resolve(&self.tenant.endpoint, bound.operation, bound.bucket)
            .await
            .expect("an endpoint");
        let url = sign::presign(
            &bound,
            &endpoint,
            self.scoped.credentials(),
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

    /// Signs a form, granted or not.
    pub(crate) async fn sign_form(&self, request: &PresignPostRequest) -> PresignPostResponse {
        let form = post_policy::bind::bind(request).expect("valid");
        let command = &form.command;
        let endpoint = self
            .endpoints
            .resolve(&self.tenant.endpoint, command.operation, command.bucket)
            .await
            .expect("an endpoint");
        let now = SystemClock::new().now();
        let signed = post_policy::presign_post(
            &form,
            form.content_length,
            &endpoint,
            self.scoped.credentials(),
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
