//! `presignd serve`.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::app::reload::Reload;
use crate::app::{App, Surroundings, aws_from_environment, tenants};
use crate::audit::stdout::{Limits, StdoutSink};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Settings};
use crate::telemetry::{self, LogGuard};
use crate::tenant::ById;

pub(super) async fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut settings = tenants::read(path, threads, &ById::new())?;
    let drafts = std::mem::take(&mut settings.tenants);
    let count = drafts.len();
    let _logs = start_logs(&settings)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let clock = SystemClock::new();
    let reload = Reload::new(path, &settings, clock.now())?;
    let surroundings = Surroundings {
        clock: Arc::new(clock),
        aws: aws_from_environment().await,
        sink: StdoutSink::stdout(Limits::default())?,
    };
    let app = App::start_drafted(&settings, drafts, surroundings).await?;
    let app = app.reloading(reload);
    // Before anybody is told: whoever hears that presignd serves may stop it at once.
    let stop = stop_signal()?;
    if let Some(address) = app.metrics_address() {
        tracing::info!(%address, "metrics can be fetched");
    }
    tracing::info!(address = %app.address(), tenants = count, "serving");
    // What was built from them is enough.
    drop(settings);
    // It is large, and moved about as a pointer.
    Box::pin(app.run(stop)).await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Logs as the settings say.
pub(super) fn start_logs<T>(settings: &Settings<T>) -> anyhow::Result<LogGuard> {
    let log = &settings.telemetry.log;
    let format = match log.format {
        config::LogFormat::Text => telemetry::LogFormat::Text,
        config::LogFormat::Json => telemetry::LogFormat::Json,
    };
    // The level is presignd's own: at "debug", libraries log whole requests, tokens and signatures included.
    let filter = format!("warn,presignd={}", log.level.name());
    Ok(telemetry::start_logs(format, &filter)?)
}

/// Ends at SIGTERM, as Kubernetes sends it, or SIGINT, as Ctrl-C does.
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
