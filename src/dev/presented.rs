//! What a request presents of its own accord: credential scope, session tokens, signed headers, expiry.
//!
//! Nothing here is proven. The S3 server recomputes the signature from the same bytes; this reading adds what that
//! server leaves to its host, and where the two would disagree the request is refused, never trusted.

use http::{HeaderMap, Uri, header::AUTHORIZATION};
use jiff::Timestamp;

/// Where a `SigV4` signature travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// The `Authorization` header.
    Header,
    /// The query of a presigned URL.
    Query,
    /// The fields of a POST form.
    Form,
}

/// The parts of a `SigV4` signature that its sender states in clear.
#[derive(Debug, Clone)]
pub(super) struct Signature {
    pub(super) carrier: Carrier,
    pub(super) access_key_id: String,
    pub(super) region: String,
    pub(super) service: String,
    /// Lower case; empty for a form, which signs its policy.
    pub(super) signed_headers: Vec<String>,
    /// When a presigned URL was signed, and for how many seconds.
    pub(super) validity: Option<(Timestamp, i64)>,
}

/// The signature and the session tokens of a request.
#[derive(Debug, Clone)]
pub(super) struct Presented {
    /// `None`: anonymous, or no `SigV4` signature that can be read.
    pub(super) signature: Option<Signature>,
    /// Every session token in sight, wherever it travels.
    pub(super) tokens: Vec<String>,
}

impl Presented {
    /// Reads a request; `form` holds the fields of a POST form, when the request carries one.
    pub(super) fn read(uri: &Uri, headers: &HeaderMap, form: Option<&[(String, String)]>) -> Self {
        let query: Vec<(String, String)> =
            form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let in_query = |name: &str| only(&query, name);
        let signature = if let Some(form) = form {
            only(form, "x-amz-credential")
                .and_then(|scope| Signature::new(Carrier::Form, scope, ""))
        } else if query.iter().any(|(name, _)| name == "X-Amz-Signature") {
            in_query("X-Amz-Credential").and_then(|scope| {
                let signed = in_query("X-Amz-SignedHeaders").unwrap_or_default();
                let signature = Signature::new(Carrier::Query, scope, signed)?;
                let expires = in_query("X-Amz-Expires")?.parse().ok()?;
                let validity = Some((basic_timestamp(in_query("X-Amz-Date")?)?, expires));
                Some(Signature {
                    validity,
                    ..signature
                })
            })
        } else {
            headers
                .get(AUTHORIZATION)
                .and_then(|value| from_header(value.to_str().ok()?))
        };
        let in_headers = headers.get_all("x-amz-security-token").iter();
        // A header that is not text matches no session's token.
        let tokens = in_headers.map(|value| value.to_str().unwrap_or_default().to_owned());
        let fields = query.iter().chain(form.unwrap_or_default());
        let in_fields =
            fields.filter(|(name, _)| name.eq_ignore_ascii_case("x-amz-security-token"));
        Self {
            signature,
            tokens: tokens
                .chain(in_fields.map(|(_, value)| value.clone()))
                .collect(),
        }
    }
}

impl Signature {
    fn new(carrier: Carrier, scope: &str, signed_headers: &str) -> Option<Self> {
        let mut parts = scope.split('/');
        let (access_key_id, _date, region) = (parts.next()?, parts.next()?, parts.next()?);
        let (service, end) = (parts.next()?, parts.next()?);
        (end == "aws4_request" && parts.next().is_none()).then(|| Self {
            carrier,
            access_key_id: access_key_id.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers: signed_headers
                .split(';')
                .map(str::to_ascii_lowercase)
                .collect(),
            validity: None,
        })
    }
}

/// The value of `name`, if it is given exactly once.
fn only<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = fields
        .iter()
        .filter(|(field, _)| field == name)
        .map(|(_, value)| value.as_str());
    values.next().filter(|_| values.next().is_none())
}

fn from_header(value: &str) -> Option<Signature> {
    let parameters = value.strip_prefix("AWS4-HMAC-SHA256")?;
    let parameter = |name: &str| {
        parameters
            .split(',')
            .find_map(|part| part.trim().strip_prefix(name))
    };
    Signature::new(
        Carrier::Header,
        parameter("Credential=")?,
        parameter("SignedHeaders=")?,
    )
}

/// Reads ISO 8601's basic form, as in `20261104T090000Z`.
fn basic_timestamp(text: &str) -> Option<Timestamp> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    jiff::tz::Offset::UTC.to_timestamp(time).ok()
}

