//! The parameters of `AssumeRole`: read, held to STS's limits and to the tenants' roles, purely.

use std::sync::Arc;
use std::time::Duration;

use super::{PRESIGND_ARN, StsError};
use crate::dev::SandboxTenant;
use crate::dev::policy::Policy;

/// The longest session policy, in characters.
const MAX_POLICY: usize = 2048;

/// A call of `AssumeRole` whose parameters were found good.
#[derive(Debug)]
pub(super) struct Assumption<'a> {
    pub(super) tenant: usize,
    pub(super) role: &'a SandboxTenant,
    pub(super) session_name: String,
    pub(super) duration: Duration,
    pub(super) policy: Option<Policy>,
    /// Share of the longest policy that this one takes.
    pub(super) packed_percent: usize,
    pub(super) source_identity: Option<String>,
}

impl<'a> Assumption<'a> {
    pub(super) fn parse(form: &[u8], tenants: &'a [Arc<SandboxTenant>]) -> Result<Self, StsError> {
        let parameters = Parameters::parse(form)?;
        let role_arn = parameters.required("RoleArn")?;
        let session_name = parameters.required("RoleSessionName")?;
        check_name("roleSessionName", session_name)?;
        let duration = match parameters.get("DurationSeconds") {
            None => 3600,
            Some(text) => text
                .parse()
                .ok()
                .filter(|seconds| (900..=43_200).contains(seconds))
                .ok_or_else(|| {
                    invalid(
                        "durationSeconds",
                        text,
                        "Member must be between 900 and 43200",
                    )
                })?,
        };
        let policy = parameters.get("Policy");
        let length = policy.map_or(0, |text| text.chars().count());
        if length > MAX_POLICY {
            let constraint = "Member must have length less than or equal to 2048";
            return Err(invalid(
                "policy",
                &format!("{length} characters"),
                constraint,
            ));
        }
        let policy = policy.map(Policy::parse).transpose()?;
        let source_identity = parameters.get("SourceIdentity");
        source_identity.map_or(Ok(()), |name| check_name("sourceIdentity", name))?;
        // AWS tells neither whether the role exists nor which condition failed.
        let not_authorized = || StsError::NotAuthorized {
            user: PRESIGND_ARN.to_owned(),
            role: role_arn.to_owned(),
        };
        let mut roles = tenants.iter().enumerate();
        let (tenant, role) = roles
            .find(|(_, tenant)| tenant.role_arn == role_arn)
            .ok_or_else(not_authorized)?;
        if parameters.get("ExternalId") != Some(&role.external_id) {
            return Err(not_authorized());
        }
        Ok(Self {
            tenant,
            role,
            session_name: session_name.to_owned(),
            duration: Duration::from_secs(duration),
            policy,
            packed_percent: (length * 100).div_ceil(MAX_POLICY),
            source_identity: source_identity.map(str::to_owned),
        })
    }

    /// `arn:aws:iam::ACCOUNT:role/ROLE` becomes `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
    pub(super) fn arn(&self) -> String {
        let role = self.role.role_arn.replacen(":iam:", ":sts:", 1).replacen(
            ":role/",
            ":assumed-role/",
            1,
        );
        format!("{role}/{}", self.session_name)
    }
}

/// The form's parameters: each known, each at most once.
#[derive(Debug)]
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(form: &[u8]) -> Result<Self, StsError> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(form).into_owned().collect();
        let action = pairs
            .iter()
            .find(|(name, _)| name == "Action")
            .map_or("", |(_, value)| value);
        if action != "AssumeRole" {
            return Err(StsError::InvalidAction(action.to_owned()));
        }
        for (n, (name, value)) in pairs.iter().enumerate() {
            let known = [
                "Action",
                "Version",
                "RoleArn",
                "RoleSessionName",
                "DurationSeconds",
                "Policy",
                "ExternalId",
            ];
            // Tags and the source identity only describe the session.
            let describes = name == "SourceIdentity"
                || name.starts_with("Tags.")
                || name.starts_with("TransitiveTagKeys.");
            if !known.contains(&name.as_str()) && !describes {
                return Err(invalid(
                    name,
                    value,
                    "Member must be one that the sandbox knows",
                ));
            }
            if pairs[..n].iter().any(|(earlier, _)| earlier == name) {
                return Err(invalid(name, value, "Member must be given once"));
            }
        }
        Ok(Self(pairs))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(parameter, _)| parameter == name)
            .map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &str) -> Result<&str, StsError> {
        self.get(name)
            .ok_or_else(|| invalid(name, "null", "Member must not be null"))
    }
}

