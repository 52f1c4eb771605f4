//! Lower-case hexadecimal of a SHA-256 value, as Signature Version 4 writes hashes and signatures.

use arrayvec::ArrayString;

/// The digits of 32 bytes.
pub(super) const HEX_LENGTH: usize = 64;

/// 32 bytes in hexadecimal.
pub(super) type Hex = ArrayString<HEX_LENGTH>;

/// Appends the hexadecimal form of these bytes.
pub(super) fn push_hex<const N: usize>(digits: &mut ArrayString<N>, bytes: &[u8]) {
    let digit = |half: u8| char::from(half + if half < 10 { b'0' } else { b'a' - 10 });
    for byte in bytes {
        digits.push(digit(byte >> 4));
        digits.push(digit(byte & 15));
    }
}

/// The hexadecimal form of a hash.
pub(super) fn hex(bytes: &[u8; 32]) -> Hex {
    // Arithmetic instead of a table, which the compiler turns into vector instructions.
    let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
    let mut digits = [0; HEX_LENGTH];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = digit(byte >> 4);
        pair[1] = digit(byte & 15);
    }
    Hex::from_byte_string(&digits).unwrap_or_default()
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
