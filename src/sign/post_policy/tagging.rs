//! Tags as S3's XML, which is how a form carries them.
//!
//! Source: the AWS API reference of Amazon S3, "Tagging", and the S3 user guide, "Categorizing your objects using tags".

use std::collections::HashMap;

/// The most tags of an object.
const MAX_TAGS: usize = 10;
/// The longest key and value, in UTF-16 code units, as S3 counts.
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

/// What is wrong with the tags, if anything.
pub(super) fn problem(tags: &HashMap<String, String>) -> Option<&'static str> {
    let length = |text: &str| text.encode_utf16().count();
    if tags.len() > MAX_TAGS {
        return Some("has more than 10 tags, which is what an object takes");
    }
    tags.iter().find_map(|(key, value)| {
        if key.is_empty() || length(key) > MAX_KEY {
            Some("has a key that is empty or longer than 128 characters")
        } else if length(value) > MAX_VALUE {
            Some("has a value that is longer than 256 characters")
        } else if key.starts_with("aws:") {
            Some("has a key that begins with aws:, which AWS keeps to itself")
        } else if key.chars().chain(value.chars()).any(not_in_xml) {
            Some("holds a character that XML or a form does not carry")
        } else {
            None
        }
    })
}

/// Control characters, and what XML 1.0 leaves out (section 2.2).
fn not_in_xml(c: char) -> bool {
    c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// The XML, in the order of the keys.
pub(super) fn xml(tags: &HashMap<String, String>) -> String {
    let mut sorted: Vec<_> = tags.iter().collect();
    sorted.sort_unstable();
    let mut xml = String::from("<Tagging><TagSet>");
    for (key, value) in sorted {
        xml.push_str("<Tag><Key>");
        super::html::escape_into(&mut xml, key);
        xml.push_str("</Key><Value>");
        super::html::escape_into(&mut xml, value);
        xml.push_str("</Value></Tag>");
    }
    xml.push_str("</TagSet></Tagging>");
    xml
}
