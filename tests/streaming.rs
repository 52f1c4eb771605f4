//! `StreamPresign`: many requests on one stream, each decided and recorded as if it had come alone.

mod ending;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use presignd::proto::v1::presign_service_client::PresignServiceClient;
use presignd::proto::v1::stream_presign_response::Result as ItemResult;
use presignd::proto::v1::{PresignRequest, StreamPresignRequest, StreamPresignResponse};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::harness::presignd::{Presignd, TestClock, get_object, lasting, request, static_tenant};
use crate::harness::process::{self, with_config};
use crate::harness::refusal::{Refused, refused};
use crate::harness::sts::{Answer, FakeSts};
use crate::harness::tools;

const GRANTS: &str = r#"grants: [{ commands: [read], resources: ["acme-files/*"] }]"#;
const METHOD: &str = "presignd.v1.PresignService/StreamPresign";
/// From 1970 to 2026.
const DECADES: Duration = Duration::from_hours(498_420);

/// A stream that is open.
struct Stream {
    asking: mpsc::Sender<StreamPresignRequest>,
    answers: Streaming<StreamPresignResponse>,
}

impl Stream {
    async fn open(client: &PresignServiceClient<Channel>) -> Self {
        let opened = Self::open_with(client, &[]).await;
        opened.expect("the stream is opened")
    }

    async fn open_with(
        client: &PresignServiceClient<Channel>,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Status> {
        let (asking, asked) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(asked));
        for (name, value) in headers {
            let value = value.parse().expect("ASCII");
            request.metadata_mut().append(*name, value);
        }
        let answers = client.clone().stream_presign(request).await?;
        let answers = answers.into_inner();
        Ok(Self { asking, answers })
    }

    async fn ask(&self, id: &str, request: PresignRequest) {
        let request = asked(id, request);
        self.asking.send(request).await.expect("the stream is open");
    }

    /// The next answer.
    async fn next(&mut self) -> Result<(String, ItemResult), Status> {
        let answer = tokio::time::timeout(process::PATIENCE, self.answers.message()).await;
        let answer = answer.expect("an answer comes")?;
        let answer = answer.ok_or_else(|| Status::ok("the end"))?;
        Ok((answer.request_id, answer.result.expect("it has a result")))
    }

    /// The issuance id of the next answer, which has to be a URL for this request.
    async fn issued(&mut self, id: &str) -> String {
        match self.next().await {
            Ok((of, ItemResult::Response(response))) if of == id => response.issuance_id,
            other => panic!("{other:?} rather than a URL for {id}"),
        }
    }

    /// How the stream ends, before it answers any more.
    async fn end(&mut self) -> Status {
        match self.next().await {
            Err(status) => status,
            Ok(answer) => panic!("{answer:?} rather than the end"),
        }
    }
}

fn asked(id: &str, request: PresignRequest) -> StreamPresignRequest {
    StreamPresignRequest {
        request_id: id.to_owned(),
        request: Some(request),
    }
}

fn get(key: &str) -> PresignRequest {
    request("acme", get_object("acme-files", key))
}

async fn start(server: &str) -> Presignd {
    let tenant = static_tenant(GRANTS);
    let builder = Presignd::with_tenant("acme", &tenant).with_server(server);
    builder.start().await
}

/// Has so many requests under way, as far as presignd lets it, and gives the issuance ids by request.
async fn ask_many(presignd: &Presignd, count: usize) -> BTreeMap<String, String> {
    let Stream {
        asking,
        mut answers,
    } = Stream::open(&presignd.client).await;
    let ask = async move {
        for n in 0..count {
            let id = n.to_string();
            let request = asked(&id, get(&format!("key-{id}-")));
            asking.send(request).await.expect("the stream is open");
        }
    };
    let answered = async {
        let mut ids = BTreeMap::new();
        while let Some(answer) = answers.message().await.expect("the stream goes on") {
            let Some(ItemResult::Response(issued)) = answer.result else {
                panic!("{answer:?}");
            };
            let key = format!("/acme-files/key-{}-?", answer.request_id);
            assert!(issued.url.contains(&key), "{issued:?}");
            let again = ids.insert(answer.request_id, issued.issuance_id);
            assert_eq!(again, None);
        }
        ids
    };
    futures_util::future::join(ask, answered).await.1
}

