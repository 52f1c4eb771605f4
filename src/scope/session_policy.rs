//! The IAM policy that narrows a session to a tenant's grants. Pure.
//!
//! AWS intersects it with the role's own permissions, so it can only take away. Invariant: it allows no action on no resource that a
//! grant does not carry there. Names are literal: `*`, `?` and `$`, which a resource would read as wildcards and variables, are
//! escaped as the IAM user guide's "Policy variables" says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::admit::grant::Grant;
use crate::admit::resource::ResourcePattern;
use crate::sign::command::IamResource;

/// The longest session policy that STS takes, in characters.
pub const MAX_SESSION_POLICY: usize = 2048;

/// What a session policy is made from.
#[derive(Debug, Clone, Copy)]
pub struct SessionPolicyInput<'a> {
    /// The tenant's grants.
    pub grants: &'a [Grant],
    /// Only what concerns these buckets, or no bucket at all if there are none; `None`: everything.
    pub buckets: Option<&'a [&'a str]>,
    /// Keys that encrypt the tenant's objects, as ARNs.
    pub kms_keys: &'a [String],
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: &'a str,
}

/// A statement's actions by what they are allowed on, so that statements alike in one become one.
type Actions = BTreeSet<&'static str>;

/// Writes the policy, compact.
#[must_use]
pub fn session_policy(input: &SessionPolicyInput<'_>) -> String {
    ascii(&policy(input).to_string())
}

