//! Whom a client certificate names: read once a connection, after TLS has verified it.
//!
//! Invariant: what is compared is text that no other certificate comes to by a trick of writing: a SPIFFE ID only where it is the one URI of
//! the certificate, DNS names in lower case, and the subject as RFC 4514 writes it, with its special characters escaped.

use std::fmt::Write as _;
use std::sync::Arc;

use x509_parser::asn1_rs::ToDer as _;
use x509_parser::der_parser::oid::Oid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// What a client certificate says of its holder. Cheap to clone.
///
/// Whoever terminates TLS makes one of the certificate that it has verified, and gives it to each request of the connection as an
/// extension. It is no proof by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate(Arc<Names>);

#[derive(Debug, PartialEq, Eq)]
struct Names {
    spiffe_id: Option<Box<str>>,
    dns: Box<[Box<str>]>,
    subject: Box<str>,
}

/// The certificate cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client certificate cannot be read")]
pub struct UnreadableCertificate;

impl PeerCertificate {
    /// Reads a certificate in DER: the client's own, not one of its issuers'.
    ///
    /// # Errors
    /// If it is no X.509 certificate, or not well formed in what names its holder.
    pub fn read(der: &[u8]) -> Result<Self, UnreadableCertificate> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| UnreadableCertificate)?;
        let alternative = certificate
            .subject_alternative_name()
            .map_err(|_| UnreadableCertificate)?;
        if !rest.is_empty() {
            return Err(UnreadableCertificate);
        }
        let (mut uris, mut dns) = (Vec::new(), Vec::new());
        for name in alternative.map_or(&[][..], |names| &names.value.general_names) {
            match name {
                GeneralName::URI(uri) => uris.push(*uri),
                GeneralName::DNSName(name) => dns.push(name.to_ascii_lowercase().into()),
                GeneralName::Invalid(..) => return Err(UnreadableCertificate),
                _ => {}
            }
        }
        // A certificate with more than one URI is no X.509-SVID:
        // https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md#2-spiffe-id
        let spiffe_id = match uris[..] {
            [uri] if uri.starts_with("spiffe://") => Some(uri.into()),
            _ => None,
        };
        Ok(Self(Arc::new(Names {
            spiffe_id,
            dns: dns.into(),
            subject: written(certificate.subject())?.into(),
        })))
    }

    /// One that names its holder so.
    pub(super) fn naming(spiffe_id: Option<&str>, dns: Option<&str>, subject: &str) -> Self {
        Self(Arc::new(Names {
            spiffe_id: spiffe_id.map(Into::into),
            dns: dns.map(Into::into).into_iter().collect(),
            subject: subject.into(),
        }))
    }

    /// The SPIFFE ID, if the certificate has one URI and that is one.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        self.0.spiffe_id.as_deref()
    }

    /// The DNS names among its alternative names, in lower case.
    #[must_use]
    pub fn dns_names(&self) -> &[Box<str>] {
        &self.0.dns
    }

    /// The subject as `openssl x509 -noout -subject -nameopt RFC2253` prints it: `CN=media-api,OU=media,O=Acme`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }
}

/// The attributes that have a name in RFC 4514, section 3.
const KEYWORDS: [(&str, &[u64]); 9] = [
    ("CN", &[2, 5, 4, 3]),
    ("L", &[2, 5, 4, 7]),
    ("ST", &[2, 5, 4, 8]),
    ("O", &[2, 5, 4, 10]),
    ("OU", &[2, 5, 4, 11]),
    ("C", &[2, 5, 4, 6]),
    ("street", &[2, 5, 4, 9]),
    ("DC", &[0, 9, 2342, 19_200_300, 100, 1, 25]),
    ("UID", &[0, 9, 2342, 19_200_300, 100, 1, 1]),
];

fn keyword(oid: &Oid<'_>) -> Option<&'static str> {
    let mut keywords = KEYWORDS.iter();
    let is_it = |path: &[u64]| oid.iter().is_some_and(|own| own.eq(path.iter().copied()));
    let found = keywords.find(|(_, path)| is_it(path));
    found.map(|(keyword, _)| *keyword)
}

/// A distinguished name as RFC 4514 writes it, the most significant part last.
fn written(name: &X509Name<'_>) -> Result<String, UnreadableCertificate> {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (index, part) in parts.into_iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            write_attribute(&mut text, attribute)?;
        }
    }
    Ok(text)
}

