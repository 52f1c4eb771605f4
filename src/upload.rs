//! Uploads in parts: how an object is divided, and how the upload is begun at S3.
//!
//! An upload has a name only once S3 gave it one, so this is the one place where presignd talks to S3: it sends what it signed itself,
//! as the tenant. Invariant: whatever S3 does, a call ends in time and holds little, and no word of S3's but its error code goes further.

pub mod division;
mod s3;
mod xml;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use self::s3::S3;

/// A future that can be boxed in a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// When to try again what S3 could not do.
const RETRY_LATER: Duration = Duration::from_secs(1);

/// A request that is signed. Whoever holds it can send it, so it has no `Debug`.
#[derive(Clone, Copy)]
pub struct SignedCall<'a> {
    /// What it is, such as `CreateMultipartUpload`.
    pub name: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The URL.
    pub url: &'a str,
    /// The headers that are signed.
    pub headers: &'a [(String, String)],
}

/// Begins uploads, and gives them up.
pub trait Uploads: Send + Sync + fmt::Debug {
    /// Sends a signed `CreateMultipartUpload`, and gives the upload's id.
    fn begin<'a>(&'a self, call: SignedCall<'a>) -> BoxFuture<'a, Result<String, UploadError>>;

    /// Sends a signed `AbortMultipartUpload`.
    fn give_up<'a>(&'a self, call: SignedCall<'a>) -> BoxFuture<'a, Result<(), UploadError>>;
}

/// S3 did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// It cannot be reached, does not answer, is overloaded or broken: later it may work.
    #[error("S3 did not do {call}: {detail}")]
    Unavailable {
        /// What was sent, such as `CreateMultipartUpload`.
        call: &'static str,
        /// For the operator.
        detail: Arc<str>,
        /// S3's status and error code, if it answered.
        answer: Option<S3Answer>,
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// It refused.
    #[error("S3 refused {call}: {answer}{}", answer.advice())]
    Refused {
        /// What was sent, such as `CreateMultipartUpload`.
        call: &'static str,
        /// S3's status and error code.
        answer: S3Answer,
    },
}

/// What S3 says of a request that it did not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Answer {
    /// The HTTP status.
    pub status: u16,
    /// The error code, such as `NoSuchBucket`; empty if S3 gave none. Letters and digits only.
    pub code: String,
}

impl fmt::Display for S3Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.code {
            "" => write!(f, "HTTP status {}", self.status),
            code => write!(f, "{code} (HTTP status {})", self.status),
        }
    }
}

impl S3Answer {
    /// What to do about it, after a colon.
    fn advice(&self) -> &'static str {
        match self.status {
            300..400 => {
                ": the bucket is in another region, or at another endpoint, than the tenant's configuration says"
            }
            _ if self.code == "AccessDenied" => {
                ": the tenant's role, and the bucket's policy, have to allow it"
            }
            _ => "",
        }
    }

    /// The error that this answer is.
    fn error(self, call: &'static str) -> UploadError {
        match self.status {
            408 | 409 | 429 | 500.. => UploadError::Unavailable {
                call,
                detail: self.to_string().into(),
                answer: Some(self),
                retry_after: RETRY_LATER,
            },
            _ => UploadError::Refused { call, answer: self },
        }
    }
}

impl UploadError {
    /// It cannot be asked, for this reason.
    fn unavailable(call: &'static str, detail: impl Into<Arc<str>>) -> Self {
        Self::Unavailable {
            call,
            detail: detail.into(),
            answer: None,
            retry_after: RETRY_LATER,
        }
    }

    /// What S3 said, if it answered.
    #[must_use]
    pub fn answer(&self) -> Option<&S3Answer> {
        match self {
            Self::Unavailable { answer, .. } => answer.as_ref(),
            Self::Refused { answer, .. } => Some(answer),
        }
    }
}
