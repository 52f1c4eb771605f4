//! An issuer of tokens: keys that really sign, and an HTTP server that serves their public halves as a test says.
//!
//! The server is a fake, because a real identity provider cannot be made to hang, vanish, rotate its keys or talk rubbish at the moment when
//! a test needs it, nor be asked how often it was called. The signatures are real.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ::http::{Request, Response};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use presignd::clock::Clock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// A key of an issuer.
pub(crate) struct SigningKey {
    pub(crate) id: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl SigningKey {
    /// For RS256.
    pub(crate) fn rsa(id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        Self::new(id, Pair::Rsa(pair))
    }

    /// For ES256.
    pub(crate) fn ec(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self::new(id, Pair::Ec(pair))
    }

    /// For `EdDSA`.
    pub(crate) fn ed(id: &str) -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        Self::new(id, Pair::Ed(pair))
    }

    fn new(id: &str, pair: Pair) -> Self {
        Self {
            id: id.to_owned(),
            pair,
        }
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
        }
    }

    /// The public half, as it stands in a set.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let n = public.modulus().big_endian_without_leading_zero().to_vec();
                let e = public.exponent().big_endian_without_leading_zero().to_vec();
                json!({"kty": "RSA", "n": base64(n), "e": base64(e)})
            }
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": base64(&point[1..33]), "y": base64(&point[33..])})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key())})
            }
        };
        jwk["kid"] = self.id.clone().into();
        jwk
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Pair::Ec(pair) => pair
                .sign(&random, message)
                .expect("a signature")
                .as_ref()
                .to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(
            &json!({"alg": self.algorithm(), "kid": self.id, "typ": "JWT"}),
            claims,
        )
    }

    /// A token with this header and these claims, signed with the key whatever they say.
    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let message = format!(
            "{}.{}",
            base64(header.to_string()),
            base64(claims.to_string())
        );
        let signature = base64(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// A set of keys, as issuers publish it.
pub(crate) fn key_set(keys: &[&SigningKey]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// Seconds since 1970.
pub(crate) fn now(clock: &dyn Clock) -> u64 {
    let since = clock.now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// The server.
pub(crate) struct FakeIssuer {
    address: SocketAddr,
    state: Arc<State>,
    serving: Mutex<Option<AbortHandle>>,
}

struct State {
    address: SocketAddr,
    answer: watch::Sender<Answer>,
    calls: watch::Sender<Vec<(String, String)>>,
}

/// What is answered where the keys are.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// This status and body.
    Text(u16, String),
    /// Nothing, until there is another answer.
    Nothing,
}

impl FakeIssuer {
    /// Publishes these keys.
    pub(crate) async fn start(keys: &[&SigningKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let issuer = Self {
            address,
            state: Arc::new(State {
                address,
                answer: watch::Sender::new(Answer::Text(200, key_set(keys))),
                calls: watch::Sender::default(),
            }),
            serving: Mutex::default(),
        };
        issuer.serve(listener, None);
        issuer
    }

    /// Publishes these keys over TLS, with a certificate of a CA that is given as PEM.
    pub(crate) async fn start_tls(keys: &[&SigningKey]) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = Self::start(keys).await;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().expect("a key");
        let ca = CertifiedIssuer::self_signed(params, ca_key).expect("a CA");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("names");
        let certificate = params.signed_by(&key, &ca).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .expect("a certificate and its key");
        issuer.vanish();
        let issuer = Self {
            address: listener.local_addr().expect("an address"),
            state: Arc::clone(&issuer.state),
            serving: Mutex::default(),
        };
        issuer.serve(listener, Some(TlsAcceptor::from(Arc::new(config))));
        (issuer, ca.pem())
    }

    /// Its name, which is its URL.
    pub(crate) fn name(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its keys are.
    pub(crate) fn keys_url(&self) -> String {
        format!("{}/keys", self.name())
    }

    /// Claims of a good token for `presignd`, that lasts five minutes from now.
    pub(crate) fn claims(&self, clock: &dyn Clock, subject: &str) -> Value {
        json!({"iss": self.name(), "aud": "presignd", "sub": subject, "exp": now(clock) + 300})
    }

    /// Answers so from now on, also to calls that wait.
    pub(crate) fn answer(&self, answer: Answer) {
        self.state.answer.send_replace(answer);
    }

    /// Publishes these keys from now on.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        self.answer(Answer::Text(200, key_set(keys)));
    }

    /// Paths that were asked for, each with the header `authorization`.
    pub(crate) fn calls(&self) -> Vec<(String, String)> {
        self.state.calls.borrow().clone()
    }

    /// Waits for so many calls.
    pub(crate) async fn called(&self, times: usize) {
        let mut calls = self.state.calls.subscribe();
        let enough = calls.wait_for(|calls| calls.len() >= times);
        tokio::time::timeout(Duration::from_secs(30), enough)
            .await
            .unwrap_or_else(|_| panic!("{} calls instead of {times}", self.calls().len()))
            .expect("the fake lives");
    }

    /// Closes the port and every connection.
    pub(crate) fn vanish(&self) {
        if let Some(serving) = self.serving.lock().expect("no panic").take() {
            serving.abort();
        }
    }

    fn serve(&self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let state = Arc::clone(&self.state);
        let serving = tokio::spawn(async move {
            // Connections end with the set, and the set with this task.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                let service = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(state.reply(&request).await) }
                });
                let tls = tls.clone();
                connections.spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    // A client that does not trust the certificate goes away.
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => {
                                http.serve_connection(TokioIo::new(stream), service).await
                            }
                            Err(_) => Ok(()),
                        },
                    };
                });
            }
        });
        *self.serving.lock().expect("no panic") = Some(serving.abort_handle());
    }
}

impl Drop for FakeIssuer {
    fn drop(&mut self) {
        self.vanish();
    }
}

impl State {
    async fn reply(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let authorization = request.headers().get("authorization");
        let authorization = authorization.map_or("", |value| value.to_str().expect("text"));
        let call = (path.clone(), authorization.to_owned());
        self.calls.send_modify(|calls| calls.push(call));
        let (status, body) = match &*path {
            "/keys" => {
                let mut answers = self.answer.subscribe();
                let answer = answers
                    .wait_for(|answer| !matches!(answer, Answer::Nothing))
                    .await
                    .expect("the fake lives")
                    .clone();
                match answer {
                    Answer::Text(status, text) => (status, text),
                    Answer::Nothing => unreachable!("waited for another"),
                }
            }
            "/.well-known/openid-configuration" | "/liar/.well-known/openid-configuration" => {
                (200, self.configuration(""))
            }
            "/insecure/.well-known/openid-configuration" => {
                let text = self.configuration("/insecure");
                (
                    200,
                    text.replace("http://127.0.0.1", "http://192.0.2.1")
                        .replacen("192.0.2.1", "127.0.0.1", 1),
                )
            }
            _ => (404, String::new()),
        };
        Response::builder()
            .status(status)
            .header("location", "/elsewhere")
            .body(Full::from(body))
            .expect("a response")
    }

    fn configuration(&self, path: &str) -> String {
        let name = format!("http://{}", self.address);
        // The issuer first: serde_json keeps the order of the alphabet.
        json!({"issuer": format!("{name}{path}"), "jwks_uri": format!("{name}/keys")}).to_string()
    }
}
