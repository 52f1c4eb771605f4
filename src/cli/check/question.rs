//! `presignd check --as`: whether a caller may have a command signed, and by which lines of the configuration.
//!
//! The answer comes from what decides when presignd serves. Limits, sessions and endpoints are not asked: they change by the minute.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;

use super::say;
use crate::admit::NotAuthorized;
use crate::admit::expiry::Bound;
use crate::admit::explain::Requirement;
use crate::admit::quota::limit::Counting;
use crate::app::{callers, tenants};
use crate::authenticate::Right;
use crate::cli::presign::{Wanted, request_of};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, Located, Settings, duration_text};
use crate::names::TenantId;
use crate::presign::explain::{Judged, judge};
use crate::refusal::Refusal;

/// What cannot be answered, as clap's own mistakes.
const WRONG_USE: u8 = 2;

#[derive(Debug, Args)]
pub(in crate::cli) struct Question {
    /// Say whether this caller may have COMMAND signed, and by which lines: exits with 0 if so, with 1 if not. The name is one that
    /// `callers` gives, or as records have it, such as `key.NAME`, `jwt.ISSUER.SUBJECT`, `spiffe://..`, `dns.NAME`, `anyone`.
    #[arg(long = "as", value_name = "CALLER", requires_all = ["tenant", "command"])]
    caller: Option<String>,
    /// The tenant whose permissions the URL would carry.
    #[arg(long, value_name = "TENANT", requires = "caller")]
    tenant: Option<String>,
    /// `get`, `put`, `head`, `delete`, `list`, or any command of S3's API.
    #[arg(value_name = "COMMAND", requires = "caller")]
    command: Option<String>,
    /// The bucket and, if the command takes one, the key: as it is, without escapes.
    #[arg(value_name = "s3://BUCKET/KEY", requires = "command")]
    location: Option<String>,
    /// A parameter of the command. Several times for several.
    #[arg(
        long = "param",
        visible_alias = "set",
        value_name = "NAME=VALUE",
        requires = "command"
    )]
    parameters: Vec<String>,
    /// For how long, such as `15m`. The tenant's default, if it is left out.
    #[arg(long, value_name = "DURATION", value_parser = config::duration, requires = "command")]
    expires_in: Option<Duration>,
}

impl Question {
    /// Whether anything is asked.
    pub(super) fn is_asked(&self) -> bool {
        self.caller.is_some()
    }

    /// What presignd exits with where the configuration has mistakes.
    pub(super) fn unanswered(&self) -> ExitCode {
        if self.is_asked() {
            ExitCode::from(WRONG_USE)
        } else {
            ExitCode::FAILURE
        }
    }

