//! Media types, and the lists of them in grants.
//!
//! Invariant: what cannot be read for certain is no [`MediaType`] at all, and a wildcard never takes in a type that browsers run.
//! Source: RFC 9110, section 8.3.1; the HTML standard, "Loading web pages", and the MIME Sniffing standard, for what browsers do.

use std::fmt;

use crate::sign::parameterized::{is_token, value_of};

/// The media type of a Content-Type, without its parameters. Types do not tell capitals apart.
#[derive(Debug, Clone, Copy)]
pub struct MediaType<'a> {
    kind: &'a str,
    subtype: &'a str,
}

impl<'a> MediaType<'a> {
    /// Reads a Content-Type. `None`: it is malformed, or may be more than one.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        // Browsers differ over where a list of types begins, so that even a quoted comma is one too many.
        if text.contains(',') {
            return None;
        }
        let (kind, subtype) = value_of(text)?.split_once('/')?;
        let tokens = is_token(kind) && is_token(subtype);
        tokens.then_some(Self { kind, subtype })
    }

    /// Whether a browser may run what it is told is of this type: as a document with scripts, as a script, or as whatever the content
    /// looks like to it.
    ///
    /// By the words of the subtype, so that `application/atom+xml`, `text/x-javascript` and what is yet to be registered are among them,
    /// and `application/vnd.openxmlformats-officedocument.wordprocessingml.document` is not.
    #[must_use]
    pub fn runs(&self) -> bool {
        const INERT_KINDS: [&str; 7] = [
            "application",
            "audio",
            "font",
            "image",
            "model",
            "text",
            "video",
        ];
        // `multipart/x-mixed-replace` and `message/rfc822` hold types of their own, and `*/*` and `unknown/unknown` are guessed at.
        let inert_kind = INERT_KINDS
            .iter()
            .any(|kind| self.kind.eq_ignore_ascii_case(kind));
        let mut words = self.subtype.split(|c: char| !c.is_ascii_alphanumeric());
        !inert_kind || self.subtype.contains('*') || words.any(word_of_what_runs)
    }
}

fn word_of_what_runs(word: &str) -> bool {
    const WORDS: [&str; 14] = [
        "ecmascript",
        "flash",
        "javascript",
        "jscript",
        "livescript",
        "mathml",
        "mhtml",
        "rdf",
        "svg",
        "unknown",
        "vbscript",
        "xsl",
        "xslt",
        "xul",
    ];
    let starts = |start: &str| {
        let head = word.get(..start.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(start))
    };
    let ends = |end: &str| {
        let at = word.len().checked_sub(end.len());
        let tail = at.and_then(|at| word.get(at..));
        tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end))
    };
    // `javascript1.5` is a registered type too.
    WORDS.iter().any(|known| word.eq_ignore_ascii_case(known))
        || starts("javascript")
        || ends("html")
        || ends("xml")
}

/// Media types as a grant lists them: `image/png`, or `image/*` for all of a kind but those that browsers run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaRange {
    /// Lower case.
    kind: String,
    /// Lower case; `None`: any that browsers do not run.
    subtype: Option<String>,
}

/// The text is no media type, and no range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRange {
    /// All types at once.
    #[error("takes in every kind of type: list the kinds, such as image/*")]
    Everything,
    /// Not of the form.
    #[error("is not a media type: write it as image/png, without parameters, or image/*")]
    Malformed,
    /// A kind all of whose types browsers run.
    #[error("holds only types that browsers run, which a '*' does not take in: name the type")]
    Empty,
}

impl MediaRange {
    /// Reads a range as a configuration writes it.
    ///
    /// # Errors
    /// If it is none; the message says what to write.
    pub fn parse(text: &str) -> Result<Self, InvalidRange> {
        let (kind, subtype) = text.split_once('/').ok_or(InvalidRange::Malformed)?;
        if kind == "*" {
            return Err(InvalidRange::Everything);
        }
        let named = subtype != "*";
        if !is_token(kind) || !is_token(subtype) || kind.contains('*') {
            return Err(InvalidRange::Malformed);
        }
        if named && subtype.contains('*') {
            return Err(InvalidRange::Malformed);
        }
        let sample = MediaType { kind, subtype: "x" };
        if !named && sample.runs() {
            return Err(InvalidRange::Empty);
        }
        Ok(Self {
            kind: kind.to_ascii_lowercase(),
            subtype: named.then(|| subtype.to_ascii_lowercase()),
        })
    }

