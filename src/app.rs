//! Turns settings into rooms: the only file that names concrete adapters.

pub mod callers;
pub mod limits;
pub mod reload;
pub mod server;
pub mod tenants;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aws_config::SdkConfig;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use tokio::sync::watch;

use self::reload::Reload;
use crate::admit::quota::Quotas;
use crate::admit::quota::limit::Counting;
use crate::audit::{Recorder, Sink};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::endpoint::Endpoints;
use crate::grpc::PresignApi;
use crate::grpc::server::{PresignServer, Signs};
use crate::presign::Presigner;
use crate::scope::Scoper;
use crate::scope::clock_skew::ClockSkews;
use crate::scope::sts::Sts;
use crate::telemetry::{Otlp, Traces};
use crate::upload::S3;

/// How long what is already decided may take to be written, once nothing more is asked.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the settings leave to whoever starts presignd.
#[derive(Debug)]
pub struct Surroundings<S> {
    /// The time.
    pub clock: SharedClock,
    /// presignd's own AWS credentials, and how to reach AWS.
    pub aws: SdkConfig,
    /// Where records go.
    pub sink: S,
}

/// presignd, listening and ready to answer.
#[derive(Debug)]
pub struct App {
    server: PresignServer,
    api: PresignApi,
    traces: Traces,
    counting: Counting,
    reload: Option<Reload>,
}

impl App {
    /// Builds the rooms and listens.
    ///
    /// # Errors
    /// If the settings do not add up, or the address cannot be listened on.
    pub async fn start<S: Sink + 'static>(
        settings: &Settings,
        surroundings: Surroundings<S>,
    ) -> anyhow::Result<Self> {
        let Surroundings { clock, aws, sink } = surroundings;
        let otlp = settings.telemetry.otlp.as_ref();
        let traces = Traces::start(&Otlp {
            endpoint: otlp.map(|otlp| otlp.endpoint.as_str().to_owned()),
            timeout: otlp.map(|otlp| otlp.timeout),
            queue: None,
            service_name: Some(settings.telemetry.service_name.clone()),
        })?;
        let counting = limits::counting(&settings.state, &clock)?;
        let skews = ClockSkews::new(Arc::clone(&clock), settings.server.max_clock_skew);
        let skews = Arc::new(skews);
        let sts = Sts::new(aws, Arc::clone(&skews));
        let presigner = Presigner {
            tenants: tenants::build(&settings.tenants, &counting)?,
            quotas: Quotas::new(limits::build(&settings.limits, None, &counting)?, None),
            scoper: Scoper::new(Arc::new(sts), skews, Arc::clone(&clock)),
            endpoints: Endpoints::default(),
            uploads: Box::new(S3::default()),
            recorder: Recorder::new(traces.sink(), sink),
            clock: Arc::clone(&clock),
        };
        let api = PresignApi::new(
            presigner,
            callers::authenticator(settings, &clock),
            settings.server.request_timeout,
        );
        let server = PresignServer::bind(server::options(&settings.server)).await?;
        Ok(Self {
            server,
            api,
            traces,
            counting,
            reload: None,
        })
    }

    /// Serves what the configuration says as it changes.
    #[must_use]
    pub fn reloading(self, reload: Reload) -> Self {
        Self {
            reload: Some(reload),
            ..self
        }
    }

    /// Where presignd listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Answers until `stop` ends, then drains: requests under way, records, spans.
    ///
    /// # Errors
    /// If the server broke down, or records could not be written to the end.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let scoper = &self.api.presigner().scoper;
        let presigner = self.api.presigner();
        let configured = self.reload.as_ref().map(Reload::goodness);
        let signs = Signs {
            ready: scoper.clocks_agree(),
            configured: configured.unwrap_or_else(|| watch::channel(true).1),
        };
        let reload = async {
            match self.reload {
                Some(reload) => reload.run(presigner, &self.counting).await,
                None => std::future::pending().await,
            }
        };
        let served = tokio::select! {
            served = self.server.serve(self.api.clone(), signs, stop) => served,
            () = reload => Ok(()),
            () = scoper.watch_clocks() => Ok(()),
        };
        if let Some(ledger) = self.counting.ledger {
            // Its thread writes for a moment; nothing else is left to wait for it.
            let closed = tokio::task::spawn_blocking(move || ledger.close());
            if closed.await.is_err() {
                tracing::error!("what was counted may be told too high after this");
            }
        }
        let recorded = self.api.presigner().recorder.close(LAST_WORDS).await;
        if let Err(error) = self.traces.shutdown(LAST_WORDS).await {
            tracing::warn!("some spans may be lost: {error}");
        }
        served?;
        recorded.context("some records may be lost")
    }
}

/// presignd's own credentials and AWS settings, from the environment, profile files, web identity, ECS or EC2, in the SDK's order.
pub async fn aws_from_environment() -> SdkConfig {
    // For presignd's own credentials; every tenant has a region of its own. Naming one at last keeps the SDK from asking the instance
    // metadata for it.
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else("us-east-1");
    aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(region)
        .load()
        .await
}
