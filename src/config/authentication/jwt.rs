//! `authentication.jwt`: issuers of tokens.
//!
//! Invariant: what verifies tokens is public and asymmetric, and comes over TLS or from this machine.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::source_name;
use crate::config::mistake::{Located, Mark, quoted};
use crate::config::reader::Reader;
use crate::config::tree::Node;
use crate::config::url::base_url;

/// An issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtIssuer {
    /// Its name in tokens.
    pub issuer: String,
    /// Whom tokens are for; at least one.
    pub audiences: Vec<String>,
    /// How tokens may be signed; at least one.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Where its keys are.
    pub jwks: Jwks,
    /// How much its clock may differ.
    pub leeway: Duration,
    /// The claim that names the caller.
    pub caller_claim: ClaimPath,
    /// The claim that names the tenants to which the caller is bound.
    pub tenant_claim: Option<ClaimPath>,
}

/// How a token is signed: the asymmetric algorithms of RFC 7518 and RFC 8037 that presignd verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's own")]
pub enum JwtAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Jwks {
    /// Where the issuer's `/.well-known/openid-configuration` says.
    Discovery(FetchTrust),
    /// At this URL.
    Url(String, FetchTrust),
    /// In this file.
    File(PathBuf),
}

/// How a server that has keys is known, and presignd to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchTrust {
    /// The CAs of its certificate, in PEM; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// A bearer token to show.
    pub token_file: Option<PathBuf>,
}

/// A claim by its name, or by a JSON pointer, which begins with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(pub String);

impl Jwks {
    /// Where they are, for a person to read.
    pub fn place(&self) -> String {
        match self {
            Self::Discovery(_) => "found by its OpenID configuration".to_owned(),
            Self::Url(url, _) => format!("at {url}"),
            Self::File(path) => format!("in {}", path.display()),
        }
    }
}

const LEEWAY: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(5);
const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
const ALGORITHMS: [(&str, JwtAlgorithm); 9] = [
    ("RS256", JwtAlgorithm::RS256),
    ("RS384", JwtAlgorithm::RS384),
    ("RS512", JwtAlgorithm::RS512),
    ("PS256", JwtAlgorithm::PS256),
    ("PS384", JwtAlgorithm::PS384),
    ("PS512", JwtAlgorithm::PS512),
    ("ES256", JwtAlgorithm::ES256),
    ("ES384", JwtAlgorithm::ES384),
    ("EdDSA", JwtAlgorithm::EdDSA),
];

pub(super) fn issuers(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
) -> Option<BTreeMap<String, Located<JwtIssuer>>> {
    let issuers = reader.each_entry(node, |reader, name, at, node| {
        let named = source_name(reader, name, at);
        let issuer = issuer(reader, at, node)?;
        named.map(|()| (name.to_owned(), issuer))
    })?;
    one_of_each(reader, &issuers)?;
    Some(issuers.into_iter().collect())
}

/// A token names its issuer, and that has to say which one it is.
fn one_of_each(reader: &mut Reader<'_>, issuers: &[(String, Located<JwtIssuer>)]) -> Option<()> {
    let mut unique = Some(());
    for (index, (_, later)) in issuers.iter().enumerate() {
        let mut earlier = issuers[..index].iter();
        let same = earlier.find(|(_, earlier)| earlier.value.issuer == later.value.issuer);
        if let Some((name, _)) = same {
            let message = format!(
                "has the same `issuer` as `{name}`: make them one, with the audiences of both"
            );
            reader.mistake_in(later, message);
            unique = None;
        }
    }
    unique
}

fn issuer(reader: &mut Reader<'_>, at: Mark, node: &Node<'_>) -> Option<Located<JwtIssuer>> {
    let mut section = reader.section(node)?;
    let issuer = section.required("issuer", |reader, node| {
        let issuer = reader.parsed(node, visible)?;
        Some(reader.locate(node.at, issuer))
    });
    let audiences = section.required("audiences", |reader, node| {
        let audiences = reader.names(node, |text| visible(text).map(|_| ()))?;
        Some(
            audiences
                .into_iter()
                .map(|audience| audience.value)
                .collect(),
        )
    });
    let algorithms = section.or(
        "algorithms",
        vec![JwtAlgorithm::RS256, JwtAlgorithm::ES256],
        algorithms,
    );
    let jwks = section.or("jwks", Jwks::Discovery(FetchTrust::default()), jwks);
    let leeway = section.or("leeway", DEFAULT_LEEWAY, |r, n| r.duration(n, &LEEWAY));
    let sub = ClaimPath("sub".to_owned());
    let caller_claim = section.or("caller_claim", sub, claim);
    let tenant_claim = section.optional("tenant_claim", claim);
    section.finish();

    let (issuer, jwks) = (issuer?, jwks?);
    if let Jwks::Discovery(_) = jwks
        && let Err(why) = protected_url(&issuer.value)
    {
        let message =
            format!("{why}; an issuer that is no URL needs `jwks` with a `url` or a `file`");
        reader.mistake_in(&issuer, message);
        return None;
    }
    let issuer = JwtIssuer {
        issuer: issuer.value,
        audiences: audiences?,
        algorithms: algorithms?,
        jwks,
        leeway: leeway?,
        caller_claim: caller_claim?,
        tenant_claim: tenant_claim?,
    };
    Some(reader.locate(at, issuer))
}