/// The policy as a document, however long. With every grant in it, it is also all that a role needs.
#[must_use]
pub fn policy(input: &SessionPolicyInput<'_>) -> Value {
    // Resources by the actions allowed on them, with the prefix condition that bounds them.
    let mut allowed: BTreeMap<(Actions, Option<BTreeSet<String>>), BTreeSet<String>> =
        BTreeMap::new();
    for grant in input.grants {
        let resources = grant.resources().iter();
        for resource in resources.filter(|resource| concerns(input.buckets, resource)) {
            for (actions, arn, prefix) in reach(grant, resource, input.partition) {
                let prefix = prefix.map(|p| BTreeSet::from([p]));
                if !actions.is_empty() {
                    allowed.entry((actions, prefix)).or_default().insert(arn);
                }
            }
        }
    }
    let mut statements: Vec<Value> = allowed
        .into_iter()
        .map(|((actions, prefix), arns)| {
            let mut statement = json!({"Effect": "Allow", "Action": one_or_many(actions), "Resource": one_or_many(arns)});
            if let Some(prefix) = prefix {
                statement["Condition"] = json!({"StringLike": {"s3:prefix": one_or_many(prefix)}});
            }
            statement
        })
        .collect();
    if !input.kms_keys.is_empty() {
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
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn concerns(buckets: Option<&[&str]>, resource: &ResourcePattern) -> bool {
    match (buckets, resource.bucket()) {
        (None, _) => true,
        (Some(buckets), None) => buckets.is_empty(),
        (Some(buckets), Some(bucket)) => buckets.contains(&bucket),
    }
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

/// What a grant allows through one of its resources: actions, the ARN, and the `s3:prefix` that bounds them.
fn reach(
    grant: &Grant,
    resource: &ResourcePattern,
    partition: &str,
) -> impl Iterator<Item = (Actions, String, Option<String>)> {
    let actions = |kind: IamResource, listing: Option<bool>| -> Actions {
        let carried = grant.actions().iter();
        carried
            .filter(|(_, c)| c.resource == kind && listing.is_none_or(|l| c.prefix_condition == l))
            .map(|(action, _)| *action)
            .collect()
    };
    let arn = |path: &str| format!("arn:{partition}:s3:::{path}");
    let objects = actions(IamResource::Object, None);
    let buckets = actions(IamResource::Bucket, None);
    let reached = match resource {
        ResourcePattern::Service => {
            vec![(actions(IamResource::Service, None), "*".to_owned(), None)]
        }
        ResourcePattern::Bucket(bucket) => vec![(buckets, arn(bucket), None)],
        ResourcePattern::WholeBucket(bucket) => vec![
            (objects, arn(&format!("{bucket}/*")), None),
            (buckets, arn(bucket), None),
        ],
        ResourcePattern::Prefix { bucket, prefix } => {
            let prefix = format!("{}*", literal(prefix));
            vec![
                (objects, arn(&format!("{bucket}/{prefix}")), None),
                (
                    actions(IamResource::Bucket, Some(true)),
                    arn(bucket),
                    Some(prefix),
                ),
            ]
        }
        ResourcePattern::Key { bucket, key } => {
            vec![(objects, arn(&format!("{bucket}/{}", literal(key))), None)]
        }
    };
    reached.into_iter()
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::grant::{CommandSelector, Store, Terms};

    fn grant(commands: &[&str], resources: &[&str]) -> Grant {
        Grant::new(
            commands
                .iter()
                .map(|c| CommandSelector::parse(c).unwrap())
                .collect(),
            resources
                .iter()
                .map(|r| ResourcePattern::parse(r).unwrap())
                .collect(),
            Terms::default(),
            Store::Aws,
        )
    }

    fn policy(grants: &[Grant], buckets: Option<&[&str]>, kms_keys: &[String]) -> Value {
        let text = session_policy(&SessionPolicyInput {
            grants,
            buckets,
            kms_keys,
            partition: "aws",
        });
        serde_json::from_str(&text).unwrap()
    }

    /// The actions that the policy allows on a resource, with their prefix condition.
    fn allowed(policy: &Value, arn: &str) -> Vec<(String, Option<String>)> {
        let many = |value: &Value| match value {
            Value::Array(values) => values
                .iter()
                .map(|v| v.as_str().unwrap().to_owned())
                .collect(),
            value => vec![value.as_str().unwrap().to_owned()],
        };
        let mut found = Vec::new();
        for statement in policy["Statement"].as_array().unwrap() {
            if statement["Effect"] == "Allow"
                && many(&statement["Resource"]).contains(&arn.to_owned())
            {
                let prefix = statement["Condition"]["StringLike"]["s3:prefix"]
                    .as_str()
                    .map(str::to_owned);
                found.extend(
                    many(&statement["Action"])
                        .into_iter()
                        .map(|a| (a, prefix.clone())),
                );
            }
        }
        found.sort();
        found
    }

    fn names(actions: &[(String, Option<String>)]) -> Vec<&str> {
        actions.iter().map(|(action, _)| action.as_str()).collect()
    }

    #[test]
    fn a_grant_of_one_command_allows_its_actions_alone() {
        let policy = policy(&[grant(&["PutObject"], &["b/up/*"])], None, &[]);
        assert_eq!(
            names(&allowed(&policy, "arn:aws:s3:::b/up/*")),
            ["s3:PutObject"]
        );
        assert_eq!(allowed(&policy, "arn:aws:s3:::b"), []);
    }

    #[test]
    fn writing_does_not_allow_reading() {
        let policy = policy(&[grant(&["write"], &["b/*"])], None, &[]);
        let actions = allowed(&policy, "arn:aws:s3:::b/*");
        assert!(names(&actions).contains(&"s3:PutObject"));
        let reads: Vec<_> = actions
            .iter()
            .filter(|(a, _)| a.starts_with("s3:Get"))
            .collect();
        assert!(reads.is_empty(), "{reads:?}");
    }

    #[test]
    fn a_class_never_brings_what_is_granted_by_name() {
        for class in ["read", "write", "list", "delete", "admin"] {
            let text = policy(&[grant(&[class], &["b/*"])], None, &[]).to_string();
            assert!(
                !text.contains("CreateSession") && !text.contains("BypassGovernance"),
                "{class}: {text}"
            );
        }
        let text = policy(&[grant(&["DeleteObject"], &["b/*"])], None, &[]).to_string();
        assert!(text.contains("s3:BypassGovernanceRetention"), "{text}");
    }

    #[test]
    fn lists_under_a_prefix_are_bounded_by_it() {
        let policy = policy(&[grant(&["list"], &["b/a/*", "c/*"])], None, &[]);
        let under_prefix = allowed(&policy, "arn:aws:s3:::b");
        assert_eq!(
            names(&under_prefix),
            ["s3:ListBucket", "s3:ListBucketVersions"]
        );
        assert!(
            under_prefix
                .iter()
                .all(|(_, prefix)| prefix.as_deref() == Some("a/*"))
        );
        let whole = allowed(&policy, "arn:aws:s3:::c");
        assert!(names(&whole).contains(&"s3:ListBucketMultipartUploads"));
        assert!(whole.iter().all(|(_, prefix)| prefix.is_none()));
    }

    #[test]
    fn wildcards_and_variables_in_names_are_literal() {
        let policy = policy(
            &[grant(&["GetObject"], &["b/${aws:username}/a?/*"])],
            None,
            &[],
        );
        let arn = "arn:aws:s3:::b/${$}{aws:username}/a${?}/*";
        assert!(
            names(&allowed(&policy, arn)).contains(&"s3:GetObject"),
            "{policy}"
        );
    }

    #[test]
    fn a_bucket_scope_leaves_the_other_buckets_out() {
        let grants = [
            grant(&["read"], &["b/*", "c/*"]),
            grant(&["write"], &["c/*"]),
        ];
        let policy = policy(&grants, Some(&["b"]), &[]).to_string();
        assert!(
            policy.contains(":::b/*") && !policy.contains(":::c"),
            "{policy}"
        );
        assert!(!policy.contains("s3:PutObject"), "{policy}");
    }

    #[test]
    fn keys_of_the_tenant_are_allowed_and_no_others() {
        let key = "arn:aws:kms:eu-west-1:111122223333:key/1234".to_owned();
        let grants = [grant(&["GetObject"], &["b/*"])];
        let with = policy(&grants, None, std::slice::from_ref(&key));
        assert_eq!(
            names(&allowed(&with, &key)),
            ["kms:Decrypt", "kms:GenerateDataKey"]
        );
        assert!(!policy(&grants, None, &[]).to_string().contains("kms"));
    }

    #[test]
    fn a_tenant_without_grants_gets_a_session_that_can_do_nothing() {
        let policy = policy(&[], None, &[]);
        assert_eq!(
            policy["Statement"],
            json!([{"Effect": "Deny", "Action": "*", "Resource": "*"}])
        );
    }

    #[test]
    fn names_beyond_ascii_are_escaped() {
        let grants = [grant(&["GetObject"], &["b/ключ/😀*"])];
        let input = SessionPolicyInput {
            grants: &grants,
            buckets: None,
            kms_keys: &[],
            partition: "aws",
        };
        let text = session_policy(&input);
        assert!(text.is_ascii(), "{text}");
        let parsed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            parsed["Statement"][0]["Resource"],
            "arn:aws:s3:::b/ключ/😀*"
        );
    }

    #[test]
    fn common_grants_fit() {
        let grants = [grant(
            &["read", "list", "write", "delete"],
            &["acme-files/*", "acme-media/uploads/*"],
        )];
        let text = session_policy(&SessionPolicyInput {
            grants: &grants,
            buckets: None,
            kms_keys: &[],
            partition: "aws",
        });
        assert!(
            text.len() <= MAX_SESSION_POLICY,
            "{} characters: {text}",
            text.len()
        );
    }
}
