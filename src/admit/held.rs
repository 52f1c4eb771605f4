//! What a session policy can say of a bucket, by what the bucket's name stands for. Pure.
//!
//! Directory buckets know one permission, `s3express:CreateSession`, on the bucket as a whole, to read or to do everything. Invariant:
//! a session gets it only through a grant that is as wide itself. Where no policy says surely no more than the grants do, there is
//! none, and the request is refused.
//!
//! Source: the S3 user guide, "Authorizing Zonal endpoint API operations with CreateSession".

use super::grant::Grant;
use super::policy::takes;
use super::resource::ResourcePattern;
use super::source_ip::SourceIps;
use crate::sign::bucket::{self, BucketKind};
use crate::sign::command::{BoundCommand, CommandClass, Operation};
use crate::sign::operations::{OPERATIONS, operation};

/// What a session may do in a directory bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionMode {
    /// Read and list its objects.
    ReadOnly,
    /// Everything with its objects.
    ReadWrite,
}

/// No session policy holds the tenant's session to its grants there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    /// Its permissions are those of Lambda and of another access point, which the ARN does not tell.
    #[error(
        "no session policy can be written for an Object Lambda access point, since its ARN tells neither the function nor the access point \
         behind it: give the tenant static credentials, or a role with policy_arns"
    )]
    ObjectLambda,
    /// Its permissions are on the bucket behind it, which the ARN does not tell.
    #[error(
        "no session policy can be written for an access point on an Outpost, since its ARN does not tell the bucket behind it: give the \
         tenant static credentials, or a role with policy_arns"
    )]
    Outposts,
    /// Permissions there are on whole buckets, and no grant is.
    #[error(
        "sessions hold a directory bucket as a whole: one grant has to be of read and list on BUCKET/*, and of write and delete too for \
         anything else"
    )]
    DirectoryBucket,
    /// How a directory bucket is set up has permissions of its own.
    #[error(
        "no session policy is written for how directory buckets are set up: give the tenant static credentials, or a role with policy_arns"
    )]
    DirectoryBucketSetup,
}

/// Whether a session policy holds what the command reaches for to the grants.
///
/// # Errors
/// Why it cannot.
pub fn check(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    source_ip: Option<&SourceIps>,
) -> Result<(), NotHeld> {
    let source = command.reference.as_ref().map(|source| source.bucket);
    let reached = [
        (command.bucket, mode_of(command)),
        (source, Some(SessionMode::ReadOnly)),
    ];
    for (bucket, mode) in reached {
        let Some(bucket) = bucket else { continue };
        match bucket::kind(bucket) {
            BucketKind::General | BucketKind::AccessPoint | BucketKind::MultiRegion => {}
            BucketKind::ObjectLambda => return Err(NotHeld::ObjectLambda),
            BucketKind::Outposts => return Err(NotHeld::Outposts),
            BucketKind::Directory => {
                let mode = mode.ok_or(NotHeld::DirectoryBucketSetup)?;
                let holds = |grant: &Grant| {
                    takes(grant, source_ip) && session_mode(grant, bucket) >= Some(mode)
                };
                if !grants.iter().any(holds) {
                    return Err(NotHeld::DirectoryBucket);
                }
            }
        }
    }
    Ok(())
}

/// Whether a session policy holds what a grant allows on one of its resources to these grants, of which it is one.
///
/// # Errors
/// Why it cannot.
pub fn check_resource(
    grants: &[Grant],
    grant: &Grant,
    resource: &ResourcePattern,
) -> Result<(), NotHeld> {
    let Some(bucket) = resource.bucket() else {
        return Ok(());
    };
    match bucket::kind(bucket) {
        BucketKind::General | BucketKind::AccessPoint | BucketKind::MultiRegion => Ok(()),
        BucketKind::ObjectLambda => Err(NotHeld::ObjectLambda),
        BucketKind::Outposts => Err(NotHeld::Outposts),
        BucketKind::Directory => {
            let granted = OPERATIONS.iter().filter(|operation| grant.is_of(operation));
            let needed = granted.filter_map(|operation| mode_for(operation)).max();
            let widest = grants
                .iter()
                .filter_map(|grant| session_mode(grant, bucket));
            if widest.max() >= needed {
                Ok(())
            } else {
                Err(NotHeld::DirectoryBucket)
            }
        }
    }
}

/// What a session has to be good for to run the command in a directory bucket. `None`: no session is.
#[must_use]
pub fn mode_of(command: &BoundCommand<'_>) -> Option<SessionMode> {
    mode_for(command.operation)
}

fn mode_for(operation: &Operation) -> Option<SessionMode> {
    match operation.class {
        _ if operation.name == "CreateSession" => Some(SessionMode::ReadWrite),
        CommandClass::Read | CommandClass::List => Some(SessionMode::ReadOnly),
        CommandClass::Write | CommandClass::Delete => Some(SessionMode::ReadWrite),
        CommandClass::Admin => None,
    }
}

