//! A grant: these commands, on these resources, on these terms.
//!
//! A grant carries the IAM permissions of its commands and no more. What is another command's business is granted with that command:
//! `PutObject` with an ACL needs a grant of `PutObjectAcl` too, and a copy needs a grant to read its source. That keeps session
//! policies no wider than what the operator wrote.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::alike::Alike;
use super::carried::Shared;
use super::content::ContentRules;
use super::expiry::GrantCap;
use super::header::HeaderRules;
use super::resource::{ResourcePattern, Target};
use super::source_ip::SourceIps;
use crate::sign::bind::Violation;
use crate::sign::command::{BoundCommand, CommandClass, IamAction, IamResource, Operation};
use crate::sign::operations::{self, OPERATIONS};

/// The classes, as a configuration writes them.
pub const CLASSES: [&str; 5] = ["read", "write", "list", "delete", "admin"];

/// A command name or class in a grant or limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandSelector {
    /// Every command of a class, save those that are granted by name only.
    Class(CommandClass),
    /// One command.
    Named(&'static Operation),
}

/// The text names no command and no class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is neither a class (read, write, list, delete, admin) nor a command of the S3 API")]
pub struct UnknownCommand;

impl CommandSelector {
    /// Reads a command or class as a configuration writes it.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn parse(text: &str) -> Result<Self, UnknownCommand> {
        Ok(match text {
            "read" => Self::Class(CommandClass::Read),
            "write" => Self::Class(CommandClass::Write),
            "list" => Self::Class(CommandClass::List),
            "delete" => Self::Class(CommandClass::Delete),
            "admin" => Self::Class(CommandClass::Admin),
            name => Self::Named(operations::operation(name).ok_or(UnknownCommand)?),
        })
    }

    /// Whether the selector takes in the operation.
    #[must_use]
    pub fn selects(&self, operation: &Operation) -> bool {
        match self {
            Self::Class(class) => *class == operation.class && !operation.by_name_only,
            Self::Named(named) => named.name == operation.name,
        }
    }
}

/// These commands, on these resources, on these terms.
#[derive(Debug, Clone)]
pub struct Grant {
    commands: Arc<Commands>,
    resources: Box<[ResourcePattern]>,
    terms: Arc<Terms>,
}

/// Commands, shared by the grants that are of the same.
#[derive(Debug)]
struct Commands {
    selectors: Vec<CommandSelector>,
    /// The IAM actions that a grant of them carries.
    actions: BTreeMap<&'static str, Carried>,
}

/// On what terms a grant allows what it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// The longest expiry, in seconds.
    pub max_expiry: Option<u32>,
    /// The most bytes of one upload.
    pub max_upload: Option<u64>,
    /// What a browser may be told about an object.
    pub content: ContentRules,
    /// What its headers have to say; `None`: whatever they do.
    pub headers: Option<Box<HeaderRules>>,
    /// From which addresses it may be used; `None`: from any.
    pub source_ip: Option<SourceIps>,
    /// When it ends; `None`: it does not.
    pub not_after: Option<SystemTime>,
}

/// How a grant carries an IAM action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// The resource that IAM checks it on.
    pub resource: IamResource,
    /// Whether `s3:prefix` can bound it.
    pub prefix_condition: bool,
}

/// Whose IAM actions a grant may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Store {
    /// AWS, which knows them all.
    Aws,
    /// A compatible store, which refuses a whole policy over one action that it does not know.
    Compatible,
}

impl Grant {
    /// A grant of these commands on these resources of the store, on these terms.
    #[must_use]
    pub fn new(
        commands: Vec<CommandSelector>,
        resources: Vec<ResourcePattern>,
        terms: Terms,
        store: Store,
    ) -> Self {
        static SHARED: Shared<Commands> = Shared::new();
        static ALIKE: Alike<Terms> = Alike::new();
        let shared = SHARED.of(commands, store, |commands| Commands::new(commands, store));
        Self {
            commands: shared,
            resources: resources.into_boxed_slice(),
            terms: ALIKE.shared(terms),
        }
    }

    /// Whether the grant is of this operation, wherever.
    #[must_use]
    pub fn is_of(&self, operation: &Operation) -> bool {
        let mut selectors = self.commands.selectors.iter();
        selectors.any(|selector| selector.selects(operation))
    }

    /// Whether the grant names this operation, rather than its class alone.
    #[must_use]
    pub fn names(&self, operation: &Operation) -> bool {
        let mut commands = self.commands.selectors.iter();
        commands.any(|selector| {
            matches!(selector, CommandSelector::Named(named) if named.name == operation.name)
        })
    }

