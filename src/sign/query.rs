//! The query: the parameters that were asked for, merged with those of the signature.
//!
//! Invariant: parameters are sorted by encoded name, then by encoded value, and each has a `=` even without a value, as the
//! canonical query wants it. So the query of the URL is the canonical query.

use arrayvec::ArrayString;
use smallvec::SmallVec;

use super::canonical::SignedHeaders;
use super::command::BoundCommand;
use super::credentials::Credentials;
use super::encode::{Kept, compare_encoded, encode};
use super::signing_key::SigningKey;
use super::signing_time::SigningTime;
use super::sink::Sink;

/// A parameter that was asked for: name and value, unencoded.
type Parameter<'a> = (&'a str, &'a str);

/// All of a URL's query but the signature.
#[derive(Debug)]
pub(super) struct Query<'a, 'h> {
    /// The operation's and the command's own, sorted.
    asked: SmallVec<[Parameter<'a>; 16]>,
    key: &'a SigningKey,
    credentials: &'a Credentials,
    time_of_day: ArrayString<7>,
    expires_in: ArrayString<10>,
    headers: &'a SignedHeaders<'h>,
}

impl<'a, 'h> Query<'a, 'h> {
    pub(super) fn new(
        command: &'a BoundCommand<'_>,
        headers: &'a SignedHeaders<'h>,
        credentials: &'a Credentials,
        key: &'a SigningKey,
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

        let mut seconds = itoa::Buffer::new();
        let mut expires = ArrayString::new();
        expires.push_str(seconds.format(expires_in));
        Self {
            asked,
            key,
            credentials,
            time_of_day: time.time_of_day(),
            expires_in: expires,
            headers,
        }
    }

    pub(super) fn write(&self, sink: &mut impl Sink) {
        let mut merge = Merge {
            sink,
            asked: &self.asked,
            separator: "",
        };
        merge.own("X-Amz-Algorithm", "AWS4-HMAC-SHA256");
        merge.own("X-Amz-Credential", &self.key.credential);
        merge.own("X-Amz-Date", &self.key.date);
        merge.sink.put("T");
        merge.sink.put(&self.time_of_day);
        merge.own("X-Amz-Expires", &self.expires_in);
        if let Some(token) = self.credentials.encoded_token() {
            merge.own("X-Amz-Security-Token", token);
        }
        merge.own("X-Amz-SignedHeaders", "");
        self.headers.write_encoded_names(merge.sink);
        merge.rest();
    }
}

/// Writes the signature's parameters, and before each of them those that were asked for and sort before it.
struct Merge<'a, S> {
    sink: &'a mut S,
    asked: &'a [Parameter<'a>],
    separator: &'static str,
}

impl<S: Sink> Merge<'_, S> {
    /// Writes a parameter of the signature; its value is encoded already, and more of it may follow.
    fn own(&mut self, name: &str, encoded_value: &str) {
        while let [(first, value), rest @ ..] = self.asked
            && compare_encoded(first, name).is_lt()
        {
            self.one_asked(first, value);
            self.asked = rest;
        }
        self.start(name);
        self.sink.put(encoded_value);
    }

    /// Writes what was asked for and sorts after the signature's parameters.
    fn rest(&mut self) {
        for (name, value) in self.asked {
            self.one_asked(name, value);
        }
    }

    fn one_asked(&mut self, name: &str, value: &str) {
        self.sink.put(self.separator);
        encode(self.sink, name, Kept::Unreserved);
        self.sink.put("=");
        encode(self.sink, value, Kept::Unreserved);
        self.separator = "&";
    }

    fn start(&mut self, name: &str) {
        self.sink.put(self.separator);
        self.sink.put(name);
        self.sink.put("=");
        self.separator = "&";
    }
}
