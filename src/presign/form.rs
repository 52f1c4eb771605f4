//! A form of a request, bound to its fields, and the form that leaves.

use std::fmt;

use super::placed::{endpoint_asked, renamed};
use super::{Request, Signing};
use crate::admit::policy::{self, Called};
use crate::admit::source_ip::SourceIps;
use crate::admit::{Authorized, Standing};
use crate::endpoint::buckets::Buckets;
use crate::endpoint::options::Options;
use crate::proto::v1::{PresignPostRequest, SigningOptions};
use crate::refusal::Refusal;
use crate::sign::bind::{Violation, Violations};
use crate::sign::bucket;
use crate::sign::post_policy::{LengthRange, MAX_FORM_BYTES, PostForm, bind, presign_post};
use crate::tenant::Tenant;

/// What form to sign, and the id of whatever becomes of it.
#[derive(Debug)]
pub struct FormItem {
    /// Names the answer, the record and the span.
    pub issuance_id: uuid::Uuid,
    /// What is asked for.
    pub form: PresignPostRequest,
}

/// A form, for the one who asked for it. Whoever holds its fields can use it, so `Debug` shows none.
pub struct SignedForm {
    /// The URL to post to.
    pub url: String,
    /// Names and values, in order.
    pub fields: Vec<(String, String)>,
    /// What the client adds, and what it begins with.
    pub fields_to_fill: Vec<(String, String)>,
    /// What bounds the file.
    pub content_length: Option<LengthRange>,
    /// The form as HTML, if it was asked for.
    pub html: Option<String>,
}

impl fmt::Debug for SignedForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedForm(..)")
    }
}

/// A form, unless it breaks a rule.
#[derive(Debug)]
pub(super) struct PlacedForm<'a> {
    item: &'a FormItem,
    bound: Result<PostForm<'a>, Violations>,
    called: Called<'a>,
    endpoint: Options,
}

impl<'a> PlacedForm<'a> {
    pub(super) fn bind(item: &'a FormItem) -> Self {
        let options = item.form.options.unwrap_or_default();
        let bound = bind::bind(&item.form);
        Self {
            bound: match url_options(options) {
                violations if violations.is_empty() => bound,
                violations => Err(with_more(violations, bound)),
            },
            endpoint: endpoint_asked(options),
            called: Called::default(),
            item,
        }
    }

    /// Puts the bucket in the place of the tenant's name for it.
    pub(super) fn name_buckets(&mut self, buckets: &'a Buckets) {
        if let Ok(form) = &mut self.bound
            && let Some((called, real)) = renamed(form.command.bucket, buckets)
        {
            form.command.set_bucket(real);
            self.called.bucket = Some(called);
        }
    }

    /// Bounds the upload as the grants do, if the request leaves that to them.
    pub(super) fn bound_upload(&mut self, standing: &Standing<'_>, source_ip: Option<&SourceIps>) {
        if let Ok(form) = &mut self.bound {
            policy::bound_upload(standing.grants(), form, source_ip);
        }
    }

    /// The form, unless it breaks a rule.
    pub(super) fn form(&self) -> Result<&PostForm<'a>, Refusal> {
        self.bound
            .as_ref()
            .map_err(|violations| Refusal::Invalid(violations.clone()))
    }

    /// What the caller called the bucket, where that is not its name.
    pub(super) fn called(&self) -> Called<'a> {
        self.called
    }

    /// Which endpoint is asked for.
    pub(super) fn endpoint(&self) -> Options {
        self.endpoint
    }

    /// Holds the form against the tenant's grants and caps, and its values against what AWS knows if they go there.
    pub(super) fn authorize(
        &self,
        tenant: &Tenant,
        standing: &Standing<'_>,
        request: &Request,
    ) -> Result<Authorized, Refusal> {
        let form = self.form()?;
        if form.command.bucket.is_some_and(bucket::is_arn) {
            return Err(Refusal::field("bucket", bind::NO_ARN));
        }
        if tenant.buckets.place(form.command.bucket).url.is_none() {
            form.known_to_aws().map_err(Refusal::Invalid)?;
        }
        let (rules, source_ip) = (&tenant.rules, request.source_ip.as_ref());
        let (called, asked) = (self.called, request.asked);
        Ok(rules.authorize(standing, &form.command, called, asked, source_ip)?)
    }

    /// Signs the form.
    pub(super) fn sign<'f>(
        &'f self,
        form: &'f PostForm<'a>,
    ) -> impl FnOnce(&Signing<'_>) -> Result<SignedForm, Refusal> + 'f {
        let with_html = self.item.form.html_form;
        move |signing| {
            if signing.endpoint.service != "s3" {
                let description =
                    "is a directory bucket, and those take no forms: presign a PutObject";
                return Err(Refusal::field("bucket", description));
            }
            let signed = presign_post(
                form,
                signing.endpoint,
                signing.credentials,
                signing.signed_at,
                signing.expires_at,
            );
            let bytes = signed.bytes();
            if bytes > MAX_FORM_BYTES {
                let description = format!(
                    "come to a form of about {bytes} bytes with its policy and the session's token, and S3 takes {MAX_FORM_BYTES}: \
                     ask for less or shorter ones"
                );
                return Err(Refusal::field("fields", description));
            }
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            Ok(SignedForm {
                url: signed.url(),
                fields: signed.fields().map(owned).collect(),
                fields_to_fill: signed.fields_to_fill().map(owned).collect(),
                content_length: form.content_length(),
                html: with_html.then(|| signed.html()),
            })
        }
    }
}

/// Options that are set and mean nothing in a form.
fn url_options(options: SigningOptions) -> Vec<Violation> {
    let set = [
        ("options.header_placement", options.header_placement != 0),
        ("options.requester_pays", options.requester_pays.is_some()),
    ];
    let set = set.into_iter().filter(|(_, is_set)| *is_set);
    set.map(|(field, _)| Violation {
        field: field.into(),
        description: "is for URLs, and a form has neither headers nor such a field: leave it out"
            .into(),
    })
    .collect()
}

/// These violations, and those of the form.
fn with_more(
    mut violations: Vec<Violation>,
    bound: Result<PostForm<'_>, Violations>,
) -> Violations {
    violations.extend(bound.err().into_iter().flat_map(|more| more.0));
    Violations(violations)
}
