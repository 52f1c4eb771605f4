//! Evaluates an IAM session policy, purely: statements in, a yes or no out.
//!
//! Only what a session policy for S3 needs is understood: `Allow` and `Deny`, actions and resources with `*` and `?`,
//! string conditions on `s3:prefix` and `s3:delimiter`. Whatever else is met never widens access: an unknown element
//! refuses the document, an unknown condition makes an `Allow` not apply and a `Deny` apply.

mod pattern;

use std::collections::BTreeMap;

use serde::Deserialize;

use self::pattern::Pattern;

/// The condition keys whose values a request states; every other key is unknown.
const KNOWN_KEYS: [&str; 2] = ["s3:prefix", "s3:delimiter"];

/// A policy document that was understood as a whole.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    statements: Vec<Statement>,
}

/// What a request wants to do, in IAM's words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access<'a> {
    /// An action such as `s3:GetObject`.
    pub(super) action: &'a str,
    /// The bucket's or the object's ARN.
    pub(super) resource: &'a str,
    /// Condition keys with the values that the request gives them.
    pub(super) context: &'a [(&'a str, &'a str)],
}

/// Why a policy document was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum PolicyError {
    /// Not JSON, or not a policy of the understood kind.
    #[error("the policy is not a document that the sandbox understands: {0}")]
    Document(#[from] serde_json::Error),
    /// A policy variable, whose value the sandbox does not know.
    #[error("the sandbox does not know the policy variable in `{0}`")]
    Variable(String),
}