fn check_name(field: &str, value: &str) -> Result<(), StsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if (2..=64).contains(&value.len()) && value.chars().all(allowed) {
        return Ok(());
    }
    Err(invalid(
        field,
        value,
        "Member must be 2 to 64 characters of [\\w+=,.@-]",
    ))
}

fn invalid(field: &str, value: &str, constraint: &str) -> StsError {
    StsError::Validation(format!(
        "Value '{value}' at '{field}' failed to satisfy constraint: {constraint}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(changes: &[(&str, Option<&str>)]) -> Vec<u8> {
        let mut pairs = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", "arn:aws:iam::111122223333:role/presignd-acme"),
            ("RoleSessionName", "acme.web+1"),
            ("ExternalId", "acme-7f3a"),
        ];
        for (name, value) in changes {
            pairs.retain(|(pair, _)| pair != name);
            pairs.extend(value.map(|value| (*name, value)));
        }
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
            .into_bytes()
    }

    fn parse(form: &[u8]) -> Result<(String, u64, usize), &'static str> {
        let tenants = crate::dev::demo_tenants();
        let assumption = Assumption::parse(form, &tenants).map_err(|error| error.code().0)?;
        Ok((
            assumption.arn(),
            assumption.duration.as_secs(),
            assumption.packed_percent,
        ))
    }

    #[test]
    fn good_parameters_make_a_session_of_the_role() {
        let arn = "arn:aws:sts::111122223333:assumed-role/presignd-acme/acme.web+1".to_owned();
        assert_eq!(parse(&form(&[])), Ok((arn.clone(), 3600, 0)));
        let policy = r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
        let narrowed = form(&[("DurationSeconds", Some("900")), ("Policy", Some(policy))]);
        assert_eq!(parse(&narrowed), Ok((arn, 900, 4)));
    }

    #[test]
    fn each_bad_parameter_is_refused() {
        let long = "x".repeat(65);
        let large = format!(r#"{{"Statement":[]{}}}"#, " ".repeat(2033));
        for (name, value, expected) in [
            ("Action", Some("GetCallerIdentity"), "InvalidAction"),
            ("Action", None, "InvalidAction"),
            (
                "RoleArn",
                Some("arn:aws:iam::111122223333:role/other"),
                "AccessDenied",
            ),
            (
                "RoleArn",
                Some("arn:aws:iam::444455556666:role/presignd-globex"),
                "AccessDenied",
            ),
            ("RoleArn", None, "ValidationError"),
            ("ExternalId", Some("acme-7f3b"), "AccessDenied"),
            ("ExternalId", None, "AccessDenied"),
            ("RoleSessionName", None, "ValidationError"),
            ("RoleSessionName", Some("x"), "ValidationError"),
            ("RoleSessionName", Some("a/b"), "ValidationError"),
            ("RoleSessionName", Some("é€"), "ValidationError"),
            ("RoleSessionName", Some(&long), "ValidationError"),
            ("DurationSeconds", Some("899"), "ValidationError"),
            ("DurationSeconds", Some("43201"), "ValidationError"),
            ("DurationSeconds", Some("-1"), "ValidationError"),
            ("Policy", Some("{"), "MalformedPolicyDocument"),
            ("Policy", Some(&large), "ValidationError"),
            (
                "PolicyArns.member.1.arn",
                Some("arn:aws:iam::aws:policy/ReadOnly"),
                "ValidationError",
            ),
            ("SourceIdentity", Some("a b"), "ValidationError"),
        ] {
            assert_eq!(
                parse(&form(&[(name, value)])),
                Err(expected),
                "{name} {value:?}"
            );
        }
        let twice = [form(&[]), b"&ExternalId=acme-7f3a".to_vec()].concat();
        assert_eq!(parse(&twice), Err("ValidationError"));
        assert_eq!(large.chars().count(), 2049);
    }
}
