//! The page's files, in the program.

/// The media type and the bytes of what is at a path.
pub(super) fn at(path: &str) -> Option<(&'static str, &'static [u8])> {
    const HTML: &str = "text/html; charset=utf-8";
    const CSS: &str = "text/css; charset=utf-8";
    const JS: &str = "text/javascript; charset=utf-8";
    macro_rules! file {
        ($name:literal) => {
            include_bytes!(concat!("static/", $name))
        };
    }
    Some(match path {
        // Where S3 sends a browser back to after a form, with what it wrote in the query.
        "/" | "/uploaded" => (HTML, file!("index.html")),
        "/page.css" => (CSS, file!("page.css")),
        "/icon.svg" => ("image/svg+xml", file!("icon.svg")),
        "/main.js" => (JS, file!("main.js")),
        "/ask.js" => (JS, file!("ask.js")),
        "/show.js" => (JS, file!("show.js")),
        "/store.js" => (JS, file!("store.js")),
        "/form.js" => (JS, file!("form.js")),
        "/put.js" => (JS, file!("put.js")),
        "/parts.js" => (JS, file!("parts.js")),
        "/download.js" => (JS, file!("download.js")),
        "/other.js" => (JS, file!("other.js")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that the page names and that is not served would be seen in a browser alone.
    #[test]
    fn everything_that_the_files_name_is_there() {
        let mut named = 0;
        let mut look_at = vec!["/".to_owned()];
        while let Some(path) = look_at.pop() {
            let (_, bytes) = at(&path).unwrap_or_else(|| panic!("no {path}"));
            let text = std::str::from_utf8(bytes).unwrap();
            for (marker, end) in [
                ("src=\"/", '"'),
                ("rel=\"icon\" href=\"/", '"'),
                ("stylesheet\" href=\"/", '"'),
                ("from \"./", '"'),
            ] {
                for (start, _) in text.match_indices(marker) {
                    let rest = &text[start + marker.len()..];
                    named += 1;
                    look_at.push(format!("/{}", rest.split(end).next().unwrap()));
                }
            }
            assert!(
                !text.contains("https://") || path == "/icon.svg",
                "{path} names another place"
            );
        }
        assert!(named > 8, "{named}");
        assert!(at("/../page.rs").is_none());
    }
}
