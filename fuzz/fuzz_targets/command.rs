//! Requests that are well formed: any command with any of its fields, so that what comes after decoding is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use presignd::proto::v1::presign_service_server::PresignService as _;
use presignd_fuzz::{Bytes, House, block_on, check_answer, request};

fuzz_target!(|data: &[u8]| {
    let Ok(request) = request(&mut Bytes::new(data)) else {
        return;
    };
    House::with(|house| {
        let answer = block_on(house.api.presign(tonic::Request::new(request.clone())));
        assert_eq!(house.sink.take().len(), 1, "one record for each request");
        check_answer(&request, answer);
    });
});
