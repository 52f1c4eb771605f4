//! `presignd aws`: the IAM documents that a tenant's role needs, from the configuration.
//!
//! Documents alone go to standard output, to be given to IAM as they are; what is left to do goes to standard error.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::app::tenants::{ProcessSurroundings, build_role, role_policy};
use crate::config;
use crate::names::TenantId;
use crate::scope::identity::Identity;
use crate::scope::session_policy::ascii;
use crate::scope::trust_policy::{TokenTrust, trust_policy, web_identity_trust_policy};

/// The longest managed policy that IAM takes, in characters; white space does not count.
const MAX_MANAGED_POLICY: usize = 6144;

#[derive(Debug, Subcommand)]
pub(super) enum AwsCommand {
    /// Prints the trust policy of a tenant's role: who may assume it, with which external id, session tags and source identity.
    TrustPolicy(TrustPolicyOptions),
    /// Prints the permissions policy of a tenant's role: all that its grants carry on their resources, and its KMS keys.
    RolePolicy(RoleOptions),
}

#[derive(Debug, Args)]
pub(super) struct RoleOptions {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "PRESIGND_CONFIG")]
    config: PathBuf,
    /// The tenant, by its name in the configuration.
    #[arg(long)]
    tenant: String,
}

#[derive(Debug, Args)]
pub(super) struct TrustPolicyOptions {
    #[command(flatten)]
    role: RoleOptions,
    /// presignd's own role or user. Left out: a placeholder to be replaced.
    #[arg(long, value_name = "ARN", value_parser = principal)]
    principal: Option<String>,
    /// For `web_identity`: the OIDC provider, as its URL or as its ARN in IAM. Left out: a placeholder.
    #[arg(long, value_name = "URL", value_parser = issuer)]
    oidc_provider: Option<String>,
    /// For `web_identity`: the `sub` of presignd's tokens. Left out: a placeholder.
    #[arg(long, value_name = "SUBJECT", value_parser = exact)]
    subject: Option<String>,
    /// For `web_identity`: the `aud` of presignd's tokens.
    #[arg(long, value_name = "AUDIENCE", default_value = "sts.amazonaws.com", value_parser = exact)]
    audience: String,
}

pub(super) fn run(command: &AwsCommand) -> anyhow::Result<ExitCode> {
    let policy = match command {
        AwsCommand::TrustPolicy(options) => trust(options)?,
        AwsCommand::RolePolicy(options) => permissions(options)?,
    };
    let mut text = ascii(&format!("{policy:#}"));
    text.push('\n');
    // A reader who has seen enough has gone.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn tenant(path: &Path, name: &str) -> anyhow::Result<config::Tenant> {
    let settings = config::load(path, &ProcessSurroundings)?;
    let Some(tenant) = settings.tenants.get(name) else {
        let known: Vec<&str> = settings.tenants.keys().map(String::as_str).collect();
        let meant = config::nearest(name, &known);
        let meant = meant.map_or_else(String::new, |meant| format!(": did you mean {meant:?}?"));
        bail!("there is no tenant {name:?} in {}{meant}", path.display());
    };
    Ok(tenant.value.clone())
}

fn role<'t>(name: &str, tenant: &'t config::Tenant) -> anyhow::Result<&'t config::Role> {
    let role = tenant.credentials.role();
    role.with_context(|| {
        format!(
            "the tenant {name:?} has static credentials: there is no role to write a policy for"
        )
    })
}

fn permissions(options: &RoleOptions) -> anyhow::Result<Value> {
    let tenant = tenant(&options.config, &options.tenant)?;
    let policy = role_policy(&options.tenant, &tenant, role(&options.tenant, &tenant)?)?;
    if tenant.grants.is_empty() {
        eprintln!("note: the tenant has no grants, so its role is to do nothing");
    }
    let length = policy
        .to_string()
        .chars()
        .filter(|c| !c.is_whitespace())
        .count();
    if length > MAX_MANAGED_POLICY {
        eprintln!(
            "note: {length} characters are more than the {MAX_MANAGED_POLICY} of a managed policy: use an inline policy of the role \
             (up to 10,240), or grant fewer commands or resources"
        );
    }
    Ok(policy)
}