fn algorithms(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<JwtAlgorithm>> {
    let algorithms = reader.list(node, |reader, node| {
        let name = reader.text(node)?;
        let symmetric = ["none", "HS256", "HS384", "HS512"];
        if symmetric.iter().any(|bad| name.eq_ignore_ascii_case(bad)) {
            let message = format!(
                "{} is never accepted: whoever can verify such tokens can make them",
                quoted(name)
            );
            reader.mistake(node.at, message);
            return None;
        }
        reader.choice(node, &ALGORITHMS)
    })?;
    if algorithms.is_empty() {
        reader.mistake(node.at, "the list is empty: name at least one");
        return None;
    }
    Some(algorithms)
}

fn jwks(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Jwks> {
    let mut section = reader.section(node)?;
    let at = section.at();
    let url = section.optional("url", |reader, node| {
        reader.parsed(node, |text| protected_url(text).map(|()| text.to_owned()))
    });
    let file = section.optional("file", path);
    let ca_file = section.optional("ca_file", path);
    let token_file = section.optional("token_file", path);
    section.finish();
    let (url, file) = (url?, file?);
    let trust = FetchTrust {
        ca_file: ca_file?,
        token_file: token_file?,
    };
    match (url, file) {
        (Some(_), Some(_)) => {
            reader.mistake(at, "names both `url` and `file`: remove one");
            None
        }
        (None, Some(_)) if trust != FetchTrust::default() => {
            let message = "`ca_file` and `token_file` are for keys that are fetched, and `file` is read: remove them";
            reader.mistake(at, message);
            None
        }
        (None, Some(file)) => Some(Jwks::File(file)),
        (Some(url), None) => Some(Jwks::Url(url, trust)),
        (None, None) => Some(Jwks::Discovery(trust)),
    }
}

/// A file that can be opened now: what is misspelt is told before anybody waits for it.
fn path(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<PathBuf> {
    let name = reader.text(node)?;
    if name.is_empty() {
        reader.mistake(node.at, "is empty: name a file");
        return None;
    }
    let path = reader.folder.join(name);
    match std::fs::File::open(&path) {
        Ok(_) => Some(path),
        Err(error) => {
            let message = format!("{} cannot be read: {error}", quoted(name));
            reader.mistake(node.at, message);
            None
        }
    }
}

fn claim(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<ClaimPath> {
    reader.parsed(node, visible).map(ClaimPath)
}

fn visible(text: &str) -> Result<String, String> {
    if (1..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{} is not 1 to 512 visible ASCII characters",
            quoted(text)
        ))
    }
}

/// Whether this is a URL, perhaps with a path, under which nobody on a network can change what is fetched.
fn protected_url(text: &str) -> Result<(), String> {
    let form = "write it as `https://host/path`";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("{} is no URL: {form}", quoted(text)));
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let base = base_url(&format!("{scheme}://{authority}"))?;
    let segment = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&byte);
    if !path.bytes().all(segment) {
        return Err(format!(
            "the path of this URL holds a query, a fragment or a character that does not belong there: {form}"
        ));
    }
    let authority = base.authority();
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, port)| {
            if port.ends_with(']') { authority } else { host }
        });
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if base.is_https() || here {
        Ok(())
    } else {
        Err("this URL is not https, so whoever is on the way could put in keys of their own: write it as `https://host/path`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for good in [
            "https://issuer.example",
            "https://issuer.example/",
            "https://issuer.example:8443/realms/a",
            "http://127.0.0.1:8080/keys",
            "http://[::1]:8080/keys",
            "http://[::1]/keys",
            "http://localhost/keys",
        ] {
            assert_eq!(protected_url(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("issuer", "no URL"),
            ("http://issuer.example", "not https"),
            ("http://10.0.0.1/keys", "not https"),
            ("http://localhost.example/keys", "not https"),
            ("ftp://localhost/keys", "neither http nor https"),
            ("https://user@issuer.example/", "user name"),
            ("https://issuer.example/a?b=c", "query"),
            ("https://issuer.example/a#b", "fragment"),
            ("https://issuer.example/a b", "does not belong"),
        ] {
            let message = protected_url(bad).expect_err(bad);
            assert!(message.contains(why), "{bad}: {message}");
        }
    }
}
