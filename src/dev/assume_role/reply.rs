//! Answers in the XML of AWS's Query protocol.

use std::fmt::Write as _;

use http::StatusCode;
use jiff::Timestamp;
use secrecy::ExposeSecret;

use super::parameters::Assumption;
use crate::dev::sessions::Session;

const XML_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

pub(super) fn answer_xml(
    assumption: &Assumption<'_>,
    session: &Session,
    expiration: Timestamp,
    request_id: uuid::Uuid,
) -> String {
    let mut xml = format!("<AssumeRoleResponse xmlns=\"{XML_NAMESPACE}\"><AssumeRoleResult>");
    xml.push_str("<AssumedRoleUser>");
    element(&mut xml, "Arn", &session.arn);
    element(
        &mut xml,
        "AssumedRoleId",
        &format!("AROASANDBOX:{}", assumption.session_name),
    );
    xml.push_str("</AssumedRoleUser><Credentials>");
    element(&mut xml, "AccessKeyId", &session.identity.access_key_id);
    element(
        &mut xml,
        "SecretAccessKey",
        session.identity.secret_access_key.expose_secret(),
    );
    element(
        &mut xml,
        "SessionToken",
        session.identity.session_token.expose_secret(),
    );
    element(&mut xml, "Expiration", &expiration.to_string());
    xml.push_str("</Credentials>");
    if session.policy.is_some() {
        element(
            &mut xml,
            "PackedPolicySize",
            &assumption.packed_percent.to_string(),
        );
    }
    if let Some(identity) = &assumption.source_identity {
        element(&mut xml, "SourceIdentity", identity);
    }
    xml.push_str("</AssumeRoleResult><ResponseMetadata>");
    element(&mut xml, "RequestId", &request_id.to_string());
    xml.push_str("</ResponseMetadata></AssumeRoleResponse>");
    xml
}

fn element(xml: &mut String, name: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = write!(xml, "<{name}>{}</{name}>", escape(text));
}

pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no way to write the other control characters.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// An error in STS's form; `message` is XML text already.
pub(super) fn error_xml(code: &str, message: &str, status: StatusCode) -> String {
    let kind = if status.is_server_error() {
        "Receiver"
    } else {
        "Sender"
    };
    format!(
        "<ErrorResponse xmlns=\"{XML_NAMESPACE}\"><Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
}

/// Puts an error that the S3 server made before the route was reached into STS's form, or leaves the body alone.
pub(in crate::dev) fn restate_error(body: &str, status: StatusCode) -> Option<String> {
    let (_, error) = body.split_once("<Error>")?;
    let text = |name: &str| {
        let (_, rest) = error.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    if body.contains("<ErrorResponse") {
        return None;
    }
    let code = match text("Code")? {
        "InvalidAccessKeyId" | "InvalidToken" => "InvalidClientTokenId",
        "RequestTimeTooSkewed" => "SignatureDoesNotMatch",
        code => code,
    };
    Some(error_xml(code, text("Message").unwrap_or(code), status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_s3_server_take_the_form_of_sts() {
        let body = "<?xml version=\"1.0\"?><Error><Code>InvalidAccessKeyId</Code><Message>a &lt; b</Message></Error>";
        let restated = restate_error(body, StatusCode::FORBIDDEN).unwrap();
        assert!(
            restated.contains("<Code>InvalidClientTokenId</Code><Message>a &lt; b</Message>"),
            "{restated}"
        );
        assert!(restate_error(&restated, StatusCode::FORBIDDEN).is_none());
        assert!(restate_error("", StatusCode::FORBIDDEN).is_none());
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b>&\"\u{1}é"), "a&lt;b&gt;&amp;&quot;\u{fffd}é");
    }
}
