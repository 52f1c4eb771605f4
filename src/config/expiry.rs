//! `tenants.*.expiry`: how long a tenant's URLs live.
//!
//! Invariant: `default` is never above `max`. What is allowed and yet surprising (an expiry that no session can reach, or one
//! that a slow clock eats) is a warning, and only where an operator has written it: defaults do not warn.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::credentials::Credentials;
use super::grant::Grant;
use super::mistake::Located;
use super::quantity::duration_text;
use super::reader::Reader;
use super::tree::Node;

/// The expiry of a presigned URL that `SigV4` allows.
pub(super) const EXPIRIES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(7 * 24);

/// How much earlier than now signatures may be dated.
const BACKDATES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(5);

/// `expiry`: how long a tenant's URLs live, from 1 second to 7 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// Where the caller does not say; at most `max`.
    pub default: Duration,
    /// At most.
    pub max: Duration,
    /// How much earlier than now signatures are dated, for clocks that are behind; to 5 minutes.
    pub backdate: Duration,
}

impl Default for Expiry {
    fn default() -> Self {
        Self {
            default: Duration::from_mins(15),
            max: Duration::from_hours(12),
            backdate: Duration::ZERO,
        }
    }
}

/// Below this, a clock that is slightly wrong or a client that is slightly slow meets a URL that has expired.
const SHORT_EXPIRY: Duration = Duration::from_mins(2);

/// An [`Expiry`] together with what of it was written in the file.
#[derive(Default)]
pub(super) struct WrittenExpiry {
    default: Option<Located<Duration>>,
    max: Option<Located<Duration>>,
    pub(super) effective: Expiry,
}

pub(super) fn expiry(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<WrittenExpiry> {
    fn read(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Located<Duration>> {
        let value = reader.duration(node, &EXPIRIES)?;
        Some(reader.locate(node.at, value))
    }
    let fallback = Expiry::default();
    let mut section = reader.section(node)?;
    let default = section.optional("default", read);
    let max = section.optional("max", read);
    let backdate = section.or("backdate", fallback.backdate, |r, n| {
        r.duration(n, &BACKDATES)
    });
    section.finish();
    let (default, max, backdate) = (default?, max?, backdate?);
    let most = max.as_ref().map_or(fallback.max, |max| max.value);
    if let Some(default) = &default
        && default.value > most
    {
        let whence = if max.is_some() {
            ""
        } else {
            " where it is not given"
        };
        let message = format!(
            "`expiry.default` ({}) is above `expiry.max` ({}{whence}): lower the one or raise the other",
            duration_text(default.value),
            duration_text(most)
        );
        reader.mistake_in(default, message);
        return None;
    }
    let effective = Expiry {
        default: default
            .as_ref()
            .map_or(fallback.default.min(most), |default| default.value),
        max: most,
        backdate,
    };
    Some(WrittenExpiry {
        default,
        max,
        effective,
    })
}

pub(super) fn warn_of_expiry(
    reader: &mut Reader<'_>,
    expiry: &WrittenExpiry,
    credentials: &Credentials,
) {
    let written = [("default", &expiry.default), ("max", &expiry.max)];
    for (name, setting) in written {
        let Some(setting) = setting else { continue };
        if let Credentials::Role(role) = credentials
            && setting.value > role.duration.value
        {
            let message = format!(
                "`expiry.{name}` ({}) is longer than a session lives (`duration` in `credentials`, {}): no URL lives that long",
                duration_text(setting.value),
                duration_text(role.duration.value)
            );
            reader.warn_in(setting, message);
        }
        warn_of_short(reader, setting);
    }
}

/// A signature is as old as it is dated, and its URL dies of old age before its own end.
pub(super) fn check_age(reader: &mut Reader<'_>, expiry: &WrittenExpiry, age: &Located<Duration>) {
    let backdate = expiry.effective.backdate;
    if age.value <= backdate {
        let message = format!(
            "`session.signature_age` ({}) is not above `expiry.backdate` ({}), so every signature would be too old from the start: \
             raise the one or lower the other",
            duration_text(age.value),
            duration_text(backdate)
        );
        reader.mistake_in(age, message);
    }
    let most = age.value.saturating_sub(backdate);
    let written = [("default", &expiry.default), ("max", &expiry.max)];
    for (name, setting) in written {
        if let Some(setting) = setting
            && setting.value > most
        {
            let message = format!(
                "`expiry.{name}` ({}) is longer than `session.signature_age` less `expiry.backdate` ({}), which holds",
                duration_text(setting.value),
                duration_text(most)
            );
            reader.warn_in(setting, message);
        }
    }
    warn_of_short(reader, age);
}

pub(super) fn warn_of_grants(
    reader: &mut Reader<'_>,
    expiry: &WrittenExpiry,
    grants: &[Located<Grant>],
) {
    if grants.is_empty() {
        reader.warn("has no grants: the tenant may do nothing");
    }
    let now = reader.surroundings.now();
    for grant in grants {
        if let Some(end) = &grant.value.not_after
            && end.value.time <= now
        {
            let message = format!(
                "`not_after` ({}) has passed: the grant allows nothing any more. Remove it, or put its end off",
                end.value.text
            );
            reader.warn_in(end, message);
        }
        let Some(max_expiry) = &grant.value.max_expiry else {
            continue;
        };
        if max_expiry.value > expiry.effective.max {
            let message = format!(
                "`max_expiry` ({}) is above the tenant's `expiry.max` ({}), which holds",
                duration_text(max_expiry.value),
                duration_text(expiry.effective.max)
            );
            reader.warn_in(max_expiry, message);
        }
        warn_of_short(reader, max_expiry);
    }
}

fn warn_of_short(reader: &mut Reader<'_>, setting: &Located<Duration>) {
    if setting.value < SHORT_EXPIRY {
        let message = format!(
            "{} is under 2 minutes: URLs may expire on the way to a client whose clock or network is slow",
            duration_text(setting.value)
        );
        reader.warn_in(setting, message);
    }
}
