//! Requests for uploads in parts: what is asked of the parts, and the commands that it comes to.

use super::{Common, violation};
use crate::presign::{Request, Upload};
use crate::proto::s3::{
    AbortMultipartUpload, CompleteMultipartUpload, CreateMultipartUpload, UploadPart,
};
use crate::proto::v1::start_multipart_upload_request::Extent;
use crate::proto::v1::{PresignPartsRequest, StartMultipartUploadRequest};
use crate::refusal::Refusal;
use crate::sign::bind::Violation;
use crate::upload::division::{Division, Indivisible, page};

/// The most parts that are signed at once, so that an answer stays well within the 4 MiB that clients take.
const MAX_PARTS_AT_ONCE: u32 = 1000;

/// Stands for the id of an upload that is yet to be begun.
const NO_ID_YET: &str = "-";

/// What a request to begin an upload asks for, and the upload.
pub(in crate::grpc) fn read_start(
    request: StartMultipartUploadRequest,
) -> Result<(Request, Upload), Refusal> {
    let mut violations = Vec::new();
    let create = request.create.unwrap_or_else(|| {
        let nothing = "is required: set at least its bucket and key";
        violations.push(violation("create", nothing));
        CreateMultipartUpload::default()
    });
    let part_size = Some(request.part_size).filter(|bytes| *bytes > 0);
    let division = match request.extent {
        Some(Extent::Size(size)) => Division::of_size(size, part_size),
        Some(Extent::PartCount(count)) => Division::of_count(count, part_size),
        None => {
            let nothing =
                "is required: the bytes of the object, or part_count where they are not known";
            violations.push(violation("size", nothing));
            Division::open(part_size)
        }
    };
    let division = divided(division, &mut violations);
    let most = request.max_parts.unwrap_or(MAX_PARTS_AT_ONCE);
    if most > MAX_PARTS_AT_ONCE {
        let more = "is above 1000: sign the rest with PresignParts";
        violations.push(violation("max_parts", more));
    }
    let complete = request.complete.unwrap_or_default();
    check_completion(&complete, division, &mut violations);
    let common = Common {
        tenant: request.tenant,
        expires_in: request.expires_in,
        expiry_mode: request.expiry_mode,
        reason: request.reason,
        subject: request.subject,
        source_ip: request.source_ip,
    };
    let options = request.options.unwrap_or_default();
    let Some(division) = division else {
        return common.refuse(violations);
    };
    let request = common.read(violations)?;
    let part = UploadPart {
        bucket: create.bucket.clone(),
        key: create.key.clone(),
        upload_id: Some(NO_ID_YET.to_owned()),
        part_number: Some(1),
        sse_customer_algorithm: create.sse_customer_algorithm.clone(),
        sse_customer_key: create.sse_customer_key.clone(),
        sse_customer_key_md5: create.sse_customer_key_md5.clone(),
        request_payer: create.request_payer.clone(),
        expected_bucket_owner: create.expected_bucket_owner.clone(),
        ..UploadPart::default()
    };
    let (numbers, next) = page(1, division.count(), most);
    Ok((
        request,
        Upload {
            create: Some(create),
            ends: Some(ends(&part, complete)),
            part,
            division,
            numbers,
            next,
            options,
        },
    ))
}

/// What a request for further URLs of an upload asks for, and the upload.
pub(in crate::grpc) fn read_parts(
    request: PresignPartsRequest,
) -> Result<(Request, Upload), Refusal> {
    let mut violations = Vec::new();
    let mut part = request.upload.unwrap_or_else(|| {
        let nothing = "is required: set its bucket, key and upload_id";
        violations.push(violation("upload", nothing));
        UploadPart::default()
    });
    check_part(&part, &mut violations);
    let part_size = Some(request.part_size).filter(|bytes| *bytes > 0);
    let division = divided(
        match request.size {
            0 => Division::open(part_size),
            size => Division::of_size(size, part_size),
        },
        &mut violations,
    );
    let asked = Numbers {
        list: request.part_numbers,
        first: request.first_part,
        last: request.last_part,
        size_is_known: request.size > 0,
        may_be_none: request.complete_and_abort,
    };
    let of = division.map(|division| asked.read(division.count(), &mut violations));
    if let Some(complete) = &request.complete {
        if !request.complete_and_abort {
            let idle = "has to be true, so that complete is of use";
            violations.push(violation("complete_and_abort", idle));
        }
        check_completion(complete, division, &mut violations);
    }
    let common = Common {
        tenant: request.tenant,
        expires_in: request.expires_in,
        expiry_mode: request.expiry_mode,
        reason: request.reason,
        subject: request.subject,
        source_ip: request.source_ip,
    };
    let options = request.options.unwrap_or_default();
    let (Some(division), Some((numbers, next))) = (division, of) else {
        return common.refuse(violations);
    };
    let asked = common.read(violations)?;
    // Any will do.
    part.part_number = Some(1);
    let complete = request.complete.unwrap_or_default();
    let ends = request.complete_and_abort.then(|| ends(&part, complete));
    Ok((
        asked,
        Upload {
            create: None,
            part,
            ends,
            division,
            numbers,
            next,
            options,
        },
    ))
}

