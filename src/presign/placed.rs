//! A command of a request, bound to the places where it travels, with its own place in the request.
//!
//! Whatever is wrong with it is told by the path of the whole request: `commands[3].get_object.key`.

use std::borrow::Cow;

use super::Request;
use crate::admit::policy::{Called, Denied};
use crate::admit::{Authorized, NotAuthorized, Standing};
use crate::endpoint::NoEndpoint;
use crate::endpoint::buckets::Buckets;
use crate::endpoint::options::Options;
use crate::proto::v1::{Command, SigningOptions};
use crate::refusal::Refusal;
use crate::sign::bind::{REQUEST_PAYER, Violations};
use crate::sign::command::{BoundCommand, Operation};
use crate::sign::{operations, payload};
use crate::tenant::Tenant;

/// A command and its place.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    place: Cow<'static, str>,
    operation: Option<&'static Operation>,
    bound: Result<BoundCommand<'a>, Refusal>,
    called: Called<'a>,
    endpoint: Options,
    /// Whether the tenant pays for the request: as the tenant says, unless it is asked for or not possible.
    requester_pays: Option<bool>,
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
                called: Called::default(),
                endpoint: Options::default(),
                requester_pays: None,
                place,
            };
        };
        let message = operations::message(variant);
        let operation = message.operation();
        let options = command.options.unwrap_or_default();
        let mut bound = match &command.payload {
            None => message
                .to_bound()
                .map_err(|violations| inside(violations, &place, operation)),
            Some(payload) => payload::bind(message, payload)
                .map_err(|violations| Refusal::Invalid(violations.below(&place))),
        };
        if let Ok(command) = &mut bound
            && let Err(violations) = command.place_headers(options.header_placement)
        {
            bound = Err(Refusal::Invalid(violations.below(&place)));
        }
        let mut fields = message.fields().iter();
        let mut requester_pays = options.requester_pays;
        if !fields.any(|field| field.name == REQUEST_PAYER) {
            if requester_pays == Some(true) && bound.is_ok() {
                let field = format!("{place}.options.requester_pays");
                let description = format!("is not for {}: leave it out", operation.name);
                bound = Err(Refusal::field(field, description));
            }
            requester_pays = Some(false);
        }
        Self {
            bound,
            operation: Some(operation),
            called: Called::default(),
            endpoint: endpoint_asked(options),
            requester_pays,
            place,
        }
    }

    /// Puts buckets in the place of the tenant's names for them, and what goes there by default.
    pub(super) fn name_buckets(&mut self, buckets: &'a Buckets) {
        let Ok(command) = &mut self.bound else {
            return;
        };
        if let Some((called, real)) = renamed(command.bucket, buckets) {
            command.set_bucket(real);
            self.called.bucket = Some(called);
        }
        let source = command.reference.as_ref().map(|source| source.bucket);
        if let Some((called, real)) = renamed(source, buckets) {
            command.set_reference_bucket(real);
            self.called.source = Some(called);
        }
        let defaults = &buckets.place(command.bucket).defaults;
        if self.requester_pays.unwrap_or(defaults.requester_pays) {
            command.requester_pays();
        }
    }

    /// Which endpoint is asked for.
    pub(super) fn endpoint(&self) -> Options {
        self.endpoint
    }

    /// The refusal of an endpoint, with the paths of the whole request.
    pub(super) fn no_endpoint(&self, refused: NoEndpoint) -> NoEndpoint {
        match self.operation {
            Some(operation) => refused.in_command(&self.place, operation.field),
            None => refused,
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

    /// What the caller called the buckets, where that is not their name.
    pub(super) fn called(&self) -> Called<'a> {
        self.called
    }

    /// Holds the command against the tenant's grants and caps, and its values against what AWS knows if they go there.
    pub(super) fn authorize(
        &self,
        tenant: &Tenant,
        standing: &Standing<'_>,
        request: &Request,
    ) -> Result<Authorized, Refusal> {
        let command = self.command()?;
        let (operation, place) = (command.operation, tenant.buckets.place(command.bucket));
        if place.url.is_none() {
            let known = command.known_to_aws();
            known.map_err(|violations| inside(violations, &self.place, operation))?;
        }
        let (rules, source_ip) = (&tenant.rules, request.source_ip.as_ref());
        let authorized = rules.authorize(standing, command, self.called, request.asked, source_ip);
        let authorized = authorized.map_err(|refused| self.in_place(refused, operation))?;
        if let Some(source) = &command.reference
            && tenant.buckets.place(Some(source.bucket)).url != place.url
        {
            // The store would read a bucket of its own that happens to have the name.
            let field = format!("{}.{}.{}", self.place, operation.field, source.field);
            let apart =
                "is in another store than what it would become: download it, and upload it there";
            return Err(Refusal::field(field, apart));
        }
        Ok(authorized)
    }

    /// The refusal with the paths of the whole request.
    fn in_place(&self, refused: NotAuthorized, operation: &Operation) -> NotAuthorized {
        match refused {
            NotAuthorized::Denied(Denied::Content {
                command,
                violations,
            }) => Denied::Content {
                command,
                violations: in_command(violations, &self.place, operation),
            }
            .into(),
            other => other,
        }
    }
}

/// Which endpoint the options ask for.
pub(super) fn endpoint_asked(options: SigningOptions) -> Options {
    Options {
        dual_stack: options.dual_stack,
        fips: options.fips,
        accelerate: options.accelerate,
    }
}

/// What a bucket was called and is, if those are two.
pub(super) fn renamed<'a>(
    called: Option<&'a str>,
    buckets: &'a Buckets,
) -> Option<(&'a str, &'a str)> {
    Some((called?, buckets.real(called?)?))
}

/// Violations with the paths of the whole request.
fn inside(violations: Violations, place: &str, operation: &Operation) -> Refusal {
    Refusal::Invalid(in_command(violations, place, operation))
}

fn in_command(violations: Violations, place: &str, operation: &Operation) -> Violations {
    violations.below(operation.field).below(place)
}
