//! `tenants.*.grants` and `deny`: what a tenant may do, and what it may not.
//!
//! Command names and resources are kept as written, with their places: what they mean is known to the surroundings. Invariant: a grant names at least one command and one resource.

use std::time::{Duration, SystemTime};

use super::expiry::EXPIRIES;
use super::headers::{Headers, headers};
use super::mistake::{Located, quoted};
use super::quantity::size;
use super::reader::Reader;
use super::tree::Node;

/// One grant: these commands on these resources.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Names of S3 operations or classes; at least one.
    pub commands: Vec<Located<String>>,
    /// `bucket`, `bucket/*`, `bucket/prefix/*`, `bucket/key` or `*`; at least one.
    pub resources: Vec<Located<String>>,
    /// The longest that a URL under this grant may live.
    pub max_expiry: Option<Located<Duration>>,
    /// The most bytes of one upload under this grant.
    pub max_upload: Option<u64>,
    /// Addresses and networks, the only ones from which URLs under this grant work; at least one.
    pub source_ip: Option<Located<Vec<Located<String>>>>,
    /// The media types that an upload may have; `None`: any, and none.
    pub content_types: Option<Vec<Located<String>>>,
    /// What the answer to a download may be made to say.
    pub response_headers: ResponseHeaders,
    /// What headers have to say.
    pub headers: Option<Located<Headers>>,
    /// When the grant ends by itself.
    pub not_after: Option<Located<Moment>>,
}

/// A moment in time, and how it was written.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The time.
    pub time: SystemTime,
    /// As written.
    pub text: String,
}

/// `response_headers` and `response_content_types`: what the answer to a download may be made to say.
#[derive(Debug, Clone)]
pub enum ResponseHeaders {
    /// Anything but a media type that browsers run.
    Inert,
    /// Of media types only these.
    Types(Vec<Located<String>>),
    /// Nothing.
    Denied,
}

/// One entry of `deny`: these commands on these resources, whatever grants say.
#[derive(Debug, Clone)]
pub struct Denial {
    /// Names of S3 operations or classes; at least one.
    pub commands: Vec<Located<String>>,
    /// As of a grant; at least one.
    pub resources: Vec<Located<String>>,
}

/// The most bytes of an object.
const MAX_UPLOAD: u64 = 5 << 40;

pub(super) fn grant(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Located<Grant>> {
    let mut section = reader.section(node)?;
    let at = section.at();
    let commands = section.required("commands", commands);
    let resources = section.required("resources", resources);
    let max_expiry = section.optional("max_expiry", |reader, node| {
        let expiry = reader.duration(node, &EXPIRIES)?;
        Some(reader.locate(node.at, expiry))
    });
    let max_upload = section.optional("max_upload", |reader, node| {
        reader.parsed(node, upload_size)
    });
    let content_types = section.optional("content_types", media_types);
    let response_types = section.optional("response_content_types", |reader, node| {
        let types = media_types(reader, node)?;
        Some(reader.locate(node.at, types))
    });
    let denied = section.or("response_headers", false, |reader, node| {
        reader.choice(node, &[("allow", false), ("deny", true)])
    });
    let source_ip = section.optional("source_ip", |reader, node| {
        let surroundings = reader.surroundings;
        let networks = reader.names(node, |text| surroundings.source_ip(text))?;
        Some(reader.locate(node.at, networks))
    });
    let headers = section.optional("headers", headers);
    let not_after = section.optional("not_after", |reader, node| {
        let moment = reader.parsed(node, moment)?;
        Some(reader.locate(node.at, moment))
    });
    section.finish();
    if let (Some(Some(types)), Some(true)) = (&response_types, denied) {
        let message = "`response_headers: deny` leaves no type to ask for: remove one of the two";
        reader.mistake_in(types, message);
    }
    let response_headers = match (response_types?, denied?) {
        (_, true) => ResponseHeaders::Denied,
        (Some(types), false) => ResponseHeaders::Types(types.value),
        (None, false) => ResponseHeaders::Inert,
    };
    let grant = Grant {
        commands: commands?,
        resources: resources?,
        max_expiry: max_expiry?,
        max_upload: max_upload?,
        source_ip: source_ip?,
        content_types: content_types?,
        response_headers,
        headers: headers?,
        not_after: not_after?,
    };
    Some(reader.locate(at, grant))
}

pub(super) fn denial(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Located<Denial>> {
    let mut section = reader.section(node)?;
    let at = section.at();
    let commands = section.required("commands", commands);
    let resources = section.required("resources", resources);
    section.finish();
    let denial = Denial {
        commands: commands?,
        resources: resources?,
    };
    Some(reader.locate(at, denial))
}

fn resources(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<Located<String>>> {
    let surroundings = reader.surroundings;
    reader.names(node, |text| surroundings.resource(text))
}

/// A time of RFC 3339, in whole seconds.
fn moment(text: &str) -> Result<Moment, String> {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let (beginning, zone) = text.split_at_checked(FORM.len()).unwrap_or_default();
    let like = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == *other,
    };
    let formed = !beginning.is_empty() && beginning.bytes().zip(FORM).all(like);
    let zoned = zone == "Z" || zone.len() == 6 && zone.starts_with(['+', '-']);
    let time = text.parse::<jiff::Timestamp>().ok();
    match time.map(SystemTime::try_from) {
        Some(Ok(time)) if formed && zoned && time >= SystemTime::UNIX_EPOCH => Ok(Moment {
            time,
            text: text.to_owned(),
        }),
        _ => Err(format!(
            "{} is not a time with its zone, in whole seconds: write it as `2027-01-31T18:00:00Z` or `2027-01-31T18:00:00+01:00`",
            quoted(text)
        )),
    }
}

/// From one byte to what S3 takes as one object.
fn upload_size(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if (1..=MAX_UPLOAD).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!(
            "{} is out of range: from 1 to 5TiB, which is the most that S3 takes as one object",
            quoted(text)
        ))
    }
}

fn media_types(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<Located<String>>> {
    let surroundings = reader.surroundings;
    reader.names(node, |text| surroundings.media_type(text))
}

pub(super) fn commands(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<Located<String>>> {
    let surroundings = reader.surroundings;
    reader.names(node, |name| surroundings.command(name))
}
