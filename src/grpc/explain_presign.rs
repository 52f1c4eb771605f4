//! `ExplainPresign`: what would become of a request, and why.

use uuid::Uuid;

use super::{Inner, Unary, reply, request, status};
use crate::admit::explain::{Considered, Requirement};
use crate::admit::quota::Left;
use crate::presign::explain::{Explained, Warning, WarningKind};
use crate::presign::{Arrival, Item, Request};
use crate::proto::v1::explained_session::Credentials;
use crate::proto::v1::{
    self, BucketStyle, Command, ExplainPresignRequest, ExplainPresignResponse, ExplainedEndpoint,
    ExplainedGrant, ExplainedLimit, ExplainedRequirement, ExplainedRole, ExplainedSession,
    ExplainedWarning,
};
use crate::refusal::Refusal;
use crate::scope::NarrowedTo;
use crate::scope::preview::{Preview, RolePreview};

/// The RPC.
pub(super) struct ExplainPresign;

impl Unary for ExplainPresign {
    const METHOD: &'static str = "presignd.v1.PresignService/ExplainPresign";
    type Message = ExplainPresignRequest;
    type Asked = (Request, Box<Command>);
    type Reply = ExplainPresignResponse;

    fn tenant(message: &Self::Message) -> &str {
        let request = message.request.as_ref();
        request.map_or("", |request| &request.tenant)
    }

    fn read(message: ExplainPresignRequest) -> Result<Self::Asked, Refusal> {
        request::read_explain(message)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        (request, command): Self::Asked,
    ) -> Result<ExplainPresignResponse, Refusal> {
        let item = Item {
            issuance_id,
            command: &command,
        };
        let explained = inner.presigner.explain(arrival, &request, &item).await?;
        Ok(response(explained, issuance_id))
    }
}

fn response(explained: Explained, issuance_id: Uuid) -> ExplainPresignResponse {
    let refusal = explained.refusal.as_ref();
    let style = match explained.path_style {
        None => BucketStyle::Unspecified,
        Some(true) => BucketStyle::Path,
        Some(false) => BucketStyle::VirtualHost,
    };
    let endpoint = explained
        .endpoint
        .as_ref()
        .map(|endpoint| ExplainedEndpoint {
            host: endpoint.host.clone(),
            bucket_style: style.into(),
            region: endpoint.region.clone(),
            service: endpoint.service.clone(),
        });
    let (seconds, bound) = explained.expiry.unzip();
    ExplainPresignResponse {
        allowed: refusal.is_none(),
        refusal: refusal.map(status::unrecorded_item),
        requirements: explained
            .requirements
            .into_iter()
            .map(requirement)
            .collect(),
        expires_in: seconds.map(|seconds| prost_types::Duration {
            seconds: seconds.into(),
            nanos: 0,
        }),
        expiry_bound: bound.map(reply::published).unwrap_or_default().into(),
        limits: explained.limits.iter().map(limit).collect(),
        endpoint,
        session: explained.session.map(session),
        method: explained.method.to_owned(),
        headers: explained.headers.into_iter().collect(),
        canonical_request: explained.canonical_request.unwrap_or_default(),
        warnings: explained.warnings.into_iter().map(warning).collect(),
        issuance_id: issuance_id.to_string(),
    }
}

fn requirement(requirement: Requirement) -> ExplainedRequirement {
    let grant = |grant: Considered| ExplainedGrant {
        index: u32::try_from(grant.index).unwrap_or(u32::MAX),
        text: grant.text,
        why_not: grant.why_not,
    };
    ExplainedRequirement {
        met: requirement.is_met(),
        command: requirement.command.to_owned(),
        action: requirement.action.unwrap_or_default().to_owned(),
        target: requirement.target,
        grants: requirement.grants.into_iter().map(grant).collect(),
        denied_by: requirement.denied_by.into_iter().map(grant).collect(),
    }
}

fn limit(left: &Left) -> ExplainedLimit {
    ExplainedLimit {
        name: left.limit.name.to_string(),
        charged: left.charged,
        left: left.left,
        burst: left.most,
        // More than fits is not waited for: limits are earned back within a year.
        retry_after: left.retry_after.and_then(|wait| wait.try_into().ok()),
        scope: left.limit.scope.to_owned(),
        shadow: left.shadow,
    }
}

fn session(preview: Preview) -> ExplainedSession {
    let credentials = match preview.role {
        Some(preview) => Credentials::Role(role(preview)),
        None => Credentials::StaticAccessKeyId(preview.credentials.access_key_id().to_owned()),
    };
    ExplainedSession {
        credentials: Some(credentials),
    }
}

fn role(role: RolePreview) -> ExplainedRole {
    let (policy, arns) = match role.narrowed_to {
        NarrowedTo::Policy(policy) => (policy.text.clone(), Vec::new()),
        NarrowedTo::Managed(arns) => (String::new(), arns.to_vec()),
    };
    ExplainedRole {
        role_arn: role.arn,
        role_session_name: role.session_name,
        session_policy: policy,
        policy_arns: arns,
        cached_until: role.cached_until.map(Into::into),
    }
}

fn warning(warning: Warning) -> ExplainedWarning {
    let kind = match warning.kind {
        WarningKind::ExpiryShort => v1::WarningKind::ExpiryShort,
        WarningKind::ExpiryCutBySession => v1::WarningKind::ExpiryCutBySession,
        WarningKind::KeyMangled => v1::WarningKind::KeyMangled,
        WarningKind::ContentTypeSigned => v1::WarningKind::ContentTypeSigned,
        WarningKind::UploadUnbounded => v1::WarningKind::UploadUnbounded,
        WarningKind::CallerMayNotSign => v1::WarningKind::CallerMayNotSign,
    };
    ExplainedWarning {
        kind: kind.into(),
        text: warning.text,
    }
}
