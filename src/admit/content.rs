//! What a browser may be told about an object: the type that an upload gives it, and the headers that a download asks for. Pure.
//!
//! A URL leads to the store's own host, so a type that browsers run makes whatever was uploaded a page of that host. Invariant: where a
//! rule lists types, what is allowed carries one of them.

use std::fmt;

use super::media_type::{MediaRange, MediaType};
use crate::sign::bind::Violation;
use crate::sign::command::BoundCommand;
use crate::sign::parameterized::value_of;

/// The rules of a grant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentRules {
    /// The types that an upload may give an object; `None`: any, and none.
    pub uploads: Option<Vec<MediaRange>>,
    /// What the answer to a download may be made to say.
    pub responses: ResponseRule,
}

/// What the answer to a download may be made to say, other than what the object says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ResponseRule {
    /// Anything but a type that browsers run, which may stand only beside a disposition that has the content saved.
    #[default]
    Inert,
    /// Of types only these, with any disposition.
    Types(Vec<MediaRange>),
    /// Nothing.
    Nothing,
}

/// The commands that give an object its type. Parts of an upload have that of the upload.
pub const TYPING: [&str; 4] = [
    "CopyObject",
    "CreateMultipartUpload",
    "PutObject",
    "WriteGetObjectResponse",
];

/// The commands that may ask for headers of the answer.
pub const ASKING: [&str; 2] = ["GetObject", "HeadObject"];

impl ContentRules {
    /// The rules that the command breaks, by its fields.
    #[must_use]
    pub fn broken_by(&self, command: &BoundCommand<'_>) -> Vec<Violation> {
        let mut broken = Vec::new();
        if let Some(types) = &self.uploads
            && TYPING.contains(&command.operation.name)
        {
            broken.extend(upload(types, command));
        }
        match &self.responses {
            ResponseRule::Inert => broken.extend(inert(command)),
            ResponseRule::Types(types) => broken.extend(listed(types, command)),
            ResponseRule::Nothing => broken.extend(nothing(command)),
        }
        broken
    }
}

/// As a configuration writes what is not the default, after the rest of a grant.
impl fmt::Display for ContentRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(types) = &self.uploads {
            write!(f, ", content_types: [{}]", all(types))?;
        }
        match &self.responses {
            ResponseRule::Inert => Ok(()),
            ResponseRule::Types(types) => {
                write!(f, ", response_content_types: [{}]", all(types))
            }
            ResponseRule::Nothing => f.write_str(", response_headers: deny"),
        }
    }
}

fn upload(types: &[MediaRange], command: &BoundCommand<'_>) -> Option<Violation> {
    // A copy goes without the source's type only if it is told so in these very letters.
    if command.operation.name == "CopyObject"
        && header(command, "x-amz-metadata-directive") != Some("REPLACE")
    {
        let fix = format!(
            "has to be REPLACE, with a content_type of {}: what a copy keeps is not known",
            all(types)
        );
        return Some(violation("metadata_directive", fix));
    }
    let text = header(command, "content-type")
        .or_else(|| header(command, "x-amz-fwd-header-content-type"));
    if command.left_open.is_some_and(|open| open.content_type) {
        // Whatever the beginning is, a word that browsers run may follow it, or a comma and another type.
        let fix = format!(
            "is left to the client, who may go on from any beginning to a type that browsers run: set it to one of {}",
            all(types)
        );
        return Some(violation("content_type", fix));
    }
    let sentence = match text {
        Some(text) if covered(types, text) => return None,
        Some(_) => format!("is not one of {}", all(types)),
        None => format!("is required, and one of {}", all(types)),
    };
    Some(violation("content_type", sentence))
}

fn inert(command: &BoundCommand<'_>) -> Option<Violation> {
    let text = query(command, RESPONSE_TYPE)?;
    let runs = MediaType::parse(text).is_none_or(|media| media.runs());
    if !runs || query(command, "response-content-disposition").is_some_and(is_attachment) {
        return None;
    }
    let sentence = "is a type that browsers run, or no type at all: set response_content_disposition to attachment, or have the type \
                    listed in the response_content_types of a grant";
    Some(violation("response_content_type", sentence))
}

fn listed(types: &[MediaRange], command: &BoundCommand<'_>) -> Option<Violation> {
    let text = query(command, RESPONSE_TYPE)?;
    let sentence = || format!("is not one of {}", all(types));
    (!covered(types, text)).then(|| violation("response_content_type", sentence()))
}

fn nothing(command: &BoundCommand<'_>) -> impl Iterator<Item = Violation> {
    let asked = command.query.iter().filter_map(|parameter| {
        let name = parameter.name.strip_prefix("response-")?;
        Some(format!("response_{}", name.replace('-', "_")))
    });
    asked.map(|field| Violation {
        field: field.into(),
        description: "is not for the caller to say: leave it out".into(),
    })
}

const RESPONSE_TYPE: &str = "response-content-type";

/// Whether browsers save what has this disposition, rather than show it. RFC 6266, section 4.2.
fn is_attachment(disposition: &str) -> bool {
    value_of(disposition).is_some_and(|value| value.eq_ignore_ascii_case("attachment"))
}

fn covered(types: &[MediaRange], text: &str) -> bool {
    MediaType::parse(text).is_some_and(|media| types.iter().any(|range| range.covers(&media)))
}

/// How a list reads in a sentence.
fn all(types: &[MediaRange]) -> String {
    let types: Vec<_> = types.iter().map(ToString::to_string).collect();
    types.join(", ")
}

fn query<'c>(command: &'c BoundCommand<'_>, name: &str) -> Option<&'c str> {
    let mut query = command.query.iter();
    let found = query.find(|parameter| parameter.name == name);
    found.map(|parameter| parameter.value.as_str())
}

pub(super) fn header<'c>(command: &'c BoundCommand<'_>, name: &str) -> Option<&'c str> {
    let mut headers = command.headers.iter();
    let found = headers.find(|header| header.name == name && header.suffix.is_empty());
    found.map(|header| header.value.as_str())
}

fn violation(field: &'static str, description: impl Into<String>) -> Violation {
    Violation {
        field: field.into(),
        description: description.into().into(),
    }
}

#[cfg(test)]
mod tests;
