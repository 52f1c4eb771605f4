//! The text of a record: its line is one line of JSON that decodes to the same text, whatever that is.
#![no_main]

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use presignd::audit::{Record, Recorder, TraceContext};
use presignd::telemetry::{Otlp, Traces};
use presignd_fuzz::{Bytes, Sink, block_on};

thread_local! {
    static RECORDER: RefCell<Option<(Recorder, Sink, Traces)>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes::new(data);
    let mut text = || -> String {
        let length = bytes.int_in_range(0..=64).unwrap_or(0);
        let length = length.min(bytes.len());
        String::from_utf8_lossy(bytes.bytes(length).unwrap_or_default()).into_owned()
    };
    let texts: Vec<String> = (0..8).map(|_| text()).collect();
    let started = UNIX_EPOCH + Duration::from_secs(1_767_323_045);
    let mut record = Record::new(uuid::Uuid::nil(), started, "m", &*texts[0]);
    record.refused(
        started,
        presignd::audit::Outcome::Denied,
        "OK",
        "R",
        &*texts[1],
    );
    record.tenant = Some((&*texts[2]).into());
    record.bucket = Some((&*texts[3]).into());
    record.key = Some((&*texts[4]).into());
    record.copy_source = Some((&*texts[5]).into());
    record.reason = Some((&*texts[6]).into());
    record.subject = Some((&*texts[7]).into());
    RECORDER.with_borrow_mut(|kept| {
        let (recorder, sink, _) = kept.get_or_insert_with(|| {
            let (sink, traces) = (
                Sink::default(),
                Traces::start(&Otlp::default()).expect("traces"),
            );
            (Recorder::new(traces.sink(), sink.clone()), sink, traces)
        });
        // The sink looks at the line; here is what it says.
        block_on(recorder.record(&record, &TraceContext::default()))
            .expect("any text can be recorded");
        let lines = sink.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let names = [
            "caller",
            "detail",
            "tenant",
            "bucket",
            "key",
            "copy_source",
            "reason",
            "subject",
        ];
        for (name, text) in names.into_iter().zip(&texts) {
            assert_eq!(lines[0][name], text.as_str(), "{name}");
        }
    });
});
