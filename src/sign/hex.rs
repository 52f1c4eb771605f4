//! Lower-case hexadecimal of a SHA-256 value, as Signature Version 4 writes hashes and signatures.

use arrayvec::ArrayString;

/// The digits of 32 bytes.
pub(super) const HEX_LENGTH: usize = 64;

/// 32 bytes in hexadecimal.
pub(super) type Hex = ArrayString<HEX_LENGTH>;

/// `000102` and so on up to `ff`: the digits of a byte start at twice its value.
static DIGITS: &str = {
    const BYTES: [u8; 512] = {
        let hex = b"0123456789abcdef";
        let mut bytes = [0; 512];
        let mut byte = 0;
        while byte < 256 {
            bytes[2 * byte] = hex[byte >> 4];
            bytes[2 * byte + 1] = hex[byte & 15];
            byte += 1;
        }
        bytes
    };
    match std::str::from_utf8(&BYTES) {
        Ok(digits) => digits,
        Err(_) => panic!("hexadecimal digits are ASCII"),
    }
};

/// The hexadecimal form of a hash.
pub(super) fn hex(bytes: &[u8; 32]) -> Hex {
    let mut out = Hex::new();
    for &byte in bytes {
        let at = 2 * usize::from(byte);
        out.push_str(&DIGITS[at..at + 2]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_two_lower_case_digits_a_byte() {
        let mut bytes = [0; 32];
        bytes[1] = 0x0f;
        bytes[30] = 0xa5;
        bytes[31] = 0xff;
        let expected = format!("000f{}a5ff", "00".repeat(28));
        assert_eq!(hex(&bytes).as_str(), expected);
    }
}
