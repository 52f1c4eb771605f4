//! `session_tags`, `transitive_tags` and `source_identity` of `assume_role`: what a session says of itself, to IAM's conditions and in
//! AWS's own logs.
//!
//! Invariant: STS takes every key and every value as far as they are written out. What stands for a tenant or a caller is made to fit
//! when the role is assumed.
//!
//! Source: the quotas of `Tag`, `TransitiveTagKeys` and `SourceIdentity` in STS's `AssumeRole`, of which only the ASCII part is used.

use std::collections::HashMap;

use super::reader::{Reader, Section};
use super::tree::Node;

/// A tag of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTag {
    /// Its key.
    pub key: String,
    /// Its value; may hold `{tenant}` and `{caller}`.
    pub value: String,
    /// Whether sessions that are begun from this one have it too.
    pub transitive: bool,
}

const MAX_TAGS: usize = 50;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;
const MAX_SOURCE_IDENTITY: usize = 64;

/// What a value may hold besides characters.
const PLACEHOLDERS: [&str; 2] = ["{tenant}", "{caller}"];

/// Reads `session_tags` and `transitive_tags`.
pub(super) fn session_tags(section: &mut Section<'_, '_, '_>) -> Option<Vec<SessionTag>> {
    let tags = section.or("session_tags", Vec::new(), tags);
    let known: Option<Vec<String>> = tags
        .as_ref()
        .map(|tags| tags.iter().map(|tag| tag.key.clone()).collect());
    let transitive = section.or("transitive_tags", Vec::new(), |reader, node| {
        reader.distinct(node, |key| match &known {
            Some(known) if !known.iter().any(|tag| tag == key) => {
                Err("this is not a key of `session_tags`: add it there, or remove it".to_owned())
            }
            _ => Ok(key.to_owned()),
        })
    });
    let (mut tags, transitive) = (tags?, transitive?);
    for tag in &mut tags {
        tag.transitive = transitive.iter().any(|key| key.value == tag.key);
    }
    Some(tags)
}

fn tags(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<SessionTag>> {
    let mut lines = HashMap::new();
    let tags = reader.each_entry(node, |reader, key, key_at, node| {
        let key_is_good = match tag_key(key) {
            Ok(()) => lines
                .insert(key.to_ascii_lowercase(), key_at.line)
                .map_or(Ok(()), |line| {
                    Err(format!(
                        "this key is there already, on line {line}: to STS, keys that differ in case are the same"
                    ))
                }),
            Err(why) => Err(why),
        };
        if let Err(why) = &key_is_good {
            reader.mistake(key_at, why);
        }
        let value = reader.parsed(node, tag_value)?;
        key_is_good.ok()?;
        Some(SessionTag {
            key: key.to_owned(),
            value,
            transitive: false,
        })
    })?;
    if tags.len() > MAX_TAGS {
        reader.mistake(node.at, format!("STS takes {MAX_TAGS} tags at most"));
        return None;
    }
    Some(tags)
}

fn is_tag_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || " _.:/=+-@".contains(c)
}

fn tag_key(key: &str) -> Result<(), String> {
    let reserved = key
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
    if reserved {
        Err("keys that begin with `aws:` are AWS's own".to_owned())
    } else if (1..=MAX_KEY).contains(&key.len()) && key.chars().all(is_tag_char) {
        Ok(())
    } else {
        Err(format!(
            "the key of a tag is 1 to {MAX_KEY} letters, digits, spaces or `_.:/=+-@`"
        ))
    }
}

fn tag_value(text: &str) -> Result<String, String> {
    let literals = literals(text);
    if length(&literals) <= MAX_VALUE && literals.iter().all(|part| part.chars().all(is_tag_char)) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "the value of a tag is at most {MAX_VALUE} letters, digits, spaces or `_.:/=+-@`, with `{{tenant}}` and `{{caller}}` for names"
        ))
    }
}

pub(super) fn source_identity(text: &str) -> Result<String, String> {
    let literals = literals(text);
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    let least = if literals.len() == 1 { 2 } else { 0 };
    if (least..=MAX_SOURCE_IDENTITY).contains(&length(&literals))
        && literals.iter().all(|part| part.chars().all(allowed))
    {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "a source identity is 2 to {MAX_SOURCE_IDENTITY} letters, digits or `_+=,.@-`, with `{{tenant}}` and `{{caller}}` for names"
        ))
    }
}

/// What stands before, between and after the placeholders.
fn literals(text: &str) -> Vec<&str> {
    let [tenant, caller] = PLACEHOLDERS;
    let parts = text.split(tenant);
    parts.flat_map(|part| part.split(caller)).collect()
}

fn length(parts: &[&str]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}
