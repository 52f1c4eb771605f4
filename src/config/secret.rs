//! Secrets: named in the configuration, kept elsewhere.
//!
//! Invariant: no message repeats anything that stands where a secret belongs, not even the name of a variable or a file, since
//! a secret may have been put there by mistake; the place in the file is named instead.

use std::fs::File;
use std::io::Read as _;

use secrecy::SecretString;

use super::reader::Reader;
use super::tree::{Content, Node};

/// The largest secret file, in bytes; session tokens are a few thousand.
const FILE_BYTES: u64 = 64 << 10;

/// What characters a secret may hold.
#[derive(Clone, Copy)]
pub(super) enum Alphabet {
    /// What travels in a URL or a header: visible ASCII.
    Visible,
    /// Anything but control characters.
    Printable,
}

/// Reads `{ env: NAME }` or `{ file: PATH }`.
pub(super) fn secret(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    alphabet: Alphabet,
) -> Option<SecretString> {
    if !matches!(node.content, Content::Mapping(_)) {
        reader.mistake(
            node.at,
            "secrets are not written in this file: write `{ env: NAME }` or `{ file: PATH }`",
        );
        return None;
    }
    let mut section = reader.section(node)?.guarded();
    let at = section.at();
    let both = section.has("env") && section.has("file");
    let env = section.optional("env", |reader, node| {
        let value = from_environment(reader, node)?;
        checked(reader, node, value, alphabet)
    });
    let file = section.optional("file", |reader, node| {
        let value = from_file(reader, node)?;
        checked(reader, node, value, alphabet)
    });
    section.finish();
    if both {
        reader.mistake(at, "names both `env` and `file`: remove one");
        return None;
    }
    let secret = env?.or(file?);
    if secret.is_none() {
        reader.mistake(at, "names no secret: write `env: NAME` or `file: PATH`");
    }
    secret
}

/// Reads an access key id, which is not secret and may be written in the file as well.
pub(super) fn secret_or_text(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<SecretString> {
    match &node.content {
        Content::Scalar { text, .. } => {
            checked(reader, node, text.clone().into_owned(), Alphabet::Visible)
        }
        _ => secret(reader, node, Alphabet::Visible),
    }
}

fn from_environment(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<String> {
    let name = reader.text(node)?;
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_name {
        reader.mistake(
            node.at,
            "this is not the name of an environment variable (letters, digits and `_`)",
        );
        return None;
    }
    let value = reader.surroundings.environment(name);
    if value.is_none() {
        reader.mistake(node.at, "the environment variable named here is not set");
    }
    value
}

fn from_file(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<String> {
    let name = reader.text(node)?;
    let relative = std::path::Path::new(name).is_relative();
    let mut bytes = Vec::new();
    let path = reader.folder.join(name);
    let opened = File::open(&path);
    let metadata = opened.as_ref().ok().and_then(|file| file.metadata().ok());
    reader.sources.file(&path, metadata.as_ref());
    let read = opened.and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes));
    let problem = match read {
        Err(error) if relative => {
            format!(
                "the file named here, relative to the configuration file's folder, cannot be read: {error}"
            )
        }
        Err(error) => format!("the file named here cannot be read: {error}"),
        Ok(length) if length as u64 > FILE_BYTES => {
            format!(
                "the file named here is larger than {} KiB: it holds no secret",
                FILE_BYTES >> 10
            )
        }
        Ok(_) => match String::from_utf8(bytes) {
            Ok(mut text) => {
                // Editors and `echo` end a file with a newline that is not part of the secret.
                if text.ends_with('\n') {
                    text.pop();
                    if text.ends_with('\r') {
                        text.pop();
                    }
                }
                return Some(text);
            }
            Err(_) => "the file named here is not text in UTF-8".to_owned(),
        },
    };
    reader.mistake(node.at, problem);
    None
}

fn checked(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    value: String,
    alphabet: Alphabet,
) -> Option<SecretString> {
    let (allowed, rule) = match alphabet {
        Alphabet::Visible => (
            value.bytes().all(|byte| byte.is_ascii_graphic()),
            "holds a space, a control character or one outside ASCII",
        ),
        Alphabet::Printable => (
            !value.chars().any(char::is_control),
            "holds a control character, such as the end of a line",
        ),
    };
    let value = SecretString::from(value);
    if secrecy::ExposeSecret::expose_secret(&value).is_empty() {
        reader.mistake(node.at, "the value is empty");
        None
    } else if allowed {
        reader.count_secret(secrecy::ExposeSecret::expose_secret(&value));
        Some(value)
    } else {
        reader.mistake(node.at, format!("the value {rule}"));
        None
    }
}
