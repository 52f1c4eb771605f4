//! `ReloadConfiguration`: the configuration, read now.

use uuid::Uuid;

use super::{count, for_all, violation};
use crate::grpc::request::MAX_FREE_TEXT;
use crate::grpc::{Inner, Unary};
use crate::names::TenantId;
use crate::operate::configuration::Reloaded;
use crate::presign::Arrival;
use crate::presign::operation::Done;
use crate::proto::v1::{ReloadConfigurationRequest, ReloadConfigurationResponse};
use crate::refusal::Refusal;
use crate::sign::bind::Violations;

/// How many ids of each kind an answer holds.
const LISTED: usize = 1000;

/// The RPC.
pub(in crate::grpc) struct ReloadConfiguration;

impl Unary for ReloadConfiguration {
    const METHOD: &'static str = "presignd.v1.OperationsService/ReloadConfiguration";
    type Message = ReloadConfigurationRequest;
    type Asked = String;
    type Reply = ReloadConfigurationResponse;

    fn tenant(_message: &Self::Message) -> &'static str {
        ""
    }

    fn read(message: ReloadConfigurationRequest) -> Result<String, Refusal> {
        if message.reason.len() > MAX_FREE_TEXT {
            let too_long = violation("reason", "is longer than 256 bytes".to_owned());
            return Err(Refusal::Invalid(Violations(vec![too_long])));
        }
        Ok(message.reason)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        reason: String,
    ) -> Result<ReloadConfigurationResponse, Refusal> {
        let work = async {
            for_all(&arrival.caller)?;
            let reloaded = inner.controls().reload().await?;
            let detail = match reloaded.mistakes.len() {
                0 => "it serves".into(),
                mistakes => format!("it has {mistakes} mistakes: the one before goes on").into(),
            };
            Ok(Done {
                answer: response(inner, reloaded),
                detail: Some(detail),
            })
        };
        let result = work.await;
        inner
            .noted(arrival, issuance_id, None, &reason, result)
            .await
    }
}

fn response(inner: &Inner, reloaded: Reloaded) -> ReloadConfigurationResponse {
    let ids = |ids: Vec<TenantId>| {
        let ids = ids.iter().take(LISTED);
        ids.map(ToString::to_string).collect()
    };
    let state = inner.controls().configuration();
    ReloadConfigurationResponse {
        good: reloaded.mistakes.is_empty(),
        mistakes: reloaded.mistakes,
        warnings: reloaded.warnings,
        added: ids(reloaded.tenants.added),
        changed: ids(reloaded.tenants.changed),
        removed: ids(reloaded.tenants.removed),
        tenants: count(inner.presigner.tenants.all().len()),
        loaded_at: state.map(|state| state.loaded_at.into()),
    }
}
