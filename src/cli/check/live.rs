//! `presignd check --live`: each tenant's role, assumed once with every session policy that is known before any request.
//!
//! With presignd's own credentials, from where `presignd serve` would take them. Nothing is done with the sessions.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};

use super::say;
use crate::app::aws_from_environment;
use crate::app::tenants::build_role;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Settings, duration_text};
use crate::names::TenantId;
use crate::scope::clock_skew::ClockSkews;
use crate::scope::sts::Sts;
use crate::scope::{AssumeRole as _, AssumeRoleCall, Assumed};

/// How many calls are under way at once: STS throttles by account.
const AT_ONCE: usize = 8;
/// How long one call may take, finding presignd's own credentials included.
const PATIENCE: Duration = Duration::from_secs(20);
/// Whose sessions they are, in AWS's logs.
const CALLER: &str = "check";
/// How much shorter than asked a session is without being short.
const SLACK: Duration = Duration::from_mins(1);

/// A call to try.
struct Trial<'a> {
    tenant: &'a str,
    /// What it is for: the bucket, if the policy is of one.
    of: String,
    call: AssumeRoleCall,
}

/// What came of it: how good a session is, or why there is none.
type Outcome = Result<String, String>;

/// Whether every role could be assumed. Prints what there is to say of each.
pub(super) async fn check(settings: &Settings) -> bool {
    let trials = trials(settings);
    let count = trials.len();
    eprintln!("asking STS for {count} sessions");
    let clock = Arc::new(SystemClock::new());
    let skews = ClockSkews::new(Arc::clone(&clock) as _, settings.server.max_clock_skew);
    let skews = Arc::new(skews);
    let sts = Sts::new(aws_from_environment().await, Arc::clone(&skews));
    let attempts = trials.iter().enumerate().map(|(index, trial)| {
        let attempt = attempt(&sts, &clock, trial);
        async move { (index, attempt.await) }
    });
    let mut attempts = stream::iter(attempts).buffer_unordered(AT_ONCE);
    let mut outcomes: Vec<Option<Outcome>> = trials.iter().map(|_| None).collect();
    let mut done = 0;
    while let Some((index, outcome)) = attempts.next().await {
        done += 1;
        let verdict = if outcome.is_ok() { "works" } else { "FAILS" };
        let Trial { tenant, of, .. } = &trials[index];
        eprintln!("{done} of {count}: {tenant}{of} {verdict}");
        outcomes[index] = Some(outcome);
    }
    let mut text = String::from("\nlive:\n");
    let mut all_work = true;
    for (trial, outcome) in trials.iter().zip(outcomes.into_iter().flatten()) {
        all_work &= outcome.is_ok();
        let Trial { tenant, of, .. } = trial;
        // Writing to a String cannot fail.
        let _ = match outcome {
            Ok(session) => writeln!(text, "  {tenant}{of}: works: {session}"),
            Err(why) => writeln!(text, "  {tenant}{of}: FAILS: {why}"),
        };
    }
    for (tenant, settings) in &settings.tenants {
        if settings.value.credentials.role().is_none() {
            let _ = writeln!(
                text,
                "  {tenant}: has static credentials, which STS does not know"
            );
        }
    }
    all_work &= clock_lines(&mut text, &skews, &trials);
    say(&text);
    all_work
}

/// What the endpoints' clocks say of this machine's. Whether it is good enough to serve by.
fn clock_lines(text: &mut String, skews: &ClockSkews, trials: &[Trial<'_>]) -> bool {
    let mut skews_known: Vec<_> = skews.known();
    skews_known.sort_by_cached_key(|(endpoint, _)| endpoint.to_string());
    let mut agree = true;
    for (endpoint, skew) in &skews_known {
        let beyond = skew.is_beyond(skews.most());
        agree &= !beyond;
        let verdict = if beyond {
            let most = duration_text(skews.most());
            format!(" (FAILS: server.max_clock_skew is {most})")
        } else {
            String::new()
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  the clock of {endpoint} {skew}{verdict}");
    }
    let silent: BTreeSet<String> = trials
        .iter()
        .map(|trial| &trial.call.endpoint)
        .filter(|endpoint| !skews_known.iter().any(|(known, _)| known == *endpoint))
        .map(ToString::to_string)
        .collect();
    for endpoint in silent {
        let _ = writeln!(text, "  the clock of {endpoint} is not known");
    }
    agree
}

fn trials(settings: &Settings) -> Vec<Trial<'_>> {
    let mut trials = Vec::new();
    for (name, tenant) in &settings.tenants {
        let Some(role) = tenant.value.credentials.role() else {
            continue;
        };
        // Both were found good when the configuration was read.
        let (Ok(id), Ok(role)) = (TenantId::parse(name), build_role(name, &tenant.value, role))
        else {
            continue;
        };
        for (bucket, narrowed_to) in role.known_narrowings() {
            trials.push(Trial {
                tenant: name,
                of: bucket.map_or_else(String::new, |bucket| format!(" for {bucket}")),
                call: role.call(&id, CALLER, narrowed_to),
            });
        }
    }
    trials
}

async fn attempt(sts: &Sts, clock: &SystemClock, trial: &Trial<'_>) -> Outcome {
    match tokio::time::timeout(PATIENCE, sts.assume_role(&trial.call)).await {
        Ok(Ok(assumed)) => Ok(session(&assumed, &trial.call, clock)),
        Ok(Err(error)) => Err(one_line(&error.to_string())),
        Err(_) => Err(format!("no answer in {}", duration_text(PATIENCE))),
    }
}

/// What is worth knowing of a session.
fn session(assumed: &Assumed, call: &AssumeRoleCall, clock: &SystemClock) -> String {
    let asked = Duration::from_secs(call.duration.into());
    let left = assumed.left(clock.now());
    // Whole minutes: the seconds that the call took are nobody's concern.
    let lives = Duration::from_secs((left.as_secs() + 30) / 60 * 60);
    let mut text = format!("lives {}", duration_text(lives));
    if left + SLACK < asked {
        text += &format!(
            " of the {} that are configured, so URLs end earlier (presignd's own credentials are the session of a role, or clocks differ)",
            duration_text(asked)
        );
    }
    if let Some(percent) = assumed.packed_policy_size {
        text += &format!(", policy and tags fill {percent}% of their room");
    }
    if let Some(percent) = assumed.session_token_utilization {
        text += &format!(", the token {percent}%");
    }
    text
}

/// Somebody else's words, so that they can forge no line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
