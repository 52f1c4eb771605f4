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
            .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
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
