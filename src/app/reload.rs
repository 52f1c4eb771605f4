//! A changed configuration, while presignd serves: new tenants and callers between requests, or everything as it was.
//!
//! The whole of it is read and checked as at the start. Invariant: a configuration with any mistake changes nothing, and is told
//! of once: to the log, to the health of [`CONFIGURATION`](crate::grpc::server::CONFIGURATION), and as a record. A
//! good one that changes anything, or was asked for, has its record too. Where an operator has asked, the record is their own.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::tenants::{self, Renewed};
use super::{callers, limits};
use crate::admit::quota::limit::Counting;
use crate::audit::{Outcome, Record, TraceContext};
use crate::authenticate::Gate;
use crate::config::{ConfigError, Fingerprint, Settings, Sources, Stamp};
use crate::metrics::{BROKEN, CONFIGURATION, GOOD, RELOADS};
use crate::operate::configuration::{Changes, Configuration, Reloaded, Reloads};
use crate::presign::Presigner;
use crate::watch::{Watch, folder_of};

/// What stands for a method in the records of configurations.
const METHOD: &str = "presignd/Reload";
/// Who asks for them.
const CALLER: &str = "presignd";
/// How many mistakes a record holds; the log has all.
const RECORDED_MISTAKES: usize = 10;
/// The sections besides the tenants that are taken over.
const LIVE: [&str; 2] = ["authentication", "callers"];

/// The configuration that presignd serves, and where to look for the next.
#[derive(Debug)]
pub struct Reload {
    path: PathBuf,
    sources: Sources,
    sections: Vec<(&'static str, Option<Fingerprint>)>,
    hangups: Signal,
    good: watch::Sender<bool>,
    gate: Option<Arc<Gate>>,
    state: watch::Sender<Configuration>,
    asked: Option<mpsc::Receiver<oneshot::Sender<Reloaded>>>,
}

/// Why the files are looked at.
#[derive(Debug)]
enum Cause {
    /// They have changed, or may have.
    Change,
    /// A signal.
    Hangup,
    /// An operator, who is to hear what came of it.
    Operator(oneshot::Sender<Reloaded>),
}

impl Reload {
    /// Looks for what comes after these settings of this file. From now on, SIGHUP does not end the process.
    ///
    /// # Errors
    /// If SIGHUP cannot be heard.
    pub fn new<T>(path: &Path, settings: &Settings<T>, now: SystemTime) -> std::io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            sources: settings.sources.clone(),
            sections: settings.sections.clone(),
            hangups: signal(SignalKind::hangup())?,
            good: watch::Sender::new(true),
            gate: None,
            state: watch::Sender::new(Configuration {
                loaded_at: now,
                mistakes: Vec::new(),
            }),
            asked: None,
        })
    }

    /// Has the callers of the configuration known there.
    pub(super) fn of_callers(self, gate: Arc<Gate>) -> Self {
        Self {
            gate: Some(gate),
            ..self
        }
    }

    /// Lets operators ask for it.
    pub(super) fn on_demand(&mut self) -> Reloads {
        let (reloads, asked) = Reloads::new(self.state.subscribe());
        self.asked = Some(asked);
        reloads
    }

    /// Whether the configuration that was found last is the one that serves.
    pub(super) fn goodness(&self) -> watch::Receiver<bool> {
        self.good.subscribe()
    }

    /// Serves the tenants that the files hold, as they change, for as long as this is awaited.
    pub(super) async fn run(mut self, presigner: &Presigner, counting: &Counting) {
        let mut watch = watch_of(&self.sources);
        let mut seen = stamp(&self.sources).await;
        // They may have changed before anybody watched.
        let mut cause = seen
            .is_none_or(|seen| self.sources.may_have_changed(seen))
            .then_some(Cause::Change);
        loop {
            if let Some(cause) = cause {
                let before = self.sources.clone();
                self.look(presigner, counting, cause).await;
                if !self.sources.same_places(&before) {
                    watch = watch_of(&self.sources);
                    seen = self.sources.read();
                }
            }
            let next = tokio::select! {
                () = watch.due() => Cause::Change,
                // The stream of a signal has no end.
                _ = self.hangups.recv() => Cause::Hangup,
                operator = next(&mut self.asked) => Cause::Operator(operator),
            };
            let now = stamp(&self.sources).await;
            let same = matches!(next, Cause::Change) && now.is_some() && now == seen;
            cause = (!same).then_some(next);
            seen = now;
        }
    }

    async fn look(&mut self, presigner: &Presigner, counting: &Counting, cause: Cause) {
        let (path, counting) = (self.path.clone(), counting.clone());
        let current = presigner.tenants.all();
        let read = tokio::task::spawn_blocking(move || {
            // The other cores answer requests.
            let mut settings = tenants::read(&path, NonZeroUsize::MIN, &current)?;
            let drafts = std::mem::take(&mut settings.tenants);
            let renewed = tenants::renew(&current, drafts, &counting)?;
            let limits = limits::build(&settings.limits, None, &counting)?;
            anyhow::Ok((settings, renewed, limits))
        });
        let read = match read.await {
            Ok(read) => read,
            Err(_) => Err(anyhow::anyhow!("the configuration could not be read")),
        };
        let asked = !matches!(cause, Cause::Change);
        let now = presigner.clock.now();
        let reloaded = match read {
            Ok((settings, renewed, limits)) => {
                presigner.quotas.replace_service(limits);
                let (reloaded, news) = self.serve(&settings, renewed, presigner, asked);
                if let Some(news) = news {
                    RELOADS.count(GOOD);
                    if !matches!(cause, Cause::Operator(_)) {
                        record(presigner, |record, now| {
                            record.operated(now, Some(news.into()));
                        })
                        .await;
                    }
                }
                reloaded
            }
            Err(error) => {
                self.keep(&error);
                if !matches!(cause, Cause::Operator(_)) {
                    record(presigner, |record, now| {
                        record.refused(
                            now,
                            Outcome::Failed,
                            "FAILED_PRECONDITION",
                            "INVALID_CONFIGURATION",
                            summary(&error),
                        );
                    })
                    .await;
                }
                Reloaded {
                    mistakes: all_of(&error),
                    warnings: Vec::new(),
                    tenants: Changes::default(),
                }
            }
        };
        self.state.send_modify(|state| {
            if reloaded.mistakes.is_empty() {
                state.loaded_at = now;
            }
            state.mistakes.clone_from(&reloaded.mistakes);
        });
        if let Cause::Operator(operator) = cause {
            // Who has gone does not hear it.
            let _ = operator.send(reloaded);
        }
    }

    /// Serves it. What is new is told apart, if that is worth a record.
    fn serve<T>(
        &mut self,
        settings: &Settings<T>,
        renewed: Renewed,
        presigner: &Presigner,
        asked: bool,
    ) -> (Reloaded, Option<String>) {
        let tenants = &presigner.tenants;
        let mut reloaded = Reloaded {
            mistakes: Vec::new(),
            warnings: settings.warnings.iter().map(ToString::to_string).collect(),
            tenants: Changes::between(&tenants.all(), &renewed.tenants),
        };
        self.sources = settings.sources.clone();
        let mended = !self.good.send_replace(true);
        if renewed.is_as_before() && self.sections == settings.sections && !asked && !mended {
            return (reloaded, None);
        }
        CONFIGURATION.set(1);
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        let mut callers_changed = false;
        for ((section, old), (_, new)) in self.sections.iter_mut().zip(&settings.sections) {
            if old == new {
                continue;
            }
            if LIVE.contains(section) {
                callers_changed = true;
                *old = *new;
            } else {
                let warning = format!(
                    "`{section}` has changed, and is read when presignd starts: restart it"
                );
                tracing::warn!("{warning}");
                reloaded.warnings.push(warning);
            }
        }
        let Renewed {
            tenants: all,
            added,
            changed,
            removed,
        } = renewed;
        let count = all.len();
        // First, so that nobody who is not on the list any more asks for a tenant who is new.
        if let Some(gate) = self.gate.as_ref().filter(|_| callers_changed) {
            gate.replace(callers::renewed(&gate.authenticator(), settings));
        }
        let earlier = tenants.replace(all);
        tokio::task::spawn_blocking(move || drop(earlier));
        tracing::info!(
            tenants = count,
            added,
            changed,
            removed,
            callers_changed,
            "a new configuration serves new requests"
        );
        let callers = if callers_changed {
            ", other callers"
        } else {
            ""
        };
        let news = format!(
            "{count} tenants serve: {added} added, {changed} changed, {removed} removed{callers}"
        );
        (reloaded, Some(news))
    }

    fn keep(&self, error: &anyhow::Error) {
        tracing::error!("the last good configuration goes on serving: {error:#}");
        self.good.send_replace(false);
        RELOADS.count(BROKEN);
        CONFIGURATION.set(0);
    }
}

