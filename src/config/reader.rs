//! Walks the tree as the sections ask for their settings, and notes every mistake on the way.
//!
//! A reader function takes a node and returns `Option<T>`: `None` means that it has reported why. A section reads all of its
//! keys before it gives up on any, so that one pass over a file finds everything that is wrong with it. Invariant: whoever
//! returns `None` has added a mistake, so settings without mistakes are whole.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::fingerprint::{self, Fingerprint};
use super::mistake::{Located, Mark, Mistake, Report, path_step, quoted};
use super::quantity;
use super::sources::Reading;
use super::suggestion::{alternatives, nearest};
use super::surroundings::Surroundings;
use super::tree::{Content, Entry, Node};

/// The state of one walk.
pub(super) struct Reader<'e> {
    pub(super) report: Report,
    /// Where relative secret files are.
    pub(super) folder: &'e Path,
    pub(super) surroundings: &'e dyn Surroundings,
    /// How many threads may read at once.
    pub(super) threads: NonZeroUsize,
    /// The files that were read.
    pub(super) sources: Reading,
    /// The secrets that were read since the last fingerprint began.
    secrets: Sha256,
    path: String,
    /// Where the key (or list item) stands whose value is being read.
    key_at: Mark,
}

impl<'e> Reader<'e> {
    pub(super) fn new(
        report: Report,
        folder: &'e Path,
        surroundings: &'e dyn Surroundings,
    ) -> Self {
        Self {
            report,
            folder,
            surroundings,
            threads: NonZeroUsize::MIN,
            sources: Reading::default(),
            secrets: Sha256::new(),
            path: String::new(),
            key_at: Mark::START,
        }
    }

    /// Reports a mistake about the setting that is being read.
    pub(super) fn mistake(&mut self, at: Mark, message: impl Into<String>) {
        self.report.mistake(at, &self.path, message);
    }

    /// Reports a mistake about a setting that has been read.
    pub(super) fn mistake_in<T>(&mut self, setting: &Located<T>, message: impl Into<String>) {
        self.report.mistakes.push(setting.mistake(message));
    }

    /// Reports something that is allowed and probably not meant.
    pub(super) fn warn_in<T>(&mut self, setting: &Located<T>, message: impl Into<String>) {
        self.report.warnings.push(setting.mistake(message));
    }

    /// Reports something about the section that is being read, at its key.
    pub(super) fn warn(&mut self, message: impl Into<String>) {
        let warning = Mistake {
            at: self.report.location(self.key_at),
            path: self.path.clone(),
            message: message.into(),
        };
        self.report.warnings.push(warning);
    }

