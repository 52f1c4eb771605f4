//! An upload in parts: its steps are allowed, signed and recorded as one plan.
//!
//! Invariant: S3 is asked to begin an upload only after everything that could be refused was decided, and an upload whose records cannot
//! be written is given up.

use std::pin::pin;
use std::sync::OnceLock;

use uuid::Uuid;

use super::placed::{endpoint_asked, renamed};
use super::record;
use super::{Arrival, Issued, Presigner, Request, SignedUrl, Signing, payer, sign_url, within};
use crate::admit::policy::{self, Called, Denied};
use crate::admit::quota::limit::Cost;
use crate::admit::upload::Upload as UploadBytes;
use crate::admit::{Authorized, NotAuthorized, Standing};
use crate::authenticate::Right;
use crate::endpoint::buckets::Buckets;
use crate::proto::s3::{
    AbortMultipartUpload, CompleteMultipartUpload, CreateMultipartUpload, UploadPart,
};
use crate::proto::v1::SigningOptions;
use crate::refusal::Refusal;
use crate::sign::bind::{BindAny, Violations};
use crate::sign::command::{BoundCommand, Value};
use crate::sign::{self, PART_NUMBER, PresignedUrl};
use crate::tenant::Tenant;
use crate::upload::SignedCall;
use crate::upload::division::{Division, Extent};

/// What is to be signed of an upload.
#[derive(Debug)]
pub struct Upload {
    /// The creation, of an upload that is to be begun.
    pub create: Option<CreateMultipartUpload>,
    /// Any part.
    pub part: UploadPart,
    /// The completion and the abortion, if they are to be signed.
    pub ends: Option<(CompleteMultipartUpload, AbortMultipartUpload)>,
    /// How the object is divided.
    pub division: Division,
    /// The parts to sign.
    pub numbers: Vec<u32>,
    /// Where to go on.
    pub next: Option<u32>,
    /// How to sign.
    pub options: SigningOptions,
}

/// Names what becomes of an upload, in the answer, the records and the spans.
#[derive(Debug, Clone, Copy)]
pub struct UploadIds {
    /// The request as a whole, with the creation.
    pub request: Uuid,
    /// The URLs of the parts.
    pub parts: Uuid,
    /// The completion's URL.
    pub complete: Uuid,
    /// The abortion's URL.
    pub abort: Uuid,
}

/// An upload's URLs.
#[derive(Debug)]
pub struct SignedUpload {
    /// S3's id of the upload.
    pub upload_id: String,
    /// Parts, in the order in which they were asked for.
    pub parts: Vec<SignedPart>,
    /// The completion and the abortion.
    pub ends: Option<(SignedUrl, SignedUrl)>,
    /// The abortion as presignd itself would send it, where that is another.
    own_abort: Option<SignedUrl>,
}

/// The URL of a part.
#[derive(Debug)]
pub struct SignedPart {
    /// Counted from 1.
    pub number: u32,
    /// Where it lies in the object.
    pub extent: Extent,
    /// The URL.
    pub url: PresignedUrl,
    /// The HTTP method.
    pub method: &'static str,
    /// What the client must send.
    pub headers: SentHeaders,
}

/// What a client must send. It may hold a customer's key, so `Debug` shows none of it.
#[derive(Clone, Default)]
pub struct SentHeaders(pub Vec<(String, String)>);

impl std::fmt::Debug for SentHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SentHeaders(..)")
    }
}

