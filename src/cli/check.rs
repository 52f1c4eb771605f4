//! `presignd check`: every mistake in a configuration, or who may ask and what it lets each tenant do; whether STS plays along; and whether one
//! caller may have one command.

mod live;
pub(super) mod question;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use self::question::Question;
use crate::app::server::tls_files;
use crate::app::tenants::{ProcessSurroundings, grants, session_policies};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Located, Settings, duration_text};
use crate::grpc::server::{BadPair, inspect};

pub(super) async fn run(path: &Path, live: bool, question: &Question) -> ExitCode {
    let settings = match config::load(path, &ProcessSurroundings) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return question.unanswered();
        }
    };
    if question.is_asked() {
        return question.answer(&settings);
    }
    for warning in &settings.warnings {
        eprintln!("warning: {warning}");
    }
    let tls = match tls(&settings).await {
        Ok(tls) => tls,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    say(&(tls + &describe(&settings)));
    if live && !live::check(&settings).await {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The line about the server's certificate, if it has one.
async fn tls(settings: &Settings) -> Result<String, BadPair> {
    let Some(tls) = &settings.server.tls else {
        return Ok(String::new());
    };
    let (description, warning) = inspect(&tls_files(tls), SystemClock::new().now()).await?;
    if let Some(warning) = warning {
        eprintln!("warning: {warning}");
    }
    Ok(description + "\n")
}

/// A reader who has seen enough has gone: that is no fault of the configuration.
pub(super) fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// What the configuration comes to, for a person to read.
pub(crate) fn describe(settings: &Settings) -> String {
    let mut text = String::new();
    for (id, tenant) in &settings.tenants {
        // Writing to a String cannot fail.
        let _ = tenant_lines(&mut text, id, &tenant.value);
    }
    let _ = caller_lines(&mut text, settings);
    text
}

/// Who may ask, and whose word is taken for who they are.
fn caller_lines(text: &mut String, settings: &Settings) -> std::fmt::Result {
    writeln!(text, "callers:")?;
    for rule in &settings.callers {
        let rule = &rule.value;
        let may: Vec<&str> = rule.may.iter().map(|right| right.name()).collect();
        let tenants = rule.tenants.iter().map(|pattern| pattern.value.to_string());
        let tenants = match &tenants.collect::<Vec<_>>()[..] {
            [all] if all == "*" => "every tenant".to_owned(),
            some => some.join(", "),
        };
        let matches = &rule.matches.value;
        write!(text, "  {matches} may {} for {tenants}", may.join(", "))?;
        match &rule.name {
            Some(name) => writeln!(text, ", and is called {}", name.value)?,
            None => writeln!(text)?,
        }
    }
    for (name, issuer) in &settings.authentication.jwt {
        let issuer = &issuer.value;
        writeln!(
            text,
            "  tokens of {name} are issued by {} for {}, with its keys {}",
            issuer.issuer,
            issuer.audiences.join(" or "),
            issuer.jwks.place()
        )?;
    }
    for (name, hashes) in &settings.authentication.api_keys {
        writeln!(text, "  API keys of {name}: {}", hashes.value.len())?;
    }
    Ok(())
}

fn tenant_lines(text: &mut String, id: &str, tenant: &config::Tenant) -> std::fmt::Result {
    writeln!(
        text,
        "{id}: {}, region {}",
        store(&tenant.endpoint),
        tenant.region
    )?;
    match &tenant.credentials {
        config::Credentials::Role(role) => {
            write!(text, "  signs as {}", role.role_arn.value.as_str())?;
            write!(
                text,
                ", in sessions of {}",
                duration_text(role.duration.value)
            )?;
            identity_lines(text, &role.identity)?;
            if let Some(arns) = &role.policy_arns {
                writeln!(
                    text,
                    "  sessions are narrowed by these managed policies, and not by the grants:"
                )?;
                for arn in &arns.value {
                    writeln!(text, "    {}", arn.as_str())?;
                }
            } else if let Ok(grants) = grants(id, tenant) {
                let policies = session_policies(id, tenant, role, Arc::new(grants));
                let most = crate::scope::session_policy::MAX_SESSION_POLICY;
                let own = policies.least_length();
                let caller = if policies.name_callers() {
                    ", for a caller with a name of 32"
                } else {
                    ""
                };
                if let Some(least) = own {
                    writeln!(
                        text,
                        "  session policy for each request: {least} of {most} characters without its names{caller}"
                    )?;
                }
                for (bucket, length) in policies.lengths() {
                    let command = own.map_or("", |_| "DeleteObjects in ");
                    let of =
                        bucket.map_or_else(String::new, |bucket| format!(" for {command}{bucket}"));
                    writeln!(
                        text,
                        "  session policy{of}: {length} of {most} characters{caller}"
                    )?;
                }
            }
        }
        config::Credentials::Static(_) => writeln!(
            text,
            "  signs with static credentials, which no session policy narrows"
        )?,
    }
    session_lines(text, &tenant.session)?;
    let expiry = &tenant.expiry;
    writeln!(
        text,
        "  URLs live {} unless asked otherwise, and at most {}",
        duration_text(expiry.default),
        duration_text(expiry.max)
    )?;
    if !expiry.backdate.is_zero() {
        let backdate = duration_text(expiry.backdate);
        writeln!(text, "  signatures are dated {backdate} earlier")?;
    }
    for bucket in &tenant.buckets {
        bucket_line(text, &bucket.value)?;
    }
    grant_lines(text, tenant)?;
    for limit in &tenant.limits {
        let limit = &limit.value;
        let of = limit
            .commands
            .as_ref()
            .map_or_else(|| "all commands".to_owned(), |commands| joined(commands));
        let whose = if limit.each_caller {
            " for each caller"
        } else {
            ""
        };
        let noted = if limit.shadow { ", noted only" } else { "" };
        let amount = limit_amount(&limit.amount, &of);
        writeln!(text, "  limit {}: {amount}{whose}{noted}", limit.name)?;
    }
    Ok(())
}

/// What a tenant may do, and what it may not.
fn grant_lines(text: &mut String, tenant: &config::Tenant) -> std::fmt::Result {
    if tenant.grants.is_empty() {
        writeln!(text, "  may do nothing: it has no grants")?;
    }
    for grant in &tenant.grants {
        let cap = grant.value.max_expiry.as_ref();
        let cap = cap.map_or_else(String::new, |cap| {
            format!(", for at most {}", duration_text(cap.value))
        });
        let upload = grant.value.max_upload;
        let upload = upload.map_or_else(String::new, |bytes| {
            format!(", with uploads of at most {bytes} bytes")
        });
        let from = grant.value.source_ip.as_ref();
        let from = from.map_or_else(String::new, |from| {
            format!(", from {} only", joined(&from.value))
        });
        let until = grant.value.not_after.as_ref();
        let until = until.map_or_else(String::new, |end| format!(", until {}", end.value.text));
        writeln!(
            text,
            "  may {} on {}{cap}{upload}{from}{until}{}",
            joined(&grant.value.commands),
            joined(&grant.value.resources),
            content(&grant.value)
        )?;
    }
    for denial in &tenant.deny {
        writeln!(
            text,
            "  may never {} on {}",
            joined(&denial.value.commands),
            joined(&denial.value.resources)
        )?;
    }
    Ok(())
}

/// What a bucket is called, and where it is.
fn bucket_line(text: &mut String, bucket: &config::Bucket) -> std::fmt::Result {
    write!(text, "  bucket {}", bucket.name)?;
    if bucket.bucket != bucket.name {
        write!(text, " is {}", bucket.bucket)?;
    }
    if let Some(region) = &bucket.region {
        write!(text, ", in region {region}")?;
    }
    if let Some(endpoint) = &bucket.endpoint {
        write!(text, ", at {}", store(endpoint))?;
    }
    writeln!(text)
}

/// Which store it is, and how it is reached.
fn store(endpoint: &config::Endpoint) -> String {
    let url = endpoint.url.as_ref().map_or("AWS", config::BaseUrl::as_str);
    let signing_region = endpoint.signing_region.as_ref();
    let signing_region = signing_region.map(|region| format!("signed for {region}"));
    let rows = [
        ("path style", endpoint.path_style),
        ("dual-stack", endpoint.dual_stack),
        ("FIPS", endpoint.fips),
        ("accelerated", endpoint.accelerate),
        ("regions of ARNs", endpoint.use_arn_region),
        ("requester pays", endpoint.requester_pays),
    ];
    let set = rows.into_iter().filter(|(_, set)| *set);
    let words: Vec<String> = set
        .map(|(word, _)| word.to_owned())
        .chain(signing_region)
        .collect();
    if words.is_empty() {
        url.to_owned()
    } else {
        format!("{url} ({})", words.join(", "))
    }
}

/// The rules of a grant on what browsers are told about objects.
fn content(grant: &config::Grant) -> String {
    let uploads = grant.content_types.as_ref();
    let uploads = uploads.map_or_else(String::new, |types| {
        format!(", uploads of {} only", joined(types))
    });
    let responses = match &grant.response_headers {
        config::ResponseHeaders::Inert => String::new(),
        config::ResponseHeaders::Types(types) => {
            format!(", with a response_content_type of {} only", joined(types))
        }
        config::ResponseHeaders::Denied => ", without response headers".to_owned(),
    };
    let headers = grant.headers.as_ref();
    let headers = headers.map_or_else(String::new, |headers| headers_text(&headers.value));
    uploads + &responses + &headers
}

/// The rules of a grant on headers that decide how an object is kept.
fn headers_text(headers: &config::Headers) -> String {
    use config::HeaderRule as Rule;
    let rows = [
        ("server_side_encryption", &headers.server_side_encryption),
        ("acl", &headers.acl),
        ("storage_class", &headers.storage_class),
    ];
    let told = rows.into_iter().filter_map(|(field, rule)| {
        Some(match rule.as_ref()? {
            Rule::Require(values) => format!(", with {field} {}", values.join(" or ")),
            Rule::Allow(values) => format!(", with {field} {} or none", values.join(" or ")),
            Rule::Forbid => format!(", without {field}"),
        })
    });
    let told: String = told.collect();
    if headers.kms_keys.is_empty() {
        told
    } else {
        format!("{told}, by the KMS keys {}", headers.kms_keys.join(" or "))
    }
}

/// What narrows the sessions besides the grants.
fn session_lines(text: &mut String, session: &config::Session) -> std::fmt::Result {
    if let Some(age) = &session.signature_age {
        let age = duration_text(age.value);
        writeln!(text, "  no signature is good for longer than {age}")?;
    }
    if let Some(deny) = &session.deny {
        let (count, statements, denies) = match deny.value.len() {
            1 => (1, "statement", "denies"),
            count => (count, "statements", "deny"),
        };
        writeln!(
            text,
            "  {count} {statements} of the operator's {denies} more"
        )?;
    }
    Ok(())
}

/// Ends the line about the role, and says what the sessions tell of themselves.
fn identity_lines(text: &mut String, identity: &config::Identity) -> std::fmt::Result {
    let own = match identity {
        config::Identity::WebIdentity(web) => {
            return writeln!(text, ", with the token in {}", web.token_file.display());
        }
        config::Identity::AssumeRole(own) => own,
    };
    writeln!(text)?;
    for tag in &own.session_tags {
        let transitive = if tag.transitive { ", transitive" } else { "" };
        writeln!(
            text,
            "  sessions are tagged {} = {}{transitive}",
            tag.key, tag.value
        )?;
    }
    if let Some(source) = &own.source_identity {
        writeln!(text, "  sessions have the source identity {source}")?;
    }
    Ok(())
}

fn limit_amount(amount: &config::LimitAmount, of: &str) -> String {
    use config::LimitAmount as Amount;
    let window = |window: &config::Window| {
        let per = match window.per {
            config::Per::Day => "day",
            config::Per::Month => "month",
        };
        let zone = window.zone.iana_name().unwrap_or("UTC");
        format!("{} a {per} of {zone}", window.most)
    };
    match amount {
        Amount::Rate { rate, burst } => format!("{rate} of {of}, {burst} at once"),
        Amount::Urls(urls) => format!("{} for {of}", window(urls)),
        Amount::UploadBytes(bytes) => format!("{} bytes of uploads by {of}", window(bytes)),
        Amount::StsCalls(calls) => format!("{calls} calls of STS at once"),
    }
}

fn joined(names: &[Located<String>]) -> String {
    names
        .iter()
        .map(|name| name.value.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}