fn trust(options: &TrustPolicyOptions) -> anyhow::Result<Value> {
    let name = &options.role.tenant;
    let tenant = tenant(&options.role.config, name)?;
    let settings = role(name, &tenant)?;
    let (partition, account) = (
        settings.role_arn.value.partition(),
        settings.role_arn.value.account(),
    );
    let or_placeholder = |given: &Option<String>, flag: &str, placeholder: String| {
        given.clone().unwrap_or_else(|| {
            eprintln!("note: replace {placeholder}, or give {flag}");
            placeholder
        })
    };
    match build_role(name, &tenant, settings)?.identity {
        Identity::Own(own) => {
            ensure!(
                options.oidc_provider.is_none() && options.subject.is_none(),
                "the tenant {name:?} has `assume_role`: give --principal, not --oidc-provider or --subject"
            );
            let placeholder = format!("arn:{partition}:iam::ACCOUNT:role/PRESIGND");
            let principal = or_placeholder(&options.principal, "--principal", placeholder);
            Ok(trust_policy(&own, &TenantId::parse(name)?, &principal))
        }
        Identity::Web { .. } => {
            ensure!(
                options.principal.is_none(),
                "the tenant {name:?} has `web_identity`: give --oidc-provider and --subject, not --principal"
            );
            let issuer = "ISSUER".to_owned();
            let issuer = or_placeholder(&options.oidc_provider, "--oidc-provider", issuer);
            let subject = "system:serviceaccount:NAMESPACE:SERVICEACCOUNT".to_owned();
            let subject = or_placeholder(&options.subject, "--subject", subject);
            Ok(web_identity_trust_policy(&TokenTrust {
                provider_arn: &format!("arn:{partition}:iam::{account}:oidc-provider/{issuer}"),
                issuer: &issuer,
                subject: &subject,
                audience: &options.audience,
            }))
        }
    }
}

/// Somebody in particular: a trust policy that a wildcard has crept into trusts everybody.
fn principal(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts[..] {
        ["arn", partition, "iam" | "sts", "", _, resource]
            if !partition.is_empty() && !resource.is_empty() =>
        {
            exact(text)
        }
        _ => Err("write it as arn:aws:iam::111122223333:role/NAME".to_owned()),
    }
}

/// The provider without its scheme, as IAM names it.
fn issuer(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("https://").unwrap_or(text);
    let bare = bare
        .split_once(":oidc-provider/")
        .map_or(bare, |(_, bare)| bare);
    let bare = bare.trim_end_matches('/');
    if bare.contains(':') || bare.contains('$') {
        return Err("write it as https://HOST/PATH, without a port".to_owned());
    }
    exact(bare)
}

/// A value that a condition compares as it is.
fn exact(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 2048 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        Err("this is empty, too long, or not plain ASCII".to_owned())
    } else if text.contains(['*', '?']) || text.contains("${") {
        Err("a wildcard or variable would let others in".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_somebody_in_particular() {
        for good in [
            "arn:aws:iam::111122223333:role/path/presignd",
            "arn:aws-cn:iam::111122223333:user/presignd",
            "arn:aws:iam:::user/presignd",
            "arn:aws:sts::111122223333:assumed-role/presignd/session",
        ] {
            assert_eq!(principal(good).as_deref(), Ok(good));
        }
        for bad in [
            "*",
            "",
            "111122223333",
            "arn:aws:iam::*:role/x",
            "arn:aws:iam::111122223333:role/*",
            "arn:aws:iam::111122223333:",
            "arn:aws:s3:::bucket",
            "arn:aws:iam::111122223333:role/a b",
        ] {
            assert!(principal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn providers_are_known_by_url_and_by_arn() {
        let bare = "oidc.eks.eu-west-1.amazonaws.com/id/X";
        for text in [
            bare,
            "https://oidc.eks.eu-west-1.amazonaws.com/id/X",
            "https://oidc.eks.eu-west-1.amazonaws.com/id/X/",
            "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/X",
        ] {
            assert_eq!(issuer(text).as_deref(), Ok(bare));
        }
        for text in ["", "https://", "https://host:8443/x", "http://*"] {
            assert!(issuer(text).is_err(), "{text}");
        }
    }
}