impl SignedUrl {
    /// As presignd itself sends it.
    fn call(&self, name: &'static str) -> SignedCall<'_> {
        SignedCall {
            name,
            method: self.method,
            url: self.url.as_str(),
            headers: &self.headers,
        }
    }
}

impl Presigner {
    /// Begins an upload, if it is to be begun, and presigns its steps.
    ///
    /// # Errors
    /// Why there are no URLs.
    pub async fn presign_upload(
        &self,
        arrival: &Arrival,
        request: &Request,
        ids: UploadIds,
        upload: &Upload,
    ) -> Result<Issued<SignedUpload>, Refusal> {
        let tenant = self
            .tenants
            .of(&arrival.caller, Right::Sign, &request.tenant);
        let mut placed = PlacedUpload::bind(upload);
        if let Ok(tenant) = &tenant {
            placed.name_buckets(&tenant.buckets);
            placed.declare_size(&self.standing(arrival, tenant));
        }
        let bill = OnceLock::new();
        let decide = async {
            let steps = placed.steps()?;
            let tenant = tenant.as_ref().map_err(|denied| *denied)?;
            self.orders.allow(&tenant.id)?;
            let (first, others) =
                placed.authorize(steps, tenant, &self.standing(arrival, tenant), request)?;
            let payer = payer(arrival, tenant);
            let admitting = self
                .quotas
                .admit_together(payer, &arrival.told, first, others);
            let admitted = admitting.await?;
            // Nobody else sets it.
            let _ = bill.set(admitted.bill());
            let sent = steps.sent_from_elsewhere(tenant, &self.standing(arrival, tenant), request);
            let own = match sent {
                Some(sent) => {
                    let (caller, session) = (&arrival.caller, &tenant.session);
                    let own = self
                        .scoper
                        .scope_for_own_use(&admitted, caller, session, &sent);
                    Some(own.await?)
                }
                None => None,
            };
            let (commands, options) = (steps.commands(), endpoint_asked(upload.options));
            let endpoint = self.endpoint(tenant, &steps.part, options).await;
            let named_by = if steps.create.is_some() { CREATE } else { PART };
            let endpoint = endpoint.map_err(|refused| refused.of_bucket_in(named_by))?;
            let ready = self.ready(arrival, tenant, &commands, endpoint, admitted);
            let ready = ready.await?;
            let signing = ready.signing();
            let own = own.as_ref().map(|own| ready.signing_with(own));
            let upload_id = match &steps.create {
                Some(create) => {
                    let create = sign_url(create)(own.as_ref().unwrap_or(&signing))?;
                    let call = create.call("CreateMultipartUpload");
                    self.uploads.begin(call).await?
                }
                None => upload.part.upload_id.clone().unwrap_or_default(),
            };
            let signed = placed.sign(steps, &signing, own.as_ref(), upload_id)?;
            Ok(ready.issued(signed))
        };
        let decision = within(arrival.patience, pin!(decide)).await;
        let now = self.clock.now();
        let recorded = {
            let records = record::of_upload(now, arrival, request, ids, &placed, &decision);
            self.recorder.record_all(&records, &arrival.trace).await
        };
        if let (Err(_), Ok(issued), Some(_)) = (&recorded, &decision, &upload.create) {
            self.give_up(ids, &issued.signed).await;
        }
        self.settled(arrival, &tenant, bill.get(), recorded, decision)
            .await
    }

    /// Gives up an upload that nobody will hear of.
    async fn give_up(&self, ids: UploadIds, signed: &SignedUpload) {
        let of_the_plan = signed.ends.as_ref().map(|(_, abort)| abort);
        let Some(abort) = signed.own_abort.as_ref().or(of_the_plan) else {
            return;
        };
        let issuance_id = ids.request;
        let call = abort.call("AbortMultipartUpload");
        match self.uploads.give_up(call).await {
            Ok(()) => tracing::warn!(%issuance_id, "an upload without a record was given up"),
            Err(error) => {
                tracing::error!(%issuance_id, "an upload without a record goes on at S3: {error}");
            }
        }
    }
}

/// An upload whose commands are bound, unless they break a rule.
#[derive(Debug)]
pub(super) struct PlacedUpload<'a> {
    upload: &'a Upload,
    bound: Result<Steps<'a>, Violations>,
    called: Called<'a>,
    /// Whether each part's length is signed, and the whole object's.
    declares_size: bool,
}

/// The commands of an upload.
#[derive(Debug)]
pub(super) struct Steps<'a> {
    create: Option<BoundCommand<'a>>,
    part: BoundCommand<'a>,
    ends: Option<(BoundCommand<'a>, BoundCommand<'a>)>,
}

impl<'a> PlacedUpload<'a> {
    fn bind(upload: &'a Upload) -> Self {
        Self {
            bound: Steps::bind(upload),
            upload,
            called: Called::default(),
            declares_size: false,
        }
    }

    /// Puts the bucket in the place of the tenant's name for it, and what goes there by default.
    fn name_buckets(&mut self, buckets: &'a Buckets) {
        let Ok(steps) = &mut self.bound else {
            return;
        };
        if let Some((called, real)) = renamed(steps.part.bucket, buckets) {
            for command in steps.commands_mut() {
                command.set_bucket(real);
            }
            self.called.bucket = Some(called);
        }
        let by_default = buckets.place(steps.part.bucket).defaults.requester_pays;
        if self.upload.options.requester_pays.unwrap_or(by_default) {
            steps.commands_mut().for_each(BoundCommand::requester_pays);
        }
    }

