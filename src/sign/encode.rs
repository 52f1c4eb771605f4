//! stub
/// stub
pub fn path_into(out: &mut String, text: &str) { out.push_str(text); }
