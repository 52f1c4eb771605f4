//! What a tenant is denied, whatever its grants say. Pure.
//!
//! Invariant: an entry denies whatever may reach what it names. A command is denied with the IAM permissions that it carries, so that all
//! others that need one of them are denied with it; and on a prefix or a key, also those whose keys are not known yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::carried::Shared;
use super::grant::{Carried, CommandSelector, Store};
use super::policy::{self, Called, Denied, Need};
use super::resource::{ResourcePattern, Target};
use crate::sign::command::{BoundCommand, IamAction, Operation};
use crate::sign::operations::OPERATIONS;

/// These commands are denied on these resources.
#[derive(Debug, Clone, PartialEq)]
pub struct Denial {
    commands: Arc<Commands>,
    resources: Box<[ResourcePattern]>,
}

/// Commands, shared by the denials that are of the same.
#[derive(Debug, PartialEq)]
struct Commands {
    selectors: Vec<CommandSelector>,
    /// The IAM actions that are denied with the commands.
    actions: BTreeMap<&'static str, Carried>,
    /// Those of them that a policy may name at the store.
    told: BTreeMap<&'static str, Carried>,
}

impl Denial {
    /// A denial of these commands on these resources of the store.
    #[must_use]
    pub fn new(
        commands: Vec<CommandSelector>,
        resources: Vec<ResourcePattern>,
        store: Store,
    ) -> Self {
        static SHARED: Shared<Commands> = Shared::new();
        let shared = SHARED.of(commands, store, |commands| Commands::new(commands, store));
        Self {
            commands: shared,
            resources: resources.into_boxed_slice(),
        }
    }

    /// Whether one of the resources names its caller.
    #[must_use]
    pub fn names_caller(&self) -> bool {
        self.resources.iter().any(ResourcePattern::names_caller)
    }

    /// The entry as it is for a caller of this name. Where the name cannot stand, it denies whatever any name would make of it.
    #[must_use]
    pub fn of_caller(&self, caller: &str) -> Self {
        let mut own = self.clone();
        for resource in &mut own.resources {
            if let ResourcePattern::OfCaller(pattern) = resource {
                *resource = pattern.of(caller).unwrap_or_else(|| pattern.of_any());
            }
        }
        own
    }

    fn overlaps(&self, target: &Target<'_>) -> bool {
        let mut resources = self.resources.iter();
        resources.any(|resource| resource.overlaps(target))
    }

    /// Whether it denies the command by itself.
    #[must_use]
    pub fn denies(&self, command: &BoundCommand<'_>) -> bool {
        let operation = command.operation;
        let target = policy::target_of(command);
        // Its session is good for all of the bucket.
        let hands_out = operation.by_name_only && {
            let mut resources = self.resources.iter();
            resources.any(|r| r.bucket().is_some() && r.bucket() == command.bucket)
        };
        hands_out || is_of(&self.commands.selectors, operation) && self.overlaps(&target)
    }

    /// Whether it denies a permission that a command needs.
    #[must_use]
    pub fn denies_need(&self, need: &Need<'_>) -> bool {
        self.commands.actions.contains_key(need.action.action) && self.overlaps(&need.target)
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

    /// The IAM actions that a policy denies on its resources.
    #[must_use]
    pub fn told_actions(&self) -> &BTreeMap<&'static str, Carried> {
        &self.commands.told
    }
}

impl Commands {
    fn new(selectors: Vec<CommandSelector>, store: Store) -> Self {
        let (mut actions, mut told) = (BTreeMap::new(), BTreeMap::new());
        for operation in OPERATIONS.iter().filter(|o| is_of(&selectors, o)) {
            let named = selectors.contains(&CommandSelector::Named(operation));
            // What is another command's is denied as that command.
            for action in operation.actions.iter().filter(|a| !a.granted_apart) {
                note(&mut actions, action);
                if named || store == Store::Aws || !action.by_name_outside_aws {
                    note(&mut told, action);
                }
            }
        }
        Self {
            selectors,
            actions,
            told,
        }
    }
}

/// Whether they are of this operation: a class denies all of its own, also those that it would not grant.
fn is_of(commands: &[CommandSelector], operation: &Operation) -> bool {
    commands.iter().any(|selector| match selector {
        CommandSelector::Class(class) => *class == operation.class,
        CommandSelector::Named(named) => named.name == operation.name,
    })
}

fn note(actions: &mut BTreeMap<&'static str, Carried>, action: &IamAction) {
    let carried = actions.entry(action.action).or_insert(Carried {
        resource: action.resource,
        prefix_condition: action.prefix_condition,
    });
    carried.prefix_condition |= action.prefix_condition;
}

/// Whether no entry denies the command, nor a permission that it needs.
///
/// # Errors
/// The first entry that does.
pub fn check(
    denials: &[Denial],
    command: &BoundCommand<'_>,
    called: Called<'_>,
) -> Result<(), Denied> {
    let denied = |index, action, target: Target<'_>, named| Denied::Explicitly {
        command: command.operation.name,
        index,
        action,
        target: target.called(named).to_string(),
    };
    for (index, denial) in denials.iter().enumerate() {
        if denial.denies(command) {
            let target = policy::target_of(command);
            return Err(denied(index, None, target, called.bucket));
        }
        for need in policy::needs(command) {
            if denial.denies_need(&need) {
                let action = Some(need.action.action);
                return Err(denied(index, action, need.target, need.named(called)));
            }
        }
    }
    Ok(())
}