    /// Where grants bound uploads, has S3 hold the client to the size that the request says: of each part, and of them all.
    fn declare_size(&mut self, standing: &Standing<'_>) {
        if let (Ok(steps), Some(size)) = (&mut self.bound, self.upload.division.size())
            && policy::bounds_upload(standing.grants(), &steps.part)
        {
            self.declares_size = true;
            // Decided as one upload of all the bytes: then every part fits, too.
            steps.part.set_header(CONTENT_LENGTH, size);
            if let Some((complete, _)) = &mut steps.ends {
                complete.set_header(OBJECT_SIZE, size);
            }
        }
    }

    /// The commands, unless they break a rule.
    pub(super) fn steps(&self) -> Result<&Steps<'a>, Refusal> {
        self.bound
            .as_ref()
            .map_err(|violations| Refusal::Invalid(violations.clone()))
    }

    /// What is asked for.
    pub(super) fn upload(&self) -> &'a Upload {
        self.upload
    }

    /// What the caller called the bucket, where that is not its name.
    pub(super) fn called(&self) -> Called<'a> {
        self.called
    }

    /// Holds every command against the tenant's grants and caps, and counts how many URLs of each there will be.
    fn authorize(
        &self,
        steps: &Steps<'_>,
        tenant: &Tenant,
        standing: &Standing<'_>,
        request: &Request,
    ) -> Result<((Authorized, Cost), Vec<Authorized>), Refusal> {
        let to_aws = tenant.buckets.place(steps.part.bucket).url.is_none();
        let authorize = |command: &BoundCommand<'_>, place| {
            if to_aws {
                let known = command.known_to_aws();
                known.map_err(|violations| Refusal::Invalid(violations.below(place)))?;
            }
            let (rules, source_ip) = (&tenant.rules, request.source_ip.as_ref());
            let authorized =
                rules.authorize(standing, command, self.called, request.asked, source_ip);
            authorized.map_err(|refused| Refusal::from(in_place(refused, place)))
        };
        let part = authorize(&steps.part, PART)?;
        let mut others = Vec::new();
        if let Some(create) = &steps.create {
            others.push(authorize(create, CREATE)?);
        }
        if let Some((complete, abort)) = &steps.ends {
            others.push(authorize(complete, COMPLETE)?);
            others.push(authorize(abort, PART)?);
        }
        let urls = u64::try_from(self.upload.numbers.len()).unwrap_or(u64::MAX);
        let cost = part.costs(urls, self.bytes());
        Ok(((part, cost), others))
    }

    /// What the parts that are signed may upload together.
    fn bytes(&self) -> UploadBytes {
        let division = &self.upload.division;
        let mut lengths = self
            .upload
            .numbers
            .iter()
            .map(|number| division.extent(*number).length);
        match lengths.try_fold(0_u64, |sum, length| Some(sum.saturating_add(length?))) {
            Some(bytes) => UploadBytes::AtMost(bytes),
            None => UploadBytes::Unbounded,
        }
    }

    /// Signs what is to be signed of the upload of this id.
    fn sign(
        &self,
        steps: &Steps<'_>,
        signing: &Signing<'_>,
        own: Option<&Signing<'_>>,
        upload_id: String,
    ) -> Result<SignedUpload, Refusal> {
        let named = |command: &BoundCommand<'_>, signing: &Signing<'_>| {
            let mut command = command.clone();
            command.set_query(UPLOAD_ID, Value::Text(upload_id.clone().into()));
            sign_url(&command)(signing)
        };
        let ends = match &steps.ends {
            Some((complete, abort)) => Some((named(complete, signing)?, named(abort, signing)?)),
            None => None,
        };
        let own_abort = match (&steps.ends, own) {
            (Some((_, abort)), Some(own)) => Some(named(abort, own)?),
            _ => None,
        };
        let parts = self.sign_parts(steps, signing, &upload_id);
        Ok(SignedUpload {
            upload_id,
            parts,
            ends,
            own_abort,
        })
    }

    fn sign_parts(
        &self,
        steps: &Steps<'_>,
        signing: &Signing<'_>,
        upload_id: &str,
    ) -> Vec<SignedPart> {
        let division = &self.upload.division;
        let mut command = steps.part.clone();
        command.set_query(UPLOAD_ID, Value::Text(upload_id.to_owned().into()));
        let length = |number: &u32| division.extent(*number).length;
        let alike = |a: &u32, b: &u32| !self.declares_size || length(a) == length(b);
        let mut parts = Vec::with_capacity(self.upload.numbers.len());
        for numbers in self.upload.numbers.chunk_by(alike) {
            if let Some(length) = numbers.first().and_then(length)
                && self.declares_size
            {
                command.set_header(CONTENT_LENGTH, length);
            }
            let urls = sign::presign_parts(
                &command,
                signing.endpoint,
                signing.credentials,
                signing.signed_at,
                signing.life,
                numbers,
            );
            let headers = SentHeaders(command.headers_to_send());
            parts.extend(numbers.iter().zip(urls).map(|(number, url)| SignedPart {
                number: *number,
                extent: division.extent(*number),
                url,
                method: command.operation.method,
                headers: headers.clone(),
            }));
        }
        parts
    }
}

