//! The token with which presignd comes to STS, from a file that somebody else renews.
//!
//! It is read for each call, because it changes under presignd. Invariant: nothing of it stands in an error.

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::AsyncReadExt as _;

use crate::scope::ScopeError;

/// The longest token that STS takes.
const LONGEST: u64 = 20_000;
/// So much of a token in somebody's words gives it away.
const TELLING: usize = 12;

/// The token that is in the file now.
pub(super) async fn token(file: &Path) -> Result<SecretString, ScopeError> {
    read(file).await.map_err(|problem| {
        let file = file.display();
        ScopeError::unavailable(format!("the web identity token file {file} {problem}"))
    })
}

async fn read(file: &Path) -> Result<SecretString, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // To open a pipe would wait for whoever writes to it.
    if !tokio::fs::metadata(file)
        .await
        .map_err(unreadable)?
        .is_file()
    {
        return Err("is not a file".to_owned());
    }
    let mut token = String::new();
    tokio::fs::File::open(file)
        .await
        .map_err(unreadable)?
        .take(LONGEST + 1)
        .read_to_string(&mut token)
        .await
        .map_err(unreadable)?;
    let token = SecretString::from(token);
    let text = token.expose_secret().trim_ascii();
    if text.is_empty() {
        Err("is empty".to_owned())
    } else if text.len() as u64 > LONGEST {
        Err(format!(
            "holds more than the {LONGEST} characters that STS takes"
        ))
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("holds something other than a token".to_owned())
    } else {
        Ok(SecretString::from(text))
    }
}

/// Whether somebody's words repeat some of the token.
pub(super) fn holds(words: &str, token: &SecretString) -> bool {
    let token = token.expose_secret().as_bytes();
    let mut pieces = token.windows(TELLING.min(token.len()));
    // The token is ASCII, as `read` has seen.
    pieces.any(|piece| std::str::from_utf8(piece).is_ok_and(|piece| words.contains(piece)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_repeat_a_piece_of_the_token_are_found() {
        let token = SecretString::from("eyJhbGciOi.eyJzdWIiOiJwcmVzaWduZCJ9.c2lnbmF0dXJl");
        for words in [
            "Value 'eyJhbGciOi.eyJzdWIiOiJwcmVzaWduZCJ9.c2lnbmF0dXJl' is bad",
            "in OiJwcmVzaWdu is an error",
            "25kCJ9 ends ZCJ9.c2lnbmF0",
        ] {
            assert!(holds(words, &token), "{words}");
        }
        assert!(!holds("the token signature does not match", &token));
        assert!(holds("is abc", &SecretString::from("abc")));
    }
}
