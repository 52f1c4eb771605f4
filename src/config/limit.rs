//! `limits`: how much there may be, of the whole service and of a tenant.
//!
//! Command names are kept as written, with their places: what they mean is known to the surroundings. Invariant: a limit says one thing
//! to count; a burst can be earned back; and a day's or month's count is kept somewhere that outlasts a process.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::grant::commands;
use super::mistake::{Located, quoted};
use super::quantity::{Rate, duration_text, rate, size};
use super::reader::{Reader, Section};
use super::tree::Node;

/// One limit: so much of these commands.
#[derive(Debug, Clone)]
pub struct Limit {
    /// Its name, the only one in its list.
    pub name: String,
    /// Names of S3 operations or classes; `None`: every command.
    pub commands: Option<Vec<Located<String>>>,
    /// How many times commands and classes count, where that is not once; commands before classes.
    pub weights: Vec<(Located<String>, u32)>,
    /// How much of what.
    pub amount: LimitAmount,
    /// Whether each caller has a count of their own.
    pub each_caller: bool,
    /// Whether it only notes what it would refuse.
    pub shadow: bool,
    /// What to do while the counts that replicas share cannot be reached.
    pub when_away: WhenAway,
}

/// How much of what.
#[derive(Debug, Clone)]
pub enum LimitAmount {
    /// URLs, in the long run and at once.
    Rate {
        /// How often, in the long run.
        rate: Rate,
        /// How many at once.
        burst: NonZeroU32,
    },
    /// URLs in a day or month.
    Urls(Window),
    /// Bytes that URLs may upload in a day or month.
    UploadBytes(Window),
    /// Calls of STS that are under way at once.
    StsCalls(NonZeroU32),
}

/// So much in a day or month.
#[derive(Debug, Clone)]
pub struct Window {
    /// How much.
    pub most: u64,
    /// Of which.
    pub per: Per,
    /// Whose midnight it is.
    pub zone: TimeZone,
}

/// A stretch of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// A day.
    Day,
    /// A month.
    Month,
}

/// What to do while counts that are shared cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenAway {
    /// Refuse.
    #[default]
    Closed,
    /// Let through.
    Open,
    /// Count this replica's share.
    Local,
}

/// The longest that a spent burst may take to come back: beyond it the limit is a quota in disguise, and arithmetic in
/// nanoseconds gets short of room.
const BURST_TIME: Duration = Duration::from_hours(366 * 24);
/// The most calls of STS that a tenant may have under way at once, so that others find turns at it too.
pub const MOST_STS_CALLS: u32 = 24;
/// The most limits in a list.
const MOST: usize = 30;

/// Reads the limits of a tenant.
pub(super) fn limits(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<Located<Limit>>> {
    read(reader, node, true)
}

/// Reads the limits of the whole service.
pub(super) fn service_limits(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
) -> Option<Vec<Located<Limit>>> {
    read(reader, node, false)
}

fn read(reader: &mut Reader<'_>, node: &Node<'_>, of_tenant: bool) -> Option<Vec<Located<Limit>>> {
    let mut names = HashMap::new();
    let limits = reader.list(node, |reader, node| {
        limit(reader, node, &mut names, of_tenant)
    })?;
    if limits.len() > MOST {
        reader.mistake(
            node.at,
            format!("there are more than {MOST} limits: remove some"),
        );
        return None;
    }
    Some(limits)
}

/// Reports what counts days or months, where nothing keeps such counts.
pub(super) fn check_kept(reader: &mut Reader<'_>, limits: &[Located<Limit>], kept: bool) {
    let windows = limits.iter().filter(|limit| {
        let amount = &limit.value.amount;
        matches!(amount, LimitAmount::Urls(_) | LimitAmount::UploadBytes(_))
    });
    for limit in windows.filter(|_| !kept) {
        let message = "nothing would keep this count when presignd restarts: name a folder for it in `state.dir`, or a `state.redis`";
        reader.mistake_in(limit, message);
    }
}

/// Reads one limit; `names` are those of the limits before it, with their lines.
fn limit(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    names: &mut HashMap<String, u32>,
    of_tenant: bool,
) -> Option<Located<Limit>> {
    let mut section = reader.section(node)?;
    let at = section.at();
    let name = section.required("name", |reader, node| {
        let name = reader.parsed(node, limit_name)?;
        if let Some(line) = names.insert(name.clone(), node.at.line) {
            let message = format!(
                "{} is the name of the limit on line {line} already: rename one",
                quoted(&name)
            );
            reader.mistake(node.at, message);
        }
        Some(name)
    });
    let commands = section.optional("commands", commands);
    let amount = amount(&mut section, of_tenant);
    let counts_urls = matches!(
        amount,
        Some(Some(LimitAmount::Rate { .. } | LimitAmount::Urls(_)))
    );
    let weights = if counts_urls {
        section.or("weights", Vec::new(), weights)
    } else {
        Some(Vec::new())
    };
    let counted = !matches!(amount, Some(Some(LimitAmount::StsCalls(_))));
    let (mut each_caller, mut shadow, mut when_away) =
        (Some(false), Some(false), Some(WhenAway::Closed));
    if counted {
        if of_tenant {
            each_caller = section.or("each", false, |r, n| {
                r.choice(n, &[("caller", true), ("tenant", false)])
            });
        }
        shadow = section.or("shadow", false, Reader::boolean);
        when_away = section.or("when_away", WhenAway::Closed, |r, n| {
            let ways = [
                ("closed", WhenAway::Closed),
                ("open", WhenAway::Open),
                ("local", WhenAway::Local),
            ];
            r.choice(n, &ways)
        });
    }
    section.finish();
    let Some(amount) = amount? else {
        let kinds = if of_tenant {
            "`rate`, `urls`, `upload_bytes` and `sts_calls`"
        } else {
            "`rate`, `urls` and `upload_bytes`"
        };
        reader.mistake(at, format!("a limit has exactly one of {kinds}"));
        return None;
    };
    let limit = Limit {
        name: name?,
        commands: commands?,
        weights: weights?,
        amount,
        each_caller: each_caller?,
        shadow: shadow?,
        when_away: when_away?,
    };
    Some(reader.locate(at, limit))
}

/// Reads what is counted, and how much of it there may be. `Some(None)`: there is not one such thing.
#[expect(
    clippy::option_option,
    reason = "whether it was read, and whether there is one"
)]
fn amount(section: &mut Section<'_, '_, '_>, of_tenant: bool) -> Option<Option<LimitAmount>> {
    let kinds = ["rate", "urls", "upload_bytes", "sts_calls"];
    let given = kinds.map(|kind| section.has(kind));
    if given.into_iter().filter(|given| *given).count() != 1 || (given[3] && !of_tenant) {
        return Some(None);
    }
    let amount = if given[0] {
        rate_amount(section)?
    } else if given[1] {
        let most = section.required("urls", |r, n| r.number(n, &(1..=u32::MAX)))?;
        LimitAmount::Urls(window(section, most.into())?)
    } else if given[2] {
        let most = section.required("upload_bytes", |r, n| r.parsed(n, bytes))?;
        LimitAmount::UploadBytes(window(section, most)?)
    } else {
        let most = section.required("sts_calls", |r, n| r.number(n, &(1..=MOST_STS_CALLS)))?;
        LimitAmount::StsCalls(NonZeroU32::new(most)?)
    };
    Some(Some(amount))
}

