//! The real STS client, whose connection answers what a target says.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use presignd::clock::SharedClock;
use presignd::scope::identity::{Identity, OwnIdentity};
use presignd::scope::sts::Sts;
use presignd::scope::{
    AssumeRole as _, AssumeRoleCall, Assumed, NarrowedTo, ScopeError, StsEndpoint,
};

use crate::house::{Still, skews};
use crate::{MARKER, block_on};

/// So much of a web identity token in an error gives it away.
pub const TOKEN_PIECE: usize = 12;

/// What STS answers to every attempt.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// A header besides.
    pub header: Option<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// presignd's STS, and the connection under it.
#[derive(Debug)]
pub struct StsUnderTest {
    sts: Sts,
    connection: Connection,
}

#[derive(Debug, Clone, Default)]
struct Connection {
    answer: Arc<Mutex<Answer>>,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl StsUnderTest {
    /// Runs the target with the client of this thread.
    pub fn with<T>(use_it: impl FnOnce(&Self) -> T) -> T {
        thread_local! {
            static STS: StsUnderTest = StsUnderTest::new();
        }
        STS.with(use_it)
    }

    fn new() -> Self {
        let connection = Connection::default();
        let credentials = Credentials::new("AKID", MARKER, None, None, "fuzz");
        let base = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(connection.clone())
            .build();
        Self {
            sts: Sts::new(base, skews(&(Arc::new(Still) as SharedClock))),
            connection,
        }
    }

    /// One call, answered so; with the token of this file if there is one. And the bodies that STS got.
    pub fn assume(
        &self,
        answer: Answer,
        token_file: Option<PathBuf>,
    ) -> (Result<Assumed, ScopeError>, Vec<Vec<u8>>) {
        *self.connection.answer.lock().expect("no panic") = answer;
        self.connection.bodies.lock().expect("no panic").clear();
        let identity = token_file.map_or_else(
            || Identity::Own(OwnIdentity::default()),
            |token_file| Identity::Web { token_file },
        );
        let call = AssumeRoleCall {
            endpoint: StsEndpoint {
                region: "eu-west-1".to_owned(),
                url: Some("http://127.0.0.1:9".to_owned()),
            },
            role_arn: "arn:aws:iam::111122223333:role/r".to_owned(),
            identity,
            session_name: "presignd-acme.anyone".to_owned(),
            duration: 7200,
            narrowed_to: NarrowedTo::Managed(Arc::new([
                "arn:aws:iam::aws:policy/ReadOnlyAccess".to_owned()
            ])),
        };
        let result = block_on(self.sts.assume_role(&call));
        (
            result,
            std::mem::take(&mut self.connection.bodies.lock().expect("no panic")),
        )
    }
}

impl HttpClient for Connection {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().unwrap_or_default().to_vec();
        self.bodies.lock().expect("no panic").push(body);
        let answer = self.answer.lock().expect("no panic").clone();
        let status = StatusCode::try_from(answer.status).expect("a status");
        let mut response = HttpResponse::new(status, SdkBody::from(answer.body));
        if let Some((name, value)) = answer.header {
            // What is no header never came over a connection.
            if http::HeaderName::try_from(&name).is_ok()
                && http::HeaderValue::try_from(&value).is_ok()
            {
                let _ = response.headers_mut().try_append(name, value);
            }
        }
        HttpConnectorFuture::ready(Ok(response))
    }
}
