//! How many bytes a request lets its holder upload, held against `max_upload` of grants. Pure.
//!
//! A URL bounds an upload by its signed `Content-Length` alone, and a form by the range in its policy.

use crate::sign::command::{BodyKind, BoundCommand, PathForm};

/// How many bytes a request lets its holder upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upload {
    /// It uploads no bytes of an object.
    Nothing,
    /// No more than this.
    AtMost(u64),
    /// As many as S3 takes.
    Unbounded,
}

impl Upload {
    /// What a command lets its holder upload.
    #[must_use]
    pub fn of(command: &BoundCommand<'_>) -> Self {
        let operation = command.operation;
        if operation.body != BodyKind::Bytes || operation.path != PathForm::Object {
            return Self::Nothing;
        }
        if let Some(open) = command.left_open {
            let range = open.content_length;
            return range.map_or(Self::Unbounded, |range| Self::AtMost(range.max));
        }
        let mut headers = command.headers.iter();
        let declared = headers.find(|header| header.name == "content-length");
        match declared.and_then(|header| header.value.as_str().parse().ok()) {
            Some(length) => Self::AtMost(length),
            None => Self::Unbounded,
        }
    }

    /// Whether a grant's `max_upload` allows it.
    #[must_use]
    pub fn fits(self, max_upload: Option<u64>) -> bool {
        match (self, max_upload) {
            (Self::Nothing, _) | (_, None) => true,
            (Self::AtMost(bytes), Some(most)) => bytes <= most,
            (Self::Unbounded, Some(_)) => false,
        }
    }
}
