//! A configuration that is read because an operator asks.

use std::fs;

use presignd::proto::v1::{
    GetStatusRequest, ReloadConfigurationRequest, ReloadConfigurationResponse,
};

use super::{BOSS, Operated, tenant};

impl Operated {
    async fn reload(&self) -> ReloadConfigurationResponse {
        let message = ReloadConfigurationRequest {
            reason: "a new tenant".to_owned(),
        };
        let message = self.by(BOSS, message);
        let answer = self.operations().reload_configuration(message).await;
        answer.unwrap().into_inner()
    }
}

#[tokio::test]
async fn what_changed_is_told_and_serves_by_then() {
    let over = Operated::start().await;
    over.suspend("globex").await;
    let first = over.reload().await;
    assert!(first.good, "{first:?}");
    assert!(first.added.is_empty() && first.changed.is_empty() && first.removed.is_empty());
    fs::write(over.file("tenants/initech.yaml"), tenant("initech", "")).unwrap();
    fs::write(
        over.file("tenants/acme.yaml"),
        tenant("acme", "expiry: { max: 2h }"),
    )
    .unwrap();
    // The files may have been noticed already: then there is nothing new to tell.
    let second = over.reload().await;
    assert!(second.good, "{second:?}");
    assert_eq!(second.tenants, 3);
    assert!(second.added.is_empty() || second.added == ["initech"]);
    assert!(second.changed.is_empty() || second.changed == ["acme"]);
    over.presign("initech").await.unwrap();
    let of = |answer: &ReloadConfigurationResponse| answer.loaded_at.expect("a time");
    let (earlier, later) = (of(&first), of(&second));
    assert!((earlier.seconds, earlier.nanos) < (later.seconds, later.nanos));
    // A suspension outlasts its tenant, and can be ended without it.
    fs::remove_file(over.file("tenants/globex.yaml")).unwrap();
    assert_eq!(over.reload().await.tenants, 2);
    over.resume("globex").await;
    let record = over.record("ReloadConfiguration").await;
    assert_eq!(record["outcome"], "operated");
    assert_eq!(record["reason"], "a new tenant");
}

#[tokio::test]
async fn a_configuration_with_mistakes_is_told_of_with_every_one_and_changes_nothing() {
    let over = Operated::start().await;
    let broken = tenant("acme", "grant: []\nexpiry: { max: 8d }");
    fs::write(over.file("tenants/acme.yaml"), broken).unwrap();
    let answer = over.reload().await;
    assert!(!answer.good);
    assert_eq!(answer.mistakes.len(), 2, "{:?}", answer.mistakes);
    assert!(
        answer
            .mistakes
            .iter()
            .all(|mistake| mistake.contains("acme.yaml:"))
    );
    over.presign("acme").await.unwrap();
    let status = over.by(BOSS, GetStatusRequest {});
    let status = over.operations().get_status(status).await.unwrap();
    let configuration = status.into_inner().configuration.unwrap();
    assert!(!configuration.good);
    assert_eq!(configuration.mistakes, answer.mistakes);
    assert_eq!(configuration.loaded_at, answer.loaded_at);
    over.record("it has 2 mistakes").await;
    fs::write(over.file("tenants/acme.yaml"), tenant("acme", "")).unwrap();
    assert!(over.reload().await.good);
}
