//! The checksums that S3 takes of a body, as their headers hold them: base64 of the value, the most significant byte first.
//!
//! `XXHash` is not among them: S3 alone holds those against the body. Source: the S3 user guide, "Checking object integrity in Amazon S3".

use base64_simd::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha512};

/// The header of the MD5 that every operation takes.
pub(super) const CONTENT_MD5: &str = "content-md5";
/// What the headers of the others start with.
pub(super) const PREFIX: &str = "x-amz-checksum-";

/// How a checksum is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 7] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
    ];

    /// The one of a header.
    pub(super) fn of_header(name: &str) -> Option<Self> {
        if name == CONTENT_MD5 {
            return Some(Self::Md5);
        }
        Self::ALL.into_iter().find(|known| known.header() == name)
    }

    /// The one that S3 calls so in `x-amz-sdk-checksum-algorithm`.
    pub(super) fn named(name: &str) -> Option<Self> {
        let is_it = |known: &Self| known.header()[PREFIX.len()..].eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_it)
    }

    /// Its header.
    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Md5 => "x-amz-checksum-md5",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
            Self::Sha512 => "x-amz-checksum-sha512",
        }
    }

    /// The checksum of a body, of which at least the SHA-256 is known. `None`: it takes more than that.
    pub(super) fn of(self, content: Option<&[u8]>, sha256: &[u8; 32]) -> Option<String> {
        if self == Self::Sha256 {
            return Some(STANDARD.encode_to_string(sha256));
        }
        let content = content?;
        Some(match self {
            Self::Crc32 => crc32(CrcAlgorithm::Crc32IsoHdlc, content),
            Self::Crc32c => crc32(CrcAlgorithm::Crc32Iscsi, content),
            Self::Crc64Nvme => {
                let value = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, content);
                STANDARD.encode_to_string(value.to_be_bytes())
            }
            Self::Md5 => STANDARD.encode_to_string(Md5::digest(content)),
            Self::Sha1 => STANDARD.encode_to_string(Sha1::digest(content)),
            Self::Sha256 => STANDARD.encode_to_string(sha256),
            Self::Sha512 => STANDARD.encode_to_string(Sha512::digest(content)),
        })
    }
}

/// The lower half holds all of it.
fn crc32(algorithm: CrcAlgorithm, content: &[u8]) -> String {
    let [.., a, b, c, d] = crc_fast::checksum(algorithm, content).to_be_bytes();
    STANDARD.encode_to_string([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What others say of these nine bytes: the catalogue of parametrised CRC algorithms, and coreutils.
    #[test]
    fn checksums_are_those_that_others_make() {
        for (algorithm, expected) in [
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
            (Algorithm::Md5, "JfnnlDI7RTiF9RgfG2JNCw=="),
            (Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (
                Algorithm::Sha512,
                "2eZ2LdHI6vbWGzxhkvxAjU1tXxF20MKRabwk5xw/J0rSf81YEbMT1oH35V7ALXPUmclUVba1u1A6z1dPuo/+hQ==",
            ),
        ] {
            let made = algorithm.of(Some(b"123456789"), &[0; 32]);
            assert_eq!(made.as_deref(), Some(expected), "{algorithm:?}");
            assert_eq!(algorithm.of(None, &[0; 32]), None);
        }
    }

    #[test]
    fn names_lead_to_headers_and_back() {
        for (name, header) in [
            ("CRC32", "x-amz-checksum-crc32"),
            ("CRC32C", "x-amz-checksum-crc32c"),
            ("CRC64NVME", "x-amz-checksum-crc64nvme"),
            ("MD5", "x-amz-checksum-md5"),
            ("SHA1", "x-amz-checksum-sha1"),
            ("SHA256", "x-amz-checksum-sha256"),
            ("SHA512", "x-amz-checksum-sha512"),
        ] {
            let algorithm = Algorithm::named(name).unwrap();
            assert_eq!(algorithm.header(), header);
            assert_eq!(Algorithm::of_header(header), Some(algorithm));
        }
        assert_eq!(Algorithm::of_header("content-md5"), Some(Algorithm::Md5));
        assert_eq!(Algorithm::named("XXHASH64"), None);
        assert_eq!(Algorithm::of_header("x-amz-checksum-type"), None);
    }
}
