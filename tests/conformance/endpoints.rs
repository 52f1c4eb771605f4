//! Every combination of endpoint options and kinds of buckets, against aws-sdk-s3 and botocore: the same URL, or a refusal by both.
//!
//! Access points of several regions are left out, since neither presigns for them here, and of botocore's vectors (see
//! `tools/commands/endpoint_vectors.py`) directory buckets.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::presigning::PresigningConfig;
use presignd::endpoint::options::{Options, Variant};
use presignd::endpoint::{Defaults, Endpoints, TenantEndpoint};
use presignd::proto::s3;
use presignd::proto::v1::command::Command;
use presignd::sign::command::{QueryParameter, Value};
use presignd::sign::{Credentials, operations, presign};

use serde::Deserialize;

use super::Url;
use crate::harness::tools::repository;

const ID: &str = "ASIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEJr3//wEaCWV1+LXdlc3QtMSJHMEUCIQDx7Kq2h9PbT4vZs0mY==";
const BOTOCORE_TOKEN: &str =
    "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCWV1LXdlc3QtMSJGMEQCIB+Zk/9yF0+EXAMPLETOKEN+/==";
const KEY: &str = "a b/é+%41.pdf";

const REGIONS: [&str; 4] = ["eu-central-1", "us-east-1", "cn-north-1", "us-gov-west-1"];
const STORES: [Option<&str>; 2] = [None, Some("https://store.example:8443")];
const BUCKETS: [&str; 9] = [
    "acme-files",
    "dotted.acme.files",
    "media-7xk2-s3alias",
    "arn:aws:s3:eu-central-1:111122223333:accesspoint/media",
    "arn:aws-cn:s3:cn-north-1:111122223333:accesspoint/media",
    "arn:aws:s3-object-lambda:us-east-1:111122223333:accesspoint/small",
    "arn:aws:s3-outposts:eu-central-1:111122223333:outpost/op-01ac5d28a6a232904/accesspoint/here",
    "acme--euc1-az1--x-s3",
    "acme--x-s3",
];

fn signed_at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_473_001)
}

/// All that a combination says but the bucket.
#[derive(Debug, Clone, Copy)]
struct Settings {
    region: &'static str,
    url: Option<&'static str>,
    path_style: bool,
    use_arn_region: bool,
    variant: Variant,
}

impl Settings {
    fn all() -> impl Iterator<Item = Self> {
        let places = REGIONS
            .into_iter()
            .flat_map(|region| STORES.into_iter().map(move |url| (region, url)));
        places.flat_map(|(region, url)| {
            (0..32_u8).map(move |bits| {
                let bit = |n: u8| bits & (1 << n) != 0;
                Self {
                    region,
                    url,
                    path_style: bit(0),
                    use_arn_region: bit(1),
                    variant: Variant {
                        dual_stack: bit(2),
                        fips: bit(3),
                        accelerate: bit(4),
                    },
                }
            })
        })
    }

    fn client(&self) -> Client {
        let token = Some(TOKEN.to_owned());
        let credentials = aws_credential_types::Credentials::new(ID, SECRET, token, None, "test");
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region))
            .credentials_provider(credentials)
            .disable_s3_express_session_auth(true)
            .use_arn_region(self.use_arn_region)
            .use_dual_stack(self.variant.dual_stack)
            .use_fips(self.variant.fips)
            .accelerate(self.variant.accelerate)
            .force_path_style(self.path_style);
        config.set_endpoint_url(self.url.map(str::to_owned));
        Client::from_conf(config.build())
    }

    /// Half of it as the tenant's default, half of it as the request.
    fn tenant(&self) -> (TenantEndpoint, Options) {
        let url = self.url.map(str::to_owned);
        let tenant = TenantEndpoint::new(self.region.to_owned(), url, self.path_style);
        let Variant {
            dual_stack,
            fips,
            accelerate,
        } = self.variant;
        let defaults = Defaults {
            use_arn_region: self.use_arn_region,
            variant: Variant {
                dual_stack,
                fips: !fips,
                accelerate,
            },
            ..Defaults::default()
        };
        let asked = Options {
            fips: Some(fips),
            ..Options::default()
        };
        (tenant.by_default(defaults), asked)
    }
}

