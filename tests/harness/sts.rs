//! An STS that does as a test says.
//!
//! A fake, because a real STS cannot be made to refuse, throttle, hang, vanish or talk rubbish at the moment when a test
//! needs it, nor be asked how often it was called. What AWS and Ceph really answer is held elsewhere: the tests on Ceph assume
//! real roles. Sessions end by the clock of the presignd that the test moves.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ::http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use presignd::clock::Clock as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::presignd::TestClock;

/// Words of this STS that no client of presignd may ever see.
pub(crate) const WORDS: &str = "words-of-the-sts";

/// How much room every session takes of what there is for its policy, and for its token: in percent.
pub(crate) const PACKED: u32 = 37;
pub(crate) const UTILIZATION: u32 = 21;

/// The fake.
pub(crate) struct FakeSts {
    address: SocketAddr,
    state: Arc<State>,
    serving: Mutex<Option<AbortHandle>>,
}

struct State {
    clock: Arc<TestClock>,
    /// By how many seconds its answers' `Date` is ahead of the clock.
    date_ahead: AtomicI64,
    /// How often somebody asked for nothing but the time.
    asked_the_time: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    answer: watch::Sender<Answer>,
    calls: watch::Sender<Vec<Call>>,
    sessions: Mutex<Vec<Session>>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A new session that lasts so long.
    Session(Duration),
    /// The same, after a while.
    Slowly(Duration),
    /// Nothing, until there is another answer.
    Nothing,
    /// This status and body.
    Text(u16, String),
    /// What this makes of the parameters.
    By(fn(&BTreeMap<String, String>) -> Answer),
}

/// A call of presignd.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The parameters, decoded.
    pub(crate) form: BTreeMap<String, String>,
    /// The header `authorization`.
    pub(crate) authorization: String,
}

/// A session that was given.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) token: String,
    pub(crate) expires_at: SystemTime,
}

impl Answer {
    /// The role does not trust presignd, in AWS's form.
    pub(crate) fn denied() -> Self {
        Self::error(403, "AccessDenied")
    }

    /// The same in S3's form, in which some stores answer.
    pub(crate) fn denied_by_a_store() -> Self {
        let body = format!(
            "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>{WORDS}</Message></Error>"
        );
        Self::Text(403, body)
    }

    /// Too many calls, as AWS says it.
    pub(crate) fn throttled() -> Self {
        Self::error(400, "Throttling")
    }

    /// Too much to do.
    pub(crate) fn overloaded() -> Self {
        Self::error(503, "ServiceUnavailable")
    }

    /// Presignd's own credentials are a session of a role, and an hour is what there is, as AWS says it.
    pub(crate) fn chained() -> Self {
        let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
        Self::error_saying(400, "ValidationError", message)
    }

    /// A session with these fields: empty ones included.
    pub(crate) fn session(id: &str, secret: &str, token: &str, expiration: &str) -> Self {
        Self::Text(200, answer_xml("AssumeRole", id, secret, token, expiration))
    }

    fn error(status: u16, code: &str) -> Self {
        Self::error_saying(status, code, WORDS)
    }

    /// An error in AWS's form.
    pub(crate) fn error_saying(status: u16, code: &str, message: &str) -> Self {
        let body = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        );
        Self::Text(status, body)
    }
}

