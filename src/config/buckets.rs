//! `tenants.*.buckets`: names by which callers know buckets, and places that are not the tenant's.
//!
//! Invariant: a name stands for one bucket, which is no name of another, and a bucket is at one place.

use std::collections::HashMap;

use super::endpoint::{Endpoint, endpoint};
use super::grant::Grant;
use super::mistake::{Located, quoted};
use super::reader::Reader;
use super::tenant::region;
use super::tree::Node;

/// One bucket, under a name.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// What callers and grants call it.
    pub name: String,
    /// What the store calls it, or the ARN of an access point.
    pub bucket: String,
    /// Its region; `None`: the tenant's.
    pub region: Option<String>,
    /// Its store, and which of its endpoints; `None`: the tenant's.
    pub endpoint: Option<Endpoint>,
}

pub(super) fn buckets(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<Located<Bucket>>> {
    let buckets = reader.each_entry(node, |reader, name, at, node| {
        let named = bucket_name(name);
        if let Err(why) = &named {
            reader.mistake(at, why.clone());
        }
        let mut section = reader.section(node)?;
        let bucket = section.optional("bucket", real_name);
        let region = section.optional("region", |r, n| r.parsed(n, region));
        let endpoint = section.optional("endpoint", endpoint);
        section.finish();
        let (bucket, region, endpoint) = (bucket?, region?, endpoint?);
        if bucket.is_none() && region.is_none() && endpoint.is_none() {
            let message = "says nothing: give `bucket` if the store has another name for it, and `region` or `endpoint` if it is not \
                           where the tenant's are";
            reader.mistake(at, message);
            return None;
        }
        let name = named.ok()?;
        let bucket = Bucket {
            bucket: bucket.unwrap_or_else(|| name.clone()),
            name,
            region,
            endpoint,
        };
        Some(reader.locate(at, bucket))
    })?;
    let mistakes = ambiguities(&buckets);
    if mistakes.is_empty() {
        return Some(buckets);
    }
    for (bucket, message) in mistakes {
        reader.mistake_in(bucket, message);
    }
    None
}

/// What would let a name mean two buckets, or a bucket be at two places.
fn ambiguities(buckets: &[Located<Bucket>]) -> Vec<(&Located<Bucket>, String)> {
    let names: HashMap<&str, &Bucket> = buckets
        .iter()
        .map(|bucket| (bucket.value.name.as_str(), &bucket.value))
        .collect();
    let mut firsts: HashMap<&str, &Bucket> = HashMap::new();
    let mut found = Vec::new();
    for located in buckets {
        let bucket = &located.value;
        let real = bucket.bucket.as_str();
        if let Some(other) = names.get(real)
            && other.bucket != real
        {
            let message = format!(
                "stands for {}, which is itself a name here, of {}: give the bucket's own name",
                quoted(real),
                quoted(&other.bucket)
            );
            found.push((located, message));
        }
        let first = *firsts.entry(real).or_insert(bucket);
        if (&first.region, &first.endpoint) != (&bucket.region, &bucket.endpoint) {
            let message = format!(
                "is the bucket {}, as {} is, and at another place: give both the same `region` and `endpoint`",
                quoted(real),
                quoted(&first.name)
            );
            found.push((located, message));
        }
    }
    found
}

/// Warns of names that no grant reaches.
pub(super) fn warn_of_buckets(
    reader: &mut Reader<'_>,
    buckets: &[Located<Bucket>],
    grants: &[Located<Grant>],
) {
    let granted = |bucket: &Bucket| {
        let mut resources = grants.iter().flat_map(|grant| &grant.value.resources);
        resources.any(|resource| {
            let starts_with = |name: &str| {
                let rest = resource.value.strip_prefix(name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            starts_with(&bucket.name) || starts_with(&bucket.bucket)
        })
    };
    for bucket in buckets {
        if !granted(&bucket.value) {
            reader.warn_in(bucket, "is a bucket that no grant reaches");
        }
    }
}

/// A bucket's own name, or the ARN of an access point.
fn real_name(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<String> {
    let surroundings = reader.surroundings;
    reader.parsed(node, |text| {
        if text.starts_with("arn:") {
            let known = surroundings.bucket(text).map(|()| text.to_owned());
            return known.map_err(|why| format!("{} {why}", quoted(text)));
        }
        bucket_name(text)
    })
}

/// What S3 or a compatible store may call a bucket, and a caller too.
fn bucket_name(text: &str) -> Result<String, String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if (1..=255).contains(&text.len()) && text.bytes().all(known) && !text.starts_with('.') {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{} is not a bucket name: letters, digits, dots, hyphens and `_`",
            quoted(text)
        ))
    }
}
