use std::collections::BTreeSet;

use super::*;

#[test]
fn all_is_all_and_is_named_as_opentelemetry_does() {
    let source = include_str!("../metrics.rs");
    assert_eq!(source.matches("\npub static ").count() - 1, ALL.len());
    CALLS.took(
        call("presignd.v1.PresignService/Presign", 0),
        std::time::Duration::ZERO,
    );
    DECISIONS.count(decision("denied", Some("COMMAND_DENIED")));
    let readings = ALL.map(Metric::read);
    let names: BTreeSet<_> = readings.iter().map(|reading| reading.name).collect();
    assert_eq!(names.len(), ALL.len(), "no name twice");
    for reading in readings {
        let name = reading.name;
        let known = ["presignd.", "rpc.", "process."];
        assert!(
            known.iter().any(|prefix| name.starts_with(prefix)),
            "{name}"
        );
        assert!(
            !reading.description.ends_with('.') && !reading.unit.is_empty(),
            "{name}"
        );
        for (attribute, value) in reading.points.iter().flat_map(|point| &point.attributes) {
            let known = ["presignd.", "rpc.", "error.type"];
            assert!(
                known.iter().any(|prefix| attribute.starts_with(prefix)),
                "{name}: {attribute}"
            );
            assert!(!value.is_empty(), "{name}: {attribute}");
        }
    }
}

#[test]
fn a_call_and_a_decision_are_told_by_what_they_are() {
    let attributes = |reading: Reading, value: &str| {
        let mut points = reading.points.into_iter().map(|point| point.attributes);
        points
            .find(|attributes| attributes.iter().any(|(_, known)| *known == value))
            .unwrap()
    };
    CALLS.took(call("a/B", 14), std::time::Duration::ZERO);
    CALLS.took(call("a/C", 99), std::time::Duration::ZERO);
    let expected = [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "a/B"),
        ("rpc.response.status_code", "UNAVAILABLE"),
        ("error.type", "UNAVAILABLE"),
    ];
    assert_eq!(attributes(CALLS.read(), "a/B").as_slice(), expected);
    assert_eq!(attributes(CALLS.read(), "a/C")[2].1, "UNKNOWN");
    DECISIONS.count(decision("failed", Some("A_REASON")));
    let expected = [
        ("presignd.outcome", "failed"),
        ("presignd.reason_code", "A_REASON"),
    ];
    assert_eq!(
        attributes(DECISIONS.read(), "A_REASON").as_slice(),
        expected
    );
    DECISIONS.count(decision("issued", None));
    let expected = [("presignd.outcome", "issued")];
    assert_eq!(attributes(DECISIONS.read(), "issued").as_slice(), expected);
}
