//! What the record of a decision says.

use std::time::SystemTime;

use uuid::Uuid;

use super::explain::Explained;
use super::form::{FormItem, PlacedForm, SignedForm};
use super::operation::About;
use super::placed::Placed;
use super::upload::{PlacedUpload, SignedUpload, UploadIds};
use super::{Arrival, Issued, Item, Request};
use crate::admit::source_ip::SourceIps;
use crate::audit::{Batch, Record};
use crate::names::TenantId;
use crate::refusal::{Refusal, reason_name};
use crate::sign::command::BoundCommand;
use crate::sign::post_policy::KeyRule;
use crate::sign::post_policy::bind::OPERATION;
use crate::upload::division::runs;

/// The record of one command.
pub(super) fn of_command<'a>(
    now: SystemTime,
    arrival: &'a Arrival,
    request: &'a Request,
    item: &Item<'_>,
    placed: &'a Placed<'_>,
    decision: &'a Result<Issued, Refusal>,
) -> Record<'a> {
    let mut record = asked(arrival, request, item, placed);
    match decision {
        Ok(issued) => note_issued(&mut record, issued, now),
        Err(refusal) => note_refusal(&mut record, refusal, now),
    }
    record
}

/// What is asked of one command, before anything came of it.
fn asked<'a>(
    arrival: &'a Arrival,
    request: &'a Request,
    item: &Item<'_>,
    placed: &'a Placed<'_>,
) -> Record<'a> {
    let mut record = arrived(arrival, item.issuance_id);
    note_request(&mut record, request);
    record.command = placed.operation().map(|operation| operation.name);
    if let Ok(command) = placed.command() {
        note_names(&mut record, command);
        record.bucket_alias = placed.called().bucket.map(Into::into);
    }
    record
}

/// The record of one form: an upload, with what it is bounded to.
pub(super) fn of_form<'a>(
    now: SystemTime,
    arrival: &'a Arrival,
    request: &'a Request,
    item: &FormItem,
    placed: &'a PlacedForm<'_>,
    decision: &'a Result<Issued<SignedForm>, Refusal>,
) -> Record<'a> {
    let mut record = arrived(arrival, item.issuance_id);
    note_request(&mut record, request);
    record.command = Some(OPERATION.name);
    if let Ok(form) = placed.form() {
        note_names(&mut record, &form.command);
        record.bucket_alias = placed.called().bucket.map(Into::into);
        if let KeyRule::StartsWith { prefix, .. } = form.key {
            record.key_starts_with = Some(prefix.into());
        }
        let bounds = form.content_length();
        record.content_length_range = bounds.map(|range| [range.min, range.max]);
    }
    match decision {
        Ok(issued) => note_issued(&mut record, issued, now),
        Err(refusal) => note_refusal(&mut record, refusal, now),
    }
    record
}

/// The record of an explanation.
pub(super) fn of_explained<'a>(
    now: SystemTime,
    arrival: &'a Arrival,
    request: &'a Request,
    item: &Item<'_>,
    placed: &'a Placed<'_>,
    explained: &'a Result<Explained, Refusal>,
) -> Record<'a> {
    let mut record = asked(arrival, request, item, placed);
    match explained {
        Ok(explained) => {
            let refusal = explained.refusal.as_ref();
            let refusal = refusal.map(|refusal| {
                let reason = reason_name(refusal.verdict().reason);
                (reason, refusal.sentence().into())
            });
            record.explained(now, refusal);
        }
        Err(refusal) => note_refusal(&mut record, refusal, now),
    }
    record
}

/// The records of an upload in parts: one for its creation, one for the URLs of its parts, and one for each way to end it. Of an upload
/// that was refused, one.
pub(super) fn of_upload<'a>(
    now: SystemTime,
    arrival: &'a Arrival,
    request: &'a Request,
    ids: UploadIds,
    placed: &'a PlacedUpload<'_>,
    decision: &'a Result<Issued<SignedUpload>, Refusal>,
) -> Vec<Record<'a>> {
    let upload = placed.upload();
    let record = |id, command| {
        let mut record = arrived(arrival, id);
        note_request(&mut record, request);
        record.command = Some(command);
        if let Ok(steps) = placed.steps() {
            note_names(&mut record, steps.part());
            record.bucket_alias = placed.called().bucket.map(Into::into);
        }
        record.object_size = upload.division.size();
        record.upload_id = match decision {
            Ok(issued) => Some(issued.signed.upload_id.as_str().into()),
            // One that was to be begun has none, and whatever else came may be no id at all.
            Err(_) => None,
        };
        match decision {
            Ok(issued) => note_issued(&mut record, issued, now),
            Err(refusal) => note_refusal(&mut record, refusal, now),
        }
        record
    };
    let of_parts = |id| {
        let mut record = record(id, "UploadPart");
        record.parts = Some(runs(&upload.numbers).into());
        record
    };
    let (create, parts) = (upload.create.is_some(), !upload.numbers.is_empty());
    if decision.is_err() {
        return vec![if create {
            record(ids.request, "CreateMultipartUpload")
        } else {
            of_parts(ids.request)
        }];
    }
    let create = create.then(|| record(ids.request, "CreateMultipartUpload"));
    let parts = parts.then(|| of_parts(ids.parts));
    let ends = upload.ends.iter().flat_map(|_| {
        [
            record(ids.complete, "CompleteMultipartUpload"),
            record(ids.abort, "AbortMultipartUpload"),
        ]
    });
    create.into_iter().chain(parts).chain(ends).collect()
}