impl FakeSts {
    /// Gives sessions of an hour.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let sts = Self {
            address: listener.local_addr().expect("an address"),
            state: Arc::new(State {
                clock: Arc::default(),
                date_ahead: AtomicI64::new(0),
                asked_the_time: AtomicUsize::new(0),
                under_way: AtomicUsize::new(0),
                most_under_way: AtomicUsize::new(0),
                answer: watch::Sender::new(Answer::Session(Duration::from_hours(1))),
                calls: watch::Sender::default(),
                sessions: Mutex::default(),
            }),
            serving: Mutex::default(),
        };
        sts.serve(listener);
        sts
    }

    /// A tenant whose sessions come from here, and whose store is never called. `role` is more of `assume_role`, such as
    /// `duration: 15m`; `rest` is the rest of the tenant.
    pub(crate) fn tenant(&self, id: &str, role: &str, rest: &str) -> String {
        let url = self.url();
        let separator = if role.is_empty() { "" } else { ", " };
        format!(
            "region: eu-west-1
endpoint: {{ url: \"http://s3.test:9000\", path_style: true }}
credentials:
  assume_role: {{ role_arn: \"arn:aws:iam::111122223333:role/presignd-{id}\", sts_endpoint: \"{url}\"{separator}{role} }}
{rest}"
        )
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The clock by which sessions end.
    pub(crate) fn clock(&self) -> Arc<TestClock> {
        Arc::clone(&self.state.clock)
    }

    /// Its answers' `Date` is so many seconds ahead of the clock from now on.
    pub(crate) fn date_ahead(&self, seconds: i64) {
        self.state.date_ahead.store(seconds, Ordering::Relaxed);
    }

    /// How often somebody asked for nothing but the time.
    pub(crate) fn asked_the_time(&self) -> usize {
        self.state.asked_the_time.load(Ordering::Relaxed)
    }

    /// How many calls were under way at once, at the most.
    pub(crate) fn most_under_way(&self) -> usize {
        self.state.most_under_way.load(Ordering::Relaxed)
    }

    /// Answers so from now on, also to calls that wait.
    pub(crate) fn answer(&self, answer: Answer) {
        self.state.answer.send_replace(answer);
    }

    /// The calls so far, attempts of one call counted apart.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.calls.borrow().clone()
    }

    /// Waits for so many calls.
    pub(crate) async fn called(&self, times: usize) {
        let mut calls = self.state.calls.subscribe();
        let enough = calls.wait_for(|calls| calls.len() >= times);
        tokio::time::timeout(Duration::from_secs(20), enough)
            .await
            .unwrap_or_else(|_| panic!("{} calls instead of {times}", self.calls().len()))
            .expect("the fake lives");
    }

    /// The sessions so far.
    pub(crate) fn sessions(&self) -> Vec<Session> {
        self.state.sessions.lock().expect("no panic").clone()
    }

    /// Closes the port and every connection.
    pub(crate) fn vanish(&self) {
        if let Some(serving) = self.serving.lock().expect("no panic").take() {
            serving.abort();
        }
    }

    /// Opens the port again.
    pub(crate) async fn reappear(&self) {
        let listener = TcpListener::bind(self.address)
            .await
            .expect("the port is still free");
        self.serve(listener);
    }

    fn serve(&self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        let serving = tokio::spawn(async move {
            // Connections end with the set, and the set with this task.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                let service = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(state.reply(request).await) }
                });
                connections.spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        *self.serving.lock().expect("no panic") = Some(serving.abort_handle());
    }
}

impl Drop for FakeSts {
    fn drop(&mut self) {
        self.vanish();
    }
}

impl State {
    async fn reply(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let authorization = request
            .headers()
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let body = request
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let form: BTreeMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
        if form["Action"] == "GetCallerIdentity" {
            self.asked_the_time.fetch_add(1, Ordering::Relaxed);
            assert_eq!(authorization, "", "nobody needs to be known for that");
            return self.dated(403, WORDS.to_owned());
        }
        self.calls.send_modify(|calls| {
            calls.push(Call {
                form: form.clone(),
                authorization,
            });
        });

        let _under_way = UnderWay::new(self);
        let (status, text) = self.answer(&form).await;
        self.dated(status, text)
    }

    async fn answer(&self, form: &BTreeMap<String, String>) -> (u16, String) {
        let mut answers = self.answer.subscribe();
        loop {
            let answer = answers.borrow_and_update().clone();
            let answer = match answer {
                Answer::By(judge) => judge(form),
                answer => answer,
            };
            match answer {
                Answer::Session(lifetime) => {
                    return (200, self.new_session(&form["Action"], lifetime));
                }
                Answer::Slowly(pause) => {
                    tokio::time::sleep(pause).await;
                    let hour = Duration::from_hours(1);
                    return (200, self.new_session(&form["Action"], hour));
                }
                Answer::Text(status, text) => return (status, text),
                Answer::Nothing => answers.changed().await.expect("the fake lives"),
                Answer::By(_) => unreachable!("a judge judges"),
            }
        }
    }

    fn dated(&self, status: u16, text: String) -> Response<Full<Bytes>> {
        let since = self.clock.now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.expect("after 1970").as_secs().cast_signed();
        let date = Timestamp::from_second(seconds + self.date_ahead.load(Ordering::Relaxed))
            .expect("a time")
            .strftime("%a, %d %b %Y %H:%M:%S GMT");
        Response::builder()
            .status(status)
            .header("content-type", "text/xml")
            .header("date", date.to_string())
            .body(Full::from(text))
            .expect("a response")
    }

    fn new_session(&self, action: &str, lifetime: Duration) -> String {
        let unique = || uuid::Uuid::now_v7().simple().to_string();
        let ends = (self.clock.now() + lifetime).duration_since(SystemTime::UNIX_EPOCH);
        // STS ends sessions at whole seconds.
        let ends = ends.expect("after 1970").as_secs();
        let session = Session {
            access_key_id: format!("ASIA{}", unique()),
            secret_access_key: format!("secret-of-the-session-{}", unique()),
            token: format!("token/of+the=session-{}", unique()),
            expires_at: SystemTime::UNIX_EPOCH + Duration::from_secs(ends),
        };
        let xml = answer_xml(
            action,
            &session.access_key_id,
            &session.secret_access_key,
            &session.token,
            &Timestamp::from_second(ends.cast_signed())
                .expect("a time")
                .to_string(),
        );
        self.sessions.lock().expect("no panic").push(session);
        xml
    }
}

/// Counts a call from its arrival to its answer, or until its caller hangs up.
struct UnderWay<'a>(&'a State);

impl<'a> UnderWay<'a> {
    fn new(state: &'a State) -> Self {
        let now = state.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        state.most_under_way.fetch_max(now, Ordering::Relaxed);
        Self(state)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer_xml(action: &str, id: &str, secret: &str, token: &str, expiration: &str) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>\
         <Expiration>{expiration}</Expiration></Credentials><PackedPolicySize>{PACKED}</PackedPolicySize>\
         <SessionTokenUtilization>{UTILIZATION}</SessionTokenUtilization></{action}Result></{action}Response>"
    )
}
