//! The IAM policy that narrows a session: to a tenant's grants, or to what one request needs of them. Pure.
//!
//! AWS intersects it with the role's own permissions, so it can only take away. Invariant: it allows no action on no resource that a
//! grant does not carry there, and from no address that the grant does not take. Names are literal: `*`, `?` and `$`, which a resource
//! would read as wildcards and variables, are escaped as the IAM user guide's "Policy variables" says. An access point is a resource by
//! its own ARN, and a directory bucket one of another service; of what has no policy (see [`held`](crate::admit::held)) it says nothing.

mod grants;
#[cfg(test)]
mod laws;
mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

pub use self::grants::{denials, policy, role_policy};
pub use self::request::{least_policy, own_policy, request_policy};
use crate::admit::grant::Grant;
use crate::admit::source_ip::SourceIps;
use crate::sign::bucket::{self, BucketKind};

/// The longest session policy that STS takes, in characters.
pub const MAX_SESSION_POLICY: usize = 2048;

/// What every policy of a tenant is made from.
#[derive(Debug, Clone, Copy)]
pub struct SessionPolicyInput<'a> {
    /// The tenant's grants.
    pub grants: &'a [Grant],
    /// Keys that encrypt the tenant's objects, as ARNs.
    pub kms_keys: &'a [String],
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: &'a str,
    /// How old a signature may be where it is used, in seconds.
    pub signature_age: Option<u32>,
    /// Statements of the operator's own, and those of the tenant's denials. They deny, whatever they say.
    pub deny: &'a [Value],
}

/// The policy as STS takes it: compact, and everything beyond ASCII as `\u` escapes.
#[must_use]
pub fn session_policy(policy: &Value) -> String {
    ascii(&policy.to_string())
}

/// The JSON with everything beyond ASCII as `\u` escapes: STS and IAM take no characters above U+00FF.
#[must_use]
pub fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

type Actions = BTreeSet<&'static str>;

/// What a statement allows, apart from its resources. Statements alike in it become one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Terms {
    actions: Actions,
    prefix: Option<ListedPrefix>,
    /// Whether sessions of a directory bucket are to read alone.
    read_only: bool,
    source_ip: Option<SourceIps>,
    /// When the grant ends.
    not_after: Option<SystemTime>,
}

/// What `s3:prefix` has to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum ListedPrefix {
    /// This or longer.
    From(String),
    /// This. The empty one is also that of a request without a prefix, where the condition's key is missing.
    Exactly(String),
    /// Like this pattern: for whatever caller stands in it.
    Like(String),
}

/// Everything that is allowed: resources by the terms on which they are.
#[derive(Debug, Default)]
struct Allowed(BTreeMap<Terms, BTreeSet<String>>);

impl Allowed {
    fn add(&mut self, terms: Terms, arn: String) {
        if !terms.actions.is_empty() {
            self.0.entry(terms).or_default().insert(arn);
        }
    }
}

/// The document that allows this, on the terms of the tenant.
fn document(input: &SessionPolicyInput<'_>, allowed: Allowed) -> Value {
    let mut statements = statements("Allow", allowed, input.signature_age);
    if !input.kms_keys.is_empty() {
        // Without conditions: it is S3 that uses the keys, from its own addresses and with signatures of its own.
        statements.push(json!({
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": one_or_many(input.kms_keys.iter().map(|arn| literal(arn))),
        }));
    }
    if statements.is_empty() {
        // A policy needs a statement, and a tenant without grants needs a session that can do nothing.
        statements.push(json!({"Effect": "Deny", "Action": "*", "Resource": "*"}));
    }
    statements.extend(input.deny.iter().cloned().map(|mut statement| {
        statement["Effect"] = "Deny".into();
        statement
    }));
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// Statements of this effect.
fn statements(effect: &str, of: Allowed, signature_age: Option<u32>) -> Vec<Value> {
    let statement = |(terms, arns): (Terms, BTreeSet<String>)| {
        let condition = condition(&terms, signature_age);
        let actions = one_or_many(terms.actions);
        let mut statement =
            json!({"Effect": effect, "Action": actions, "Resource": one_or_many(arns)});
        if !condition.is_empty() {
            statement["Condition"] = condition.into();
        }
        statement
    };
    of.0.into_iter().map(statement).collect()
}

fn condition(terms: &Terms, signature_age: Option<u32>) -> Map<String, Value> {
    let mut condition = Map::new();
    let mut demand = |operator: &str, key: &str, value: Value| {
        condition.insert(operator.to_owned(), json!({ key: value }));
    };
    match &terms.prefix {
        None => {}
        Some(ListedPrefix::From(prefix)) => {
            let pattern = format!("{}*", literal(prefix));
            demand("StringLike", "s3:prefix", pattern.into());
        }
        Some(ListedPrefix::Like(pattern)) => {
            demand("StringLike", "s3:prefix", pattern.clone().into());
        }
        Some(ListedPrefix::Exactly(prefix)) if prefix.is_empty() => {
            demand("StringEqualsIfExists", "s3:prefix", "".into());
        }
        Some(ListedPrefix::Exactly(prefix)) => {
            // Wildcards are none here, and variables still are.
            let prefix = prefix.replace('$', "${$}");
            demand("StringEquals", "s3:prefix", prefix.into());
        }
    }
    if terms.read_only {
        demand("StringEquals", "s3express:SessionMode", "ReadOnly".into());
    }
    if let Some(source_ip) = &terms.source_ip {
        let networks = source_ip.networks().iter().map(ToString::to_string);
        demand("IpAddress", "aws:SourceIp", one_or_many(networks));
    }
    if let Some(end) = terms.not_after {
        let end = end.duration_since(SystemTime::UNIX_EPOCH);
        // In seconds since 1970, which IAM takes for a date too: Ceph RGW takes no other.
        let end = end.unwrap_or_default().as_secs().to_string();
        demand("DateLessThan", "aws:CurrentTime", end.into());
    }
    if let Some(seconds) = signature_age {
        // As text: some stores take no numbers.
        let milliseconds = (u64::from(seconds) * 1000).to_string();
        demand(
            "NumericLessThanEquals",
            "s3:signatureAge",
            milliseconds.into(),
        );
    }
    condition
}

/// The bucket, or the access point.
fn bucket_arn(partition: &str, name: &str) -> String {
    match bucket::kind(name) {
        // The name has its zone in it, where there is no other bucket of the name, whoever's.
        BucketKind::Directory => format!("arn:{partition}:s3express:*:*:bucket/{name}"),
        _ if bucket::is_arn(name) => name.to_owned(),
        _ => format!("arn:{partition}:s3:::{name}"),
    }
}

/// Objects of the bucket, or of the access point. `keys` is a pattern.
fn objects_arn(partition: &str, name: &str, keys: &str) -> String {
    if bucket::is_arn(name) {
        format!("{name}/object/{keys}")
    } else {
        format!("arn:{partition}:s3:::{name}/{keys}")
    }
}

/// The one permission that there is in directory buckets.
const CREATE_SESSION: &str = "s3express:CreateSession";

/// Escapes what a resource or a `StringLike` would not take literally.
fn literal(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '*' | '?' | '$' => {
                text.push_str("${");
                text.push(c);
                text.push('}');
            }
            c => text.push(c),
        }
    }
    text
}

fn one_or_many<T: Into<Value>>(values: impl IntoIterator<Item = T>) -> Value {
    let mut values: Vec<Value> = values.into_iter().map(Into::into).collect();
    if values.len() == 1 {
        values.remove(0)
    } else {
        Value::Array(values)
    }
}