/// The completion and the abortion of the upload that a part is of.
fn ends(
    part: &UploadPart,
    complete: CompleteMultipartUpload,
) -> (CompleteMultipartUpload, AbortMultipartUpload) {
    let abort = AbortMultipartUpload {
        bucket: part.bucket.clone(),
        key: part.key.clone(),
        upload_id: part.upload_id.clone(),
        request_payer: part.request_payer.clone(),
        expected_bucket_owner: part.expected_bucket_owner.clone(),
        ..AbortMultipartUpload::default()
    };
    let own = |own: Option<String>, of_part: &Option<String>| own.or_else(|| of_part.clone());
    let complete = CompleteMultipartUpload {
        bucket: part.bucket.clone(),
        key: part.key.clone(),
        upload_id: part.upload_id.clone(),
        request_payer: own(complete.request_payer, &part.request_payer),
        expected_bucket_owner: own(complete.expected_bucket_owner, &part.expected_bucket_owner),
        sse_customer_algorithm: own(
            complete.sse_customer_algorithm,
            &part.sse_customer_algorithm,
        ),
        sse_customer_key: own(complete.sse_customer_key, &part.sse_customer_key),
        sse_customer_key_md5: own(complete.sse_customer_key_md5, &part.sse_customer_key_md5),
        ..complete
    };
    (complete, abort)
}

fn divided(
    division: Result<Division, Indivisible>,
    violations: &mut Vec<Violation>,
) -> Option<Division> {
    match division {
        Ok(division) => Some(division),
        Err(error) => {
            violations.push(violation(error.field(), error.to_string()));
            None
        }
    }
}

/// Notes what a completion may not say: of which upload it is, and that it is of another size.
fn check_completion(
    complete: &CompleteMultipartUpload,
    division: Option<Division>,
    violations: &mut Vec<Violation>,
) {
    for (field, is_set) in [
        ("complete.bucket", complete.bucket.is_some()),
        ("complete.key", complete.key.is_some()),
        ("complete.upload_id", complete.upload_id.is_some()),
    ] {
        if is_set {
            violations.push(violation(field, "is that of the upload: leave it out"));
        }
    }
    let size = division.and_then(|division| division.size());
    let declared = complete.mpu_object_size;
    if let (Some(size), Some(declared)) = (size, declared)
        && u64::try_from(declared) != Ok(size)
    {
        let other = "is not the size: leave it out";
        violations.push(violation("complete.mpu_object_size", other));
    }
}

/// Notes what is not the same for all parts.
fn check_part(part: &UploadPart, violations: &mut Vec<Violation>) {
    for (field, is_set) in [
        ("upload.part_number", part.part_number.is_some()),
        ("upload.content_length", part.content_length.is_some()),
        ("upload.content_md5", part.content_md5.is_some()),
        (
            "upload.checksum_algorithm",
            part.checksum_algorithm.is_some(),
        ),
        ("upload.checksum_crc32", part.checksum_crc32.is_some()),
        ("upload.checksum_crc32_c", part.checksum_crc32_c.is_some()),
        (
            "upload.checksum_crc64_nvme",
            part.checksum_crc64_nvme.is_some(),
        ),
        ("upload.checksum_sha1", part.checksum_sha1.is_some()),
        ("upload.checksum_sha256", part.checksum_sha256.is_some()),
        ("upload.checksum_sha512", part.checksum_sha512.is_some()),
        ("upload.checksum_md5", part.checksum_md5.is_some()),
        ("upload.checksum_xxhash64", part.checksum_xxhash64.is_some()),
        ("upload.checksum_xxhash3", part.checksum_xxhash3.is_some()),
        (
            "upload.checksum_xxhash128",
            part.checksum_xxhash128.is_some(),
        ),
    ] {
        if is_set {
            let other =
                "differs from part to part: leave it out, or presign the UploadPart by itself";
            violations.push(violation(field, other));
        }
    }
}