/// The next operator who asks.
async fn next(
    asked: &mut Option<mpsc::Receiver<oneshot::Sender<Reloaded>>>,
) -> oneshot::Sender<Reloaded> {
    if let Some(asked) = asked
        && let Some(operator) = asked.recv().await
    {
        return operator;
    }
    std::future::pending().await
}

/// Leaves a record of what came of a configuration.
async fn record(presigner: &Presigner, decide: impl FnOnce(&mut Record<'_>, SystemTime)) {
    let now = presigner.clock.now();
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let time = uuid::Timestamp::from_unix(uuid::NoContext, since.as_secs(), since.subsec_nanos());
    let mut record = Record::new(Uuid::new_v7(time), now, METHOD, CALLER);
    decide(&mut record, now);
    let nobody = TraceContext::default();
    if let Err(error) = presigner.recorder.record(&record, &nobody).await {
        tracing::error!("what came of a configuration has no record: {error}");
    }
}

/// Every mistake.
fn all_of(error: &anyhow::Error) -> Vec<String> {
    match error.downcast_ref() {
        Some(ConfigError::Mistakes(mistakes)) => mistakes.iter().map(ToString::to_string).collect(),
        _ => vec![format!("{error:#}")],
    }
}

/// The first mistakes, and how many more there are.
fn summary(error: &anyhow::Error) -> String {
    let Some(ConfigError::Mistakes(mistakes)) = error.downcast_ref() else {
        return format!("{error:#}");
    };
    let shown = mistakes.iter().take(RECORDED_MISTAKES);
    let mut lines: Vec<String> = shown.map(ToString::to_string).collect();
    if mistakes.len() > RECORDED_MISTAKES {
        lines.push(format!("and {} more", mistakes.len() - RECORDED_MISTAKES));
    }
    lines.join("\n")
}

/// Hears of changes where they are.
fn watch_of(sources: &Sources) -> Watch {
    let mut folders: BTreeSet<PathBuf> = sources.files().map(folder_of).collect();
    folders.extend(sources.folder().map(Path::to_owned));
    Watch::on(&folders, "the configuration")
}

/// What they are like now. `None`: not known, and so never the same.
async fn stamp(sources: &Sources) -> Option<Stamp> {
    let sources = sources.clone();
    let stamped = tokio::task::spawn_blocking(move || sources.stamp()).await;
    stamped.ok()
}
