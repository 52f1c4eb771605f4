//! The curl command that sends a request: quoted so that a shell and curl take every character for itself.

use std::fmt::Write as _;

/// Says nothing but errors, and answers of S3 that are some too.
const CURL: &str = "curl -sS --fail-with-body";

/// What a request takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upload {
    /// Nothing.
    Nothing,
    /// A file.
    File,
    /// A file, and its MD5: the one checksum that may travel unsigned.
    FileWithMd5,
}

/// The command for a URL. Without `file` an upload sends the file `named`, and a download goes to standard output.
pub(super) fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    upload: Upload,
    file: Option<&str>,
    named: &str,
) -> String {
    // -g: else curl takes [] and {} in names for patterns.
    let mut line = format!("{CURL} -g");
    match method {
        "GET" => {}
        "HEAD" => line += " --head",
        "PUT" if upload != Upload::Nothing => {}
        method => line += &format!(" -X {method}"),
    }
    for (name, value) in headers {
        // What ends in a colon would be a header that curl leaves out.
        let header = if value.is_empty() {
            format!("{name};")
        } else {
            format!("{name}: {value}")
        };
        let _ = write!(line, " -H {}", quoted(&header));
    }
    if upload != Upload::Nothing {
        let file = quoted(&file_name(file.unwrap_or(named)));
        if upload == Upload::FileWithMd5 {
            let _ = write!(
                line,
                " -H \"content-md5: $(openssl md5 -binary < {file} | base64)\""
            );
        }
        let _ = write!(line, " -T {file}");
    } else if matches!(method, "PUT" | "POST") {
        line += " -H 'content-length: 0'";
    } else if let (Some(file), "GET") = (file, method) {
        let _ = write!(line, " -o {}", quoted(&file_name(file)));
    }
    let _ = write!(line, " {}", quoted(url));
    line
}

/// The command that posts a form with a file.
pub(super) fn form(url: &str, fields: &[(&str, &str)], file: Option<&str>, named: &str) -> String {
    let mut line = CURL.to_owned();
    for (name, value) in fields {
        let _ = write!(
            line,
            " --form-string {}",
            quoted(&format!("{name}={value}"))
        );
    }
    // Within double quotes curl takes `,` and `;` for themselves.
    let file = file_name(file.unwrap_or(named));
    let file = file.replace('\\', "\\\\").replace('"', "\\\"");
    let part = quoted(&format!("file=@\"{file}\""));
    let _ = write!(line, " -F {part} {}", quoted(url));
    line
}

/// The name by which curl finds a file: some mean standard input.
fn file_name(file: &str) -> String {
    if matches!(file, "-" | ".") {
        format!("./{file}")
    } else {
        file.to_owned()
    }
}

/// The text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_method_has_its_form() {
        let line =
            |method, upload, file| request(method, "u?a&b", &[("x-a", "1 2")], upload, file, "k");
        let with = |options: &str| format!("curl -sS --fail-with-body -g{options} 'u?a&b'");
        let header = " -H 'x-a: 1 2'";
        for (method, upload, file, options) in [
            ("GET", Upload::Nothing, None, header.to_owned()),
            ("GET", Upload::Nothing, Some("f"), format!("{header} -o f")),
            (
                "HEAD",
                Upload::Nothing,
                Some("f"),
                format!(" --head{header}"),
            ),
            (
                "DELETE",
                Upload::Nothing,
                None,
                format!(" -X DELETE{header}"),
            ),
            ("PUT", Upload::File, None, format!("{header} -T k")),
            ("PUT", Upload::File, Some("-"), format!("{header} -T ./-")),
            (
                "POST",
                Upload::File,
                Some("f"),
                format!(" -X POST{header} -T f"),
            ),
            (
                "PUT",
                Upload::Nothing,
                None,
                format!(" -X PUT{header} -H 'content-length: 0'"),
            ),
        ] {
            assert_eq!(line(method, upload, file), with(&options));
        }
        let empty = request("GET", "u", &[("x-a", "")], Upload::Nothing, None, "k");
        assert_eq!(empty, "curl -sS --fail-with-body -g -H 'x-a;' u");
        let rules = request("PUT", "u", &[], Upload::FileWithMd5, Some("a b"), "k");
        let md5 = "\"content-md5: $(openssl md5 -binary < 'a b' | base64)\"";
        assert_eq!(
            rules,
            format!("curl -sS --fail-with-body -g -H {md5} -T 'a b' u")
        );
    }

    #[test]
    fn a_form_has_its_fields_in_order_and_the_file_last() {
        let line = form(
            "u",
            &[("key", "@a"), ("b", "it's")],
            Some("a;\"b\\.txt"),
            "k",
        );
        assert_eq!(
            line,
            r#"curl -sS --fail-with-body --form-string key=@a --form-string 'b=it'\''s' -F 'file=@"a;\"b\\.txt"' u"#
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_shell_takes_every_text_as_one_word(texts in prop::collection::vec("[^\0]{0,12}|['\"$`\\\\ \n*~!#;&|(){}<>-]{0,12}", 1..20)) {
            let words: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
            let script = format!("printf '%s\\0' {}", words.join(" "));
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            let read = String::from_utf8(output.stdout).unwrap();
            let read: Vec<&str> = read.trim_end_matches('\0').split('\0').collect();
            // What ends in NULs above is what ends in empty texts.
            let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            while texts.len() > 1 && texts.last() == Some(&"") { texts.pop(); }
            prop_assert_eq!(read, texts);
        }
    }
}
