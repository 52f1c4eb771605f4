//! `presignd check` on callers: what it prints of a good list, and how it answers to none.

use crate::harness::process::{static_tenant, with_config};

const ANYONE: &str = "callers: [{ match: anyone }]\n";

#[tokio::test]
async fn check_says_who_may_ask_and_by_whose_word() {
    let callers = r#"authentication:
  jwt:
    cluster: { issuer: "https://issuer.example/id/1", audiences: [presignd, files] }
  api_keys:
    billing: ["sha256:28dab4ac73312ad1b72a03c165e947e39d535ce7f55f6a2c7b725f34e7608590"]
callers:
  - match: { jwt: { issuer: cluster, subject: "system:serviceaccount:media:*" } }
    tenants: ["ac*", acme]
    may: [sign, usage]
  - { match: { api_key: billing }, tenants: ["*"], name: bills }
"#;
    let config = static_tenant("[read]", "").replace(ANYONE, callers);
    let ended = with_config("check", &config).run().await;
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    let (_, said) = ended
        .stdout
        .split_once("callers:\n")
        .expect("a part about callers");
    assert_eq!(
        said,
        "  system:serviceaccount:media:* by a token of cluster may sign, usage for ac*, acme
  the holder of the API key billing may sign for every tenant, and is called bills
  tokens of cluster are issued by https://issuer.example/id/1 for presignd or files, with its keys found by its OpenID configuration
  API keys of billing: 1\n"
    );
}

#[tokio::test]
async fn without_a_list_nothing_is_served_and_the_message_says_what_to_write() {
    let config = static_tenant("[read]", "").replace(ANYONE, "");
    for command in ["check", "serve"] {
        let ended = with_config(command, &config).run().await;
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
        for words in [
            "presignd.yaml:1:1: ",
            "`callers` is required",
            "`callers: [{ match: anyone }]`",
        ] {
            assert!(ended.stderr.contains(words), "{}", ended.stderr);
        }
    }
}