#[tokio::test]
async fn many_requests_are_answered_and_recorded_each_under_its_id() {
    let presignd = start("").await;
    for count in [0, 1, 32, 1000] {
        let before = presignd.records.all().len();
        let ids = ask_many(&presignd, count).await;
        assert_eq!(ids.len(), count);
        let records = presignd.records.all().split_off(before);
        assert_eq!(records.len(), count);
        for record in records {
            let key = record["key"].as_str().unwrap().to_owned();
            let id = key.trim_start_matches("key-").trim_end_matches('-');
            assert_eq!(record["issuance_id"], ids[id]);
            assert_eq!(record["method"], METHOD);
            assert_eq!(record["outcome"], "issued");
        }
    }
}

#[tokio::test]
async fn what_has_to_wait_does_not_hold_up_the_rest() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let presignd = Presignd::with_sts_tenant(&sts, "globex", "", GRANTS)
        .with_tenant("acme", &static_tenant(GRANTS))
        .start()
        .await;
    let mut stream = Stream::open(&presignd.client).await;
    let slow = request("globex", get_object("acme-files", "k"));
    stream.ask("slow", slow).await;
    sts.called(1).await;
    for id in ["1", "2", "3"] {
        stream.ask(id, get("k")).await;
        stream.issued(id).await;
    }
    sts.answer(Answer::Session(Duration::from_hours(1)));
    stream.issued("slow").await;
}

/// The refusal but for the id and for times.
fn lasting_part(refused: Refused) -> impl PartialEq + std::fmt::Debug {
    let Refused {
        code,
        message,
        reason,
        metadata,
        fields,
        quotas,
        preconditions,
        ..
    } = refused;
    (
        code,
        message,
        reason,
        metadata,
        fields,
        quotas,
        preconditions,
    )
}

#[tokio::test]
async fn a_refusal_is_that_of_a_request_alone_and_the_stream_goes_on() {
    let limited =
        format!("{GRANTS}\nlimits: [{{ name: few, commands: [read], rate: 1/h, burst: 1 }}]");
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_tenant("limited", &static_tenant(&limited))
        .start()
        .await;
    let mut stream = Stream::open(&presignd.client).await;
    let mut none_left = request("limited", get_object("acme-files", "k"));
    presignd.presign(none_left.clone()).await.unwrap();
    none_left.subject = "user".to_owned();
    for request in [
        PresignRequest::default(),
        get("a/../b"),
        request("nobody", get_object("acme-files", "k")),
        request("acme", get_object("other-files", "k")),
        lasting(604_800, get("k")),
        lasting(604_801, get("k")),
        none_left,
    ] {
        let alone = refused(presignd.presign(request.clone()).await);
        stream.ask("r", request).await;
        let (id, ItemResult::Error(status)) = stream.next().await.unwrap() else {
            panic!("it is refused");
        };
        assert_eq!(id, "r");
        let streamed = Refused::read_item(&status);
        let record = presignd.records.of(&streamed.issuance_id);
        assert_eq!(record["method"], METHOD);
        assert_eq!(record["outcome"], "denied");
        assert_eq!(record["reason_code"], *streamed.reason);
        assert_eq!(lasting_part(streamed), lasting_part(alone));
    }
    stream.ask("good", get("k")).await;
    stream.issued("good").await;
}

/// What a stream tells of limits with its next answer: the policy, and what is left.
async fn limits_told(stream: &mut Stream) -> (String, String) {
    let answer = tokio::time::timeout(process::PATIENCE, stream.answers.message()).await;
    let answer = answer.expect("an answer comes").unwrap().unwrap();
    (answer.ratelimit_policy, answer.ratelimit)
}

