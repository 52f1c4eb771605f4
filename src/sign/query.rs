//! The query: the parameters that were asked for, merged with those of the signature.
//!
//! Invariant: parameters are sorted by encoded name, then by encoded value, and each has a `=` even without a value, as the
//! canonical query wants it. So the query of the URL is the canonical query. Names that start with `X-Amz-` are the signature's
//! own, and stand together: no S3 operation has such a parameter.

use arrayvec::ArrayString;
use smallvec::SmallVec;

use super::canonical::SignedHeaders;
use super::command::BoundCommand;
use super::credential_scope::CredentialScope;
use super::credentials::Credentials;
use super::encode::{Kept, compare_encoded};
use super::signing_time::SigningTime;
use super::sink::Sink;

/// A parameter that was asked for: name and value, unencoded.
type Parameter<'a> = (&'a str, &'a str);

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
        let fixed = command.operation.fixed_query.iter().copied();
        let own = command
            .query
            .iter()
            .map(|parameter| (parameter.name, parameter.value.as_str()));
        let mut asked: SmallVec<[Parameter<'a>; 16]> = fixed.chain(own).collect();
        asked.sort_unstable_by(|left, right| {
            compare_encoded(left.0, right.0).then_with(|| compare_encoded(left.1, right.1))
        });

        let before_own =
            asked.partition_point(|(name, _)| compare_encoded(name, OWN_PREFIX).is_lt());

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
            write_parameter(sink, *parameter);
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
            write_parameter(sink, *parameter);
        }
    }
}

fn write_parameter(sink: &mut impl Sink, (name, value): Parameter<'_>) {
    sink.put_encoded(name, Kept::Unreserved);
    sink.put("=");
    sink.put_encoded(value, Kept::Unreserved);
}
