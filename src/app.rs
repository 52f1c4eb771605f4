//! Turns settings into rooms: the only file that names concrete adapters.

pub mod callers;
mod dependencies;
pub mod limits;
mod orders;
pub mod reload;
pub mod server;
mod shared;
pub mod tenants;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use aws_config::SdkConfig;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use tokio::sync::watch;

use self::reload::Reload;
use self::tenants::Drafts;
use crate::admit::quota::Quotas;
use crate::admit::quota::limit::Counting;
use crate::audit::{Recorder, Sink};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::endpoint::Endpoints;
use crate::grpc::PresignApi;
use crate::grpc::server::{PresignServer, Signs};
use crate::metrics;
use crate::operate::dependency::Depends;
use crate::operate::{Controls, Keeper};
use crate::presign::Presigner;
use crate::scope::Scoper;
use crate::scope::clock_skew::ClockSkews;
use crate::scope::sts::Sts;
use crate::telemetry::{Metrics, Observe, Otlp, Prometheus, Traces};
use crate::tenant::ById;
use crate::upload::S3;

/// How long what is already decided may take to be written, once nothing more is asked.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// And the last metrics, to be sent.
const LAST_NUMBERS: Duration = Duration::from_secs(2);

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
    traces: Arc<Traces>,
    metrics: Metrics,
    prometheus: Option<Prometheus>,
    keeper: Option<Keeper>,
    dependencies: Vec<Box<dyn Depends>>,
    started: Duration,
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
        let drafts = tenants::drafts(&settings.tenants, &ById::new());
        Self::start_drafted(settings, drafts, surroundings).await
    }

    /// The same, of tenants that are drafted already.
    ///
    /// # Errors
    /// The same.
    pub async fn start_drafted<T, S: Sink + 'static>(
        settings: &Settings<T>,
        drafts: Drafts,
        surroundings: Surroundings<S>,
    ) -> anyhow::Result<Self> {
        let Surroundings { clock, aws, sink } = surroundings;
        let otlp = settings.telemetry.otlp.as_ref();
        let otlp = Otlp {
            endpoint: otlp.map(|otlp| otlp.endpoint.as_str().to_owned()),
            timeout: otlp.map(|otlp| otlp.timeout),
            interval: otlp.map(|otlp| otlp.metrics_interval),
            queue: None,
            service_name: Some(settings.telemetry.service_name.clone()),
        };
        let traces = Arc::new(Traces::start(&otlp)?);
        let counting = limits::counting(&settings.state, &clock)?;
        let redis = match &settings.state.redis {
            Some(redis) => Some((redis, Box::pin(shared::connection(redis)).await?)),
            None => None,
        };
        let shared = redis
            .as_ref()
            .map(|(settings, redis)| shared::counts(settings, Arc::clone(redis), &clock));
        let skews = ClockSkews::new(Arc::clone(&clock), settings.server.max_clock_skew);
        let skews = Arc::new(skews);
        let sts = Sts::new(aws, Arc::clone(&skews));
        let orders::Kept { orders, keeper } =
            orders::kept(settings.state.dir.as_deref(), redis.map(|(_, redis)| redis)).await?;
        let dependencies = dependencies::all(&skews, &traces, keeper.as_ref());
        let presigner = Presigner {
            tenants: tenants::renew(&ById::new(), drafts, &counting)?
                .tenants
                .into(),
            orders,
            quotas: Quotas::new(limits::build(&settings.limits, None, &counting)?, shared),
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
        metrics::CONFIGURATION.set(1);
        let observe = observe(&api, &traces);
        let metrics = Metrics::start(&otlp, Arc::clone(&observe))?;
        let prometheus = match settings.telemetry.prometheus {
            Some(fetched) => Some(Prometheus::start(fetched.listen, observe).await?),
            None => None,
        };
        Ok(Self {
            server,
            api,
            traces,
            keeper,
            dependencies,
            started: clock.monotonic(),
            counting,
            metrics,
            prometheus,
            reload: None,
        })
    }

    /// Serves what the configuration says as it changes.
    #[must_use]
    pub fn reloading(self, reload: Reload) -> Self {
        let gate = Arc::clone(self.api.gate());
        Self {
            reload: Some(reload.of_callers(gate)),
            ..self
        }
    }

    /// Where presignd listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where metrics can be fetched.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.prometheus.as_ref().map(Prometheus::address)
    }

    /// Answers until `stop` ends, then drains: requests under way, records, spans.
    ///
    /// # Errors
    /// If the server broke down, or records could not be written to the end.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let scoper = &self.api.presigner().scoper;
        let presigner = self.api.presigner();
        let configured = self.reload.as_ref().map(Reload::goodness);
        let signs = Signs {
            ready: scoper.clocks_agree(),
            configured: configured.unwrap_or_else(|| watch::channel(true).1),
        };
        self.api.control(Controls {
            reloads: self.reload.as_mut().map(Reload::on_demand),
            dependencies: self.dependencies,
            ready: Some(scoper.clocks_agree()),
            started: self.started,
        });
        let keep_orders = async {
            match self.keeper {
                Some(keeper) => keeper.run().await,
                None => std::future::pending().await,
            }
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
            () = keep_orders => Ok(()),
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
        // At last, so that they say what became of all else.
        if let Err(error) = self.metrics.shutdown(LAST_NUMBERS).await {
            tracing::warn!("{error}");
        }
        served?;
        recorded.context("some records may be lost")
    }
}

/// Brings those metrics up to date that are kept elsewhere.
fn observe(api: &PresignApi, traces: &Arc<Traces>) -> Observe {
    let (api, traces) = (api.clone(), Arc::clone(traces));
    let began = api.presigner().clock.monotonic();
    let turn = Mutex::new(());
    Arc::new(move || {
        // Who sends and whoever fetches, one after the other.
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Presigner {
            tenants,
            scoper,
            clock,
            ..
        } = api.presigner();
        let spans = traces.counts();
        metrics::SPANS.raise_to(metrics::EXPORTED, spans.exported);
        metrics::SPANS.raise_to(metrics::FAILED, spans.failed);
        metrics::SPANS.raise_to(metrics::DROPPED, spans.dropped);
        metrics::SPANS_WAITING.set(spans.queued);
        metrics::TENANTS.set(tenants.all().len() as u64);
        metrics::SESSIONS.set(scoper.sessions());
        metrics::CLOCK_SKEW.set(scoper.furthest_clock());
        metrics::UPTIME.set(clock.monotonic().saturating_sub(began).as_secs());
        clock.now()
    })
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