#[tokio::test]
async fn the_sdk_goes_to_the_same_places() {
    let endpoints = Endpoints::default();
    let credentials = Credentials::new(ID.to_owned(), SECRET.into(), Some(TOKEN.into()), None);
    let presigning = PresigningConfig::builder()
        .start_time(signed_at())
        .expires_in(Duration::from_mins(15))
        .build()
        .expect("a valid configuration");
    let (mut same, mut refused) = (0, 0);
    for settings in Settings::all() {
        let client = settings.client();
        let (tenant, asked) = settings.tenant();
        for bucket in BUCKETS {
            let at = format!("{bucket} with {settings:?}");
            let request = client.get_object().bucket(bucket).key(KEY);
            let theirs = request.presigned(presigning.clone()).await;
            let command = Command::GetObject(s3::GetObject {
                bucket: Some(bucket.to_owned()),
                key: Some(KEY.to_owned()),
                ..Default::default()
            });
            let mut bound = operations::message(&command)
                .to_bound()
                .unwrap_or_else(|e| panic!("{at}: {e}"));
            let own = endpoints
                .resolve(&tenant, bound.operation, bound.bucket, asked)
                .await;
            let theirs = match (theirs, &own) {
                (Ok(theirs), Ok(_)) => theirs,
                (Err(_), Err(_)) => {
                    refused += 1;
                    continue;
                }
                (theirs, own) => panic!("{at}: {theirs:?}, and {own:?}"),
            };
            // The SDK's habit of naming the operation.
            bound.query.push(QueryParameter {
                name: "x-id",
                value: Value::Text("GetObject".into()),
            });
            let endpoint = own.expect("resolved");
            let url = presign(&bound, &endpoint, &credentials, signed_at(), 900);
            assert_eq!(Url::parse(url.as_str()), Url::parse(theirs.uri()), "{at}");
            same += 1;
        }
    }
    assert_eq!(
        same + refused,
        REGIONS.len() * STORES.len() * 32 * BUCKETS.len()
    );
    assert!(same > 300 && refused > 300, "{same} and {refused}");
}

/// A row of botocore's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
struct Row {
    region: String,
    endpoint_url: Option<String>,
    path_style: bool,
    dual_stack: bool,
    fips: bool,
    accelerate: bool,
    bucket: String,
    url: Option<String>,
    refused: Option<String>,
}

#[tokio::test]
async fn botocore_goes_to_the_same_places() {
    let text = std::fs::read_to_string(repository().join("tests/vectors/endpoints.json"));
    let rows: Vec<Row> = serde_json::from_str(&text.expect("the vectors")).expect("rows");
    let endpoints = Endpoints::default();
    let credentials = Credentials::new(
        ID.to_owned(),
        SECRET.into(),
        Some(BOTOCORE_TOKEN.into()),
        None,
    );
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
    let (mut same, mut refused) = (0, 0);
    let mut wrong = Vec::new();
    for row in &rows {
        let tenant =
            TenantEndpoint::new(row.region.clone(), row.endpoint_url.clone(), row.path_style);
        let options = Options {
            dual_stack: Some(row.dual_stack),
            fips: Some(row.fips),
            accelerate: Some(row.accelerate),
        };
        let command = Command::GetObject(s3::GetObject {
            bucket: Some(row.bucket.clone()),
            key: Some("a b/é.pdf".to_owned()),
            ..Default::default()
        });
        let bound = operations::message(&command).to_bound().expect("valid");
        let own = endpoints
            .resolve(&tenant, bound.operation, bound.bucket, options)
            .await
            .map(|endpoint| presign(&bound, &endpoint, &credentials, time, 900));
        let agree = match (&own, &row.url) {
            (Ok(own), Some(theirs)) => Url::parse(own.as_str()) == Url::parse(theirs),
            (Err(_), None) => row.refused.is_some(),
            _ => false,
        };
        if !agree {
            let own = own.map(presignd::sign::PresignedUrl::into_string);
            wrong.push(format!("{row:?}\n  {own:?}"));
        }
        match row.url {
            Some(_) => same += 1,
            None => refused += 1,
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
    assert!(same >= 40 && refused >= 40, "{same} and {refused}");
}
