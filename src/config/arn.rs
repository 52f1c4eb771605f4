//! Amazon Resource Names of the roles, policies and keys that a tenant uses.
//!
//! Invariant: a [`RoleArn`] names one role, a [`PolicyArn`] one policy and a [`KmsKeyArn`] one key: no wildcard passes. The partition is free and the
//! account may be missing, since compatible stores have partitions and accounts of their own; twelve digits are demanded only
//! where AWS itself answers (see the tenant's checks).
//!
//! Source: the IAM reference, "IAM identifiers", and the quotas of `RoleArn` in STS's `AssumeRole`.

/// `arn:PARTITION:iam::ACCOUNT:role/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoleArn(String);

impl RoleArn {
    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition, such as `aws` or `aws-cn`.
    pub fn partition(&self) -> &str {
        part(&self.0, 1)
    }

    /// The account; empty on stores that have none.
    pub fn account(&self) -> &str {
        part(&self.0, 4)
    }

    /// The role's name, without its path.
    pub fn role_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Whether the account is one that AWS could have given out.
    pub(super) fn has_aws_account(&self) -> bool {
        is_aws_account(self.account())
    }
}

/// `arn:PARTITION:iam::ACCOUNT:policy/NAME`, where `aws` as the account means a policy of AWS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PolicyArn(String);