/// The widest session in a directory bucket that is no wider than this grant alone.
#[must_use]
pub fn session_mode(grant: &Grant, bucket: &str) -> Option<SessionMode> {
    let whole = |resource: &ResourcePattern| matches!(resource, ResourcePattern::WholeBucket(of) if of == bucket);
    if !grant.resources().iter().any(whole) {
        return None;
    }
    if operation("CreateSession").is_some_and(|create| grant.is_of(create)) {
        return Some(SessionMode::ReadWrite);
    }
    let of_all = |classes: &[CommandClass]| {
        let mut operations = OPERATIONS
            .iter()
            .filter(|operation| classes.contains(&operation.class) && !operation.by_name_only);
        operations.all(|operation| grant.is_of(operation))
    };
    let reads = of_all(&[CommandClass::Read, CommandClass::List]);
    let writes = of_all(&[CommandClass::Write, CommandClass::Delete]);
    match (reads, writes) {
        (true, true) => Some(SessionMode::ReadWrite),
        (true, false) => Some(SessionMode::ReadOnly),
        (false, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::grant::{CommandSelector, Store, Terms};
    use crate::admit::source_ip;
    use crate::proto::s3;
    use crate::proto::v1::command::Command;
    use crate::sign::operations::message;

    const DIRECTORY: &str = "acme--euw1-az1--x-s3";
    const LAMBDA: &str = "arn:aws:s3-object-lambda:eu-west-1:111122223333:accesspoint/small";
    const OUTPOST: &str =
        "arn:aws:s3-outposts:eu-west-1:111122223333:outpost/op-1/accesspoint/here";
    const POINT: &str = "arn:aws:s3:eu-west-1:111122223333:accesspoint/media";
    const GLOBAL: &str = "arn:aws:s3::111122223333:accesspoint/mfzwi23gnjvgw.mrap";

    fn grant(commands: &[&str], resource: &str, source_ip: Option<&str>) -> Grant {
        let selectors = commands.iter().map(|c| CommandSelector::parse(c).unwrap());
        let terms = Terms {
            source_ip: source_ip
                .and_then(|network| SourceIps::of([source_ip::parse(network).unwrap()])),
            ..Terms::default()
        };
        let resources = vec![ResourcePattern::parse(resource).unwrap()];
        Grant::new(selectors.collect(), resources, terms, Store::Aws)
    }

    fn held(grants: &[Grant], command: &Command) -> Result<(), NotHeld> {
        check(grants, &message(command).to_bound().unwrap(), None)
    }

    fn get(bucket: &str) -> Command {
        Command::GetObject(s3::GetObject {
            bucket: Some(bucket.into()),
            key: Some("k".into()),
            ..Default::default()
        })
    }

    fn put(bucket: &str) -> Command {
        Command::PutObject(s3::PutObject {
            bucket: Some(bucket.into()),
            key: Some("k".into()),
            ..Default::default()
        })
    }

    fn copy(source: &str, bucket: &str) -> Command {
        Command::CopyObject(s3::CopyObject {
            bucket: Some(bucket.into()),
            key: Some("k".into()),
            copy_source: Some(format!("{source}/k")),
            ..Default::default()
        })
    }

    #[test]
    fn a_directory_bucket_needs_a_grant_as_wide_as_its_session() {
        use SessionMode::{ReadOnly, ReadWrite};
        let all = format!("{DIRECTORY}/*");
        let everything = ["read", "list", "write", "delete"];
        let cases: [(&[&str], &str, Option<SessionMode>); 9] = [
            (&everything, &all, Some(ReadWrite)),
            (&["read", "list"], &all, Some(ReadOnly)),
            (&["read", "list", "write"], &all, Some(ReadOnly)),
            (&["read"], &all, None),
            (&["write", "delete"], &all, None),
            (&["GetObject", "PutObject"], &all, None),
            (&["CreateSession"], &all, Some(ReadWrite)),
            (&everything, "acme--euw1-az1--x-s3/a/*", None),
            (&everything, "other--euw1-az1--x-s3/*", None),
        ];
        for (commands, resource, expected) in cases {
            let grants = [grant(commands, resource, None)];
            assert_eq!(
                session_mode(&grants[0], DIRECTORY),
                expected,
                "{commands:?}"
            );
            let get = held(&grants, &get(DIRECTORY));
            let put = held(&grants, &put(DIRECTORY));
            let copy = held(&grants, &copy(DIRECTORY, "acme-files"));
            assert_eq!(get.is_ok(), expected.is_some(), "{commands:?}");
            assert_eq!(copy, get, "{commands:?}");
            assert_eq!(put.is_ok(), expected == Some(ReadWrite), "{commands:?}");
        }
        // Two grants that are not as wide each are no wide one.
        let halves = [grant(&["read"], &all, None), grant(&["list"], &all, None)];
        assert_eq!(
            held(&halves, &get(DIRECTORY)),
            Err(NotHeld::DirectoryBucket)
        );
        let setup = Command::GetBucketEncryption(s3::GetBucketEncryption {
            bucket: Some(DIRECTORY.into()),
            ..Default::default()
        });
        let wide = [grant(
            &["admin", "read", "list", "write", "delete"],
            &all,
            None,
        )];
        assert_eq!(held(&wide, &setup), Err(NotHeld::DirectoryBucketSetup));
    }

    #[test]
    fn addresses_count_of_the_grant_that_is_as_wide() {
        let all = format!("{DIRECTORY}/*");
        let grants = [grant(&["read", "list"], &all, Some("203.0.113.0/24"))];
        let command = get(DIRECTORY);
        let bound = message(&command).to_bound().unwrap();
        let from = |network| SourceIps::of([source_ip::parse(network).unwrap()]);
        assert_eq!(check(&grants, &bound, None), Ok(()));
        assert_eq!(check(&grants, &bound, from("203.0.113.7").as_ref()), Ok(()));
        assert!(check(&grants, &bound, from("198.51.100.7").as_ref()).is_err());
    }

    #[test]
    fn what_no_policy_describes_is_refused() {
        for (bucket, expected) in [
            ("acme-files", Ok(())),
            (POINT, Ok(())),
            (GLOBAL, Ok(())),
            (LAMBDA, Err(NotHeld::ObjectLambda)),
            (OUTPOST, Err(NotHeld::Outposts)),
        ] {
            assert_eq!(held(&[], &get(bucket)), expected, "{bucket}");
        }
    }
}