    /// Reads a node, and takes its fingerprint. One at a time: none within another.
    pub(super) fn fingerprinted<T>(
        &mut self,
        node: &Node<'_>,
        print: &mut Option<Fingerprint>,
        read: impl FnOnce(&mut Self, &Node<'_>) -> Option<T>,
    ) -> Option<T> {
        self.secrets = Sha256::new();
        let value = read(self, node);
        *print = Some(Fingerprint::of(node, std::mem::take(&mut self.secrets)));
        value
    }

    /// Has a secret count in the fingerprint of what names it.
    pub(super) fn count_secret(&mut self, secret: &str) {
        fingerprint::add_text(&mut self.secrets, secret);
    }

    /// Wraps what is read in its place.
    pub(super) fn locate<T>(&self, at: Mark, value: T) -> Located<T> {
        Located {
            value,
            at: self.report.location(at),
            path: self.path.as_str().into(),
        }
    }

    /// Reads a value one step further down.
    fn descend<T>(
        &mut self,
        step: &str,
        key_at: Mark,
        node: &Node<'_>,
        read: impl FnOnce(&mut Self, &Node<'_>) -> Option<T>,
    ) -> Option<T> {
        let length = self.path.len();
        let outer = self.key_at;
        if !self.path.is_empty() && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        self.key_at = key_at;
        let value = if node.is_null() {
            self.mistake(key_at, "has no value: give one, or remove the line");
            None
        } else if let Content::Refused = node.content {
            None
        } else {
            read(self, node)
        };
        self.path.truncate(length);
        self.key_at = outer;
        value
    }

    /// Reads another file, whose settings are reached by `root`.
    pub(super) fn in_file<T>(
        &mut self,
        file: &str,
        root: &str,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let outer = (
            std::mem::replace(&mut self.report.file, file.into()),
            std::mem::replace(&mut self.path, root.to_owned()),
            std::mem::replace(&mut self.key_at, Mark::START),
        );
        let value = read(self);
        (self.report.file, self.path, self.key_at) = outer;
        value
    }

    /// Opens a mapping whose keys are settings.
    pub(super) fn section<'r, 'n>(&'r mut self, node: &'n Node<'n>) -> Option<Section<'r, 'e, 'n>> {
        let Content::Mapping(entries) = &node.content else {
            self.mistake(
                node.at,
                format!("expected settings (`key: value`), found {}", node.kind()),
            );
            return None;
        };
        Some(Section {
            at: self.key_at,
            reader: self,
            entries,
            known: Vec::new(),
            guarded: false,
        })
    }

    /// Reads a mapping whose keys are names that the operator chooses.
    pub(super) fn each_entry<T>(
        &mut self,
        node: &Node<'_>,
        mut read: impl FnMut(&mut Self, &str, Mark, &Node<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Content::Mapping(entries) = &node.content else {
            self.mistake(
                node.at,
                format!("expected names (`name: {{ .. }}`), found {}", node.kind()),
            );
            return None;
        };
        let mut whole = Vec::with_capacity(entries.len());
        for entry in entries {
            let step = path_step(&entry.key);
            whole.extend(
                self.descend(&step, entry.key_at, &entry.value, |reader, node| {
                    read(reader, &entry.key, entry.key_at, node)
                }),
            );
        }
        (whole.len() == entries.len()).then_some(whole)
    }

    /// Reads a list.
    pub(super) fn list<T>(
        &mut self,
        node: &Node<'_>,
        mut read: impl FnMut(&mut Self, &Node<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Content::Sequence(items) = &node.content else {
            self.mistake(
                node.at,
                format!("expected a list (`[a, b]`), found {}", node.kind()),
            );
            return None;
        };
        let mut whole = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            whole.extend(self.descend(&format!("[{index}]"), item.at, item, &mut read));
        }
        (whole.len() == items.len()).then_some(whole)
    }

    /// Reads a list of single values, none of them twice.
    pub(super) fn distinct<T>(
        &mut self,
        node: &Node<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<Located<T>>> {
        let mut seen = HashMap::new();
        self.list(node, |reader, node| {
            let text = reader.text(node)?;
            if let Some(&line) = seen.get(text) {
                let message = format!(
                    "{} is listed twice, first on line {line}: remove one",
                    quoted(text)
                );
                reader.mistake(node.at, message);
                return None;
            }
            seen.insert(text.to_owned(), node.at.line);
            let value = reader.parsed(node, &parse)?;
            Some(reader.locate(node.at, value))
        })
    }

    /// Reads a list of names, at least one, none of them twice; `check` explains what it refuses.
    pub(super) fn names(
        &mut self,
        node: &Node<'_>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<Vec<Located<String>>> {
        let names = self.distinct(node, |text| {
            if text.is_empty() {
                Err("is empty: remove it".to_owned())
            } else {
                check(text)
                    .map(|()| text.to_owned())
                    .map_err(|why| format!("{} {why}", quoted(text)))
            }
        })?;
        if names.is_empty() {
            self.mistake(node.at, "the list is empty: name at least one");
            return None;
        }
        Some(names)
    }

    /// Reads a single value as the text that was written.
    pub(super) fn text<'n>(&mut self, node: &'n Node<'_>) -> Option<&'n str> {
        if let Content::Scalar { text, .. } = &node.content {
            Some(text)
        } else {
            self.mistake(
                node.at,
                format!("expected a single value, found {}", node.kind()),
            );
            None
        }
    }

    /// Reads a single value with a parser that explains what it refuses.
    pub(super) fn parsed<T>(
        &mut self,
        node: &Node<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(self.text(node)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.mistake(node.at, message);
                None
            }
        }
    }

    /// Reads `true` or `false`.
    pub(super) fn boolean(&mut self, node: &Node<'_>) -> Option<bool> {
        let plain = matches!(node.content, Content::Scalar { plain: true, .. });
        self.parsed(node, |text| match text {
            "true" | "True" | "TRUE" if plain => Ok(true),
            "false" | "False" | "FALSE" if plain => Ok(false),
            _ if plain => Err(format!("{} is neither `true` nor `false`", quoted(text))),
            _ => Err("write `true` or `false`, without quotes".to_owned()),
        })
    }

    /// Reads one of a few names.
    pub(super) fn choice<T: Copy>(&mut self, node: &Node<'_>, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(node)?;
        if let Some(&(_, value)) = choices.iter().find(|&&(name, _)| name == text) {
            return Some(value);
        }
        let names: Vec<&str> = choices.iter().map(|&(name, _)| name).collect();
        let message = match nearest(text, &names) {
            Some(name) => format!("{} is unknown: did you mean `{name}`?", quoted(text)),
            None => format!(
                "{} is unknown: write {}",
                quoted(text),
                alternatives(&names)
            ),
        };
        self.mistake(node.at, message);
        None
    }

    /// Reads a duration that lies within a range.
    pub(super) fn duration(
        &mut self,
        node: &Node<'_>,
        range: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.parsed(node, |text| {
            let value = quantity::duration(text)?;
            if range.contains(&value) {
                Ok(value)
            } else {
                Err(format!(
                    "{} is out of range: from {} to {}",
                    quoted(text),
                    quantity::duration_text(*range.start()),
                    quantity::duration_text(*range.end())
                ))
            }
        })
    }

    /// Reads a whole number that lies within a range.
    pub(super) fn number(&mut self, node: &Node<'_>, range: &RangeInclusive<u32>) -> Option<u32> {
        let plain = matches!(node.content, Content::Scalar { plain: true, .. });
        self.parsed(node, |text| {
            if !plain {
                return Err("write the number without quotes".to_owned());
            }
            match text.parse() {
                _ if !text.bytes().all(|byte| byte.is_ascii_digit()) => {
                    Err(format!("{} is not a whole number", quoted(text)))
                }
                Ok(number) if range.contains(&number) => Ok(number),
                _ => Err(format!(
                    "{} is out of range: from {} to {}",
                    quoted(text),
                    range.start(),
                    range.end()
                )),
            }
        })
    }
}

/// A mapping of settings that is being read.
pub(super) struct Section<'r, 'e, 'n> {
    pub(super) reader: &'r mut Reader<'e>,
    entries: &'n [Entry<'n>],
    known: Vec<&'static str>,
    at: Mark,
    guarded: bool,
}

impl<'e, 'n> Section<'_, 'e, 'n> {
    /// From here on a key that is unknown may be a misplaced secret: it is not repeated in messages.
    pub(super) fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }

