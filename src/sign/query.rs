//! The query: the parameters that were asked for, merged with those of the signature.
//!
//! Invariant: parameters are sorted by encoded name, then by encoded value, and each has a `=` even without a value, as the
//! canonical query wants it. So the query of the URL is the canonical query. Names that start with `X-Amz-` are the signature's
//! own, and stand together: no S3 operation has such a parameter, and headers that travel here have lower-case names.

use std::cmp::Ordering;

use arrayvec::ArrayString;
use smallvec::SmallVec;

use super::canonical::SignedHeaders;
use super::command::{BoundCommand, Header, QueryParameter};
use super::credential_scope::CredentialScope;
use super::credentials::Credentials;
use super::encode::{Kept, compare_encoded};
use super::signing_time::SigningTime;
use super::sink::Sink;

/// A parameter that was asked for, where it comes from.
#[derive(Debug, Clone, Copy)]
enum Parameter<'a> {
    /// One that every request of the operation has.
    Fixed(&'static (&'static str, &'static str)),
    /// One of the command's.
    Own(&'a QueryParameter<'a>),
    /// A header of the command's that travels here.
    Moved(&'a Header<'a>),
}

impl<'a> Parameter<'a> {
    /// The two parts of the name, unencoded: only a header has a second one.
    fn name(self) -> (&'a str, &'a str) {
        match self {
            Self::Fixed((name, _)) => (name, ""),
            Self::Own(parameter) => (parameter.name, ""),
            Self::Moved(header) => (header.name, &header.suffix),
        }
    }

    /// The value, unencoded.
    fn value(self) -> &'a str {
        match self {
            Self::Fixed((_, value)) => value,
            Self::Own(parameter) => parameter.value.as_str(),
            Self::Moved(header) => header.value.as_str(),
        }
    }

    fn compare(self, other: Self) -> Ordering {
        compare_names(self.name(), other.name())
            .then_with(|| compare_encoded(self.value(), other.value()))
    }

    fn write(self, sink: &mut impl Sink) {
        let (name, suffix) = self.name();
        sink.put_encoded(name, Kept::Unreserved);
        sink.put_encoded(suffix, Kept::Unreserved);
        sink.put("=");
        sink.put_encoded(self.value(), Kept::Unreserved);
    }
}

/// Compares names of two parts each, as they are encoded.
fn compare_names(left: (&str, &str), right: (&str, &str)) -> Ordering {
    // Either both are entries of one map of headers, or one of them begins the other nowhere.
    compare_encoded(left.0, right.0).then_with(|| compare_encoded(left.1, right.1))
}

/// What the names of the signature's own parameters start with.
const OWN_PREFIX: &str = "X-Amz-";

/// All of a URL's query but the signature.
#[derive(Debug)]
pub(super) struct Query<'a, 'h> {
    /// The operation's and the command's own, sorted.
    asked: SmallVec<[Parameter<'a>; 16]>,
    /// How many of these come before the signature's parameters.
    before_own: usize,
    scope: &'a CredentialScope,
    credentials: &'a Credentials,
    /// What follows the date: the time of day, and the expiry.
    time_and_expiry: ArrayString<32>,
    headers: &'a SignedHeaders<'h>,
}

impl<'a, 'h> Query<'a, 'h> {
    pub(super) fn new(
        command: &'a BoundCommand<'_>,
        headers: &'a SignedHeaders<'h>,
        credentials: &'a Credentials,
        scope: &'a CredentialScope,
        time: SigningTime,
        expires_in: u32,
    ) -> Self {
        let fixed = command.operation.fixed_query.iter().map(Parameter::Fixed);
        let own = command.query.iter().map(Parameter::Own);
        let mut asked: SmallVec<[Parameter<'a>; 16]> = fixed.chain(own).collect();
        asked.extend(command.moved_headers().map(Parameter::Moved));
        asked.sort_unstable_by(|left, right| left.compare(*right));

        let before_own = asked
            .partition_point(|parameter| compare_encoded(parameter.name().0, OWN_PREFIX).is_lt());

        let mut time_and_expiry = ArrayString::new();
        time_and_expiry.push_str(&time.time_of_day());
        time_and_expiry.push_str("&X-Amz-Expires=");
        time_and_expiry.push_str(itoa::Buffer::new().format(expires_in));
        Self {
            asked,
            before_own,
            scope,
            credentials,
            time_and_expiry,
            headers,
        }
    }

    pub(super) fn write(&self, sink: &mut impl Sink) {
        let (before, after) = self.asked.split_at(self.before_own);
        for parameter in before {
            parameter.write(sink);
            sink.put("&");
        }
        sink.put(&self.scope.parameters);
        sink.put(&self.time_and_expiry);
        sink.put(&self.scope.region_set);
        sink.put(self.credentials.token_parameter());
        sink.put("&X-Amz-SignedHeaders=");
        self.headers.write_encoded_names(sink);
        for parameter in after {
            sink.put("&");
            parameter.write(sink);
        }
    }
}
