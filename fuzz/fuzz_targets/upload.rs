//! The bytes of a StartMultipartUploadRequest or PresignPartsRequest: decoded, decided, signed and answered, by an S3 that begins every
//! upload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use presignd::proto::v1::presign_service_server::PresignService as _;
use presignd::proto::v1::start_multipart_upload_request::Extent;
use presignd::proto::v1::{PresignPartsRequest, StartMultipartUploadRequest};
use presignd_fuzz::{House, block_on, holds_marker};
use prost::Message as _;

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = StartMultipartUploadRequest::decode(data)
        && !holds_marker(&request.encode_to_vec())
    {
        House::with(|house| {
            let asked = tonic::Request::new(request.clone());
            let answer = block_on(house.api.start_multipart_upload(asked));
            let records = house.sink.take();
            let Ok(plan) = answer.map(tonic::Response::into_inner) else {
                assert_eq!(records.len(), 1, "one record for a refusal");
                return;
            };
            let ids = [&plan.issuance_id, &plan.parts_issuance_id];
            let ends = [&plan.complete, &plan.abort].map(|step| step.as_ref().expect("a step"));
            let ids = ids.into_iter().chain(ends.map(|step| &step.issuance_id));
            let ids: Vec<&String> = ids.filter(|id| !id.is_empty()).collect();
            assert!(
                ids.iter()
                    .all(|id| records.iter().any(|r| r["issuance_id"] == id.as_str())),
                "a record for each id"
            );
            assert_eq!(ids.len(), records.len());
            assert!(plan.parts.len() <= 1000 && plan.part_count <= 10_000);
            let mut end = 0;
            for part in &plan.parts {
                if let (Some(offset), Some(length)) = (part.offset, part.length) {
                    assert_eq!(offset, end, "no gap and no overlap");
                    end = offset + length;
                }
            }
            if let (Some(Extent::Size(size)), 0) = (request.extent, plan.next_part_number) {
                assert_eq!(end, size, "all of the object");
            }
        });
    }
    if let Ok(request) = PresignPartsRequest::decode(data)
        && !holds_marker(&request.encode_to_vec())
    {
        House::with(|house| {
            let answer = block_on(house.api.presign_parts(tonic::Request::new(request)));
            let records = house.sink.take();
            let Ok(signed) = answer.map(tonic::Response::into_inner) else {
                assert_eq!(records.len(), 1, "one record for a refusal");
                return;
            };
            let steps = [&signed.complete, &signed.abort];
            let steps = steps.into_iter().flatten().count();
            let parts = usize::from(!signed.parts.is_empty());
            assert_eq!(records.len(), steps + parts, "a record for each id");
            assert!(signed.parts.len() <= 1000);
        });
    }
});