    /// Prints the answer.
    pub(super) fn answer(&self, settings: &Settings) -> ExitCode {
        match self.decide(settings) {
            Ok((allowed, text)) => {
                say(&text);
                if allowed {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
            Err(error) => {
                eprintln!("presignd: {error:#}");
                ExitCode::from(WRONG_USE)
            }
        }
    }

    fn decide(&self, settings: &Settings) -> anyhow::Result<(bool, String)> {
        let (Some(name), Some(id), Some(command)) = (&self.caller, &self.tenant, &self.command)
        else {
            return Err(anyhow!("--as needs --tenant and a command"));
        };
        let tenant = settings.tenants.get(id).with_context(|| {
            let known: Vec<&str> = settings.tenants.keys().map(String::as_str).collect();
            let meant = config::nearest(id, &known);
            let meant =
                meant.map_or_else(String::new, |meant| format!(": did you mean `{meant}`?"));
            format!("there is no tenant `{id}`{meant}")
        })?;
        let rules = callers::rules(settings);
        let known = rules.named(name).with_context(|| {
            format!(
                "nobody is called `{name}`: write a name of `callers`, or one such as records have, key.NAME, jwt.ISSUER.SUBJECT, \
                 spiffe://.., dns.NAME, subject.NAME or anyone"
            )
        })?;
        let (request, command) = request_of(&Wanted {
            tenant: id,
            command,
            location: self.location.as_deref(),
            parameters: &self.parameters,
            expires_in: self.expires_in,
        })?;
        let clock: SharedClock = Arc::new(SystemClock::new());
        let built = tenants::build_one(id, &tenant.value, &Counting::new(Arc::clone(&clock)))?;
        let caller = &known.caller;
        let now = clock.now();
        let Judged {
            decision,
            requirements,
        } = judge(&built, caller, &request, &command, now)
            .map_err(|invalid| anyhow!("{}", invalid.sentence()))?;

        let wanted = requirements.first();
        let wanted = wanted.map_or_else(String::new, |itself| {
            format!("{} on {}", itself.command, itself.target)
        });
        let tenant_id = TenantId::parse(id)?;
        let mut text = String::new();
        let allowed = match &decision {
            _ if !caller.may(Right::Sign, &tenant_id) => {
                writeln!(
                    text,
                    "denied: no entry of `callers` lets {} sign for {id}",
                    caller.name()
                )?;
                false
            }
            Ok(expiry) => {
                let life = duration_text(Duration::from_secs(expiry.seconds.into()));
                writeln!(
                    text,
                    "allowed: {} may have {wanted} signed for {id}, for {life}{}",
                    caller.name(),
                    because(expiry.bound)
                )?;
                true
            }
            Err(refusal) => {
                writeln!(text, "denied: {}", refusal.sentence())?;
                false
            }
        };
        let may_sign = caller.may(Right::Sign, &tenant_id);
        let verb = if may_sign { "lets" } else { "does not let" };
        for place in known.rules {
            if rules.gives(place, Right::Sign, &tenant_id) == may_sign
                && let Some(rule) = settings.callers.get(place)
            {
                let does = format!("{verb} {} sign for {id}", caller.name());
                line(&mut text, rule, &does)?;
            }
        }
        if may_sign {
            tenant_lines(&mut text, tenant, &requirements)?;
            if let Err(Refusal::NotAuthorized(NotAuthorized::AboveCap(_))) = &decision {
                cap_lines(&mut text, tenant, &requirements)?;
            }
        }
        Ok((allowed, text))
    }
}

/// What sets an expiry.
fn because(bound: Bound) -> &'static str {
    match bound {
        Bound::Request => "",
        Bound::Default => " unless asked otherwise",
        Bound::GrantCap => ", the cap of its grants",
        Bound::TenantCap => ", the cap of the tenant",
        Bound::Credentials => ", the end of its session",
    }
}

/// A line of the configuration, and what it does.
fn line<T>(text: &mut String, of: &Located<T>, does: &str) -> std::fmt::Result {
    writeln!(text, "  {}: {}: {does}", of.at, of.path)
}

/// What the tenant's grants and denials do about what is required.
fn tenant_lines(
    text: &mut String,
    tenant: &Located<config::Tenant>,
    requirements: &[Requirement],
) -> std::fmt::Result {
    let tenant = &tenant.value;
    let mut told = BTreeSet::new();
    for requirement in requirements {
        let Requirement {
            command, action, ..
        } = requirement;
        for denying in &requirement.denied_by {
            if let Some(denial) = tenant.deny.get(denying.index)
                && told.insert((0, denying.index, *command))
            {
                let because = action.map_or_else(String::new, |action| format!(", by {action}"));
                let does = format!("denies {command} on {}{because}", requirement.target);
                line(text, denial, &does)?;
            }
        }
        if !requirement.denied_by.is_empty() {
            continue;
        }
        let is_granted = requirement
            .grants
            .iter()
            .any(|grant| grant.why_not.is_empty());
        for considered in &requirement.grants {
            let Some(grant) = tenant.grants.get(considered.index) else {
                continue;
            };
            if is_granted && told.insert((1, considered.index, *command)) {
                line(
                    text,
                    grant,
                    &format!("allows {command} on {}", requirement.target),
                )?;
            } else if !is_granted && told.insert((2, considered.index, *command)) {
                let why = considered.why_not.join("; ");
                line(text, grant, &format!("does not allow {command}: {why}"))?;
            }
        }
    }
    Ok(())
}

/// The caps of the grants that allow what is required, and of the tenant.
fn cap_lines(
    text: &mut String,
    tenant: &Located<config::Tenant>,
    requirements: &[Requirement],
) -> std::fmt::Result {
    let allowing = requirements
        .iter()
        .flat_map(|requirement| &requirement.grants);
    let places: BTreeSet<usize> = allowing.map(|grant| grant.index).collect();
    for place in places {
        let grant = tenant.value.grants.get(place);
        if let Some(cap) = grant.and_then(|grant| grant.value.max_expiry.as_ref()) {
            let longest = duration_text(cap.value);
            line(text, cap, &format!("caps the expiry at {longest}"))?;
        }
    }
    let longest = duration_text(tenant.value.expiry.max);
    line(text, tenant, &format!("caps the expiry at {longest}"))
}
