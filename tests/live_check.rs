//! `presignd check --live`: says of each role whether it can be assumed, with presignd's own credentials, and why not.

use std::time::Duration;

use crate::harness::ceph::Ceph;
use crate::harness::presignd::ceph_tenant;
use crate::harness::process::{Ended, Start, presignd};
use crate::harness::sts::{Answer, FakeSts, PACKED, UTILIZATION};

const GRANTS: &str =
    r#"grants: [{ commands: [read], resources: ["acme-files/*", "acme-logs/*"] }]"#;

/// The tenants' lines, each tenant indented by nothing.
fn config(tenants: &[(&str, String)]) -> String {
    let mut yaml = "tenants:\n".to_owned();
    for (id, tenant) in tenants {
        yaml += &format!("  {id}:\n");
        for line in tenant.lines() {
            yaml += &format!("    {line}\n");
        }
    }
    yaml
}

async fn check(yaml: &str, access_key_id: &str, secret: &str) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("presignd.yaml");
    std::fs::write(&file, yaml).unwrap();
    let start: Start = presignd(["check", "--live", "--config", file.to_str().unwrap()]);
    start
        .env("AWS_ACCESS_KEY_ID", access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("INITECH_SECRET", "PLANTED0SECRET")
        .run()
        .await
}

/// The lines about this tenant's roles.
fn lines<'a>(ended: &'a Ended, tenant: &str) -> Vec<&'a str> {
    let (_, live) = ended.stdout.split_once("\nlive:\n").expect("a live part");
    let of = |line: &&str| {
        let rest = line.trim_start().strip_prefix(tenant);
        rest.is_some_and(|rest| rest.starts_with([':', ' ']))
    };
    live.lines().filter(of).collect()
}

fn judge(form: &std::collections::BTreeMap<String, String>) -> Answer {
    let hour = Duration::from_hours(1);
    match &*form["RoleArn"] {
        arn if arn.ends_with("/presignd-refused") => {
            Answer::error_saying(403, "AccessDenied", "not authorized\nto assume")
        }
        arn if arn.ends_with("/presignd-bucket") && form["Policy"].contains("acme-logs") => {
            Answer::error_saying(400, "PackedPolicyTooLarge", "too large")
        }
        arn if arn.ends_with("/presignd-chained") && form["DurationSeconds"] != "3600" => {
            Answer::chained()
        }
        _ => Answer::Session(hour),
    }
}

#[tokio::test]
async fn each_role_is_assumed_once_and_what_fails_is_told_of() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::By(judge));
    let scoped = format!("session: {{ scope: bucket }}\n{GRANTS}");
    let each = scoped
        .replace("bucket", "object")
        .replace("[read]", "[read, delete]");
    let tags = r#"session_tags: { who: "{caller}" }"#;
    let initech = "region: us-east-1
