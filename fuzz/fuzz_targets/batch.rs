//! The bytes of a BatchPresignRequest, and batches that are well formed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use presignd::proto::v1::BatchPresignRequest;
use presignd::proto::v1::presign_service_server::PresignService as _;
use presignd_fuzz::{Bytes, House, batch, block_on, check_batch_answer};
use prost::Message as _;

fuzz_target!(|data: &[u8]| {
    let request = match data {
        // No field has this number: what starts so is no message.
        [0, rest @ ..] => batch(&mut Bytes::new(rest)).ok(),
        _ => BatchPresignRequest::decode(data).ok(),
    };
    let Some(request) = request else { return };
    House::with(|house| {
        let answer = block_on(
            house
                .api
                .batch_presign(tonic::Request::new(request.clone())),
        );
        let records = house.sink.take().len();
        let expected = if answer.is_ok() {
            request.commands.len()
        } else {
            1
        };
        assert_eq!(
            records, expected,
            "one record for each command, or one for all"
        );
        check_batch_answer(&request, answer);
    });
});
