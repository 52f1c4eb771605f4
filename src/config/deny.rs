//! `session.deny`: statements of the operator's own, as IAM writes them.
//!
//! Session policies add up what their statements allow, so a statement that allows would widen every session. Invariant: a
//! [`DenyStatement`] denies, and has no element that presignd does not know.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::mistake::{Located, quoted};
use super::reader::Reader;
use super::suggestion::nearest;
use super::tree::Node;

/// A statement that denies.
#[derive(Debug, Clone, PartialEq)]
pub struct DenyStatement(Map<String, Value>);

const ELEMENTS: [&str; 7] = [
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

impl DenyStatement {
    /// The statement as JSON.
    pub fn json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Whether it denies what it does not name.
    pub(super) fn has_not_action(&self) -> bool {
        self.0.contains_key("NotAction")
    }
}

pub(super) fn deny(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
) -> Option<Located<Vec<DenyStatement>>> {
    let statements = reader.parsed(node, statements)?;
    Some(reader.locate(node.at, statements))
}

/// Reads one statement, or a list of them.
fn statements(text: &str) -> Result<Vec<DenyStatement>, String> {
    let parsed = serde_json::from_str(text)
        .map_err(|error| format!("this is not JSON: {error} of the text"))?;
    let (listed, items) = match parsed {
        Value::Array(items) => (true, items),
        item => (false, vec![item]),
    };
    if items.is_empty() {
        return Err("the list is empty: write a statement, or remove it".to_owned());
    }
    let mut ids = HashSet::new();
    let mut statements = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let place = |why: String| {
            if listed {
                format!("statement {}: {why}", index + 1)
            } else {
                why
            }
        };
        let statement = statement(item).map_err(place)?;
        if let Some(Value::String(id)) = statement.0.get("Sid")
            && !ids.insert(id.clone())
        {
            let why = format!(
                "another one has the `Sid` {} already: rename one",
                quoted(id)
            );
            return Err(place(why));
        }
        statements.push(statement);
    }
    Ok(statements)
}

