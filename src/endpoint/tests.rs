//! What the rules answer to which options, and that answers are kept.

use futures_util::FutureExt as _;

use super::*;
use crate::sign::operations::operation;

async fn resolve(
    url: Option<&str>,
    path_style: bool,
    name: &str,
    bucket: Option<&str>,
) -> SigningEndpoint {
    let tenant = TenantEndpoint::new("eu-west-1".into(), url.map(Into::into), path_style);
    let endpoints = Endpoints::default();
    let first = endpoints
        .resolve(
            &tenant,
            operation(name).unwrap(),
            bucket,
            Options::default(),
        )
        .await
        .unwrap();
    let again = endpoints
        .resolve(
            &tenant,
            operation(name).unwrap(),
            bucket,
            Options::default(),
        )
        .await
        .unwrap();
    assert!(
        Arc::ptr_eq(&first, &again),
        "the second answer is the kept one"
    );
    (*first).clone()
}

#[tokio::test]
async fn buckets_go_where_s3_expects_them() {
    let local = Some("http://127.0.0.1:9000");
    let cases = [
        (
            None,
            false,
            "GetObject",
            Some("acme"),
            "https://acme.s3.eu-west-1.amazonaws.com",
            "",
        ),
        (
            None,
            true,
            "GetObject",
            Some("acme"),
            "https://s3.eu-west-1.amazonaws.com",
            "/acme",
        ),
        (
            None,
            false,
            "GetObject",
            Some("a.b.c"),
            "https://s3.eu-west-1.amazonaws.com",
            "/a.b.c",
        ),
        (
            None,
            false,
            "ListBuckets",
            None,
            "https://s3.eu-west-1.amazonaws.com",
            "",
        ),
        (
            local,
            true,
            "GetObject",
            Some("acme"),
            "http://127.0.0.1:9000",
            "/acme",
        ),
        (
            Some("https://store.example"),
            false,
            "GetObject",
            Some("acme"),
            "https://acme.store.example",
            "",
        ),
        (
            Some("https://store.example:443"),
            true,
            "GetObject",
            Some("acme"),
            "https://store.example",
            "/acme",
        ),
        (
            Some("http://store.example:80"),
            true,
            "ListBuckets",
            None,
            "http://store.example",
            "",
        ),
        (
            Some("https://store.example:8443"),
            true,
            "PutObject",
            Some("acme"),
            "https://store.example:8443",
            "/acme",
        ),
    ];
    for (url, path_style, name, bucket, origin, base_path) in cases {
        let endpoint = resolve(url, path_style, name, bucket).await;
        let case = format!("{name} on {bucket:?} at {url:?}, path style {path_style}");
        assert_eq!(
            (endpoint.origin.as_str(), endpoint.base_path.as_str()),
            (origin, base_path),
            "{case}"
        );
        assert_eq!(
            (endpoint.region.as_str(), endpoint.service.as_str()),
            ("eu-west-1", "s3"),
            "{case}"
        );
        assert_eq!(
            endpoint.origin.split_once("://").unwrap().1,
            endpoint.host,
            "{case}"
        );
    }
}

#[tokio::test]
async fn operations_with_an_endpoint_of_their_own_get_it() {
    let endpoint = resolve(None, false, "WriteGetObjectResponse", None).await;
    assert_eq!(endpoint.host, "s3-object-lambda.eu-west-1.amazonaws.com");
    assert_eq!(endpoint.service, "s3-object-lambda");
    let endpoint = resolve(None, false, "GetObject", Some("acme--euw1-az1--x-s3")).await;
    assert_eq!(endpoint.service, "s3express");
}

#[tokio::test]
async fn two_tenants_never_share_an_endpoint() {
    let endpoints = Endpoints::default();
    let get = operation("GetObject").unwrap();
    let aws = TenantEndpoint::new("eu-west-1".into(), None, false);
    let store = TenantEndpoint::new(
        "eu-west-1".into(),
        Some("http://127.0.0.1:9000".into()),
        true,
    );
    let a = endpoints
        .resolve(&aws, get, Some("files"), Options::default())
        .await
        .unwrap();
    let b = endpoints
        .resolve(&store, get, Some("files"), Options::default())
        .await
        .unwrap();
    assert_ne!(a.host, b.host);
}

const POINT: &str = "arn:aws:s3:eu-west-1:111122223333:accesspoint/media";
const FAR_POINT: &str = "arn:aws:s3:us-east-1:111122223333:accesspoint/media";
const CHINA_POINT: &str = "arn:aws-cn:s3:cn-north-1:111122223333:accesspoint/media";
const GLOBAL: &str = "arn:aws:s3::111122223333:accesspoint/mfzwi23gnjvgw.mrap";
const LAMBDA: &str = "arn:aws:s3-object-lambda:eu-west-1:111122223333:accesspoint/small";
const OUTPOST: &str =
    "arn:aws:s3-outposts:eu-west-1:111122223333:outpost/op-01ac5d28a6a232904/accesspoint/here";