/// The fields before a POST form's file, names in lower case; `None` if the body is not such a form.
pub(super) fn form_fields(content_type: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let boundary = content_type
        .split(';')
        .find_map(|part| part.trim().strip_prefix("boundary="))?;
    let delimiter = format!("--{}", boundary.trim_matches('"'));
    let mut fields = Vec::new();
    let mut rest = &body[find(body, delimiter.as_bytes())? + delimiter.len()..];
    while let Some(end_of_headers) = find(rest, b"\r\n\r\n") {
        let headers = std::str::from_utf8(&rest[..end_of_headers]).ok()?;
        let (_, name) = headers.split_once("name=\"")?;
        let (name, after) = name.split_once('"')?;
        if name.eq_ignore_ascii_case("file") || after.contains("filename=") {
            break;
        }
        let value = &rest[end_of_headers + 4..];
        let end = find(value, format!("\r\n{delimiter}").as_bytes())?;
        fields.push((
            name.to_ascii_lowercase(),
            String::from_utf8(value[..end].to_vec()).ok()?,
        ));
        rest = &value[end + 2 + delimiter.len()..];
    }
    Some(fields)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn read(uri: &str, headers: &[(&'static str, &str)]) -> Presented {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Presented::read(&uri.parse().unwrap(), &map, None)
    }

    #[test]
    fn a_presigned_url_states_its_scope_and_validity() {
        let presented = read(
            "/b/k?X-Amz-Credential=ASIA%2F20261104%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20261104T090001Z\
             &X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-amz-acl&X-Amz-Security-Token=t%2Bo%2Fk%3D&X-Amz-Signature=00",
            &[("x-amz-security-token", "other")],
        );
        let signature = presented.signature.unwrap();
        assert_eq!(signature.carrier, Carrier::Query);
        assert_eq!(signature.access_key_id, "ASIA");
        assert_eq!(
            (signature.region.as_str(), signature.service.as_str()),
            ("eu-west-1", "s3")
        );
        assert_eq!(signature.signed_headers, ["host", "x-amz-acl"]);
        let (signed_at, expires) = signature.validity.unwrap();
        assert_eq!(
            (signed_at.to_string().as_str(), expires),
            ("2026-11-04T09:00:01Z", 60)
        );
        assert_eq!(presented.tokens, ["other", "t+o/k="]);
    }

    #[test]
    fn an_authorization_header_states_its_scope() {
        let value = "AWS4-HMAC-SHA256 Credential=AKIA/20261104/us-east-1/sts/aws4_request, SignedHeaders=Host;x-amz-date, Signature=00";
        let signature = read("/", &[("authorization", value)]).signature.unwrap();
        assert_eq!(
            (signature.carrier, signature.service.as_str()),
            (Carrier::Header, "sts")
        );
        assert_eq!(signature.signed_headers, ["host", "x-amz-date"]);
    }

    #[test]
    fn what_cannot_be_read_presents_nothing() {
        let scope = "X-Amz-Credential=A%2F20261104%2Fr%2Fs3%2Faws4_request";
        for uri in [
            "/b/k".to_owned(),
            "/b/k?Signature=x&AWSAccessKeyId=A".to_owned(),
            format!("/b/k?X-Amz-Signature=00&{scope}&X-Amz-Date=20261104T090001Z"),
            format!("/b/k?X-Amz-Signature=00&{scope}&{scope}&X-Amz-Date=20261104T090001Z&X-Amz-Expires=60"),
            "/b/k?X-Amz-Signature=00&X-Amz-Credential=A%2Fs3&X-Amz-Date=20261104T090001Z&X-Amz-Expires=60".to_owned(),
        ] {
            assert!(read(&uri, &[]).signature.is_none(), "{uri}");
        }
        assert!(
            read("/", &[("authorization", "AWS AKIA:c2ln")])
                .signature
                .is_none()
        );
    }

    #[test]
    fn a_form_presents_the_fields_before_its_file() {
        let body = b"--B\r\nContent-Disposition: form-data; name=\"X-Amz-Credential\"\r\n\r\nA/20261104/r/s3/aws4_request\r\n\
            --B\r\nContent-Disposition: form-data; name=\"x-amz-security-token\"\r\n\r\ntok\r\n\
            --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n\
            name=\"x-amz-security-token\"\r\n\r\nforged\r\n--B--\r\n";
        let fields = form_fields("multipart/form-data; boundary=B", body).unwrap();
        assert_eq!(fields.len(), 2);
        let presented = Presented::read(&"/b".parse().unwrap(), &HeaderMap::new(), Some(&fields));
        assert_eq!(presented.signature.unwrap().carrier, Carrier::Form);
        assert_eq!(presented.tokens, ["tok"]);
        assert!(form_fields("multipart/form-data", body).is_none());
    }

    /// Bytes that lead far into the readers, and others.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let known = select(vec![
            "--B",
            "\r\n\r\n",
            "\r\n--B",
            "name=\"",
            "\"",
            "file",
            "filename=",
            "X-Amz-Signature=",
            "X-Amz-Credential=",
            "X-Amz-Date=",
            "X-Amz-Expires=",
            "A/20261104/r/s3/aws4_request",
            "20261104T090001Z",
            "99999999999999999999",
            "&",
            "%2F",
            "x-amz-security-token=",
            "AWS4-HMAC-SHA256",
            "Credential=",
            "SignedHeaders=",
            ",",
            "é",
        ]);
        let piece = prop_oneof![
            3 => known.prop_map(|text| text.as_bytes().to_vec()),
            1 => vec(any::<u8>(), 0..6),
        ];
        vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in bytes(), line in bytes()) {
            let fields = form_fields("multipart/form-data; boundary=B", &body);
            prop_assert!(fields.iter().flatten().all(|(name, _)| *name == name.to_ascii_lowercase()));
            let line = String::from_utf8_lossy(&line);
            let _ = form_fields(&line, &body);
            let mut headers = HeaderMap::new();
            if let Ok(value) = line.parse() {
                headers.insert(AUTHORIZATION, value);
            }
            let uri = format!("/b/k?{line}").parse().unwrap_or_default();
            let presented = Presented::read(&uri, &headers, fields.as_deref());
            if let Some(signature) = presented.signature {
                prop_assert!(!signature.access_key_id.contains('/'));
            }
        }
    }
}
