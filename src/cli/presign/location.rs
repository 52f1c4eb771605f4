//! `s3://bucket/key`: where a command goes, as people write it.

/// A bucket, and what follows it: as it is, because every character may be one of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Location<'a> {
    pub(super) bucket: &'a str,
    /// Empty where there is none.
    pub(super) key: &'a str,
}

impl<'a> Location<'a> {
    /// Reads `s3://bucket` or `s3://bucket/key`.
    pub(super) fn read(text: &'a str) -> Result<Self, String> {
        let rest = text.strip_prefix("s3://");
        let (bucket, key) = rest
            .map(|rest| rest.split_at(bucket_end(rest)))
            .map(|(bucket, key)| (bucket, key.strip_prefix('/').unwrap_or(key)))
            .filter(|(bucket, _)| !bucket.is_empty())
            .ok_or_else(|| format!("`{text}` is no place in S3: write s3://BUCKET/KEY"))?;
        Ok(Self { bucket, key })
    }

    /// The name of a file for what is there.
    pub(super) fn file_name(&self) -> &'a str {
        let last = self.key.rsplit('/').next().unwrap_or_default();
        if last.is_empty() || last.contains("${filename}") {
            "FILE"
        } else {
            last
        }
    }
}

/// Where the bucket ends: names of access points have slashes in them.
fn bucket_end(text: &str) -> usize {
    let parts = if text.starts_with("arn:") && text.contains(":outpost/") {
        4
    } else if text.starts_with("arn:") && text.contains(":accesspoint/") {
        2
    } else {
        1
    };
    let slash = text.match_indices('/').nth(parts - 1);
    slash.map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_as_it_is() {
        for (text, bucket, key, file) in [
            ("s3://b/k", "b", "k", "k"),
            ("s3://b/a/%20 b?c#d", "b", "a/%20 b?c#d", "%20 b?c#d"),
            ("s3://b//x", "b", "/x", "x"),
            ("s3://b/in/${filename}", "b", "in/${filename}", "FILE"),
            ("s3://b/", "b", "", "FILE"),
            ("s3://b", "b", "", "FILE"),
            (
                "s3://arn:aws:s3:r:1:accesspoint/p/a/k",
                "arn:aws:s3:r:1:accesspoint/p",
                "a/k",
                "k",
            ),
            (
                "s3://arn:aws:s3:r:1:accesspoint:p/k",
                "arn:aws:s3:r:1:accesspoint:p",
                "k",
                "k",
            ),
            (
                "s3://arn:aws:s3-outposts:r:1:outpost/o/accesspoint/p/k",
                "arn:aws:s3-outposts:r:1:outpost/o/accesspoint/p",
                "k",
                "k",
            ),
        ] {
            let location = Location::read(text).unwrap();
            assert_eq!(location, Location { bucket, key }, "{text}");
            assert_eq!(location.file_name(), file, "{text}");
        }
        for text in ["", "b/k", "s3:/b", "s3://", "s3:///k", "https://b/k"] {
            assert!(Location::read(text).is_err(), "{text}");
        }
    }
}
