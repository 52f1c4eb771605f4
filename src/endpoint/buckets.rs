//! A tenant's buckets: what its callers may call them, and where they are.
//!
//! Invariant: a bucket is at one place, whichever of its names it is asked for by.

use std::collections::HashMap;
use std::sync::Arc;

use super::TenantEndpoint;

/// The buckets of a tenant.
#[derive(Debug)]
pub struct Buckets {
    /// Where those are that are nowhere else, and what names no bucket.
    home: Arc<TenantEndpoint>,
    /// What is known of others; most tenants have none.
    named: Option<Box<Named>>,
}

#[derive(Debug, Default)]
struct Named {
    /// The bucket that each alias stands for.
    aliases: HashMap<String, String>,
    /// Where those are that are not at home.
    elsewhere: HashMap<String, TenantEndpoint>,
}

impl Buckets {
    /// Buckets that are all in one place, and have no other names.
    #[must_use]
    pub fn at(home: impl Into<Arc<TenantEndpoint>>) -> Self {
        Self {
            home: home.into(),
            named: None,
        }
    }

    /// And this bucket by this name, in a place of its own if there is one.
    #[must_use]
    pub fn with(mut self, name: &str, bucket: &str, place: Option<TenantEndpoint>) -> Self {
        let named = self.named.get_or_insert_default();
        if name != bucket {
            named.aliases.insert(name.to_owned(), bucket.to_owned());
        }
        if let Some(place) = place {
            named.elsewhere.insert(bucket.to_owned(), place);
        }
        self
    }

    /// The bucket that a name stands for, if it is another's.
    #[must_use]
    pub fn real(&self, name: &str) -> Option<&str> {
        self.named.as_ref()?.aliases.get(name).map(String::as_str)
    }

    /// Where those are that are nowhere else.
    #[must_use]
    pub fn home(&self) -> &TenantEndpoint {
        &self.home
    }

    /// Those that have another name or are elsewhere: what they may be called, the bucket, and its place.
    pub fn special(&self) -> impl Iterator<Item = (&str, &str, &TenantEndpoint)> {
        let named = self.named.iter();
        let renamed = named.clone().flat_map(|named| &named.aliases);
        let renamed = renamed.map(|(name, bucket)| (&**name, &**bucket));
        let moved = named.flat_map(|named| named.elsewhere.keys());
        let moved = moved.map(|bucket| (&**bucket, &**bucket));
        let all = renamed.chain(moved);
        all.map(|(name, bucket)| (name, bucket, self.place(Some(bucket))))
    }

    /// Where a bucket is, by its own name.
    #[must_use]
    pub fn place(&self, bucket: Option<&str>) -> &TenantEndpoint {
        let named = self.named.as_ref().zip(bucket);
        let elsewhere = named.and_then(|(named, bucket)| named.elsewhere.get(bucket));
        elsewhere.unwrap_or(&self.home)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Endpoints;
    use super::*;
    use crate::endpoint::options::Options;
    use crate::sign::operations::operation;

    fn aws(region: &str) -> TenantEndpoint {
        TenantEndpoint::new(region.into(), None, false)
    }

    #[tokio::test]
    async fn a_bucket_is_signed_for_where_it_is_whoever_else_is_at_home() {
        let store = TenantEndpoint::new(
            "us-east-1".into(),
            Some("http://127.0.0.1:9000".into()),
            true,
        );
        let buckets = Buckets::at(aws("eu-west-1"))
            .with("media", "acme-media-7f", Some(aws("eu-central-1")))
            .with("pictures", "acme-media-7f", Some(aws("eu-central-1")))
            .with("acme-here", "acme-here", Some(store))
            .with("logs", "acme-logs", None);
        assert_eq!(buckets.real("media"), Some("acme-media-7f"));
        assert_eq!(buckets.real("pictures"), Some("acme-media-7f"));
        for own in ["acme-media-7f", "acme-here", "other"] {
            assert_eq!(buckets.real(own), None, "{own}");
        }
        let endpoints = Endpoints::default();
        let get = operation("GetObject").unwrap();
        for (bucket, origin, region) in [
            (
                Some("acme-media-7f"),
                "https://acme-media-7f.s3.eu-central-1.amazonaws.com",
                "eu-central-1",
            ),
            (Some("acme-here"), "http://127.0.0.1:9000", "us-east-1"),
            (
                Some("acme-logs"),
                "https://acme-logs.s3.eu-west-1.amazonaws.com",
                "eu-west-1",
            ),
            (
                Some("other"),
                "https://other.s3.eu-west-1.amazonaws.com",
                "eu-west-1",
            ),
            (None, "https://s3.eu-west-1.amazonaws.com", "eu-west-1"),
        ] {
            // Twice: the second answer is the kept one.
            for _ in 0..2 {
                let place = buckets.place(bucket);
                let endpoint = endpoints
                    .resolve(place, get, bucket, Options::default())
                    .await
                    .unwrap();
                assert_eq!(endpoint.origin, origin, "{bucket:?}");
                assert_eq!(endpoint.region, region, "{bucket:?}");
            }
        }
    }
}