    /// Whether the range takes in the type.
    #[must_use]
    pub fn covers(&self, media: &MediaType<'_>) -> bool {
        self.kind.eq_ignore_ascii_case(media.kind)
            && match &self.subtype {
                Some(subtype) => subtype.eq_ignore_ascii_case(media.subtype),
                None => !media.runs(),
            }
    }
}

impl fmt::Display for MediaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}",
            self.kind,
            self.subtype.as_deref().unwrap_or("*")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(text: &str) -> Option<bool> {
        MediaType::parse(text).map(|media| media.runs())
    }

    #[test]
    fn what_browsers_run_is_known_by_its_words() {
        for text in [
            "text/html",
            "TEXT/HtMl; charset=utf-8",
            "application/xhtml+xml",
            "application/vnd.wap.xhtml+xml",
            "image/svg+xml",
            "image/svg",
            "image/SVG-XML",
            "text/xml",
            "application/xml",
            "application/xml-dtd",
            "application/atom+xml",
            "application/mathml+xml",
            "text/xsl",
            "application/xslt+xml",
            "text/rdf",
            "text/javascript",
            "application/javascript",
            "application/x-javascript",
            "text/javascript1.5",
            "text/ecmascript",
            "text/jscript",
            "text/livescript",
            "application/x-shockwave-flash",
            "multipart/x-mixed-replace",
            "multipart/related",
            "message/rfc822",
            "x-unknown/x",
            "unknown/unknown",
            "application/unknown",
            "*/*",
            "text/*",
            "text/x-webviewhtml",
        ] {
            assert_eq!(runs(text), Some(true), "{text}");
        }
        for text in [
            "text/plain; charset=utf-8",
            "text/csv",
            "image/png",
            "IMAGE/JPEG",
            "video/mp4",
            "audio/ogg",
            "font/woff2",
            "model/gltf-binary",
            "application/json",
            "application/pdf",
            "application/zip",
            "application/octet-stream",
            "application/postscript",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main",
        ] {
            assert_eq!(runs(text), Some(false), "{text}");
        }
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_no_type() {
        for text in [
            "",
            "text",
            "text/",
            "/html",
            "text/html/x",
            "text /html",
            "text/ html",
            " text/html",
            "text/html, image/png",
            "image/png, text/html",
            "image/png; a=\", text/html\"",
            "image/png;",
            "image/png; a",
            "image/png; a=b=c",
            "image/png text/html",
            "image/png\u{a0}",
            "ımage/png",
            "\"image/png\"",
        ] {
            assert_eq!(runs(text), None, "{text:?}");
        }
    }

    #[test]
    fn ranges_are_a_type_or_the_inert_types_of_a_kind() {
        for (range, text, covered) in [
            ("image/*", "image/png", true),
            ("image/*", "IMAGE/PNG; q=1", true),
            ("IMAGE/*", "image/png", true),
            ("image/*", "image/svg+xml", false),
            ("image/svg+xml", "image/SVG+xml;charset=utf-8", true),
            ("image/*", "images/png", false),
            ("image/png", "image/pn", false),
            ("image/png", "image/png2", false),
            ("text/*", "text/html", false),
            ("text/html", "text/html", true),
            ("image/*", "image/*", false),
        ] {
            let media = MediaType::parse(text).unwrap();
            let range = MediaRange::parse(range).unwrap();
            assert_eq!(range.covers(&media), covered, "{range} and {text}");
        }
        for (text, why) in [
            ("*/*", InvalidRange::Everything),
            ("*/png", InvalidRange::Everything),
            ("*", InvalidRange::Malformed),
            ("", InvalidRange::Malformed),
            ("image", InvalidRange::Malformed),
            ("image/", InvalidRange::Malformed),
            ("image/p*", InvalidRange::Malformed),
            ("i*/png", InvalidRange::Malformed),
            ("image/png; q=1", InvalidRange::Malformed),
            ("image/png, text/html", InvalidRange::Malformed),
            (" image/png", InvalidRange::Malformed),
            ("multipart/*", InvalidRange::Empty),
        ] {
            assert_eq!(MediaRange::parse(text), Err(why), "{text:?}");
        }
    }
}
