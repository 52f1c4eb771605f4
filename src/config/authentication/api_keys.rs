//! `authentication.api_keys`: the hashes of API keys.
//!
//! Invariant: a message repeats no hash of a key, since a key may have been put there by mistake.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;

use super::source_name;
use crate::config::mistake::Located;
use crate::config::reader::Reader;
use crate::config::secret::{Alphabet, secret};
use crate::config::tree::{Content, Node};

pub(super) fn holders(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
) -> Option<BTreeMap<String, Located<Vec<[u8; 32]>>>> {
    let holders = reader.each_entry(node, |reader, name, at, node| {
        let named = source_name(reader, name, at);
        let hashes = hashes(reader, node)?;
        named.map(|()| (name.to_owned(), reader.locate(at, hashes)))
    })?;
    one_holder_each(reader, &holders)?;
    Some(holders.into_iter().collect())
}

/// A key says who holds it, and that has to be one.
fn one_holder_each(
    reader: &mut Reader<'_>,
    holders: &[(String, Located<Vec<[u8; 32]>>)],
) -> Option<()> {
    let mut unique = Some(());
    for (index, (_, later)) in holders.iter().enumerate() {
        let shares =
            |earlier: &Vec<[u8; 32]>| earlier.iter().any(|hash| later.value.contains(hash));
        let mut earlier = holders[..index].iter();
        if let Some((name, _)) = earlier.find(|(_, earlier)| shares(&earlier.value)) {
            let message = format!("has a key of `{name}` too: give each holder keys of their own");
            reader.mistake_in(later, message);
            unique = None;
        }
    }
    unique
}

fn hashes(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<[u8; 32]>> {
    let hashes = reader.list(node, |reader, node| {
        let text = match &node.content {
            Content::Scalar { text, .. } => text.clone().into_owned(),
            _ => secret(reader, node, Alphabet::Visible)?
                .expose_secret()
                .to_owned(),
        };
        match key_hash(&text) {
            Ok(hash) => Some(hash),
            Err(message) => {
                reader.mistake(node.at, message);
                None
            }
        }
    })?;
    if hashes.is_empty() {
        reader.mistake(
            node.at,
            "the list is empty: `presignd api-key new` makes a key and its hash",
        );
        return None;
    }
    for (index, hash) in hashes.iter().enumerate() {
        if hashes[..index].contains(hash) {
            reader.mistake(node.at, "holds one hash twice: remove one");
            return None;
        }
    }
    Some(hashes)
}

/// `sha256:` and 64 hexadecimal digits.
fn key_hash(text: &str) -> Result<[u8; 32], &'static str> {
    let form = "is no hash of a key: write `sha256:` and 64 hexadecimal digits, as `presignd api-key new` prints them";
    if text.starts_with("presignd_") {
        return Err(
            "this is an API key itself, which is known now to whoever reads this file: make another one with `presignd api-key new`, \
             and write its hash",
        );
    }
    let digits = text.strip_prefix("sha256:").ok_or(form)?;
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(form);
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        let pair = &digits[2 * index..2 * index + 2];
        *byte = u8::from_str_radix(pair, 16).map_err(|_| form)?;
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_have_one_form() {
        let digits = "0123456789abcdef".repeat(4);
        let hash = key_hash(&format!("sha256:{digits}")).unwrap();
        assert_eq!(hash[..3], [0x01, 0x23, 0x45]);
        assert_eq!(
            key_hash(&format!("sha256:{}", digits.to_uppercase())),
            Ok(hash)
        );
        for bad in [
            String::new(),
            digits.clone(),
            format!("sha256:{}", &digits[1..]),
            format!("sha256:{digits}0"),
            format!("sha256:+{}", &digits[1..]),
            format!("sha512:{digits}"),
            format!("presignd_{digits}"),
        ] {
            let message = key_hash(&bad).expect_err(&bad);
            assert!(!message.contains("0123"), "{message}");
        }
    }
}
