//! The bytes of a PresignRequest or PresignPostRequest, as they come from a connection: decoded, decided, signed and answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use presignd::proto::v1::presign_service_server::PresignService as _;
use presignd::proto::v1::{PresignPostRequest, PresignRequest};
use presignd_fuzz::{House, block_on, check_answer, holds_marker};
use prost::Message as _;

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = PresignPostRequest::decode(data)
        && !holds_marker(&request.encode_to_vec())
    {
        House::with(|house| {
            let answer = block_on(house.api.presign_post(tonic::Request::new(request)));
            let records = house.sink.take();
            assert_eq!(records.len(), 1, "one record for each request");
            for field in answer.iter().flat_map(|answer| &answer.get_ref().fields) {
                let secret = matches!(&*field.name, "policy" | "x-amz-signature");
                assert!(!secret || !records[0].to_string().contains(&field.value));
            }
        });
    }
    let Ok(request) = PresignRequest::decode(data) else {
        return;
    };
    if holds_marker(&request.encode_to_vec()) {
        return;
    }
    House::with(|house| {
        let answer = block_on(house.api.presign(tonic::Request::new(request.clone())));
        check_answer(&request, answer, &house.sink.take());
    });
});