endpoint: { url: \"http://127.0.0.1:9\" }
credentials: { static: { access_key_id: AKID, secret_access_key: { env: INITECH_SECRET } } }";
    let yaml = config(&[
        ("good", sts.tenant("good", "", GRANTS)),
        ("refused", sts.tenant("refused", tags, GRANTS)),
        ("bucket", sts.tenant("bucket", "", &scoped)),
        ("chained", sts.tenant("chained", "duration: 12h", GRANTS)),
        ("each", sts.tenant("each", "", &each)),
        ("idle", sts.tenant("idle", "", &scoped.replace(GRANTS, ""))),
        ("initech", initech.to_owned()),
    ]);
    let ended = check(&yaml, "AKIDPRESIGND", "PLANTED0SECRET").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        !format!("{ended:?}").contains("PLANTED0SECRET"),
        "{ended:?}"
    );

    let room = format!("policy and tags fill {PACKED}% of their room, the token {UTILIZATION}%");
    let good = lines(&ended, "good");
    assert_eq!(good, [format!("  good: works: lives 1h, {room}")]);
    let refused = lines(&ended, "refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    for words in [
        "FAILS",
        "403 AccessDenied: not authorized\\nto assume",
        "sts:TagSession",
    ] {
        assert!(refused[0].contains(words), "{words}: {refused:?}");
    }
    let bucket = lines(&ended, "bucket");
    assert_eq!(bucket.len(), 2, "{bucket:?}");
    assert!(
        bucket[0].starts_with("  bucket for acme-files: works: "),
        "{bucket:?}"
    );
    assert!(
        bucket[1].starts_with("  bucket for acme-logs: FAILS: "),
        "{bucket:?}"
    );
    assert!(bucket[1].contains("PackedPolicyTooLarge"), "{bucket:?}");
    let each = lines(&ended, "each");
    let expected = [
        "  each: works",
        "  each for acme-files: works",
        "  each for acme-logs: works",
    ];
    assert_eq!(each.len(), expected.len(), "{each:?}");
    for (line, start) in each.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}");
    }
    let chained = lines(&ended, "chained");
    assert_eq!(chained.len(), 1);
    assert!(
        chained[0].contains("works: lives 1h of the 12h that are configured"),
        "{chained:?}"
    );
    assert!(lines(&ended, "idle")[0].contains("works"), "{ended:?}");
    let clock = format!(
        "\n  the clock of {} agrees with this machine's to the second\n",
        sts.url()
    );
    assert!(ended.stdout.contains(&clock), "{ended:?}");
    assert!(lines(&ended, "initech")[0].contains("static"), "{ended:?}");

    // One call for each policy, and the second of the role that gives an hour only.
    let calls = sts.calls();
    assert_eq!(calls.len(), 10, "{calls:?}");
    for call in &calls {
        let name = call.form["RoleSessionName"].split_once('.');
        assert_eq!(name.expect("a caller").1, "check");
    }
    let tagged = calls
        .iter()
        .filter_map(|call| call.form.get("Tags.member.1.Value"));
    assert_eq!(tagged.collect::<Vec<_>>(), ["check"]);
    for told in [
        "asking STS for 9 sessions",
        "9 of 9: ",
        "refused FAILS",
        "chained works",
    ] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn a_clock_that_is_too_far_off_fails() {
    let sts = FakeSts::start().await;
    for (ahead, told) in [(300, "s ahead of"), (-300, "s behind")] {
        sts.date_ahead(ahead);
        let yaml = config(&[("good", sts.tenant("good", "", GRANTS))]);
        let ended = check(&yaml, "AKIDPRESIGND", "PLANTED0SECRET").await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(lines(&ended, "good")[0].contains("works"), "{ended:?}");
        let clock = ended.stdout.lines().find(|l| l.contains("the clock of"));
        let clock = clock.expect("a line on the clock");
        assert!(clock.contains(told), "{clock}");
        assert!(
            clock.ends_with("(FAILS: server.max_clock_skew is 30s)"),
            "{clock}"
        );
    }
}

#[tokio::test]
async fn without_live_nobody_is_asked() {
    let sts = FakeSts::start().await;
    let yaml = config(&[("good", sts.tenant("good", "", GRANTS))]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("presignd.yaml");
    std::fs::write(&file, yaml).unwrap();
    let ended = presignd(["check", "--config", file.to_str().unwrap()])
        .run()
        .await;
    assert_eq!((ended.code, sts.calls().len()), (Some(0), 0), "{ended:?}");
    assert!(!ended.stdout.contains("live:"), "{}", ended.stdout);
}

#[tokio::test]
async fn a_real_sts_says_which_role_is_not_there() {
    let ceph = Ceph::shared();
    let grants = r#"[{ commands: [read], resources: ["acme-files/*"] }]"#;
    let good = ceph_tenant(ceph.tenant("acme"), grants);
    let gone = good.replace("presignd-acme", "presignd-nowhere");
    let keys = ceph.presignd_credentials();
    let (id, secret) = (keys.access_key_id(), keys.secret_access_key());

    let ended = check(&config(&[("acme", good.clone())]), id, secret).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let acme = lines(&ended, "acme");
    assert_eq!(acme.len(), 1, "{acme:?}");
    assert!(acme[0].starts_with("  acme: works: lives 1h"), "{acme:?}");

    let ended = check(&config(&[("acme", good), ("gone", gone)]), id, secret).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(lines(&ended, "acme")[0].contains("works"), "{ended:?}");
    assert!(lines(&ended, "gone")[0].contains("FAILS: "), "{ended:?}");
}
