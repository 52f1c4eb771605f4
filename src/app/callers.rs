//! Turns the settings about callers into the room that knows them.

use std::sync::Arc;
use std::time::Duration;

use crate::authenticate::api_key::KeyHash;
use crate::authenticate::caller::{Allowance, Right};
use crate::authenticate::failures::FailureLimit;
use crate::authenticate::jwt::{Algorithm, Claim, Issuer, Location, Trust};
use crate::authenticate::pattern::Pattern;
use crate::authenticate::rules::{Matcher, Rule, Rules};
use crate::authenticate::{Authenticator, Sources};
use crate::clock::SharedClock;
use crate::config::{self, Settings};

/// Who finds out who asks. Begins to fetch what that needs, on the current runtime.
#[must_use]
pub fn authenticator<T>(settings: &Settings<T>, clock: &SharedClock) -> Authenticator {
    Authenticator::new(sources(settings), rules(settings), clock)
}

/// The same from settings that were read anew, with what still holds of what is known.
#[must_use]
pub fn renewed<T>(current: &Authenticator, settings: &Settings<T>) -> Authenticator {
    current.renewed(sources(settings), rules(settings))
}

fn sources<T>(settings: &Settings<T>) -> Sources {
    let config::Authentication {
        jwt,
        api_keys,
        failures,
    } = &settings.authentication;
    let issuers = jwt.iter().map(|(name, jwt)| issuer(name, &jwt.value));
    let hashes = |hashes: &[[u8; 32]]| hashes.iter().copied().map(KeyHash::new).collect();
    Sources {
        issuers: issuers.collect(),
        api_keys: api_keys
            .iter()
            .map(|(name, keys)| (name.as_str().into(), hashes(&keys.value)))
            .collect(),
        failures: FailureLimit {
            interval: Duration::from_secs(failures.rate.per.seconds().into())
                / failures.rate.count.get(),
            burst: failures.burst,
        },
    }
}

/// The operator's list of callers, in its order.
#[must_use]
pub fn rules<T>(settings: &Settings<T>) -> Rules {
    let rules = settings.callers.iter().map(|rule| rule_of(&rule.value));
    rules.collect()
}

fn rule_of(rule: &config::CallerRule) -> Rule {
    let tenants = rule.tenants.iter().map(|tenant| pattern(&tenant.value));
    Rule {
        matcher: match &rule.matches.value {
            config::Match::Anyone => Matcher::Anyone,
            config::Match::Jwt { issuer, subject } => Matcher::Jwt {
                source: issuer.as_str().into(),
                subject: pattern(subject),
            },
            config::Match::ApiKey(name) => Matcher::ApiKey(name.as_str().into()),
            config::Match::Spiffe(id) => Matcher::Spiffe(pattern(id)),
            config::Match::Dns(name) => Matcher::Dns(name.as_str().into()),
            config::Match::Subject(name) => Matcher::Subject(name.as_str().into()),
        },
        allowance: Allowance {
            tenants: tenants.collect(),
            may: rule.may.iter().map(|may| right(*may)).collect(),
        },
        name: rule.name.as_ref().map(|name| name.value.as_str().into()),
    }
}

fn right(right: config::Right) -> Right {
    match right {
        config::Right::Sign => Right::Sign,
        config::Right::Explain => Right::Explain,
        config::Right::Usage => Right::Usage,
        config::Right::Operate => Right::Operate,
    }
}

fn pattern(pattern: &config::NamePattern) -> Pattern {
    if pattern.prefix {
        Pattern::starting(pattern.text.as_str())
    } else {
        Pattern::exactly(pattern.text.as_str())
    }
}

fn issuer(name: &str, jwt: &config::JwtIssuer) -> Issuer {
    let algorithms = jwt.algorithms.iter();
    Issuer {
        name: Arc::from(name),
        issuer: jwt.issuer.clone(),
        audiences: jwt.audiences.clone(),
        algorithms: algorithms.map(|name| algorithm(*name)).collect(),
        location: match &jwt.jwks {
            config::Jwks::Discovery(known) => Location::Discovery(trust(known)),
            config::Jwks::Url(url, known) => Location::Url(url.clone(), trust(known)),
            config::Jwks::File(path) => Location::File(path.clone()),
        },
        leeway: jwt.leeway,
        caller: claim(&jwt.caller_claim),
        tenant: jwt.tenant_claim.as_ref().map(claim),
    }
}

fn trust(trust: &config::FetchTrust) -> Trust {
    Trust {
        ca_file: trust.ca_file.clone(),
        token_file: trust.token_file.clone(),
    }
}

fn claim(config::ClaimPath(path): &config::ClaimPath) -> Claim {
    if path.starts_with('/') {
        Claim::Pointer(path.clone())
    } else {
        Claim::Named(path.clone())
    }
}

fn algorithm(algorithm: config::JwtAlgorithm) -> Algorithm {
    match algorithm {
        config::JwtAlgorithm::RS256 => Algorithm::RS256,
        config::JwtAlgorithm::RS384 => Algorithm::RS384,
        config::JwtAlgorithm::RS512 => Algorithm::RS512,
        config::JwtAlgorithm::PS256 => Algorithm::PS256,
        config::JwtAlgorithm::PS384 => Algorithm::PS384,
        config::JwtAlgorithm::PS512 => Algorithm::PS512,
        config::JwtAlgorithm::ES256 => Algorithm::ES256,
        config::JwtAlgorithm::ES384 => Algorithm::ES384,
        config::JwtAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}
