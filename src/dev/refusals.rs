//! What AWS refuses and the S3 server would let pass, and what the file store cannot hold.
//!
//! Pure checks of what a verified request presents; each refusal is an error that S3 itself gives.

use std::time::SystemTime;

use http::HeaderMap;
use jiff::Timestamp;
use s3s::{S3Error, S3Result, s3_error};

use super::presented::{Carrier, Signature};

/// The longest validity of a presigned URL, in seconds: a week.
const MAX_VALIDITY: i64 = 604_800;

/// A signature is made for the bucket's region and for S3.
pub(super) fn check_scope(signature: &Signature, region: &str) -> S3Result<()> {
    let expected = (region, "s3");
    if (signature.region.as_str(), signature.service.as_str()) == expected {
        return Ok(());
    }
    let message =
        format!("The credential scope must name the region '{region}' and the service 's3'");
    Err(match signature.carrier {
        Carrier::Header => s3_error!(AuthorizationHeaderMalformed, "{message}"),
        Carrier::Query | Carrier::Form => s3_error!(AuthorizationQueryParametersError, "{message}"),
    })
}

/// AWS wants the host and every `x-amz-*` header that is sent to be signed.
pub(super) fn check_signed_headers(signature: &Signature, headers: &HeaderMap) -> S3Result<()> {
    if signature.carrier == Carrier::Form {
        return Ok(());
    }
    let signed = |name: &str| signature.signed_headers.iter().any(|header| header == name);
    let unsigned: Vec<&str> = std::iter::once("host")
        .chain(
            headers
                .keys()
                .map(http::HeaderName::as_str)
                .filter(|name| name.starts_with("x-amz-")),
        )
        .filter(|name| !signed(name))
        .collect();
    if unsigned.is_empty() {
        return Ok(());
    }
    Err(s3_error!(
        AccessDenied,
        "There were headers present in the request which were not signed: {}",
        unsigned.join(", ")
    ))
}

/// The S3 server holds a URL against the wall clock; this holds it against the sandbox's clock too.
pub(super) fn check_validity(signature: &Signature, now: SystemTime) -> S3Result<()> {
    let Some((signed_at, seconds)) = signature.validity else {
        return Ok(());
    };
    if !(0..=MAX_VALIDITY).contains(&seconds) {
        return Err(s3_error!(
            AuthorizationQueryParametersError,
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"
        ));
    }
    let age = Timestamp::try_from(now)
        .map_err(S3Error::internal_error)?
        .as_second()
        - signed_at.as_second();
    if age > seconds {
        return Err(s3_error!(AccessDenied, "Request has expired"));
    }
    Ok(())
}

/// Objects are files: a key that is not a plain relative path would be another object's file, or another folder's.
pub(super) fn storable(key: &str) -> S3Result<()> {
    let path = key.strip_suffix('/').unwrap_or(key);
    if path.contains('\0')
        || path
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return Err(s3_error!(
            NotImplemented,
            "The sandbox keeps objects as files: it cannot hold keys with empty, '.' or '..' segments or a leading '/'"
        ));
    }
    Ok(())
}

/// The file store drops a prefix's leading `/`, and splits at one byte of the delimiter.
pub(super) fn listable(prefix: Option<&str>, delimiter: Option<&str>) -> S3Result<()> {
    if prefix.is_some_and(|prefix| prefix.starts_with('/')) {
        return Err(s3_error!(
            NotImplemented,
            "The sandbox lists no prefix with a leading '/'"
        ));
    }
    if delimiter.is_some_and(|delimiter| delimiter.len() != 1) {
        return Err(s3_error!(
            NotImplemented,
            "The sandbox lists by delimiters of one ASCII character only"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn signature(signed_headers: &[&str], validity: Option<(i64, i64)>) -> Signature {
        Signature {
            carrier: Carrier::Query,
            access_key_id: String::new(),
            region: "eu-west-1".to_owned(),
            service: "s3".to_owned(),
            signed_headers: signed_headers.iter().map(|&name| name.to_owned()).collect(),
            validity: validity.map(|(at, seconds)| (Timestamp::from_second(at).unwrap(), seconds)),
        }
    }

    fn code(result: S3Result<()>) -> Option<String> {
        result.err().map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn keys_that_would_be_other_files_are_refused() {
        for key in ["k", "a/b", "a/", ".hidden", "..a/b..", "a b/é"] {
            assert!(storable(key).is_ok(), "{key}");
        }
        for key in [
            "/k",
            "../globex-files/k",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a//",
            "/",
            "a\0b",
        ] {
            assert_eq!(
                code(storable(key)).as_deref(),
                Some("NotImplemented"),
                "{key}"
            );
        }
    }

    #[test]
    fn unsigned_headers_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert("content-md5", HeaderValue::from_static("x"));
        assert!(check_signed_headers(&signature(&["host"], None), &headers).is_ok());
        assert_eq!(
            code(check_signed_headers(&signature(&[], None), &headers)).as_deref(),
            Some("AccessDenied")
        );
        headers.insert("x-amz-acl", HeaderValue::from_static("public-read"));
        assert_eq!(
            code(check_signed_headers(&signature(&["host"], None), &headers)).as_deref(),
            Some("AccessDenied")
        );
        assert!(check_signed_headers(&signature(&["host", "x-amz-acl"], None), &headers).is_ok());
    }

    #[test]
    fn the_scope_names_the_region_and_s3() {
        assert!(check_scope(&signature(&[], None), "eu-west-1").is_ok());
        let other = check_scope(&signature(&[], None), "us-east-1");
        assert_eq!(
            code(other).as_deref(),
            Some("AuthorizationQueryParametersError")
        );
        let mut sts = signature(&[], None);
        sts.service = "sts".to_owned();
        sts.carrier = Carrier::Header;
        assert_eq!(
            code(check_scope(&sts, "eu-west-1")).as_deref(),
            Some("AuthorizationHeaderMalformed")
        );
    }

    #[test]
    fn a_url_lives_as_long_as_it_says_and_at_most_a_week() {
        let check = |validity, now| {
            let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now);
            code(check_validity(&signature(&[], Some(validity)), now))
        };
        assert_eq!(check((100, 60), 160), None);
        assert_eq!(check((100, 60), 161).as_deref(), Some("AccessDenied"));
        assert_eq!(check((100, 604_800), 100), None);
        assert_eq!(
            check((100, 604_801), 100).as_deref(),
            Some("AuthorizationQueryParametersError")
        );
        assert_eq!(
            check((100, -1), 100).as_deref(),
            Some("AuthorizationQueryParametersError")
        );
    }
}
