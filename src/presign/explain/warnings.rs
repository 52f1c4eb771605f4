//! What is allowed and may still go wrong. Pure.

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::admit::expiry::Bound;
use crate::admit::upload::Upload;
use crate::sign::command::BoundCommand;

/// A URL that lives for less, in seconds, may be over before it is used.
const SHORT: u32 = 120;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What kind.
    pub kind: WarningKind,
    /// In a sentence.
    pub text: String,
}

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's `WarningKind` says it")]
pub enum WarningKind {
    ExpiryShort,
    ExpiryCutBySession,
    KeyMangled,
    ContentTypeSigned,
    UploadUnbounded,
    CallerMayNotSign,
}

/// All that may go wrong with a command, with its expiry as far as it is known.
pub(super) fn of(
    command: &BoundCommand<'_>,
    expiry: Option<(u32, Bound)>,
    may_sign: bool,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |kind, text: String| warnings.push(Warning { kind, text });
    if !may_sign {
        let text = "you may have this explained, and not signed: the right `sign` is missing";
        warn(WarningKind::CallerMayNotSign, text.to_owned());
    }
    if let Some((seconds, bound)) = expiry {
        if seconds < SHORT {
            let text = format!(
                "the URL lives for {seconds} s: a slow client or a clock that differs may be late"
            );
            warn(WarningKind::ExpiryShort, text);
        }
        if bound == Bound::Credentials {
            let text = format!("the session ends before the URL would: it lives for {seconds} s");
            warn(WarningKind::ExpiryCutBySession, text);
        }
    }
    for why in mangled(command.key.unwrap_or_default()) {
        warn(WarningKind::KeyMangled, format!("the key {why}"));
    }
    let mut headers = command.headers.iter();
    if let Some(header) = headers.find(|header| header.name == "content-type") {
        let text = format!(
            "Content-Type is signed: the client has to send exactly {:?}, which some complete or leave out",
            header.value.as_str()
        );
        warn(WarningKind::ContentTypeSigned, text);
    }
    if Upload::of(command) == Upload::Unbounded {
        let text = "whoever holds the URL may upload any number of bytes: declare content_length, or ask PresignPost for a form";
        warn(WarningKind::UploadUnbounded, text.to_owned());
    }
    warnings
}

/// What clients, proxies or people may change about a key on its way.
fn mangled(key: &str) -> impl Iterator<Item = &'static str> {
    let normal = ComposingNormalizerBorrowed::new_nfc().is_normalized(key);
    let spaced = key.starts_with(' ') || key.ends_with(' ');
    [
        (
            key.starts_with('/'),
            "begins with `/`, so that the path has `//`, which proxies and clients make one",
        ),
        (
            key.contains("//"),
            "has `//`, which proxies and clients make one",
        ),
        (
            key.contains('%'),
            "has `%`: a client that decodes twice or encodes anew reaches another object",
        ),
        (
            key.contains('+'),
            "has `+`: a client that reads it as a space reaches another object",
        ),
        (
            spaced,
            "begins or ends with a space, which is lost where it is copied",
        ),
        (key.contains('\\'), "has `\\`, which browsers make `/`"),
        (
            key.chars().any(char::is_control),
            "has control characters, which many clients refuse",
        ),
        (
            !normal,
            "is not in Unicode's normal form C: typed anew, it names another object",
        ),
    ]
    .into_iter()
    .filter_map(|(is, why)| is.then_some(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_do_not_survive_are_told_of() {
        for (key, words) in [
            ("plain/key-é.pdf", &[][..]),
            ("/a", &["begins with `/`"]),
            ("a//b", &["has `//`"]),
            ("a%2Fb+c", &["has `%`", "has `+`"]),
            ("a ", &["a space"]),
            (" a", &["a space"]),
            ("a b", &[]),
            ("a\\b", &["which browsers"]),
            ("a\nb", &["control"]),
            ("e\u{301}", &["normal form C"]),
            ("", &[]),
        ] {
            let told: Vec<_> = mangled(key).collect();
            assert_eq!(told.len(), words.len(), "{key:?}: {told:?}");
            for (told, words) in told.iter().zip(words) {
                assert!(told.contains(words), "{key:?}: {told}");
            }
        }
    }
}
