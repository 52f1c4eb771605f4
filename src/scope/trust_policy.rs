//! The trust policy that a tenant's role needs: who may assume it, and what sessions may say of themselves. Pure.
//!
//! Invariant: it allows what presignd asks for and no more: the external id, the tags and the source identity are pinned as far as they are
//! known before any request.
//!
//! Source: the IAM user guide, "Pass session tags in AWS STS" and "Available keys for AWS web identity federation".

use serde_json::{Map, Value, json};

use super::identity::{OwnIdentity, source_identity_pattern, tag_value_pattern};
use crate::names::TenantId;

/// Whose tokens a role trusts, and which of them.
#[derive(Debug, Clone, Copy)]
pub struct TokenTrust<'a> {
    /// The ARN of the provider in IAM.
    pub provider_arn: &'a str,
    /// Its URL without the scheme, as condition keys begin.
    pub issuer: &'a str,
    /// The token's `sub`.
    pub subject: &'a str,
    /// The token's `aud`.
    pub audience: &'a str,
}

/// For a role that presignd assumes as itself: `principal` is its ARN.
#[must_use]
pub fn trust_policy(own: &OwnIdentity, tenant: &TenantId, principal: &str) -> Value {
    let allow = |action: &str, condition: Conditions| {
        let mut statement =
            json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": action});
        if !condition.0.is_empty() {
            statement["Condition"] = Value::Object(condition.0);
        }
        statement
    };
    let mut external_id = Conditions::default();
    if let Some(id) = &own.external_id {
        external_id.add("StringEquals", "sts:ExternalId", id.as_str());
    }
    let mut statements = vec![allow("sts:AssumeRole", external_id)];
    if !own.session_tags.is_empty() {
        statements.push(allow("sts:TagSession", of_tags(own, tenant)));
    }
    if let Some(source) = &own.source_identity {
        let mut condition = Conditions::default();
        let pattern = source_identity_pattern(source, tenant);
        condition.add_pattern("sts:SourceIdentity", pattern);
        statements.push(allow("sts:SetSourceIdentity", condition));
    }
    document(&statements)
}

/// For a role that presignd assumes with a token.
#[must_use]
pub fn web_identity_trust_policy(trust: &TokenTrust<'_>) -> Value {
    let TokenTrust {
        provider_arn,
        issuer,
        subject,
        audience,
    } = trust;
    let mut condition = Conditions::default();
    condition.add("StringEquals", &format!("{issuer}:aud"), *audience);
    condition.add("StringEquals", &format!("{issuer}:sub"), *subject);
    document(&[json!({
        "Effect": "Allow",
        "Principal": {"Federated": provider_arn},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition.0,
    })])
}

fn of_tags(own: &OwnIdentity, tenant: &TenantId) -> Conditions {
    let mut condition = Conditions::default();
    for tag in &own.session_tags {
        let key = format!("aws:RequestTag/{}", tag.key);
        condition.add_pattern(&key, tag_value_pattern(&tag.value, tenant));
    }
    let keys = |transitive_only: bool| -> Vec<&str> {
        let tags = own.session_tags.iter();
        let tags = tags.filter(|tag| tag.transitive || !transitive_only);
        tags.map(|tag| tag.key.as_str()).collect()
    };
    condition.add("ForAllValues:StringEquals", "aws:TagKeys", keys(false));
    let transitive = keys(true);
    if !transitive.is_empty() {
        condition.add(
            "ForAllValues:StringEquals",
            "sts:TransitiveTagKeys",
            transitive,
        );
    }
    condition
}

/// Conditions by their operators.
#[derive(Default)]
struct Conditions(Map<String, Value>);

impl Conditions {
    fn add(&mut self, operator: &str, key: &str, value: impl Into<Value>) {
        let keys = self.0.entry(operator).or_insert_with(|| json!({}));
        keys[key] = value.into();
    }

    /// A whole value, or what it begins with. The alphabets of values hold no wildcard and no `$`.
    fn add_pattern(&mut self, key: &str, (text, whole): (String, bool)) {
        if whole {
            self.add("StringEquals", key, text);
        } else {
            self.add("StringLike", key, format!("{text}*"));
        }
    }
}

fn document(statements: &[Value]) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::identity::SessionTag;

    const PRESIGND: &str = "arn:aws:iam::444455556666:role/presignd";

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn tag(key: &str, value: &str, transitive: bool) -> SessionTag {
        SessionTag {
            key: key.to_owned(),
            value: value.to_owned(),
            transitive,
        }
    }

    #[test]
    fn what_is_not_configured_is_not_allowed() {
        let policy = trust_policy(&OwnIdentity::default(), &acme(), PRESIGND);
        let expected = json!([{"Effect": "Allow", "Principal": {"AWS": PRESIGND}, "Action": "sts:AssumeRole"}]);
        assert_eq!(policy["Statement"], expected);
    }

    #[test]
    fn what_is_configured_is_pinned_as_far_as_it_is_known() {
        let own = OwnIdentity {
            external_id: Some("acme-7f3a".to_owned()),
            session_tags: vec![
                tag("tenant", "{tenant}", true),
                tag("who", "{tenant}/{caller}", false),
            ],
            source_identity: Some("presignd-{caller}".to_owned()),
        };
        let policy = trust_policy(&own, &acme(), PRESIGND);
        let statements = policy["Statement"].as_array().unwrap();
        let found: Vec<(&Value, &Value)> = statements
            .iter()
            .map(|statement| (&statement["Action"], &statement["Condition"]))
            .collect();
        let tags = json!({
            "StringEquals": {"aws:RequestTag/tenant": "acme"},
            "StringLike": {"aws:RequestTag/who": "acme/*"},
            "ForAllValues:StringEquals": {"aws:TagKeys": ["tenant", "who"], "sts:TransitiveTagKeys": ["tenant"]},
        });
        let expected = [
            (
                &json!("sts:AssumeRole"),
                &json!({"StringEquals": {"sts:ExternalId": "acme-7f3a"}}),
            ),
            (&json!("sts:TagSession"), &tags),
            (
                &json!("sts:SetSourceIdentity"),
                &json!({"StringLike": {"sts:SourceIdentity": "presignd-*"}}),
            ),
        ];
        assert_eq!(found, expected);
        for statement in statements {
            assert_eq!(statement["Principal"], json!({"AWS": PRESIGND}));
        }
    }

    #[test]
    fn a_token_is_held_to_its_issuer_subject_and_audience() {
        let policy = web_identity_trust_policy(&TokenTrust {
            provider_arn: "arn:aws:iam::111122223333:oidc-provider/oidc.example/id/X",
            issuer: "oidc.example/id/X",
            subject: "system:serviceaccount:a:b",
            audience: "sts.amazonaws.com",
        });
        let expected = json!([{
            "Effect": "Allow",
            "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.example/id/X"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {
                "oidc.example/id/X:aud": "sts.amazonaws.com",
                "oidc.example/id/X:sub": "system:serviceaccount:a:b",
            }},
        }]);
        assert_eq!(policy["Statement"], expected);
    }
}