const DIRECTORY: &str = "acme--euw1-az1--x-s3";
const STORE: &str = "https://store.example:8443";

/// Where a row's tenant is, what it asks for, and the bucket.
#[derive(Debug, Clone, Copy)]
struct Row {
    place: &'static str,
    asked: &'static str,
    operation: &'static str,
    bucket: Option<&'static str>,
}

/// A `GetObject` of a bucket. The place is `region`, `path` or `arn-region` for those settings, `store` or `store-path` for a store of
/// one's own; what is asked are the first letters of dual-stack, FIPS and accelerate, capital for true.
fn get(place: &'static str, asked: &'static str, bucket: &'static str) -> Row {
    Row {
        place,
        asked,
        operation: "GetObject",
        bucket: Some(bucket),
    }
}

impl Row {
    fn tenant(&self) -> TenantEndpoint {
        let mut words = self.place.split(' ');
        let region = words.next().unwrap().to_owned();
        let words: Vec<&str> = words.collect();
        let url = words.contains(&"store").then(|| STORE.to_owned());
        let has = |word| words.contains(&word);
        TenantEndpoint::new(region, url, has("path")).by_default(Defaults {
            use_arn_region: has("arn-region"),
            variant: Variant {
                dual_stack: has("dual-stack"),
                fips: has("fips"),
                accelerate: has("accelerate"),
            },
            ..Defaults::default()
        })
    }

    fn options(&self) -> Options {
        let said = |letter: char| {
            if self.asked.contains(letter.to_ascii_uppercase()) {
                Some(true)
            } else {
                self.asked.contains(letter).then_some(false)
            }
        };
        Options {
            dual_stack: said('d'),
            fips: said('f'),
            accelerate: said('a'),
        }
    }