    /// Where the section's own key stands.
    pub(super) fn at(&self) -> Mark {
        self.at
    }

    /// Whether the key is there. Makes it known.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    fn find(&mut self, key: &'static str) -> Option<&'n Entry<'n>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Reads a setting that may be left out: `Some(None)` if it is.
    #[expect(
        clippy::option_option,
        reason = "the outer one is about mistakes, as of every reader function, the inner one belongs to the setting"
    )]
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Reader<'e>, &Node<'_>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.find(key) {
            None => Some(None),
            Some(entry) => self
                .reader
                .descend(key, entry.key_at, &entry.value, read)
                .map(Some),
        }
    }

    /// Reads a setting that may be left out and then has this value.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&mut Reader<'e>, &Node<'_>) -> Option<T>,
    ) -> Option<T> {
        self.optional(key, read)
            .map(|value| value.unwrap_or(default))
    }

    /// Reads a setting that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Reader<'e>, &Node<'_>) -> Option<T>,
    ) -> Option<T> {
        let message = format!("`{key}` is required and missing");
        self.required_or(key, &message, read)
    }

    /// Reads a setting that must be there, and without which there is more to say.
    pub(super) fn required_or<T>(
        &mut self,
        key: &'static str,
        missing: &str,
        read: impl FnOnce(&mut Reader<'e>, &Node<'_>) -> Option<T>,
    ) -> Option<T> {
        let value = self.optional(key, read)?;
        if value.is_none() {
            self.reader.mistake(self.at, missing);
        }
        value
    }

    /// Reports the keys that nobody asked for. To be called when all have been asked for.
    pub(super) fn finish(self) {
        for entry in self.entries {
            if self.known.contains(&&*entry.key) {
                continue;
            }
            let suggestion = nearest(&entry.key, &self.known);
            let name = if self.guarded && suggestion.is_none() {
                "this key".to_owned()
            } else {
                quoted(&entry.key)
            };
            let message = match suggestion {
                Some(suggestion) => format!("{name} is unknown: did you mean `{suggestion}`?"),
                None => format!(
                    "{name} is unknown: the keys here are {}",
                    alternatives(&self.known).replace(" or ", " and ")
                ),
            };
            self.reader.mistake(entry.key_at, message);
        }
    }
}
