//! A command of a request, bound to the places where it travels, with its own place in the request.
//!
//! Whatever is wrong with it is told by the path of the whole request: `commands[3].get_object.key`.

use std::borrow::Cow;

use super::Request;
use crate::admit::Authorized;
use crate::proto::v1::Command;
use crate::refusal::Refusal;
use crate::sign::bind::{Violation, Violations};
use crate::sign::command::{BoundCommand, Operation};
use crate::sign::operations;
use crate::tenant::Tenant;

/// A command and its place.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    place: Cow<'static, str>,
    operation: Option<&'static Operation>,
    bound: Result<BoundCommand<'a>, Refusal>,
}

impl<'a> Placed<'a> {
    /// Binds the command, which the request holds in this field.
    pub(super) fn bind(command: &'a Command, place: impl Into<Cow<'static, str>>) -> Self {
        let place = place.into();
        let Some(variant) = &command.command else {
            let nothing = "names no command: set one of its fields, such as get_object";
            return Self {
                bound: Err(Refusal::field(&*place, nothing)),
                operation: None,
                place,
            };
        };
        let message = operations::message(variant);
        let operation = message.operation();
        let bound = message.to_bound();
        Self {
            bound: bound.map_err(|violations| inside(violations, &place, operation)),
            operation: Some(operation),
            place,
        }
    }

    /// The operation, if the command names one.
    pub(super) fn operation(&self) -> Option<&'static Operation> {
        self.operation
    }

    /// The command, unless it breaks a rule.
    pub(super) fn command(&self) -> Result<&BoundCommand<'a>, Refusal> {
        self.bound.as_ref().map_err(Clone::clone)
    }

    /// Holds the command against the tenant's grants and caps, and its values against what AWS knows if they go there.
    pub(super) fn authorize(
        &self,
        tenant: &Tenant,
        request: &Request,
    ) -> Result<Authorized, Refusal> {
        let command = self.command()?;
        if tenant.endpoint.url.is_none() {
            let known = command.known_to_aws();
            known.map_err(|violations| inside(violations, &self.place, command.operation))?;
        }
        let (rules, source_ip) = (&tenant.rules, request.source_ip.as_ref());
        Ok(rules.authorize(command, request.asked, source_ip)?)
    }
}

/// Violations with the paths of the whole request.
fn inside(violations: Violations, place: &str, operation: &Operation) -> Refusal {
    let placed = |violation: Violation| Violation {
        field: format!("{place}.{}.{}", operation.field, violation.field).into(),
        ..violation
    };
    Refusal::Invalid(Violations(violations.0.into_iter().map(placed).collect()))
}
