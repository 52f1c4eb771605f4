//! stub
use arrayvec::ArrayString;
/// stub
pub fn iso8601(_s: i64, _n: i32) -> Option<ArrayString<32>> { None }
/// stub
pub fn http_date(_s: i64, _n: i32) -> Option<ArrayString<32>> { None }