/// The header with a body's length.
const CONTENT_LENGTH: &str = "content-length";
/// The header with which S3 completes an upload only if its parts come to so many bytes.
const OBJECT_SIZE: &str = "x-amz-mp-object-size";
/// The query parameter with an upload's id.
const UPLOAD_ID: &str = "uploadId";

/// Where the fields of each command stand in a request.
const CREATE: &str = "create";
const PART: &str = "upload";
const COMPLETE: &str = "complete";

impl<'a> Steps<'a> {
    fn bind(upload: &'a Upload) -> Result<Self, Violations> {
        let bind = |command: &'a dyn BindAny, place| {
            let bound = command.to_bound();
            let mut bound = bound.map_err(|violations| violations.below(place))?;
            bound.place_headers(upload.options.header_placement)?;
            Ok(bound)
        };
        // What the other commands say of the upload, the first says too.
        let create = upload.create.as_ref();
        let create = create.map(|create| bind(create, CREATE)).transpose()?;
        let part = bind(&upload.part, PART)?;
        debug_assert!(
            part.query.iter().any(|query| query.name == PART_NUMBER),
            "it is the URL of a part that all others are made from"
        );
        let ends = match &upload.ends {
            Some((complete, abort)) => Some((bind(complete, COMPLETE)?, bind(abort, PART)?)),
            None => None,
        };
        Ok(Self { create, part, ends })
    }

    /// A part, of which all have the names.
    pub(super) fn part(&self) -> &BoundCommand<'a> {
        &self.part
    }

    /// All that one session has to allow.
    fn commands(&self) -> Vec<&BoundCommand<'a>> {
        let ends = self.ends.iter();
        let ends = ends.flat_map(|(complete, abort)| [complete, abort]);
        let part = std::iter::once(&self.part);
        part.chain(&self.create).chain(ends).collect()
    }

    /// What presignd itself would send of an upload that is to be begun, if the plan's session is only good for the addresses of others.
    fn sent_from_elsewhere(
        &self,
        tenant: &Tenant,
        standing: &Standing<'_>,
        request: &Request,
    ) -> Option<Vec<&BoundCommand<'a>>> {
        let create = self.create.as_ref()?;
        let abort = self.ends.iter().map(|(_, abort)| abort);
        let sent: Vec<_> = std::iter::once(create).chain(abort).collect();
        let (grants, source_ip) = (standing.grants(), request.source_ip.as_ref());
        let mut commands = sent.iter();
        let bound = commands.any(|command| policy::bound_to_addresses(grants, command, source_ip));
        (bound && tenant.rules.has_session_policy).then_some(sent)
    }

    fn commands_mut(&mut self) -> impl Iterator<Item = &mut BoundCommand<'a>> {
        let ends = self.ends.iter_mut();
        let ends = ends.flat_map(|(complete, abort)| [complete, abort]);
        let part = std::iter::once(&mut self.part);
        part.chain(&mut self.create).chain(ends)
    }
}

/// The refusal with the paths of the whole request.
fn in_place(refused: NotAuthorized, place: &str) -> NotAuthorized {
    match refused {
        NotAuthorized::Denied(Denied::Content {
            command,
            violations,
        }) => Denied::Content {
            command,
            violations: violations.below(place),
        }
        .into(),
        other => other,
    }
}
