//! `grants[].headers`: what headers that decide how an object is kept have to say.
//!
//! Invariant: a rule says one thing of its header, and lists values where it lets any through.

use super::mistake::Located;
use super::reader::Reader;
use super::tree::{Content, Node};

/// The rules of a grant; at least one.
#[derive(Debug, Clone)]
pub struct Headers {
    /// With what an object is encrypted.
    pub server_side_encryption: Option<HeaderRule>,
    /// The KMS keys that it may be encrypted with, as requests name them; none: any.
    pub kms_keys: Vec<String>,
    /// Whom its ACL lets in.
    pub acl: Option<HeaderRule>,
    /// Its storage class.
    pub storage_class: Option<HeaderRule>,
}

/// What is said of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderRule {
    /// It has to be there, and one of these.
    Require(Vec<String>),
    /// It may be there, and then is one of these.
    Allow(Vec<String>),
    /// It may not be there.
    Forbid,
}

pub(super) fn headers(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Located<Headers>> {
    let mut section = reader.section(node)?;
    let at = section.at();
    let mut kms_keys = None;
    let encryption = section.optional("server_side_encryption", |reader, node| {
        rule(reader, node, Some(&mut kms_keys))
    });
    let acl = section.optional("acl", |reader, node| rule(reader, node, None));
    let storage_class = section.optional("storage_class", |reader, node| rule(reader, node, None));
    section.finish();
    let headers = Headers {
        server_side_encryption: encryption?,
        kms_keys: kms_keys.unwrap_or_default(),
        acl: acl?,
        storage_class: storage_class?,
    };
    let rules = [
        &headers.server_side_encryption,
        &headers.acl,
        &headers.storage_class,
    ];
    if rules.iter().all(|rule| rule.is_none()) {
        let message =
            "holds no rule: add `server_side_encryption`, `acl` or `storage_class`, or remove it";
        reader.mistake(at, message);
        return None;
    }
    Some(reader.locate(at, headers))
}

/// Reads `forbid`, or what is required or allowed; with it the KMS keys, where there may be any.
fn rule(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    kms_keys: Option<&mut Option<Vec<String>>>,
) -> Option<HeaderRule> {
    if let Content::Scalar { .. } = node.content {
        let forbid = reader.choice(node, &[("forbid", ())]);
        return forbid.map(|()| HeaderRule::Forbid);
    }
    let mut section = reader.section(node)?;
    let at = section.at();
    let require = section.optional("require", values);
    let allow = section.optional("allow", values);
    let keys = match kms_keys {
        Some(kms_keys) => {
            let keys = section.optional("kms_keys", values)?;
            let any = keys.is_some();
            *kms_keys = keys;
            any
        }
        None => false,
    };
    section.finish();
    match (require?, allow?) {
        (Some(values), None) | (None, Some(values))
            if keys && !values.iter().any(|value| value.starts_with("aws:kms")) =>
        {
            let message = "`kms_keys` are for `aws:kms` or `aws:kms:dsse`, and neither is listed: list one, or remove `kms_keys`";
            reader.mistake(at, message);
            None
        }
        (Some(values), None) => Some(HeaderRule::Require(values)),
        (None, Some(values)) => Some(HeaderRule::Allow(values)),
        _ => {
            let message =
                "says not one thing: write `{ require: [..] }`, `{ allow: [..] }` or `forbid`";
            reader.mistake(at, message);
            None
        }
    }
}

/// Values as a header has them.
fn values(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<String>> {
    let visible = |text: &str| {
        if text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(())
        } else {
            Err("is no value of this header: it has a space, or something beyond ASCII".to_owned())
        }
    };
    let values = reader.names(node, visible)?;
    Some(values.into_iter().map(|value| value.value).collect())
}
