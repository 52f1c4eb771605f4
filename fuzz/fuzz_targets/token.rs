//! What is in a web identity's token file: sent as it is, or refused; and repeated by no error, also where STS repeats it.
#![no_main]

use std::io::Write as _;

use libfuzzer_sys::fuzz_target;
use presignd_fuzz::{Answer, StsUnderTest, TOKEN_PIECE};

fuzz_target!(|data: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(data).expect("it can be written");
    let message = String::from_utf8_lossy(data).replace(['<', '&'], " ");
    let body = format!(
        "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>in {message} is a mistake</Message></Error></ErrorResponse>"
    );
    let answer = Answer {
        status: 400,
        header: None,
        body: body.into_bytes(),
    };
    let path = file.path().to_owned();
    let (result, sent) = StsUnderTest::with(|sts| sts.assume(answer, Some(path)));
    let said = result.expect_err("STS refuses").to_string();
    let token = data.trim_ascii();
    let is_token = (1..=20_000).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
    assert_eq!(is_token, !sent.is_empty(), "{said}");
    assert!(!said.chars().any(char::is_control), "{said:?}");
    if is_token && token.len() >= TOKEN_PIECE {
        let piece = token.windows(TOKEN_PIECE).find(|piece| {
            said.as_bytes()
                .windows(TOKEN_PIECE)
                .any(|words| words == *piece)
        });
        assert_eq!(piece, None, "{said}");
    }
});
