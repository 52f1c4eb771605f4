//! The store that the other tests judge by: it must enforce roles, sessions and policies, or their refusals prove nothing.
//!
//! presignd has no part in these: AWS's own SDK assumes the roles and presigns.

use std::time::Duration;

use aws_config::Region;
use aws_credential_types::Credentials;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_sts::types::Credentials as Session;
use serde_json::json;

use crate::harness::{
    ceph::{Ceph, policy},
    http::{self, NO_HEADERS, Response},
};

pub(crate) async fn assume(
    keys: &Credentials,
    role_arn: &str,
    seconds: i32,
    session_policy: Option<String>,
) -> Result<Session, u16> {
    let ceph = Ceph::shared();
    let config = aws_sdk_sts::Config::builder()
        .behavior_version_latest()
        .region(Region::new("us-east-1"))
        .endpoint_url(ceph.endpoint())
        .credentials_provider(keys.clone())
        .build();
    aws_sdk_sts::Client::from_conf(config)
        .assume_role()
        .role_arn(role_arn)
        .role_session_name("store")
        .duration_seconds(seconds)
        .set_policy(session_policy)
        .send()
        .await
        .map(|reply| reply.credentials.expect("a session has credentials"))
        .map_err(|e| {
            e.raw_response()
                .unwrap_or_else(|| panic!("STS did not answer: {e:?}"))
                .status()
                .as_u16()
        })
}

/// As presignd's user, for 15 minutes.
async fn session(role_arn: &str) -> Session {
    let keys = Ceph::shared().presignd_credentials();
    assume(keys, role_arn, 900, None).await.expect("a session")
}

fn s3(session: &Session) -> aws_sdk_s3::Client {
    let credentials = Credentials::new(
        session.access_key_id(),
        session.secret_access_key(),
        Some(session.session_token().to_owned()),
        None,
        "session",
    );
    let config = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .region(Region::new("us-east-1"))
        .endpoint_url(Ceph::shared().endpoint())
        .force_path_style(true)
        .credentials_provider(credentials)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

fn five_minutes() -> PresigningConfig {
    PresigningConfig::expires_in(Duration::from_mins(5)).expect("a valid expiry")
}

pub(crate) async fn get(session: &Session, bucket: &str, key: &str) -> Response {
    let request = s3(session).get_object().bucket(bucket).key(key);
    let url = request.presigned(five_minutes()).await.expect("a URL");
    http::send(url.method(), url.uri(), url.headers(), "").await
}

async fn put(session: &Session, bucket: &str, key: &str, body: &'static str) -> Response {
    let request = s3(session).put_object().bucket(bucket).key(key);
    let url = request.presigned(five_minutes()).await.expect("a URL");
    http::send(url.method(), url.uri(), url.headers(), body).await
}

fn assert_denied(response: &Response) {
    let verdict = (response.status, response.s3_code());
    assert_eq!(verdict, (403, "AccessDenied".to_owned()), "{response:?}");
}

#[tokio::test]
async fn a_role_opens_its_own_bucket_and_no_other() {
    let ceph = Ceph::shared();
    let (acme, globex) = (ceph.tenant("acme"), ceph.tenant("globex"));
    ceph.put_object(&acme.bucket, "store/own", "of acme").await;
    ceph.put_object(&globex.bucket, "store/own", "of globex")
        .await;

    let session = session(&acme.role_arn).await;
    let own = get(&session, &acme.bucket, "store/own").await;
    assert_eq!((own.status, own.text().as_str()), (200, "of acme"));
    assert_eq!(own.header("content-length"), "7");
    assert_denied(&get(&session, &globex.bucket, "store/own").await);
}

#[tokio::test]
async fn what_a_role_writes_is_its_bucket_owners_and_no_other_roles() {
    let ceph = Ceph::shared();
    let (acme, globex) = (ceph.tenant("acme"), ceph.tenant("globex"));
    let key = "store/odd key+é//x";
    let own = session(&acme.role_arn).await;
    let written = put(&own, &acme.bucket, key, "by a role").await;
    assert_eq!(written.status, 200, "{written:?}");

    let read = ceph.object(&acme.bucket, key).await;
    assert_eq!(read.as_deref(), Some(&b"by a role"[..]));
    assert_eq!(ceph.object(&acme.bucket, "store/none").await, None);
    let other = session(&globex.role_arn).await;
    assert_denied(&get(&other, &acme.bucket, key).await);
    assert_denied(&put(&other, &acme.bucket, key, "over it").await);
}

#[tokio::test]
async fn only_presignds_user_assumes_a_role() {
    let ceph = Ceph::shared();
    let acme = ceph.tenant("acme");
    let refused = assume(&acme.owner, &acme.role_arn, 900, None).await;
    assert_eq!(refused.err(), Some(403));
}

#[tokio::test]
async fn a_session_policy_narrows_a_role() {
    let ceph = Ceph::shared();
    let acme = ceph.tenant("acme");
    ceph.put_object(&acme.bucket, "store/narrow/in", "in").await;
    ceph.put_object(&acme.bucket, "store/narrow-out", "out")
        .await;
    let narrow = policy(&json!({
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": [format!("arn:aws:s3:::{}/store/narrow/*", acme.bucket)],
    }));
    let keys = ceph.presignd_credentials();
    let session = assume(keys, &acme.role_arn, 900, Some(narrow.to_string()))
        .await
        .expect("a session");

    assert_eq!(
        get(&session, &acme.bucket, "store/narrow/in").await.status,
        200
    );
    assert_denied(&get(&session, &acme.bucket, "store/narrow-out").await);
    assert_denied(&put(&session, &acme.bucket, "store/narrow/in", "over it").await);
}

#[tokio::test]
async fn a_role_that_changes_or_goes_takes_its_sessions_along() {
    let ceph = Ceph::shared();
    let acme = ceph.tenant("acme");
    ceph.put_object(&acme.bucket, "store/passing", "here").await;
    let permissions = |effect| {
        policy(&json!({
            "Effect": effect,
            "Action": ["s3:GetObject"],
            "Resource": [format!("arn:aws:s3:::{}/*", acme.bucket)],
        }))
    };
    let arn = ceph.make_role("store-passing", &permissions("Allow")).await;
    let session = session(&arn).await;
    assert_eq!(
        get(&session, &acme.bucket, "store/passing").await.status,
        200
    );

    ceph.put_role_policy("store-passing", &permissions("Deny"))
        .await;
    assert_denied(&get(&session, &acme.bucket, "store/passing").await);
    ceph.delete_role("store-passing").await;
    assert_eq!(
        get(&session, &acme.bucket, "store/passing").await.status,
        403
    );
}

#[tokio::test]
async fn a_session_of_seconds_ends() {
    let ceph = Ceph::shared();
    let acme = ceph.tenant("acme");
    ceph.put_object(&acme.bucket, "store/brief", "here").await;
    let keys = ceph.presignd_credentials();
    let session = assume(keys, &acme.role_arn, 2, None)
        .await
        .expect("a session");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let late = get(&session, &acme.bucket, "store/brief").await;
    assert_eq!(late.status, 403, "{late:?}");
}

#[tokio::test]
async fn nothing_is_open_to_the_unsigned() {
    let ceph = Ceph::shared();
    let acme = ceph.tenant("acme");
    let unsigned = format!("{}/{}/store/own", ceph.endpoint(), acme.bucket);
    assert_denied(&http::send("GET", &unsigned, NO_HEADERS, "").await);
}