fn statement(item: Value) -> Result<DenyStatement, String> {
    let Value::Object(mut statement) = item else {
        return Err(
            r#"this is no statement: write {"Effect": "Deny", "Action": .., "Resource": ..}"#
                .to_owned(),
        );
    };
    for key in statement.keys() {
        if !ELEMENTS.contains(&key.as_str()) {
            let meant = nearest(key, &ELEMENTS).map_or_else(
                || "the elements here are Sid, Effect, Action or NotAction, Resource or NotResource, and Condition".to_owned(),
                |meant| format!("did you mean `{meant}`?"),
            );
            return Err(format!("{} is unknown: {meant}", quoted(key)));
        }
    }
    match statement.get("Effect") {
        Some(Value::String(effect)) if effect == "Deny" => {}
        Some(_) => {
            return Err(
                "`Effect` has to be \"Deny\": what a session may do comes from the grants alone, and here it is only narrowed".to_owned(),
            );
        }
        None => return Err("`Effect` is missing: write \"Effect\": \"Deny\"".to_owned()),
    }
    if let Some(id) = statement.get("Sid") {
        let good = id.as_str().is_some_and(|id| {
            !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        if !good {
            return Err("`Sid` is not letters and digits alone".to_owned());
        }
    }
    for (name, opposite) in [("Action", "NotAction"), ("Resource", "NotResource")] {
        let given = match (statement.get(name), statement.get(opposite)) {
            (Some(given), None) | (None, Some(given)) => given,
            (None, None) => return Err(format!("`{name}` (or `{opposite}`) is missing")),
            (Some(_), Some(_)) => {
                return Err(format!("has both `{name}` and `{opposite}`: remove one"));
            }
        };
        if !is_text(given) {
            return Err(format!(
                "`{name}` or `{opposite}` is neither a text nor a list of texts"
            ));
        }
    }
    if let Some(condition) = statement.get_mut("Condition") {
        as_texts(condition).ok_or(
            r#"`Condition` is not of the form {"OPERATOR": {"KEY": VALUE or [VALUE, ..]}}"#,
        )?;
    }
    Ok(DenyStatement(statement))
}

/// One text or more, none of them empty.
fn is_text(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(texts) => {
            let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
            !texts.is_empty() && texts.iter().all(text)
        }
        _ => false,
    }
}

/// Writes every value of a condition as text, as IAM reads it: Ceph RGW takes no other.
fn as_texts(condition: &mut Value) -> Option<()> {
    for keys in filled(condition)? {
        for value in filled(keys)? {
            let one = match value {
                Value::Array(values) if !values.is_empty() => &mut values[..],
                Value::Array(_) => return None,
                value => std::slice::from_mut(value),
            };
            for value in one {
                match value {
                    Value::String(_) => {}
                    Value::Bool(_) | Value::Number(_) => *value = value.to_string().into(),
                    _ => return None,
                }
            }
        }
    }
    Some(())
}

/// The values of an object that has some.
fn filled(value: &mut Value) -> Option<impl Iterator<Item = &mut Value>> {
    let object = value.as_object_mut().filter(|object| !object.is_empty())?;
    Some(object.values_mut())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let statements = statements(text)?;
        let json: Vec<Value> = statements.iter().map(DenyStatement::json).collect();
        Ok(Value::Array(json).to_string())
    }

    #[test]
    fn one_statement_and_many_are_read() {
        let one = r#"{ "Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::b/legal/*" }"#;
        let compact = r#"{"Action":"s3:*","Effect":"Deny","Resource":"arn:aws:s3:::b/legal/*"}"#;
        assert_eq!(read(one), Ok(format!("[{compact}]")));
        assert_eq!(
            read(&format!("[{one}, {one}]")),
            Ok(format!("[{compact},{compact}]"))
        );
        let all = r#"{"Sid": "a1", "Effect": "Deny", "NotAction": ["s3:GetObject"], "NotResource": ["x", "y"],
            "Condition": {"Bool": {"aws:SecureTransport": false}, "NumericGreaterThan": {"s3:max-keys": [5, "6"]}}}"#;
        let said = read(all).unwrap();
        for text in [
            r#"{"aws:SecureTransport":"false"}"#,
            r#"["5","6"]"#,
            r#"["x","y"]"#,
        ] {
            assert!(said.contains(text), "{said}");
        }
    }

    #[test]
    fn whatever_is_not_a_denial_is_refused() {
        for (text, said) in [
            ("", "not JSON"),
            ("{", "not JSON"),
            ("{} x", "not JSON"),
            ("[]", "empty"),
            ("3", "no statement"),
            ("[[]]", "statement 1: this is no statement"),
            ("{}", "`Effect` is missing"),
            (
                r#"{"Effect":"Allow","Action":"a","Resource":"r"}"#,
                "has to be \"Deny\"",
            ),
            (
                r#"{"Effect":"deny","Action":"a","Resource":"r"}"#,
                "has to be \"Deny\"",
            ),
            (
                r#"{"Effect":["Deny"],"Action":"a","Resource":"r"}"#,
                "has to be \"Deny\"",
            ),
            (
                r#"{"Effect":"Deny","Resource":"r"}"#,
                "`Action` (or `NotAction`) is missing",
            ),
            (
                r#"{"Effect":"Deny","Action":"a"}"#,
                "`Resource` (or `NotResource`) is missing",
            ),
            (
                r#"{"Effect":"Deny","Action":"a","NotAction":"a","Resource":"r"}"#,
                "has both",
            ),
            (
                r#"{"Effect":"Deny","Action":[],"Resource":"r"}"#,
                "neither a text",
            ),
            (
                r#"{"Effect":"Deny","Action":"a","Resource":[1]}"#,
                "neither a text",
            ),
            (
                r#"{"Effect":"Deny","Action":"a","Resource":"r","Sid":"a b"}"#,
                "`Sid`",
            ),
            (
                r#"{"Effect":"Deny","Action":"a","Resource":"r","Condition":{}}"#,
                "`Condition`",
            ),
            (
                r#"{"Effect":"Deny","Action":"a","Resource":"r","Condition":{"Bool":{"k":{}}}}"#,
                "`Condition`",
            ),
            (
                r#"{"Effect":"Deny","Action":"a","Resource":"r","Condition":{"Bool":{"k":null}}}"#,
                "`Condition`",
            ),
            (
                r#"{"Effect":"Deny","Action":"a","Resource":"r","Principal":"*"}"#,
                "`Principal` is unknown",
            ),
            (
                r#"{"Effect":"Deny","Actions":"a","Resource":"r"}"#,
                "did you mean `Action`?",
            ),
            (r#"{"Version":"2012-10-17","Statement":[]}"#, "is unknown"),
            (
                r#"[{"Sid":"a","Effect":"Deny","Action":"a","Resource":"r"},{"Sid":"a","Effect":"Deny","Action":"a","Resource":"r"}]"#,
                "statement 2: another one has the `Sid` `a`",
            ),
        ] {
            let refused = read(text).expect_err(text);
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    proptest! {
        /// Whatever the text, what comes out denies, and nothing in it is named twice.
        #[test]
        fn no_text_ever_allows(
            parts in proptest::collection::vec(
                proptest::sample::select(&[
                    "{", "}", "[", "]", ",", ":", "\"Effect\"", "\"Allow\"", "\"Deny\"", "\"Action\"", "\"Resource\"", "\"*\"",
                    "\"Effect\":\"Deny\"", "\"Effect\":\"Allow\"", "\"Action\":\"*\"", "\"Resource\":\"*\"",
                ][..]),
                0..14,
            ),
        ) {
            let text = parts.concat();
            for wrapped in [text.clone(), format!("{{{text}}}"), format!("[{{{text}}}]")] {
                if let Ok(statements) = statements(&wrapped) {
                    for statement in statements {
                        prop_assert_eq!(&statement.json()["Effect"], "Deny");
                    }
                }
            }
        }
    }
}