    /// The longest expiry that the grant allows, in seconds.
    #[must_use]
    pub fn max_expiry(&self) -> Option<u32> {
        self.terms.max_expiry
    }

    /// The most bytes of one upload that the grant allows.
    #[must_use]
    pub fn max_upload(&self) -> Option<u64> {
        self.terms.max_upload
    }

    /// What headers have to say; `None`: whatever they do.
    #[must_use]
    pub fn headers(&self) -> Option<&HeaderRules> {
        self.terms.headers.as_deref()
    }

    /// The rules on what a command says of objects that it breaks, by its fields.
    #[must_use]
    pub fn rules_broken_by(&self, command: &BoundCommand<'_>) -> Vec<Violation> {
        let mut broken = self.terms.content.broken_by(command);
        if let Some(headers) = self.headers() {
            broken.extend(headers.broken_by(command));
        }
        broken
    }

    /// What a browser may be told about an object.
    #[must_use]
    pub fn content(&self) -> &ContentRules {
        &self.terms.content
    }

    /// From which addresses URLs under the grant may be used; `None`: from any.
    #[must_use]
    pub fn source_ip(&self) -> Option<&SourceIps> {
        self.terms.source_ip.as_ref()
    }

    /// When the grant ends; `None`: it does not.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        self.terms.not_after
    }

    /// What the grant says of an expiry.
    #[must_use]
    pub fn cap(&self) -> GrantCap {
        GrantCap {
            max_expiry: self.terms.max_expiry,
            ends: self.terms.not_after,
        }
    }

    /// Whether the grant has not ended: in its last second no URL has room.
    #[must_use]
    pub fn holds_at(&self, now: SystemTime) -> bool {
        self.cap().left_at(now) != Some(0)
    }

    /// The commands and classes.
    #[must_use]
    pub fn commands(&self) -> &[CommandSelector] {
        &self.commands.selectors
    }

    /// The resources.
    #[must_use]
    pub fn resources(&self) -> &[ResourcePattern] {
        &self.resources
    }

    /// Whether one of the resources names its caller.
    #[must_use]
    pub fn names_caller(&self) -> bool {
        self.resources.iter().any(ResourcePattern::names_caller)
    }

    /// The grant as it is for a caller of this name. What the name cannot stand in stays as it is, and covers nothing.
    #[must_use]
    pub fn of_caller(&self, caller: &str) -> Self {
        let mut own = self.clone();
        for resource in &mut own.resources {
            if let ResourcePattern::OfCaller(pattern) = resource
                && let Some(resolved) = pattern.of(caller)
            {
                *resource = resolved;
            }
        }
        own
    }

    /// Whether one of the resources covers the target.
    #[must_use]
    pub fn covers(&self, target: &Target<'_>) -> bool {
        let mut resources = self.resources.iter();
        resources.any(|resource| resource.covers(target))
    }

    /// The IAM actions that the grant carries on its resources.
    #[must_use]
    pub fn actions(&self) -> &BTreeMap<&'static str, Carried> {
        &self.commands.actions
    }
}

impl Commands {
    fn new(selectors: Vec<CommandSelector>, store: Store) -> Self {
        let mut actions = BTreeMap::new();
        for operation in OPERATIONS {
            let named = selectors.contains(&CommandSelector::Named(operation));
            if !selectors.iter().any(|selector| selector.selects(operation)) {
                continue;
            }
            for action in operation.actions {
                if carries(action, named, store) {
                    let carried = actions.entry(action.action).or_insert(Carried {
                        resource: action.resource,
                        prefix_condition: action.prefix_condition,
                    });
                    // HeadBucket and ListObjects share s3:ListBucket: what bounds one of them must not be lost to the other.
                    carried.prefix_condition |= action.prefix_condition;
                }
            }
        }
        Self { selectors, actions }
    }
}

/// Those of the grants that have not ended.
#[must_use]
pub fn standing(grants: &[Grant], now: SystemTime) -> Cow<'_, [Grant]> {
    if grants.iter().all(|grant| grant.holds_at(now)) {
        return Cow::Borrowed(grants);
    }
    let holding = grants.iter().filter(|grant| grant.holds_at(now));
    Cow::Owned(holding.cloned().collect())
}

