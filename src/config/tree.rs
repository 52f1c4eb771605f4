//! YAML as a tree whose every node knows its place.
//!
//! The parser's events are pulled one by one and the tree is built on a heap stack: neither deep nor wide input can exhaust
//! the thread's stack. Scalars keep the text that was written, so that `no` stays "no" and `007` stays "007"; their type is
//! decided by the setting that reads them.
//!
//! Invariant: a tree holds no key twice and nothing that stands elsewhere. Anchors, aliases, merge keys and tags are
//! refused: in a file about who may do what, every line should say what it means.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::mistake::{Mark, Report, path_step, quoted};

/// How deep the tree may be; the settings need 7.
const DEPTH: usize = 32;

/// The key below which a misplaced value may be a secret: what stands there is not repeated in messages.
const GUARDED: &str = "credentials";

/// A value and where it starts.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub(super) at: Mark,
    pub(super) content: Content<'t>,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Content<'t> {
    /// Text as written; `plain` if without quotes.
    Scalar { text: Cow<'t, str>, plain: bool },
    /// A list.
    Sequence(Vec<Node<'t>>),
    /// Keys and values, in the order of the file, each key once.
    Mapping(Vec<Entry<'t>>),
    /// Something that has been reported already.
    Refused,
}

/// One key and its value.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    pub(super) key: Cow<'t, str>,
    pub(super) key_at: Mark,
    pub(super) value: Node<'t>,
}

impl Node<'_> {
    /// Whether there is no value: nothing at all, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true }
            if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What the node is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self.content {
            Content::Scalar { .. } if self.is_null() => "nothing",
            Content::Scalar { .. } => "a single value",
            Content::Sequence(_) => "a list",
            Content::Mapping(_) => "a mapping",
            Content::Refused => "something refused",
        }
    }
}

/// Reads one YAML document, whose settings are reached by `root`. `None` if there is no whole tree; the report says why, for a document of
/// nothing by `empty`.
pub(super) fn read<'t>(
    text: &'t str,
    root: &str,
    empty: &str,
    report: &mut Report,
) -> Option<Node<'t>> {
    let mut builder = Builder {
        reached_by: root,
        report,
        stack: Vec::new(),
        root: None,
    };
    let mut parser = Parser::new_from_str(text);
    let mut documents = 0;
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = mark(error.marker());
                let message = format!("this is not valid YAML: {}", error.info());
                builder.report.mistake(at, "", message);
                return None;
            }
        };
        if let Event::DocumentStart(_) = event {
            documents += 1;
            if documents > 1 {
                let message = "a second YAML document starts here: write one document per file";
                builder
                    .report
                    .mistake(mark(&span.start), "", message.to_owned());
                break;
            }
        }
        if builder.take(event, span).is_err() {
            return None;
        }
    }
    match builder.root {
        Some(root) if !root.is_null() => Some(root),
        _ => {
            builder.report.mistake(Mark::START, "", empty);
            None
        }
    }
}

/// The tree cannot be finished; the report says why.
struct Abandoned;

/// A collection that is not yet closed.
struct Frame<'t> {
    at: Mark,
    collected: Collected<'t>,
}

enum Collected<'t> {
    Items(Vec<Node<'t>>),
    Entries(Vec<Entry<'t>>, Pending<'t>),
}

/// What a mapping waits for.
enum Pending<'t> {
    Key,
    ValueOf(Cow<'t, str>, Mark),
    /// A value whose key was refused: read over.
    ValueOfRefused,
}

struct Builder<'r, 't> {
    reached_by: &'r str,
    report: &'r mut Report,
    stack: Vec<Frame<'t>>,
    root: Option<Node<'t>>,
}