/// The records of a batch's commands, each made as it is wanted.
pub(super) fn of_batch<'a>(
    now: SystemTime,
    arrival: &'a Arrival,
    request: &'a Request,
    items: &'a [Item<'_>],
    placed: &'a [Placed<'_>],
    decisions: &'a [Result<Issued, Refusal>],
) -> impl ExactSizeIterator<Item = Record<'a>> + Clone {
    let parts = items.iter().zip(placed).zip(decisions).enumerate();
    parts.map(move |(index, ((item, placed), decision))| {
        let mut record = of_command(now, arrival, request, item, placed, decision);
        record.batch = Some(batch(index, items.len()));
        record
    })
}

/// The one record of a batch that was refused as one.
pub(super) fn of_refused_batch<'a>(
    now: SystemTime,
    arrival: &'a Arrival,
    request: &'a Request,
    issuance_id: Uuid,
    size: usize,
    refusal: &Refusal,
) -> Record<'a> {
    let mut record = arrived(arrival, issuance_id);
    note_request(&mut record, request);
    record.batch = Some(batch(0, size));
    note_refusal(&mut record, refusal, now);
    record
}

/// The record of a request that could not be read, with its tenant as far as that could.
pub(super) fn of_unreadable<'a>(
    now: SystemTime,
    arrival: &'a Arrival,
    issuance_id: Uuid,
    tenant: Option<&'a TenantId>,
    refusal: &Refusal,
) -> Record<'a> {
    let mut record = arrived(arrival, issuance_id);
    record.tenant = tenant.map(|tenant| tenant.as_str().into());
    note_refusal(&mut record, refusal, now);
    record
}

/// The record of an operation.
pub(super) fn of_operation<'a>(
    now: SystemTime,
    arrival: &'a Arrival,
    issuance_id: Uuid,
    about: About<'a>,
    done: Result<Option<&'a str>, &Refusal>,
) -> Record<'a> {
    let mut record = arrived(arrival, issuance_id);
    record.tenant = about.tenant.map(|tenant| tenant.as_str().into());
    record.reason = (!about.reason.is_empty()).then(|| about.reason.into());
    match done {
        Ok(detail) => record.operated(now, detail.map(Into::into)),
        Err(refusal) => note_refusal(&mut record, refusal, now),
    }
    record
}

fn arrived(arrival: &Arrival, issuance_id: Uuid) -> Record<'_> {
    let caller = arrival.caller.name();
    let mut record = Record::new(issuance_id, arrival.started, arrival.method, caller);
    record.peer = arrival.peer;
    let shadows = arrival.told.shadows().iter();
    record.shadow_limits = shadows.map(|name| (&**name).into()).collect();
    record
}

fn note_request<'a>(record: &mut Record<'a>, request: &'a Request) {
    let given = |text: &'a str| (!text.is_empty()).then(|| text.into());
    record.tenant = Some(request.tenant.as_str().into());
    let networks = request.source_ip.iter().flat_map(SourceIps::networks);
    record.source_ip = networks.map(ToString::to_string).collect();
    record.reason = given(&request.reason);
    record.subject = given(&request.subject);
}

fn note_names<'a>(record: &mut Record<'a>, command: &'a BoundCommand<'_>) {
    let mut query = command.query.iter();
    let version = query.find(|parameter| parameter.name == "versionId");
    let source = command.reference.as_ref();
    record.bucket = command.bucket.map(Into::into);
    record.key = command.key.map(Into::into);
    record.version_id = version.map(|parameter| parameter.value.as_str().into());
    record.copy_source = source.map(|source| format!("{}/{}", source.bucket, source.key).into());
}

fn note_issued<'a, S>(record: &mut Record<'a>, issued: &'a Issued<S>, now: SystemTime) {
    let session = &issued.credentials;
    record.issued(now);
    record.region = Some(issued.endpoint.region.as_str().into());
    record.endpoint = Some(issued.endpoint.host.as_str().into());
    record.expires_in = Some(issued.expires_in);
    record.expires_at = Some(issued.expires_at);
    record.expiry_bound = Some(issued.bound.name());
    record.role_session_name = session.role_session_name().map(Into::into);
    record.access_key_id = Some(session.credentials().access_key_id().into());
}

fn note_refusal(record: &mut Record<'_>, refusal: &Refusal, now: SystemTime) {
    let verdict = refusal.verdict();
    let reason = reason_name(verdict.reason);
    let sentence = refusal.sentence();
    record.refused(now, verdict.outcome, verdict.code.name(), reason, sentence);
}

fn batch(index: usize, size: usize) -> Batch {
    let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
    Batch {
        index: number(index),
        size: number(size),
    }
}