fn write_attribute(
    text: &mut String,
    attribute: &AttributeTypeAndValue<'_>,
) -> Result<(), UnreadableCertificate> {
    if let (Some(keyword), Ok(value)) = (keyword(attribute.attr_type()), attribute.as_str()) {
        text.push_str(keyword);
        text.push('=');
        escape(text, value);
        return Ok(());
    }
    // What has no name, or is no text: the bytes, so that it is told from everything else.
    let bytes = attribute.attr_value().to_der_vec();
    let bytes = bytes.map_err(|_| UnreadableCertificate)?;
    text.push_str(&attribute.attr_type().to_id_string());
    text.push_str("=#");
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
    Ok(())
}

/// RFC 4514, section 2.4.
fn escape(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            '#' if index == 0 => text.push_str("\\#"),
            c if c.is_control() => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, SanType};

    fn certificate(names: &[SanType], subject: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    #[test]
    fn the_names_of_a_certificate_are_read() {
        let names = [
            dns("API.Media.example"),
            uri("spiffe://cluster.local/ns/media/sa/api"),
            dns("*.example"),
        ];
        let subject = [
            (DnType::CountryName, "DE"),
            (DnType::OrganizationName, "Acme"),
            (DnType::CommonName, "media-api"),
        ];
        let read = PeerCertificate::read(&certificate(&names, &subject)).unwrap();
        assert_eq!(
            read.spiffe_id(),
            Some("spiffe://cluster.local/ns/media/sa/api")
        );
        let dns: Vec<&str> = read.dns_names().iter().map(|name| &**name).collect();
        assert_eq!(dns, ["api.media.example", "*.example"]);
        assert_eq!(read.subject(), "CN=media-api,O=Acme,C=DE");
    }

    #[test]
    fn a_certificate_with_two_uris_has_no_spiffe_id() {
        let id = |names: &[SanType]| {
            let read = PeerCertificate::read(&certificate(names, &[])).unwrap();
            read.spiffe_id().map(str::to_owned)
        };
        assert_eq!(id(&[uri("spiffe://a/b"), uri("spiffe://a/c")]), None);
        assert_eq!(id(&[uri("spiffe://a/b"), uri("https://a/c")]), None);
        assert_eq!(id(&[uri("https://a/b")]), None);
        assert_eq!(id(&[dns("spiffe")]), None);
        assert_eq!(id(&[]), None);
    }

    #[test]
    fn a_value_cannot_pass_for_another_part_of_the_subject() {
        let subject = |parts: &[(DnType, &str)]| {
            let read = PeerCertificate::read(&certificate(&[], parts)).unwrap();
            read.subject().to_owned()
        };
        let forged = subject(&[(DnType::CommonName, "api,O=Acme")]);
        let real = subject(&[
            (DnType::OrganizationName, "Acme"),
            (DnType::CommonName, "api"),
        ]);
        assert_eq!(forged, r"CN=api\,O=Acme");
        assert_eq!(real, "CN=api,O=Acme");
        for (value, escaped) in [
            (" a b ", r"CN=\ a b\ "),
            ("#1", r"CN=\#1"),
            ("a#1", "CN=a#1"),
            (r#"a"+;<>\"#, r#"CN=a\"\+\;\<\>\\"#),
            ("a\nb\u{7f}", r"CN=a\0Ab\7F"),
            ("Zoë", "CN=Zoë"),
            (" ", r"CN=\ "),
            ("", "CN="),
        ] {
            assert_eq!(subject(&[(DnType::CommonName, value)]), escaped);
        }
        // emailAddress has no name in RFC 4514.
        let email = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
        let shown = subject(&[(email, "a@b")]);
        assert_eq!(shown, "1.2.840.113549.1.9.1=#0C03614062");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let good = certificate(&[dns("a.example")], &[]);
        assert!(PeerCertificate::read(&good).is_ok());
        let longer = [good.clone(), vec![0]].concat();
        for bad in [
            &[][..],
            b"not a certificate",
            &good[..good.len() - 1],
            &longer,
        ] {
            assert_eq!(PeerCertificate::read(bad), Err(UnreadableCertificate));
        }
        // A subject alternative name (2.5.29.17) that is no list of names.
        let mut params = CertificateParams::default();
        let broken = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![1, 2, 3]);
        params.custom_extensions.push(broken);
        let broken = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(
            PeerCertificate::read(broken.der()),
            Err(UnreadableCertificate)
        );
    }
}