    async fn resolve(&self) -> Result<Arc<SigningEndpoint>, NoEndpoint> {
        let operation = operation(self.operation).unwrap();
        let (tenant, options) = (self.tenant(), self.options());
        let endpoints = Endpoints::default();
        endpoints
            .resolve(&tenant, operation, self.bucket, options)
            .await
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn options_lead_where_s3_says() {
    // The row, the host, the base path, and the region and service that are signed for.
    let rows = [
        (
            get("eu-west-1", "", "acme"),
            "acme.s3.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1", "D", "acme"),
            "acme.s3.dualstack.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1", "F", "acme"),
            "acme.s3-fips.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1", "DF", "acme"),
            "acme.s3-fips.dualstack.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1", "A", "acme"),
            "acme.s3-accelerate.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1", "DA", "acme"),
            "acme.s3-accelerate.dualstack.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("us-east-1", "A", "acme"),
            "acme.s3-accelerate.amazonaws.com",
            "",
            "us-east-1/s3",
        ),
        (
            get("eu-west-1", "D", "dotted.acme"),
            "s3.dualstack.eu-west-1.amazonaws.com",
            "/dotted.acme",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1", "DF", "dotted.acme"),
            "s3-fips.dualstack.eu-west-1.amazonaws.com",
            "/dotted.acme",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1 path", "D", "acme"),
            "s3.dualstack.eu-west-1.amazonaws.com",
            "/acme",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1 path", "F", "acme"),
            "s3-fips.eu-west-1.amazonaws.com",
            "/acme",
            "eu-west-1/s3",
        ),
        (
            get("cn-north-1", "D", "acme"),
            "acme.s3.dualstack.cn-north-1.amazonaws.com.cn",
            "",
            "cn-north-1/s3",
        ),
        (
            get("us-gov-west-1", "F", "acme"),
            "acme.s3-fips.us-gov-west-1.amazonaws.com",
            "",
            "us-gov-west-1/s3",
        ),
        // Defaults, and requests that say no.
        (
            get("eu-west-1 dual-stack", "", "acme"),
            "acme.s3.dualstack.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1 dual-stack", "d", "acme"),
            "acme.s3.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1 fips dual-stack", "d", "acme"),
            "acme.s3-fips.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1 accelerate", "", "acme"),
            "acme.s3-accelerate.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1 accelerate", "aF", "acme"),
            "acme.s3-fips.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        // Stores of one's own.
        (
            get("any-region store", "", "acme"),
            "acme.store.example:8443",
            "",
            "any-region/s3",
        ),
        (
            get("any-region store path", "dfa", "acme"),
            "store.example:8443",
            "/acme",
            "any-region/s3",
        ),
        (
            get("any-region store", "", "dotted.acme"),
            "store.example:8443",
            "/dotted.acme",
            "any-region/s3",
        ),
        (
            get("eu-west-1 store", "", POINT),
            "media-111122223333.store.example:8443",
            "",
            "eu-west-1/s3",
        ),
        // Access points.
        (
            get("eu-west-1", "", POINT),
            "media-111122223333.s3-accesspoint.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1", "D", POINT),
            "media-111122223333.s3-accesspoint.dualstack.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1", "F", POINT),
            "media-111122223333.s3-accesspoint-fips.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1", "DF", POINT),
            "media-111122223333.s3-accesspoint-fips.dualstack.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            get("eu-west-1 arn-region", "", FAR_POINT),
            "media-111122223333.s3-accesspoint.us-east-1.amazonaws.com",
            "",
            "us-east-1/s3",
        ),
        (
            get("cn-north-1", "", CHINA_POINT),
            "media-111122223333.s3-accesspoint.cn-north-1.amazonaws.com.cn",
            "",
            "cn-north-1/s3",
        ),
        (
            get("eu-west-1", "", "media-7xk2-s3alias"),
            "media-7xk2-s3alias.s3.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        // Several regions, from wherever.
        (
            get("eu-west-1", "", GLOBAL),
            "mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com",
            "",
            "*/s3",
        ),
        (
            get("us-west-2", "", GLOBAL),
            "mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com",
            "",
            "*/s3",
        ),
        // Object Lambda and Outposts.
        (
            get("eu-west-1", "", LAMBDA),
            "small-111122223333.s3-object-lambda.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3-object-lambda",
        ),
        (
            get("eu-west-1", "F", LAMBDA),
            "small-111122223333.s3-object-lambda-fips.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3-object-lambda",
        ),
        (
            get("eu-west-1", "", OUTPOST),
            "here-111122223333.op-01ac5d28a6a232904.s3-outposts.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3-outposts",
        ),
        // Directory buckets.
        (
            get("eu-west-1", "", DIRECTORY),
            "acme--euw1-az1--x-s3.s3express-euw1-az1.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3express",
        ),
        (
            get("eu-west-1", "F", DIRECTORY),
            "acme--euw1-az1--x-s3.s3express-fips-euw1-az1.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3express",
        ),
        (
            get("eu-west-1", "D", DIRECTORY),
            "acme--euw1-az1--x-s3.s3express-euw1-az1.dualstack.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3express",
        ),
        (
            Row {
                operation: "DeleteBucket",
                ..get("eu-west-1", "", DIRECTORY)
            },
            "s3express-control.eu-west-1.amazonaws.com",
            "/acme--euw1-az1--x-s3",
            "eu-west-1/s3express",
        ),
        // What names no bucket, or what acceleration does not know: a default spares it.
        (
            Row {
                operation: "ListBuckets",
                bucket: None,
                ..get("eu-west-1 accelerate", "D", "")
            },
            "s3.dualstack.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
        (
            Row {
                operation: "DeleteBucket",
                ..get("eu-west-1 accelerate", "F", "acme")
            },
            "acme.s3-fips.eu-west-1.amazonaws.com",
            "",
            "eu-west-1/s3",
        ),
    ];
    for (row, host, base_path, scope) in rows {
        let endpoint = row
            .resolve()
            .await
            .unwrap_or_else(|e| panic!("{row:?}: {e}"));
        let of = format!("{}/{}", endpoint.region, endpoint.service);
        assert_eq!(
            (endpoint.host.as_str(), endpoint.base_path.as_str()),
            (host, base_path),
            "{row:?}"
        );
        assert_eq!(of, scope, "{row:?}");
        assert_eq!(endpoint.origin, format!("https://{host}"), "{row:?}");
        let anywhere = endpoint.algorithm == Algorithm::EcdsaP256Sha256;
        assert_eq!(anywhere, endpoint.region == "*", "{row:?}");
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn what_s3_refuses_is_told_by_the_option_at_fault() {
    let (dual_stack, fips, accelerate) =
        ("options.dual_stack", "options.fips", "options.accelerate");
    let rows = [
        (
            get("eu-west-1", "FA", "acme"),
            accelerate,
            "does not go together with fips",
        ),
        (
            get("eu-west-1 fips", "A", "acme"),
            accelerate,
            "does not go together with fips",
        ),
        (
            get("eu-west-1 accelerate", "F", "acme"),
            accelerate,
            "does not go together with fips",
        ),
        (
            get("eu-west-1", "A", "dotted.acme"),
            accelerate,
            "needs the bucket in the host's name",
        ),
        (
            get("eu-west-1 accelerate", "", "dotted.acme"),
            accelerate,
            "needs the bucket in the host's name",
        ),
        (
            get("eu-west-1 path", "A", "acme"),
            accelerate,
            "needs the bucket in the host's name",
        ),
        (
            get("cn-north-1", "A", "acme"),
            accelerate,
            "is not for this region",
        ),
        (
            get("any-region store", "A", "acme"),
            accelerate,
            "is for AWS",
        ),
        (get("any-region store", "F", "acme"), fips, "is for AWS"),
        (
            get("any-region store path", "D", "acme"),
            dual_stack,
            "is for AWS",
        ),
        (
            get("cn-north-1", "F", "acme"),
            fips,
            "is not for this region",
        ),
        (
            get("eu-west-1", "A", POINT),
            accelerate,
            "is not for access points",
        ),
        (
            get("eu-west-1", "D", GLOBAL),
            dual_stack,
            "is not for access points of several regions",
        ),
        (
            get("eu-west-1", "F", GLOBAL),
            fips,
            "is not for access points of several regions",
        ),
        (
            get("eu-west-1", "A", GLOBAL),
            accelerate,
            "is not for access points of several regions",
        ),
        (
            get("eu-west-1", "D", LAMBDA),
            dual_stack,
            "is not for Object Lambda",
        ),
        (
            get("eu-west-1", "A", LAMBDA),
            accelerate,
            "is not for Object Lambda",
        ),
        (
            get("eu-west-1", "D", OUTPOST),
            dual_stack,
            "is not for Outposts",
        ),
        (get("eu-west-1", "F", OUTPOST), fips, "is not for Outposts"),
        (
            get("eu-west-1", "A", OUTPOST),
            accelerate,
            "is not for Outposts",
        ),
        (
            get("eu-west-1", "A", DIRECTORY),
            accelerate,
            "is not for directory buckets",
        ),
        (
            get("eu-west-1 path", "", POINT),
            "bucket",
            "is an ARN, which path style cannot address",
        ),
        (
            get("eu-west-1", "", FAR_POINT),
            "bucket",
            "is an ARN of another region",
        ),
        (
            get("eu-west-1 arn-region", "", CHINA_POINT),
            "bucket",
            "is an ARN of another partition",
        ),
        (
            get("eu-west-1", "", "acme--x-s3"),
            "bucket",
            "is refused by S3's endpoint rules",
        ),
        (
            Row {
                operation: "CreateBucket",
                ..get("eu-west-1", "", POINT)
            },
            "bucket",
            "is an access point, and this command is for buckets",
        ),
        (
            Row {
                operation: "CreateBucket",
                ..get("eu-west-1", "A", "acme")
            },
            accelerate,
            "is not for CreateBucket",
        ),
        (
            Row {
                operation: "ListBuckets",
                bucket: None,
                ..get("eu-west-1", "A", "")
            },
            accelerate,
            "is not for ListBuckets",
        ),
    ];
    for (row, field, why) in rows {
        let refused = row.resolve().await.expect_err(&format!("{row:?}"));
        assert_eq!(refused.field, field, "{row:?}: {refused}");
        assert!(refused.detail.starts_with(why), "{row:?}: {refused}");
    }
}

#[tokio::test]
async fn answers_are_kept_apart_by_what_is_asked() {
    let endpoints = Endpoints::default();
    let tenant = TenantEndpoint::new("eu-west-1".into(), None, false);
    let get = operation("GetObject").unwrap();
    let mut hosts = std::collections::HashSet::new();
    for asked in ["", "D", "F", "DF", "A", "DA"] {
        let row = Row {
            asked,
            ..self::get("eu-west-1", "", "acme")
        };
        for _ in 0..2 {
            let endpoint = endpoints
                .resolve(&tenant, get, Some("acme"), row.options())
                .await;
            hosts.insert(endpoint.unwrap().host.clone());
        }
    }
    assert_eq!(hosts.len(), 6);
}

#[tokio::test]
async fn an_answer_that_is_kept_costs_no_allocation() {
    let endpoints = Endpoints::default();
    let tenant = TenantEndpoint::new("eu-west-1".into(), None, false);
    let get = operation("GetObject").unwrap();
    let resolve = || endpoints.resolve(&tenant, get, Some("acme"), Options::default());
    for _ in 0..3 {
        resolve().await.unwrap();
    }
    let mut host = 0;
    let counted = allocation_counter::measure(|| {
        let known = resolve().now_or_never().expect("it is kept");
        host = known.map_or(0, |endpoint| endpoint.host.len());
    });
    assert_eq!(
        (counted.count_total, host),
        (0, "acme.s3.eu-west-1.amazonaws.com".len())
    );
}