fn carries(action: &IamAction, named: bool, store: Store) -> bool {
    let by_name = action.by_name_only || (action.by_name_outside_aws && store == Store::Compatible);
    !action.granted_apart && (named || !by_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(commands: &[&str], store: Store) -> Grant {
        let selectors = commands.iter().map(|c| CommandSelector::parse(c).unwrap());
        let resources = vec![ResourcePattern::parse("files/*").unwrap()];
        let terms = Terms {
            max_expiry: Some(60),
            ..Terms::default()
        };
        Grant::new(selectors.collect(), resources, terms, store)
    }

    fn actions(commands: &[&str], store: Store) -> Vec<&'static str> {
        grant(commands, store).actions().keys().copied().collect()
    }

    #[test]
    fn every_command_is_of_one_class_or_granted_by_name_only() {
        for operation in OPERATIONS {
            let classes = CLASSES.map(|class| grant(&[class], Store::Aws).is_of(operation));
            let count = classes.into_iter().filter(|is_of| *is_of).count();
            assert_eq!(
                count,
                usize::from(!operation.by_name_only),
                "{}",
                operation.name
            );
            assert!(grant(&[operation.name], Store::Aws).is_of(operation));
        }
        let by_name: Vec<&str> = OPERATIONS
            .iter()
            .filter(|operation| operation.by_name_only)
            .map(|operation| operation.name)
            .collect();
        assert_eq!(by_name, ["CreateSession"]);
    }

    #[test]
    fn a_command_by_name_grants_no_other() {
        let grant = grant(&["GetObject"], Store::Aws);
        let granted: Vec<&str> = OPERATIONS
            .iter()
            .filter(|operation| grant.is_of(operation))
            .map(|operation| operation.name)
            .collect();
        assert_eq!(granted, ["GetObject"]);
        assert_eq!(grant.max_expiry(), Some(60));
    }

    #[test]
    fn names_are_those_of_the_api_and_classes_lower_case() {
        for text in [
            "getobject",
            "get_object",
            "Read",
            "all",
            "*",
            "",
            "s3:GetObject",
            "GetObject ",
        ] {
            assert_eq!(
                CommandSelector::parse(text),
                Err(UnknownCommand),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_grant_carries_the_actions_of_its_commands_and_no_more() {
        let cases: [(&[&str], &[&str]); 7] = [
            (&["GetObject"], &["s3:GetObject", "s3:GetObjectVersion"]),
            (&["PutObject"], &["s3:PutObject"]),
            (&["CopyObject"], &["s3:PutObject"]),
            (
                &["PutObject", "PutObjectTagging"],
                &[
                    "s3:PutObject",
                    "s3:PutObjectTagging",
                    "s3:PutObjectVersionTagging",
                ],
            ),
            (
                &["DeleteObject"],
                &[
                    "s3:BypassGovernanceRetention",
                    "s3:DeleteObject",
                    "s3:DeleteObjectVersion",
                ],
            ),
            (&["CreateSession"], &["s3express:CreateSession"]),
            (&["RenameObject"], &["s3express:CreateSession"]),
        ];
        for (commands, expected) in cases {
            assert_eq!(actions(commands, Store::Aws), expected, "{commands:?}");
        }
    }

    #[test]
    fn no_class_carries_what_is_granted_by_name_only() {
        for store in [Store::Aws, Store::Compatible] {
            let carried = actions(&CLASSES, store);
            for by_name in ["s3:BypassGovernanceRetention", "s3express:CreateSession"] {
                assert!(!carried.contains(&by_name), "{by_name} at {store:?}");
            }
            assert!(carried.contains(&"s3:DeleteObject"));
        }
    }

    #[test]
    fn what_compatible_stores_do_not_know_is_left_out_unless_named() {
        let unknown: Vec<&IamAction> = OPERATIONS
            .iter()
            .flat_map(|operation| operation.actions)
            .filter(|action| action.by_name_outside_aws)
            .collect();
        assert!(!unknown.is_empty());
        let (aws, compatible) = (
            actions(&CLASSES, Store::Aws),
            actions(&CLASSES, Store::Compatible),
        );
        for action in unknown {
            assert!(!compatible.contains(&action.action), "{}", action.action);
            assert_eq!(
                aws.contains(&action.action),
                !action.by_name_only,
                "{}",
                action.action
            );
        }
        let named = actions(&["read", "GetObjectAttributes"], Store::Compatible);
        assert!(named.contains(&"s3:GetObjectAttributes"));
        assert!(!named.contains(&"s3:GetObjectAnnotation"));
    }

    #[test]
    fn what_bounds_a_list_is_not_lost_to_a_command_that_shares_its_action() {
        for commands in [
            &["HeadBucket", "ListObjectsV2"][..],
            &["ListObjectsV2"],
            &["list"],
        ] {
            let grant = grant(commands, Store::Aws);
            assert!(
                grant.actions()["s3:ListBucket"].prefix_condition,
                "{commands:?}"
            );
        }
        let grant = grant(&["HeadBucket"], Store::Aws);
        assert!(!grant.actions()["s3:ListBucket"].prefix_condition);
    }
}