#[tokio::test]
async fn an_answer_tells_of_limits_what_that_of_a_request_alone_does() {
    let limits = "limits: [{ name: few, rate: 6/h, burst: 3 }, { name: heads, commands: [HeadObject], rate: 1/h }]";
    let tenant = static_tenant(&format!("{GRANTS}\n{limits}"));
    // Time stands still, so that what is told of it is the same for both.
    let clock = Arc::new(TestClock::stopped_at(SystemTime::UNIX_EPOCH + DECADES));
    let presignd = Presignd::with_tenant("acme", &tenant)
        .with_tenant("free", &static_tenant(GRANTS))
        .with_clock(clock)
        .start()
        .await;
    let mut stream = Stream::open(&presignd.client).await;
    let policy = r#""few";q=3;w=1800, "heads";q=1;w=3600"#;
    let told = |left: &str| (policy.to_owned(), left.to_owned());
    stream.ask("1", get("k")).await;
    assert_eq!(limits_told(&mut stream).await, told(r#""few";r=2;t=600"#));
    let alone = presignd.client.clone().presign(get("k")).await.unwrap();
    assert_eq!(alone.metadata().get("ratelimit-policy").unwrap(), policy);
    assert_eq!(
        alone.metadata().get("ratelimit").unwrap(),
        r#""few";r=1;t=1200"#
    );
    stream.ask("2", get("k")).await;
    assert_eq!(limits_told(&mut stream).await, told(r#""few";r=0;t=1800"#));
    // A refusal tells when there is room for one.
    let alone = presignd.client.clone().presign(get("k")).await.unwrap_err();
    let left = alone.metadata().get("ratelimit").unwrap().to_str().unwrap();
    stream.ask("3", get("k")).await;
    assert_eq!(limits_told(&mut stream).await, told(left));
    assert_eq!(left, r#""few";r=0;t=600"#);
    // What no limit counted tells nothing.
    let free = request("free", get_object("acme-files", "k"));
    for request in [free, get("a/../b")] {
        stream.ask("4", request).await;
        let nothing = (String::new(), String::new());
        assert_eq!(limits_told(&mut stream).await, nothing);
    }
}

#[tokio::test]
async fn an_id_is_required_and_bounded() {
    let presignd = start("").await;
    let mut stream = Stream::open(&presignd.client).await;
    let long = "é".repeat(64);
    stream.ask(&long, get("k")).await;
    stream.issued(&long).await;
    for (id, told) in [
        ("", ""),
        (&*format!("x{long}y"), &*format!("x{}", "é".repeat(63))),
    ] {
        stream.ask(id, get("k")).await;
        let (of, ItemResult::Error(status)) = stream.next().await.unwrap() else {
            panic!("it is refused");
        };
        assert_eq!(of, told);
        assert_eq!(Refused::read_item(&status).fields, ["request_id"]);
    }
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_not_read_on() {
    const COUNT: usize = 3000;
    let presignd = start("").await;
    let endpoint = Channel::from_shared(format!("http://{}", presignd.address)).unwrap();
    let endpoint = endpoint.initial_stream_window_size(64 << 10);
    let client = PresignServiceClient::new(endpoint.connect().await.unwrap());
    let Stream {
        asking,
        mut answers,
    } = Stream::open(&client).await;
    let ask = tokio::spawn(async move {
        for n in 0..COUNT {
            let request = asked(&n.to_string(), get("k"));
            asking.send(request).await.expect("the stream is open");
        }
    });
    let mut decided = 0;
    let stands = async {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = presignd.records.all().len();
            if now > 0 && now == decided {
                return;
            }
            decided = now;
        }
    };
    let stands = tokio::time::timeout(process::PATIENCE, stands).await;
    stands.expect("it stops");
    // What is untaken, and what is on its way in windows and buffers.
    assert!((64..800).contains(&decided), "{decided}");
    // Others are served.
    presignd.presign(get("k")).await.unwrap();
    let mut taken = 0;
    while answers.message().await.unwrap().is_some() {
        taken += 1;
    }
    assert_eq!(taken, COUNT);
    ask.await.unwrap();
}

#[tokio::test]
async fn what_was_read_is_recorded_though_the_client_hangs_up() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_server("request_timeout: 5m")
        .start()
        .await;
    let stream = Stream::open(&presignd.client).await;
    for id in ["1", "2", "3"] {
        stream.ask(id, get(id)).await;
    }
    sts.called(1).await;
    // Until the others are read too.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(presignd.records.all().is_empty());
    sts.answer(Answer::Session(Duration::from_hours(1)));
    let records = presignd.records.wait_for(3).await;
    for record in records {
        assert_eq!(record["outcome"], "issued", "{record:#}");
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_panic_is_one_requests_own_refusal() {
    let presignd = start("").await;
    let mut stream = Stream::open(&presignd.client).await;
    presignd.records.panic("as the test asks");
    stream.ask("1", get("k")).await;
    let (_, ItemResult::Error(status)) = stream.next().await.unwrap() else {
        panic!("it is refused");
    };
    let refused = Refused::read_item(&status);
    assert_eq!(refused.why(), (Code::Internal, "INTERNAL"));
    assert_eq!(
        presignd.records.of(&refused.issuance_id)["outcome"],
        "failed"
    );
    stream.ask("2", get("k")).await;
    stream.issued("2").await;
}

#[tokio::test]
async fn requests_have_places_and_streams_have_none() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let presignd = Presignd::with_sts_tenant(&sts, "globex", "", GRANTS)
        .with_tenant("acme", &static_tenant(GRANTS))
        .with_server("max_requests_in_flight: 2")
        .start()
        .await;
    let mut stream = Stream::open(&presignd.client).await;
    let _idle = [
        Stream::open(&presignd.client).await,
        Stream::open(&presignd.client).await,
    ];
    presignd.presign(get("k")).await.unwrap();
    let slow = || request("globex", get_object("acme-files", "k"));
    stream.ask("1", slow()).await;
    stream.ask("2", slow()).await;
    stream.ask("3", get("k")).await;
    let (id, ItemResult::Error(status)) = stream.next().await.unwrap() else {
        panic!("it is refused");
    };
    assert_eq!((&*id, status.code), ("3", Code::Unavailable as i32));
    let alone = Status::with_details(
        Code::Unavailable,
        &*status.message,
        status.encode_to_vec().into(),
    );
    assert_eq!(crate::harness::presignd::reason(&alone), "OVERLOADED");
    let unary = presignd.presign(get("k")).await.unwrap_err();
    assert_eq!(crate::harness::presignd::reason(&unary), "OVERLOADED");
    // It had no record.
    assert_eq!(presignd.records.all().len(), 1);
    sts.answer(Answer::Session(Duration::from_hours(1)));
    for _ in 0..2 {
        let (_, result) = stream.next().await.unwrap();
        assert!(matches!(result, ItemResult::Response(_)), "{result:?}");
    }
    stream.ask("4", get("k")).await;
    stream.issued("4").await;
}

#[tokio::test]
async fn grpcurl_streams() {
    let config = process::static_tenant("[GetObject]", "");
    let presignd = with_config("serve", &config).start();
    let address = presignd.address().await;
    let ask = |id, bucket| {
        format!(
            r#"{{"requestId":"{id}","request":{{"tenant":"acme","command":{{"getObject":{{"bucket":"{bucket}","key":"k"}}}}}}}}"#
        )
    };
    let asked = ask("a", "acme-files") + &ask("b", "other-files");
    let output = tools::grpcurl(["-d", &asked, &address, METHOD]).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let answers = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
    let mut answers: Vec<_> = answers.map(Result::unwrap).collect();
    answers.sort_by_key(|answer| answer["requestId"].to_string());
    let [a, b] = &answers[..] else {
        panic!("{answers:#?}");
    };
    let url = a["response"]["url"].as_str().unwrap();
    assert!(url.contains("/acme-files/k?"), "{url}");
    assert_eq!(b["error"]["code"], 7, "{b:#}");
    let ended = presignd.terminated().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 2, "{}", ended.stdout);
}
