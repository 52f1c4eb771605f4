//! What AssumeRole is asked for besides a session policy, on the request's own bytes: stores such as Ceph ignore all of it.

use std::collections::BTreeMap;

use tonic::Code;

use super::{GRANTS, get};
use crate::harness::presignd::{Presignd, get_object, reason, request};
use crate::harness::refusal::Refused;
use crate::harness::sts::{Answer, FakeSts};

const TAGS: &str = r#"session_tags: { "presignd:tenant": "{tenant}", who: "{caller} of {tenant}", team: "a b/c" }, transitive_tags: [team, "presignd:tenant"]"#;
const SOURCE: &str = r#"source_identity: "{tenant}.{caller}""#;
const MANAGED: &str = r#"policy_arns: ["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess", "arn:aws:iam::111122223333:policy/acme"]"#;

/// The parameters of the one call that a URL takes where the role is so.
async fn form(role: &str) -> BTreeMap<String, String> {
    let sts = FakeSts::start().await;
    let presignd = Presignd::with_sts_tenant(&sts, "acme", role, GRANTS)
        .start()
        .await;
    presignd.presign(get()).await.unwrap();
    let calls = sts.calls();
    assert_eq!(calls.len(), 1);
    presignd.shutdown().await.unwrap();
    calls[0].form.clone()
}

/// The values of a list, in its order.
fn list<'a>(form: &'a BTreeMap<String, String>, name: &str, field: &str) -> Vec<&'a str> {
    let values = (1..).map(|index| format!("{name}.member.{index}{field}"));
    values
        .map_while(|name| form.get(&name).map(String::as_str))
        .collect()
}

#[tokio::test]
async fn tags_name_tenant_and_caller_and_some_are_transitive() {
    let form = form(&format!("external_id: acme-7f3a, {TAGS}")).await;
    assert_eq!(
        list(&form, "Tags", ".Key"),
        ["presignd:tenant", "who", "team"]
    );
    assert_eq!(
        list(&form, "Tags", ".Value"),
        ["acme", "anyone of acme", "a b/c"]
    );
    assert_eq!(
        list(&form, "TransitiveTagKeys", ""),
        ["presignd:tenant", "team"]
    );
    assert_eq!(form["ExternalId"], "acme-7f3a");
    assert!(!form.contains_key("SourceIdentity"), "{form:?}");
    assert!(form["Policy"].contains("s3:GetObject"));
}

#[tokio::test]
async fn the_source_identity_names_tenant_and_caller() {
    let form = form(SOURCE).await;
    assert_eq!(form["SourceIdentity"], "acme.anyone");
    let others = ["Tags", "TransitiveTagKeys", "PolicyArns"];
    let sent = |name: &str| form.keys().any(|key| key.starts_with(name));
    assert!(!others.into_iter().any(sent), "{form:?}");
}

#[tokio::test]
async fn managed_policies_take_the_place_of_the_one_from_the_grants() {
    let form = form(MANAGED).await;
    assert_eq!(
        list(&form, "PolicyArns", ".arn"),
        [
            "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
            "arn:aws:iam::111122223333:policy/acme"
        ]
    );
    assert!(!form.contains_key("Policy"), "{form:?}");
}

#[tokio::test]
async fn what_only_a_session_policy_holds_to_a_prefix_is_refused_where_there_is_none() {
    let sts = FakeSts::start().await;
    let grants = r#"grants: [{ commands: [delete], resources: ["acme-files/in/*"] }]"#;
    let presignd = Presignd::with_sts_tenant(&sts, "acme", MANAGED, grants)
        .with_tenant("globex", &sts.tenant("globex", "", grants))
        .start()
        .await;
    let delete = |tenant| {
        let command = crate::harness::commands::command!(DeleteObjects {
            bucket: "acme-files"
        });
        request(tenant, command)
    };
    presignd.presign(delete("globex")).await.unwrap();
    let refused = presignd.presign(delete("acme")).await.unwrap_err();
    assert_eq!(reason(&refused), "COMMAND_DENIED", "{refused}");
    assert_eq!(sts.calls().len(), 1, "no session was asked for in vain");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_refusal_says_which_rights_tags_and_source_identity_need() {
    let tag = "sts:TagSession";
    let source = "sts:SetSourceIdentity";
    for (role, needed) in [
        ("", &[][..]),
        (TAGS, &[tag]),
        (SOURCE, &[source]),
        (&format!("{TAGS}, {SOURCE}"), &[tag, source]),
        (MANAGED, &[]),
    ] {
        for answer in [Answer::denied(), Answer::denied_by_a_store()] {
            let sts = FakeSts::start().await;
            sts.answer(answer);
            let presignd = Presignd::with_sts_tenant(&sts, "acme", role, GRANTS)
                .start()
                .await;
            let status = presignd.presign(get()).await.unwrap_err();
            let refused = Refused::read(&status);
            assert_eq!(refused.why(), (Code::FailedPrecondition, "ROLE_REFUSED"));
            for right in [tag, source] {
                let said = status.message().contains(right);
                assert_eq!(said, needed.contains(&right), "{role}: {status}");
                let record = presignd.records.of(&refused.issuance_id).to_string();
                assert_eq!(record.contains(right), said, "{record}");
            }
            presignd.shutdown().await.unwrap();
        }
    }
}

#[tokio::test]
async fn another_complaint_of_sts_is_not_blamed_on_the_trust_policy() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::error_saying(
        400,
        "PackedPolicyTooLarge",
        "too large",
    ));
    let presignd = Presignd::with_sts_tenant(&sts, "acme", TAGS, GRANTS)
        .start()
        .await;
    let status = presignd.presign(get()).await.unwrap_err();
    assert_eq!(Refused::read(&status).why().1, "ROLE_REFUSED");
    assert!(!status.message().contains("sts:TagSession"), "{status}");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn tenants_who_tell_a_role_different_things_never_share_a_session() {
    let sts = FakeSts::start().await;
    let role = |id: &str| {
        format!(
            "region: eu-west-1
endpoint: {{ url: \"http://s3.test:9000\" }}
credentials:
  assume_role: {{ role_arn: \"arn:aws:iam::111122223333:role/one\", sts_endpoint: \"{}\", {} }}
{GRANTS}",
            sts.url(),
            if id == "a" { TAGS } else { SOURCE }
        )
    };
    let presignd = Presignd::with_tenant("a", &role("a"))
        .with_tenant("b", &role("b"))
        .start()
        .await;
    for tenant in ["a", "b", "a", "b"] {
        let get = request(tenant, get_object("acme-files", "in/k"));
        presignd.presign(get).await.unwrap();
    }
    assert_eq!(sts.calls().len(), 2);
    assert_eq!(list(&sts.calls()[0].form, "Tags", ".Value")[0], "a");
    assert_eq!(sts.calls()[1].form["SourceIdentity"], "b.anyone");
    presignd.shutdown().await.unwrap();
}
