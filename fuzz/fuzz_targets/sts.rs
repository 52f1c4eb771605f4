//! What STS answers, in any status, with any body: a session that is whole, or an error that repeats no secret and forges no line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use presignd_fuzz::{Answer, MARKER, StsUnderTest};

/// The longest that an error may be: it goes into the log.
const ERROR: usize = 4096;
const STATUSES: [u16; 12] = [200, 200, 201, 204, 302, 400, 403, 404, 408, 429, 500, 503];
const HEADERS: [&str; 6] = [
    "content-type",
    "date",
    "retry-after",
    "x-amzn-errortype",
    "x-amzn-requestid",
    "x-amzn-query-error",
];

fuzz_target!(|data: &[u8]| {
    let [status, header, rest @ ..] = data else {
        return;
    };
    let status = STATUSES[usize::from(*status) % STATUSES.len()];
    // A short line is a header's value.
    let (value, body) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end @ ..=80) => (&rest[..end], &rest[end + 1..]),
        _ => (&[][..], rest),
    };
    let name = HEADERS[usize::from(*header) % HEADERS.len()];
    let answer = Answer {
        status,
        header: Some((name.to_owned(), String::from_utf8_lossy(value).into_owned())),
        body: body.to_vec(),
    };
    let text = String::from_utf8_lossy(body).into_owned();
    let (result, _) = StsUnderTest::with(|sts| sts.assume(answer, None));
    match result {
        Ok(assumed) => {
            let credentials = &assumed.credentials;
            assert!((200..300).contains(&status), "{status} gave a session");
            assert!(!credentials.access_key_id().is_empty() && credentials.expires_at().is_some());
            for member in [
                "AccessKeyId",
                "SecretAccessKey",
                "SessionToken",
                "Expiration",
            ] {
                assert!(text.contains(member), "a session without {member}");
            }
            assert!(!format!("{assumed:?}").contains(MARKER), "{assumed:?}");
        }
        Err(error) => {
            let said = format!("{error} {error:?}");
            assert!(said.len() <= ERROR, "{said}");
            assert!(
                !error.to_string().chars().any(char::is_control),
                "{error:?}"
            );
            let given = ["SecretAccessKey", "SessionToken"]
                .iter()
                .any(|member| text.contains(&format!("<{member}>{MARKER}")));
            let holds = said.contains(MARKER);
            assert!(!(holds && (given || !text.contains(MARKER))), "{said}");
        }
    }
});
