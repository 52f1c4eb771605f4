//! Header values with parameters, such as a Content-Type or a Content-Disposition: `value *( OWS ";" OWS name "=" text )`.
//!
//! Strict, because readers that repair what is malformed each repair it in a way of their own. Invariant: what is read here has one
//! meaning. Source: RFC 9110, sections 5.6.2, 5.6.4 and 5.6.6; RFC 6266, section 4.1.

/// The most parameters that a value may have.
const MAX_PARAMETERS: usize = 16;

/// The part before the parameters, if the whole is well-formed, with few parameters, and none of them twice.
#[must_use]
pub fn value_of(text: &str) -> Option<&str> {
    let end = text.find(';').unwrap_or(text.len());
    let (value, mut rest) = text.split_at(end);
    let parameters = rest;
    let value = value.trim_end_matches(OWS);
    while !rest.is_empty() {
        let (name, after) = parameter(rest)?;
        let before = &parameters[..parameters.len() - rest.len()];
        let mut known = names(before).take(MAX_PARAMETERS).enumerate();
        if known.any(|(n, known)| n + 1 == MAX_PARAMETERS || known.eq_ignore_ascii_case(name)) {
            return None;
        }
        rest = after;
    }
    Some(value).filter(|value| !value.is_empty())
}

/// Whether the text is a token.
#[must_use]
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// White space that may stand around a semicolon.
const OWS: [char; 2] = [' ', '\t'];

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The names of well-formed parameters.
fn names(mut parameters: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (name, rest) = parameter(parameters)?;
        parameters = rest;
        Some(name)
    })
}

/// Reads `; name=text`, and gives the name and what comes after.
fn parameter(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(OWS).strip_prefix(';')?;
    let (name, text) = text.trim_start_matches(OWS).split_once('=')?;
    let rest = if let Some(quoted) = text.strip_prefix('"') {
        after_quoted(quoted)?
    } else {
        text.trim_start_matches(|c: char| u8::try_from(c).is_ok_and(is_token_byte))
    };
    let has_text = rest.len() < text.len();
    (is_token(name) && has_text).then_some((name, rest))
}

/// What follows a quoted string whose opening quote has been read.
fn after_quoted(text: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        if !(b' '..=b'~').contains(&byte) {
            return None;
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(&text[at + 1..]),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn well_formed_values_are_told_from_others() {
        for (text, value) in [
            ("attachment", Some("attachment")),
            ("text/html; charset=utf-8", Some("text/html")),
            ("text/html ;\t charset=\"utf-8\"", Some("text/html")),
            (
                r#"attachment; filename="a \"b\", c; d.txt""#,
                Some("attachment"),
            ),
            (
                "attachment; filename=e.txt; filename*=UTF-8''%C3%A9.txt",
                Some("attachment"),
            ),
            (r#"attachment; filename="""#, Some("attachment")),
            ("", None),
            ("; a=b", None),
            ("attachment;", None),
            ("attachment; ", None),
            ("attachment; filename", None),
            ("attachment; filename=", None),
            ("attachment; filename =a", None),
            ("attachment; filename= a", None),
            ("attachment; =a", None),
            ("attachment; filename=a b", None),
            ("attachment; filename=a, inline", None),
            (r#"attachment; filename="a" inline"#, None),
            (r#"attachment; filename="a"b.html""#, None),
            (r#"attachment; filename="a"#, None),
            (r#"attachment; filename="a\""#, None),
            ("attachment; filename=\"é\"", None),
            ("attachment; filename=\"a\r\nb\"", None),
            ("attachment; filename=a; filename=b", None),
            ("attachment; filename=a; FileName=b", None),
        ] {
            assert_eq!(value_of(text), value, "{text:?}");
        }
    }

    #[test]
    fn parameters_are_few() {
        let with = |count: usize| {
            let parameters: Vec<_> = (0..count).map(|n| format!("; p{n}=v")).collect();
            format!("a{}", parameters.concat())
        };
        assert_eq!(value_of(&with(MAX_PARAMETERS)), Some("a"));
        assert_eq!(value_of(&with(MAX_PARAMETERS + 1)), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), tail in "[;=\" \\\\a,]{0,12}") {
            let _ = value_of(&text);
            let _ = value_of(&format!("a{tail}"));
        }

        #[test]
        fn a_quoted_text_is_read_whatever_it_holds(text in "[ -~]{0,20}") {
            let quoted = text.replace('\\', r"\\").replace('"', "\\\"");
            let value = format!("attachment; filename=\"{quoted}\"; a=b");
            prop_assert_eq!(value_of(&value), Some("attachment"));
        }
    }
}