/// Which parts a request names.
struct Numbers {
    list: Vec<u32>,
    first: u32,
    last: u32,
    size_is_known: bool,
    may_be_none: bool,
}

impl Numbers {
    /// The parts to sign of so many, and where to go on.
    fn read(self, count: u32, violations: &mut Vec<Violation>) -> (Vec<u32>, Option<u32>) {
        let mut wrong = |field, description: String| {
            violations.push(violation(field, description));
            (Vec::new(), None)
        };
        let known = |number: u32| (1..=count).contains(&number);
        match (self.list.as_slice(), self.first, self.last) {
            ([], 0, 0) if self.may_be_none => (Vec::new(), None),
            ([], 0, 0) => {
                let nothing = "is empty: name the parts, or give first_part";
                wrong("part_numbers", nothing.to_owned())
            }
            ([], 0, _) => wrong("first_part", "is required with last_part".to_owned()),
            ([], first, last) => {
                let last = match last {
                    0 if self.size_is_known => count,
                    0 => first,
                    last => last,
                };
                if !known(first) {
                    return wrong("first_part", format!("is not from 1 to {count}"));
                }
                if !known(last) || last < first {
                    return wrong(
                        "last_part",
                        format!("is not from first_part, {first}, to {count}"),
                    );
                }
                page(first, last, MAX_PARTS_AT_ONCE)
            }
            (list, 0, 0) if list.len() > MAX_PARTS_AT_ONCE as usize => {
                let many = list.len();
                wrong(
                    "part_numbers",
                    format!("holds {many}: give {MAX_PARTS_AT_ONCE} at most, and ask again"),
                )
            }
            (list, 0, 0) => match list.iter().position(|number| !known(*number)) {
                None => (self.list, None),
                Some(at) => {
                    violations.push(Violation {
                        field: format!("part_numbers[{at}]").into(),
                        description: format!("is not from 1 to {count}").into(),
                    });
                    (Vec::new(), None)
                }
            },
            _ => wrong(
                "part_numbers",
                "is given beside first_part or last_part: name the parts in one way".to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn start(extent: Option<Extent>) -> StartMultipartUploadRequest {
        StartMultipartUploadRequest {
            tenant: "acme".into(),
            create: Some(CreateMultipartUpload {
                bucket: Some("b".into()),
                key: Some("k".into()),
                sse_customer_algorithm: Some("AES256".into()),
                request_payer: Some("requester".into()),
                ..CreateMultipartUpload::default()
            }),
            extent,
            ..StartMultipartUploadRequest::default()
        }
    }

    fn parts() -> PresignPartsRequest {
        PresignPartsRequest {
            tenant: "acme".into(),
            upload: Some(UploadPart {
                bucket: Some("b".into()),
                key: Some("k".into()),
                upload_id: Some("u".into()),
                ..UploadPart::default()
            }),
            ..PresignPartsRequest::default()
        }
    }

    fn fields<T>(read: Result<T, Refusal>) -> Vec<String> {
        match read {
            Ok(_) => Vec::new(),
            Err(Refusal::Invalid(violations)) => {
                violations.0.iter().map(|v| v.field.to_string()).collect()
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn every_broken_field_is_named_at_once() {
        let broken = StartMultipartUploadRequest {
            tenant: "../b".into(),
            create: None,
            max_parts: Some(1001),
            complete: Some(CompleteMultipartUpload {
                key: Some("other".into()),
                ..CompleteMultipartUpload::default()
            }),
            ..start(Some(Extent::Size(0)))
        };
        let expected = ["create", "size", "max_parts", "complete.key", "tenant"];
        assert_eq!(fields(read_start(broken)), expected);
        assert_eq!(fields(read_start(start(None))), ["size"]);
        let other = StartMultipartUploadRequest {
            complete: Some(CompleteMultipartUpload {
                mpu_object_size: Some(6),
                ..CompleteMultipartUpload::default()
            }),
            ..start(Some(Extent::Size(7)))
        };
        assert_eq!(fields(read_start(other)), ["complete.mpu_object_size"]);
    }

    #[test]
    fn what_concerns_all_steps_is_said_in_all_of_them() {
        let (_, upload) = read_start(start(Some(Extent::Size(7)))).unwrap();
        let (complete, abort) = upload.ends.unwrap();
        let payers = [
            upload.part.request_payer,
            complete.request_payer,
            abort.request_payer,
        ];
        assert_eq!(
            payers,
            [const { Some("requester") }; 3].map(|p| p.map(str::to_owned))
        );
        assert_eq!(upload.part.sse_customer_algorithm.unwrap(), "AES256");
        assert_eq!(complete.sse_customer_algorithm.unwrap(), "AES256");
        assert_eq!(complete.key.unwrap(), "k");
    }

    #[test]
    fn a_page_has_as_many_parts_as_are_asked_for() {
        let page = |count, max_parts| {
            let request = StartMultipartUploadRequest {
                max_parts,
                ..start(Some(Extent::PartCount(count)))
            };
            let (_, upload) = read_start(request).unwrap();
            (upload.numbers.len(), upload.next)
        };
        assert_eq!(page(10_000, None), (1000, Some(1001)));
        assert_eq!(page(1000, None), (1000, None));
        assert_eq!(page(10, Some(0)), (0, Some(1)));
        assert_eq!(page(10, Some(3)), (3, Some(4)));
    }

    #[test]
    fn parts_are_named_in_one_way() {
        let of = |list: &[u32], first_part, last_part, size| {
            let request = PresignPartsRequest {
                part_numbers: list.to_vec(),
                first_part,
                last_part,
                size,
                ..parts()
            };
            read_parts(request)
        };
        for (list, first, last, size, numbers, next) in [
            (&[3, 9][..], 0, 0, 0, &[3, 9][..], None),
            (&[10_000], 0, 0, 0, &[10_000], None),
            (&[], 4, 6, 0, &[4, 5, 6], None),
            (&[], 4, 0, 0, &[4], None),
            (&[], 4, 0, 40 * MIB, &[4, 5], None),
        ] {
            let (_, upload) = of(list, first, last, size).unwrap();
            assert_eq!((&*upload.numbers, upload.next), (numbers, next));
        }
        let (_, upload) = of(&[], 1, 10_000, 0).unwrap();
        assert_eq!((upload.numbers.len(), upload.next), (1000, Some(1001)));
        let many = vec![1; 1001];
        for (list, first, last, size, field) in [
            (&[][..], 0, 0, 0, "part_numbers"),
            (&many, 0, 0, 0, "part_numbers"),
            (&[1, 0], 0, 0, 0, "part_numbers[1]"),
            (&[10_001], 0, 0, 0, "part_numbers[0]"),
            (&[6], 0, 0, 40 * MIB, "part_numbers[0]"),
            (&[1], 1, 0, 0, "part_numbers"),
            (&[], 0, 4, 0, "first_part"),
            (&[], 10_001, 0, 0, "first_part"),
            (&[], 4, 3, 0, "last_part"),
            (&[], 4, 6, 40 * MIB, "last_part"),
            (&[1], 0, 0, u64::MAX, "size"),
        ] {
            assert_eq!(fields(of(list, first, last, size)), [field]);
        }
    }

    #[test]
    fn what_ends_an_upload_needs_no_parts_and_says_nothing_of_its_own() {
        let ends = PresignPartsRequest {
            complete_and_abort: true,
            ..parts()
        };
        let (_, upload) = read_parts(ends).unwrap();
        let (complete, abort) = upload.ends.unwrap();
        assert_eq!(complete.upload_id, abort.upload_id);
        let idle = PresignPartsRequest {
            complete: Some(CompleteMultipartUpload::default()),
            first_part: 1,
            ..parts()
        };
        assert_eq!(fields(read_parts(idle)), ["complete_and_abort"]);
        let mut numbered = parts();
        numbered.first_part = 1;
        numbered.upload.as_mut().unwrap().part_number = Some(1);
        assert_eq!(fields(read_parts(numbered)), ["upload.part_number"]);
    }
}
