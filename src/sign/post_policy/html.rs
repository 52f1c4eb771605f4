//! A form as HTML, for a page of UTF-8.
//!
//! Invariant: an HTML parser reads every name and value as it was signed, whatever is in it, and the file comes last.

use super::PresignedForm;

/// The form: hidden inputs, inputs to fill in, the file, and a button that is not sent.
pub(super) fn form(signed: &PresignedForm<'_, '_>) -> String {
    let mut html = String::with_capacity(signed.bytes());
    html.push_str("<form action=\"");
    escape_into(&mut html, &signed.url());
    html.push_str("\" method=\"post\" enctype=\"multipart/form-data\" accept-charset=\"utf-8\">\n");
    for (name, value) in signed.fields() {
        html.push_str("  <input type=\"hidden\"");
        attributes_into(&mut html, name, value);
        html.push_str(">\n");
    }
    for (name, value) in signed.fields_to_fill() {
        html.push_str("  <label>");
        escape_into(&mut html, name);
        html.push_str(" <input type=\"text\"");
        attributes_into(&mut html, name, value);
        html.push_str("></label>\n");
    }
    html.push_str(
        "  <input type=\"file\" name=\"file\" required>\n  <button type=\"submit\">Upload</button>\n</form>\n",
    );
    html
}

fn attributes_into(html: &mut String, name: &str, value: &str) {
    html.push_str(" name=\"");
    escape_into(html, name);
    html.push_str("\" value=\"");
    escape_into(html, value);
    html.push('"');
}

/// Appends a text with everything as an entity that would end or begin something in XML or HTML.
pub(super) fn escape_into(markup: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => markup.push_str("&amp;"),
            '<' => markup.push_str("&lt;"),
            '>' => markup.push_str("&gt;"),
            '"' => markup.push_str("&quot;"),
            '\'' => markup.push_str("&#39;"),
            other => markup.push(other),
        }
    }
}