fn rate_amount(section: &mut Section<'_, '_, '_>) -> Option<LimitAmount> {
    let rate = section.required("rate", |reader, node| {
        let rate = reader.parsed(node, rate)?;
        Some(reader.locate(node.at, rate))
    });
    let burst = section.optional("burst", |r, n| r.number(n, &(1..=1_000_000_000)));
    if let (Some(rate), Some(Some(burst))) = (&rate, burst) {
        let time = NonZeroU32::new(burst).map(|burst| rate.value.time_for(burst));
        if let Some(time) = time.filter(|&time| time > BURST_TIME) {
            let message = format!(
                "at this `rate` a `burst` of {burst} takes {} to come back, and {} is the most: raise `rate` or lower `burst`",
                duration_text(time),
                duration_text(BURST_TIME)
            );
            section.reader.mistake_in(rate, message);
        }
    }
    let rate = rate?.value;
    Some(LimitAmount::Rate {
        rate,
        burst: burst?
            .and_then(NonZeroU32::new)
            .unwrap_or_else(|| rate.per_second()),
    })
}

fn window(section: &mut Section<'_, '_, '_>, most: u64) -> Option<Window> {
    let per = section.required("per", |r, n| {
        r.choice(n, &[("day", Per::Day), ("month", Per::Month)])
    });
    let zone = section.or("time_zone", TimeZone::UTC, |r, n| {
        r.parsed(n, |text| {
            TimeZone::get(text).map_err(|_| {
                format!(
                    "{} is not a time zone: write one of IANA's names, such as `Europe/Berlin`",
                    quoted(text)
                )
            })
        })
    });
    Some(Window {
        most,
        per: per?,
        zone: zone?,
    })
}

fn weights(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<(Located<String>, u32)>> {
    let surroundings = reader.surroundings;
    let mut weights = reader.each_entry(node, |reader, name, at, node| {
        if let Err(why) = surroundings.command(name) {
            reader.mistake(at, format!("{} {why}", quoted(name)));
            return None;
        }
        let weight = reader.number(node, &(0..=1_000_000))?;
        Some((reader.locate(at, name.to_owned()), weight))
    })?;
    // A command's own weight before that of its class, whose name has no capitals.
    weights.sort_by_key(|(name, _)| !name.value.starts_with(|c: char| c.is_ascii_uppercase()));
    Some(weights)
}

/// From one byte to what a counter in a shared store takes.
fn bytes(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if (1..=1 << 52).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!(
            "{} is out of range: from 1 to 4096TiB",
            quoted(text)
        ))
    }
}

fn limit_name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if (1..=32).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{} is not 1 to 32 lower-case letters, digits, `_` or `-`",
            quoted(text)
        ))
    }
}