impl PolicyArn {
    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KmsKeyArn(String);

impl KmsKeyArn {
    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(super) fn role_arn(text: &str) -> Result<RoleArn, String> {
    let form = "write it as `arn:aws:iam::111122223333:role/NAME`";
    iam(text, "role", 64, form).map(RoleArn)
}

pub(super) fn policy_arn(text: &str) -> Result<PolicyArn, String> {
    let form = "write it as `arn:aws:iam::111122223333:policy/NAME`";
    iam(text, "policy", 128, form).map(PolicyArn)
}

/// The ARN of a thing of IAM's, whose name has so many characters at most.
fn iam(text: &str, kind: &str, longest_name: usize, form: &str) -> Result<String, String> {
    let [partition, service, region, account, resource] = split(text, form)?;
    if service != "iam" || !region.is_empty() {
        return Err(format!("this is not the ARN of an IAM {kind}: {form}"));
    }
    check_partition(partition, form)?;
    if !account.is_empty() {
        check_account(account, form)?;
    }
    let name = resource.split_once('/').filter(|(found, _)| *found == kind);
    let Some((_, name)) = name else {
        return Err(format!("this ARN does not name a {kind}: {form}"));
    };
    let (path, name) = name.rsplit_once('/').unwrap_or(("", name));
    let name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    let path_byte = |byte: u8| byte.is_ascii_graphic() && !b"*?".contains(&byte);
    if name.is_empty() || name.len() > longest_name || !name.bytes().all(name_byte) {
        return Err(format!(
            "the name of a {kind} is 1 to {longest_name} letters, digits or `_+=,.@-`: {form}"
        ));
    }
    if path.len() > 510 || !path.bytes().all(path_byte) {
        return Err(format!(
            "the path of a {kind} is at most 512 printable ASCII characters, without `*` and `?`: {form}"
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn kms_key_arn(text: &str) -> Result<KmsKeyArn, String> {
    let form = "write it as `arn:aws:kms:eu-west-1:111122223333:key/ID`";
    let [partition, service, region, account, resource] = split(text, form)?;
    if service != "kms" || region.is_empty() || account.is_empty() {
        return Err(format!("this is not the ARN of a KMS key: {form}"));
    }
    check_partition(partition, form)?;
    check_account(account, form)?;
    if !region.bytes().all(is_name_byte) {
        return Err(format!("the region of this ARN is malformed: {form}"));
    }
    if resource.starts_with("alias/") {
        return Err(format!(
            "this is an alias, and policies match keys by their own ARN: {form}"
        ));
    }
    match resource.strip_prefix("key/") {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(is_name_byte) => {
            Ok(KmsKeyArn(text.to_owned()))
        }
        _ => Err(format!("this ARN does not name one key: {form}")),
    }
}

fn split<'t>(text: &'t str, form: &str) -> Result<[&'t str; 5], String> {
    text.strip_prefix("arn:")
        .and_then(|rest| rest.splitn(5, ':').collect::<Vec<_>>().try_into().ok())
        .ok_or_else(|| format!("this is not an ARN: {form}"))
}

fn check_partition(partition: &str, form: &str) -> Result<(), String> {
    if (1..=32).contains(&partition.len()) && partition.bytes().all(is_name_byte) {
        Ok(())
    } else {
        Err(format!("the partition of this ARN is malformed: {form}"))
    }
}

/// Twelve digits, or a name as compatible stores give: a number of another length is an AWS account with a slip in it.
fn check_account(account: &str, form: &str) -> Result<(), String> {
    let number = account.bytes().all(|byte| byte.is_ascii_digit());
    let name_byte = |byte: u8| is_name_byte(byte) || byte.is_ascii_uppercase() || byte == b'_';
    if number && !is_aws_account(account) {
        Err(format!("the account of this ARN is not 12 digits: {form}"))
    } else if account.len() > 64 || !account.bytes().all(name_byte) {
        Err(format!("the account of this ARN is malformed: {form}"))
    } else {
        Ok(())
    }
}

fn is_aws_account(account: &str) -> bool {
    account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn part(arn: &str, index: usize) -> &str {
    arn.split(':').nth(index).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn roles_are_read() {
        for (text, partition, account, name) in [
            (
                "arn:aws:iam::111122223333:role/presignd-acme",
                "aws",
                "111122223333",
                "presignd-acme",
            ),
            (
                "arn:aws-cn:iam::111122223333:role/a/b/c",
                "aws-cn",
                "111122223333",
                "c",
            ),
            ("arn:aws:iam:::role/ceph", "aws", "", "ceph"),
            (
                "arn:aws:iam::RGW12345678901234567:role/x",
                "aws",
                "RGW12345678901234567",
                "x",
            ),
        ] {
            let arn = role_arn(text).expect(text);
            assert_eq!(
                (arn.partition(), arn.account(), arn.role_name()),
                (partition, account, name)
            );
        }
    }

    #[test]
    fn other_roles_are_explained() {
        for (text, why) in [
            ("", "not an ARN"),
            ("presignd-acme", "not an ARN"),
            ("arn:aws:iam::111122223333", "not an ARN"),
            ("arn:aws:s3:::bucket", "not the ARN of an IAM role"),
            (
                "arn:aws:iam:eu-west-1:111122223333:role/x",
                "not the ARN of an IAM role",
            ),
            ("arn:aws:iam::111122223333:user/x", "does not name a role"),
            ("arn:aws:iam::11112222333:role/x", "12 digits"),
            ("arn:aws:iam::1111-2222-3333!:role/x", "account"),
            ("arn:AWS:iam::111122223333:role/x", "partition"),
            ("arn::iam::111122223333:role/x", "partition"),
            ("arn:aws:iam::111122223333:role/", "name of a role"),
            ("arn:aws:iam::111122223333:role/*", "name of a role"),
            ("arn:aws:iam::111122223333:role/a b", "name of a role"),
            ("arn:aws:iam::111122223333:role/*/x", "path of a role"),
        ] {
            let message = role_arn(text).expect_err(text);
            assert!(message.contains(why), "{text}: {message}");
        }
    }

    #[test]
    fn managed_policies_are_read_and_wildcards_are_not() {
        for text in [
            "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
            "arn:aws:iam::111122223333:policy/path/tenant-acme",
        ] {
            assert_eq!(policy_arn(text).unwrap().as_str(), text);
        }
        for (text, why) in [
            ("arn:aws:iam::111122223333:role/x", "does not name a policy"),
            ("arn:aws:iam::111122223333:policy/*", "name of a policy"),
            ("arn:aws:s3:::policy/x", "not the ARN of an IAM policy"),
            ("arn:aws:iam::1111:policy/x", "12 digits"),
        ] {
            let message = policy_arn(text).expect_err(text);
            assert!(message.contains(why), "{text}: {message}");
        }
    }

    #[test]
    fn keys_are_read_and_aliases_are_not() {
        let key = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab";
        assert_eq!(kms_key_arn(key).unwrap().as_str(), key);
        for (text, why) in [
            ("arn:aws:kms:eu-west-1:111122223333:alias/x", "alias"),
            ("arn:aws:kms:eu-west-1:111122223333:key/*", "one key"),
            ("arn:aws:kms:eu-west-1:111122223333:key/", "one key"),
            ("arn:aws:kms:*:111122223333:key/a", "region"),
            ("arn:aws:kms:eu-west-1:1111:key/a", "12 digits"),
            (
                "arn:aws:kms::111122223333:key/a",
                "not the ARN of a KMS key",
            ),
            ("1234abcd-12ab", "not an ARN"),
        ] {
            let message = kms_key_arn(text).expect_err(text);
            assert!(message.contains(why), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", tail in ".*") {
            let _ = (role_arn(&text), policy_arn(&text), kms_key_arn(&text));
            let _ = role_arn(&format!("arn:aws:iam::1:role/{tail}"));
            let _ = kms_key_arn(&format!("arn:aws:kms:r:{tail}"));
        }
    }
}