impl Policy {
    /// Parses a policy document.
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let document: Document = serde_json::from_str(text)?;
        let statements = document
            .statement
            .into_vec()
            .into_iter()
            .map(Statement::new);
        Ok(Self {
            statements: statements.collect::<Result<_, _>>()?,
        })
    }

    /// Whether an `Allow` applies to `access` and no `Deny` does.
    pub(super) fn allows(&self, access: Access<'_>) -> bool {
        let denied = self
            .statements
            .iter()
            .any(|s| s.effect == Effect::Deny && s.applies(access));
        !denied
            && self
                .statements
                .iter()
                .any(|s| s.effect == Effect::Allow && s.applies(access))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Document {
    #[serde(rename = "Version")]
    _version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    statement: OneOrMany<StatementText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct StatementText {
    #[serde(rename = "Sid")]
    _sid: Option<String>,
    effect: Effect,
    action: OneOrMany<String>,
    resource: OneOrMany<String>,
    #[serde(default)]
    condition: BTreeMap<String, BTreeMap<String, OneOrMany<serde_json::Value>>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(item) => vec![item],
            Self::Many(items) => items,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Clone)]
struct Statement {
    effect: Effect,
    actions: Vec<Pattern>,
    resources: Vec<Pattern>,
    conditions: Vec<Condition>,
}

impl Statement {
    fn new(text: StatementText) -> Result<Self, PolicyError> {
        let resources = text.resource.into_vec();
        Ok(Self {
            effect: text.effect,
            // Action names are compared without regard to case.
            actions: text
                .action
                .into_vec()
                .iter()
                .map(|a| Pattern::plain(&a.to_ascii_lowercase()))
                .collect(),
            resources: resources
                .iter()
                .map(|r| Pattern::escaped(r))
                .collect::<Result<_, _>>()?,
            conditions: text
                .condition
                .into_iter()
                .flat_map(|(operator, keys)| {
                    keys.into_iter().map(move |(key, values)| {
                        Condition::new(&operator, &key, values.into_vec())
                    })
                })
                .collect(),
        })
    }

    fn applies(&self, access: Access<'_>) -> bool {
        let action = access.action.to_ascii_lowercase();
        self.actions.iter().any(|pattern| pattern.matches(&action))
            && self
                .resources
                .iter()
                .any(|pattern| pattern.matches(access.resource))
            && self
                .conditions
                .iter()
                .all(|condition| match condition.holds(access.context) {
                    Some(holds) => holds,
                    None => self.effect == Effect::Deny,
                })
    }
}

#[derive(Debug, Clone)]
enum Condition {
    Text {
        key: String,
        values: Vec<Pattern>,
        negated: bool,
        if_exists: bool,
    },
    Unknown,
}

impl Condition {
    fn new(operator: &str, key: &str, values: Vec<serde_json::Value>) -> Self {
        let (operator, if_exists) = match operator.strip_suffix("IfExists") {
            Some(operator) => (operator, true),
            None => (operator, false),
        };
        let (wild, negated) = match operator {
            "StringEquals" => (false, false),
            "StringNotEquals" => (false, true),
            "StringLike" => (true, false),
            "StringNotLike" => (true, true),
            _ => return Self::Unknown,
        };
        let key = key.to_ascii_lowercase();
        if !KNOWN_KEYS.contains(&key.as_str()) {
            return Self::Unknown;
        }
        let pattern = |value: serde_json::Value| match value {
            serde_json::Value::String(text) if wild => Pattern::escaped(&text).ok(),
            serde_json::Value::String(text) => Pattern::literal(&text).ok(),
            _ => None,
        };
        match values.into_iter().map(pattern).collect() {
            Some(values) => Self::Text {
                key,
                values,
                negated,
                if_exists,
            },
            None => Self::Unknown,
        }
    }

    /// `None`: nobody can tell.
    fn holds(&self, context: &[(&str, &str)]) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Text {
                key,
                values,
                negated,
                if_exists,
            } => match context.iter().find(|(name, _)| name == key) {
                // A key that the request lacks satisfies the negated operators only.
                None => Some(*if_exists || *negated),
                Some((_, value)) => {
                    Some(values.iter().any(|pattern| pattern.matches(value)) != *negated)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(policy: &str, action: &str, resource: &str, context: &[(&str, &str)]) -> bool {
        let policy = Policy::parse(policy).unwrap();
        policy.allows(Access {
            action,
            resource,
            context,
        })
    }

    fn one(effect: &str, action: &str, resource: &str, condition: &str) -> String {
        format!(
            r#"{{"Effect":"{effect}","Action":{action},"Resource":{resource},"Condition":{condition}}}"#
        )
    }

    fn document(statements: &[String]) -> String {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{}]}}"#,
            statements.join(",")
        )
    }

    #[test]
    fn an_allow_covers_its_actions_on_its_resources_only() {
        let policy = document(&[one(
            "Allow",
            r#"["s3:GetObject","s3:Put*"]"#,
            r#""arn:aws:s3:::b/p/*""#,
            "{}",
        )]);
        for (action, resource, expected) in [
            ("s3:GetObject", "arn:aws:s3:::b/p/k", true),
            ("s3:getobject", "arn:aws:s3:::b/p/k/deeper", true),
            ("s3:PutObjectTagging", "arn:aws:s3:::b/p/", true),
            ("s3:GetObject", "arn:aws:s3:::b/p", false),
            ("s3:GetObject", "arn:aws:s3:::b/px/k", false),
            ("s3:GetObjectVersion", "arn:aws:s3:::b/p/k", false),
            ("s3:DeleteObject", "arn:aws:s3:::b/p/k", false),
        ] {
            assert_eq!(
                allows(&policy, action, resource, &[]),
                expected,
                "{action} {resource}"
            );
        }
    }

    #[test]
    fn a_statement_may_stand_alone_and_a_deny_wins() {
        let alone = r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
        assert!(allows(alone, "s3:GetObject", "arn:aws:s3:::b/k", &[]));
        let denied = document(&[
            one("Allow", r#""s3:*""#, r#""*""#, "{}"),
            one(
                "Deny",
                r#""s3:Delete*""#,
                r#""arn:aws:s3:::b/keep/*""#,
                "{}",
            ),
        ]);
        assert!(allows(
            &denied,
            "s3:DeleteObject",
            "arn:aws:s3:::b/other",
            &[]
        ));
        assert!(!allows(
            &denied,
            "s3:DeleteObject",
            "arn:aws:s3:::b/keep/k",
            &[]
        ));
    }

    #[test]
    fn escaped_wildcards_are_themselves() {
        let policy = document(&[one(
            "Allow",
            r#""s3:GetObject""#,
            r#""arn:aws:s3:::b/a${*}b${?}c${$}{d}*""#,
            "{}",
        )]);
        assert!(allows(
            &policy,
            "s3:GetObject",
            "arn:aws:s3:::b/a*b?c${d}/k",
            &[]
        ));
        assert!(!allows(
            &policy,
            "s3:GetObject",
            "arn:aws:s3:::b/aXb?c${d}/k",
            &[]
        ));
        assert!(!allows(
            &policy,
            "s3:GetObject",
            "arn:aws:s3:::b/a*bXc${d}/k",
            &[]
        ));
    }

    #[test]
    fn conditions_on_the_prefix_are_compared() {
        let policy = |operator: &str, values: &str| {
            let condition = format!(r#"{{"{operator}":{{"s3:prefix":{values}}}}}"#);
            document(&[one(
                "Allow",
                r#""s3:ListBucket""#,
                r#""arn:aws:s3:::b""#,
                &condition,
            )])
        };
        for (operator, values, prefix, expected) in [
            ("StringLike", r#"["p/*","q"]"#, Some("p/x"), true),
            ("StringLike", r#"["p/*","q"]"#, Some("q"), true),
            ("StringLike", r#"["p/*","q"]"#, Some("px"), false),
            ("StringLike", r#""p/*""#, None, false),
            ("StringLikeIfExists", r#""p/*""#, None, true),
            ("StringEquals", r#""p/*""#, Some("p/x"), false),
            ("StringEquals", r#""""#, Some(""), true),
            ("StringNotLike", r#""p/*""#, Some("p/x"), false),
            ("StringNotLike", r#""p/*""#, None, true),
        ] {
            let context: Vec<_> = prefix.map(|p| ("s3:prefix", p)).into_iter().collect();
            let allowed = allows(
                &policy(operator, values),
                "s3:ListBucket",
                "arn:aws:s3:::b",
                &context,
            );
            assert_eq!(allowed, expected, "{operator} {values} {prefix:?}");
        }
    }

    #[test]
    fn what_is_unknown_never_widens() {
        let resource = r#""arn:aws:s3:::b/*""#;
        for condition in [
            r#"{"IpAddress":{"aws:SourceIp":"127.0.0.1/32"}}"#,
            r#"{"Bool":{"aws:SecureTransport":true}}"#,
            r#"{"StringLike":{"aws:PrincipalTag/team":"*"}}"#,
            r#"{"StringLike":{"s3:prefix":"${aws:username}/*"}}"#,
        ] {
            let allow = one("Allow", r#""s3:*""#, resource, condition);
            assert!(
                !allows(&document(&[allow]), "s3:GetObject", "arn:aws:s3:::b/k", &[]),
                "{condition}"
            );
            let both = document(&[
                one("Allow", r#""s3:*""#, resource, "{}"),
                one("Deny", r#""s3:*""#, resource, condition),
            ]);
            assert!(
                !allows(&both, "s3:GetObject", "arn:aws:s3:::b/k", &[]),
                "{condition}"
            );
        }
        for text in [
            "",
            "[]",
            "{}",
            r#"{"Statement":[{"Effect":"Allow","NotAction":"s3:*","Resource":"*"}]}"#,
            r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}]}"#,
            r#"{"Statement":[{"Effect":"allow","Action":"s3:*","Resource":"*"}]}"#,
            r#"{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::${aws:username}"}]}"#,
        ] {
            assert!(Policy::parse(text).is_err(), "{text}");
        }
    }
}
