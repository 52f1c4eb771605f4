//! Where a setting stands in its file, and what is wrong with it.
//!
//! Invariant: a message holds a value of the file only through [`quoted`], so that one bad value can neither flood a
//! terminal nor forge a line of a log. Values that may be secrets are not quoted at all.

use std::fmt;
use std::sync::Arc;

/// A place in a configuration file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The file, as the operator named it.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A setting that knows where it was written, so that a later check can point at it.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The setting.
    pub value: T,
    /// Where its value starts; for what has a name, where the name starts.
    pub at: Location,
    /// How it is reached from the top, such as `tenants.acme.grants[0].commands[1]`.
    pub path: Box<str>,
}

impl<T> Located<T> {
    /// Says what is wrong with this setting, and how to put it right.
    pub fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake {
            at: self.at.clone(),
            path: self.path.to_string(),
            message: message.into(),
        }
    }
}

/// One thing to put right (or, as a warning, to look at) in a configuration file.
///
/// Mistakes sort in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where it is.
    pub at: Location,
    /// Which setting it is about; empty for the file as a whole.
    pub path: String,
    /// What is wrong, and the fix.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.at)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// A place in the one text that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Mark {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// What reading one file has found so far.
pub(super) struct Report {
    pub(super) file: Arc<str>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
}

impl Report {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: Arc::from(file),
            mistakes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn location(&self, mark: Mark) -> Location {
        Location {
            file: Arc::clone(&self.file),
            line: mark.line,
            column: mark.column,
        }
    }

    pub(super) fn mistake(&mut self, mark: Mark, path: &str, message: impl Into<String>) {
        let mistake = Mistake {
            at: self.location(mark),
            path: path.to_owned(),
            message: message.into(),
        };
        self.mistakes.push(mistake);
    }
}

/// The longest piece of a value that a message repeats, in characters.
const QUOTED_CHARACTERS: usize = 80;

/// A value as a message shows it: in backquotes, escaped, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", shortened(text))
}

/// One step of a path: as it stands where it is a plain name, else in quotes, escaped and cut.
pub(super) fn path_step(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.len() <= QUOTED_CHARACTERS && key.chars().all(plain) {
        key.to_owned()
    } else {
        format!("\"{}\"", shortened(key))
    }
}

fn shortened(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(QUOTED_CHARACTERS)
        .collect::<String>()
        .escape_debug()
        .to_string();
    if text.chars().nth(QUOTED_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_forge_a_line() {
        assert_eq!(quoted("a\nb\u{1b}[31m"), "`a\\nb\\u{1b}[31m`");
    }

    #[test]
    fn a_long_value_is_cut() {
        let shown = quoted(&"é".repeat(10_000));
        assert_eq!(shown.chars().count(), QUOTED_CHARACTERS + 3);
        assert!(shown.ends_with("…`"));
    }

    #[test]
    fn a_mistake_names_place_setting_and_message() {
        let mut report = Report::new("presignd.yaml");
        let mark = Mark {
            line: 12,
            column: 7,
        };
        report.mistake(mark, "tenants.acme.expiry.max", "is too long");
        assert_eq!(
            report.mistakes[0].to_string(),
            "presignd.yaml:12:7: tenants.acme.expiry.max: is too long"
        );
    }
}
