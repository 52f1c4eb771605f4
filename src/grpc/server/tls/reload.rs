//! Looking for a changed certificate.

use super::Tls;
use super::files::{Contents, Fingerprint, Pair};
use crate::clock::SharedClock;
use crate::watch::{Watch, folder_of};

/// Looks at the files from time to time, and whenever they change.
pub(super) async fn reload(tls: &Tls, first: Contents, clock: &SharedClock) {
    let watch = watch(tls);
    let mut seen = Seen::Held(first.fingerprint());
    if let Ok(pair) = tls.files.pair(&first) {
        warn(tls, &pair, clock);
    }
    drop(first);
    loop {
        // The first time as well: they may have changed before anybody watched.
        look(tls, &mut seen, clock).await;
        watch.due().await;
    }
}

/// What the files held when they were last looked at.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Held(Fingerprint),
    /// They could not be read.
    Nothing(String),
}

async fn look(tls: &Tls, seen: &mut Seen, clock: &SharedClock) {
    let read = tls.files.read().await;
    let now = match &read {
        Ok(contents) => Seen::Held(contents.fingerprint()),
        Err(error) => Seen::Nothing(error.to_string()),
    };
    // What is known, good or bad, was told of.
    if now == *seen {
        return;
    }
    *seen = now;
    match read.and_then(|contents| tls.files.pair(&contents)) {
        Ok(pair) => {
            tracing::info!(valid_until = %pair.valid_until(), "a new certificate serves new connections");
            warn(tls, &pair, clock);
            tls.replace(pair);
        }
        Err(error) => tracing::error!("the last good certificate goes on serving: {error}"),
    }
}

fn warn(tls: &Tls, pair: &Pair, clock: &SharedClock) {
    if let Some(warning) = pair.warning(&tls.files.certificate, clock.now()) {
        tracing::warn!("{warning}");
    }
}

fn watch(tls: &Tls) -> Watch {
    let files = &tls.files;
    let files = [
        Some(&files.certificate),
        Some(&files.key),
        files.client_ca.as_ref(),
    ];
    let folders = files.into_iter().flatten().map(|file| folder_of(file));
    Watch::on(&folders.collect(), "the certificate")
}
