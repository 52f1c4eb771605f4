//! The few words that presignd takes from S3's answers.
//!
//! Invariant: an upload's id is one that a URL can name, and an error code is letters and digits, whatever the answer holds.

/// The longest upload id that is believed, in bytes: several times what stores give.
const MAX_UPLOAD_ID: usize = 1024;
/// The longest error code.
const MAX_CODE: usize = 64;

/// The upload's id in an answer to `CreateMultipartUpload`.
pub(super) fn upload_id(body: &[u8]) -> Option<String> {
    let id = unescaped(element(std::str::from_utf8(body).ok()?, "UploadId")?);
    let fits = (1..=MAX_UPLOAD_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    fits.then_some(id)
}

/// The code of an error document; empty if it has none.
pub(super) fn error_code(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let code = element(&text, "Code").unwrap_or_default();
    let fits = code.len() <= MAX_CODE && code.bytes().all(|b| b.is_ascii_alphanumeric());
    if fits { code.to_owned() } else { String::new() }
}

/// The text of the first element of this name, which has no attributes.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    (!text.contains('<')).then_some(text.trim())
}

fn unescaped(text: &str) -> String {
    let named = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#43;", "+"),
        ("&#x2B;", "+"),
        // Last: what it makes is no entity.
        ("&amp;", "&"),
    ];
    let escaped = text.contains('&');
    named
        .iter()
        .filter(|_| escaped)
        .fold(text.to_owned(), |text, (name, character)| {
            text.replace(name, character)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(id: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Bucket>b</Bucket><Key>k</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        )
    }

    #[test]
    fn ids_are_taken_as_stores_write_them() {
        for (written, id) in [
            ("2~vkzYL-hoVVc", "2~vkzYL-hoVVc"),
            ("VXBsb2Fk.IElE_/+=--", "VXBsb2Fk.IElE_/+=--"),
            ("a&amp;b&lt;&amp;lt;", "a&b<&lt;"),
            (" \n x \n", "x"),
        ] {
            let body = created(written);
            assert_eq!(upload_id(body.as_bytes()).as_deref(), Some(id));
        }
    }

    #[test]
    fn what_is_no_id_is_not_believed() {
        let long = "x".repeat(1025);
        for written in ["", " ", "a b", "é", "a\nb", "<x/>", &long] {
            assert_eq!(upload_id(created(written).as_bytes()), None, "{written:?}");
        }
        for body in [
            &b""[..],
            b"{}",
            b"<UploadId>x",
            b"\xff<UploadId>x</UploadId>",
        ] {
            assert_eq!(upload_id(body), None);
        }
    }

    #[test]
    fn codes_are_words() {
        let error = |code: &str| format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        let code = |text: String| error_code(text.as_bytes());
        assert_eq!(code(error("NoSuchBucket")), "NoSuchBucket");
        for bad in ["", "a b", "a\u{202e}", "<b>", &"x".repeat(65)] {
            assert_eq!(code(error(bad)), "", "{bad:?}");
        }
        assert_eq!(error_code(b"\xff"), "");
    }
}