impl<'t> Builder<'_, 't> {
    fn take(&mut self, event: Event<'t>, span: Span) -> Result<(), Abandoned> {
        let at = mark(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_decoration(at, anchor, tag.is_some());
                let plain = style == ScalarStyle::Plain;
                self.attach(Node {
                    at,
                    content: Content::Scalar { text, plain },
                });
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_decoration(at, anchor, tag.is_some());
                self.open(at, Collected::Items(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_decoration(at, anchor, tag.is_some());
                self.open(at, Collected::Entries(Vec::new(), Pending::Key))?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(_) => {
                let path = self.path();
                let message = "aliases (`*name`) are not supported: write the value out";
                self.report.mistake(at, &path, message);
                self.attach(Node {
                    at,
                    content: Content::Refused,
                });
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, at: Mark, collected: Collected<'t>) -> Result<(), Abandoned> {
        if self.stack.len() >= DEPTH {
            let message = format!("nested deeper than {DEPTH} levels");
            self.report.mistake(at, "", message);
            return Err(Abandoned);
        }
        self.stack.push(Frame { at, collected });
        Ok(())
    }

    fn close(&mut self) {
        let Some(frame) = self.stack.pop() else {
            return;
        };
        let content = match frame.collected {
            Collected::Items(items) => Content::Sequence(items),
            Collected::Entries(entries, _) => Content::Mapping(self.without_duplicates(entries)),
        };
        self.attach(Node {
            at: frame.at,
            content,
        });
    }

    /// Puts a finished node where it belongs.
    fn attach(&mut self, node: Node<'t>) {
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        let (entries, pending) = match &mut frame.collected {
            Collected::Items(items) => {
                items.push(node);
                return;
            }
            Collected::Entries(entries, pending) => (entries, pending),
        };
        match std::mem::replace(pending, Pending::Key) {
            Pending::ValueOfRefused => {}
            Pending::ValueOf(key, key_at) => entries.push(Entry {
                key,
                key_at,
                value: node,
            }),
            Pending::Key => {
                *pending = Pending::ValueOfRefused;
                if let Some(message) = key_refusal(&node) {
                    let path = self.path();
                    self.report.mistake(node.at, &path, message);
                } else if let Content::Scalar { text, .. } = node.content {
                    *pending = Pending::ValueOf(text, node.at);
                }
            }
        }
    }

    /// Keeps the first of each key and reports the others.
    fn without_duplicates(&mut self, entries: Vec<Entry<'t>>) -> Vec<Entry<'t>> {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|&a, &b| entries[a].key.cmp(&entries[b].key).then(a.cmp(&b)));
        let mut repeated = vec![false; entries.len()];
        let mut first = None::<&Entry<'_>>;
        for index in order {
            let entry = &entries[index];
            match first {
                Some(first) if first.key == entry.key => {
                    repeated[index] = true;
                    let name = if self.is_guarded() {
                        "this key".to_owned()
                    } else {
                        quoted(&entry.key)
                    };
                    let message = format!(
                        "{name} is given twice, first on line {}: remove one",
                        first.key_at.line
                    );
                    let path = self.path();
                    self.report.mistake(entry.key_at, &path, message);
                }
                _ => first = Some(entry),
            }
        }
        if !repeated.contains(&true) {
            return entries;
        }
        let mut repeated = repeated.into_iter();
        entries
            .into_iter()
            .filter(|_| repeated.next() != Some(true))
            .collect()
    }

    /// Reports what YAML lets one write before a node.
    fn refuse_decoration(&mut self, at: Mark, anchor: usize, tagged: bool) {
        if anchor != 0 {
            let path = self.path();
            let message = "anchors (`&name`) are not supported: remove it";
            self.report.mistake(at, &path, message);
        }
        if tagged {
            let path = self.path();
            let message = "tags (`!name`) are not supported: remove it";
            self.report.mistake(at, &path, message);
        }
    }

    fn is_guarded(&self) -> bool {
        self.stack.iter().any(|frame| {
            matches!(&frame.collected, Collected::Entries(_, Pending::ValueOf(key, _)) if key == GUARDED)
        })
    }

    /// How the node that is being read is reached; cut where keys may be secrets.
    fn path(&self) -> String {
        let mut path = self.reached_by.to_owned();
        for frame in &self.stack {
            match &frame.collected {
                Collected::Items(items) => {
                    path.push('[');
                    path.push_str(&items.len().to_string());
                    path.push(']');
                }
                Collected::Entries(_, Pending::ValueOf(key, _)) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&path_step(key));
                    if key == GUARDED {
                        break;
                    }
                }
                Collected::Entries(..) => {}
            }
        }
        path
    }
}

/// Why this node cannot be a key, if it cannot and that has not been said.
fn key_refusal(node: &Node<'_>) -> Option<&'static str> {
    match &node.content {
        Content::Scalar { text, plain: true } if text == "<<" => {
            Some("merge keys (`<<`) are not supported: write the settings out")
        }
        Content::Scalar { text, .. } if text.is_empty() => Some("a key is empty: name it"),
        Content::Scalar { .. } | Content::Refused => None,
        Content::Sequence(_) | Content::Mapping(_) => {
            Some("a key must be a plain name, not a list or a mapping")
        }
    }
}

fn mark(marker: &saphyr_parser::Marker) -> Mark {
    let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    Mark {
        line: clamp(marker.line()),
        column: clamp(marker.col().saturating_add(1)),
    }
}
