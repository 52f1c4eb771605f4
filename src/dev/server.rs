//! The sandbox's HTTP server: reads what a request presents, then hands it to the S3 server of the tenant it claims.
//!
//! Every tenant has an S3 server and a folder of its own, so that no path, copy or upload id leads from one tenant's
//! files to another's; the claim only chooses the server, which then verifies it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use s3s::service::S3Service;
use s3s::{Body, HttpError, S3Error, s3_error};

use super::SandboxClock;
use super::access::Claim;
use super::assume_role::{is_sts, restate_error};
use super::connections::Answers;
use super::cors::{Asked, CorsRule};
use super::presented::{Presented, form_fields};
use super::sessions::{Principal, Sessions};

/// The largest POST form, in bytes, its file included: forms are held in memory.
pub(super) const MAX_FORM: usize = 64 << 20;

/// Answers requests for S3 and STS.
pub(super) struct Front {
    /// By tenant index.
    pub(super) services: Vec<S3Service>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) clock: SandboxClock,
    /// The CORS rules of every bucket.
    pub(super) cors: ArcSwap<Vec<CorsRule>>,
}

impl Answers for Front {
    type Body = Body;
    type Error = HttpError;

    /// Answers browsers by the CORS rules too: a preflight is theirs alone, and S3's errors are for scripts to read as well.
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
        let Some(asked) = Asked::read(request.method(), request.headers()) else {
            return self.answer_any(request).await;
        };
        let allowed = asked.answer(&self.cors.load());
        let mut response = match (asked.is_preflight(), &allowed) {
            (false, _) => self.answer_any(request).await?,
            (true, Some(_)) => Response::new(Body::empty()),
            (true, None) => refused(s3_error!(
                AccessDenied,
                "CORSResponse: no CORS rule of the bucket allows this origin, method and these headers"
            ))?,
        };
        response.headers_mut().extend(allowed.unwrap_or_default());
        Ok(response)
    }
}

impl Front {
    async fn answer_any(&self, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
        let sts = is_sts(request.method(), request.uri());
        let response = match self.claim(request.map(Body::from)).await {
            Ok((service, request)) => service.call(request).await?,
            Err(error) => refused(error)?,
        };
        let failed = sts && !response.status().is_success();
        let text = response.body().bytes().filter(|_| failed);
        let text = text
            .and_then(|bytes| restate_error(&String::from_utf8_lossy(&bytes), response.status()));
        let Some(text) = text else {
            return Ok(response);
        };
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        parts
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
        Ok(Response::from_parts(parts, Body::from(text)))
    }

    async fn claim(
        &self,
        mut request: Request<Body>,
    ) -> Result<(&S3Service, Request<Body>), S3Error> {
        let form = form_of(&mut request).await?;
        let presented = Presented::read(request.uri(), request.headers(), form.as_deref());
        let principal = self.sessions.claim(&presented, (self.clock)())?;
        let tenant = match &principal {
            Some(Principal::Session(session)) => session.tenant,
            // Any tenant's server refuses them, or leads to STS.
            Some(Principal::Presignd) | None => 0,
        };
        let service = self
            .services
            .get(tenant)
            .ok_or_else(|| s3_error!(InternalError))?;
        request.extensions_mut().insert(Claim {
            principal,
            presented: Arc::new(presented),
        });
        Ok((service, request))
    }
}

fn refused(error: S3Error) -> Result<Response<Body>, HttpError> {
    let response = error.to_http_response();
    response.map_err(|error| HttpError::new(Box::new(error)))
}

/// Reads a POST form's fields, leaving the body as it was.
async fn form_of(request: &mut Request<Body>) -> Result<Option<Vec<(String, String)>>, S3Error> {
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let is_form = |value: &&str| {
        value
            .to_ascii_lowercase()
            .trim_start()
            .starts_with("multipart/form-data")
    };
    let Some(content_type) = content_type
        .filter(is_form)
        .filter(|_| request.method() == Method::POST)
    else {
        return Ok(None);
    };
    let content_type = content_type.to_owned();
    let body = request.body_mut().store_all_limited(MAX_FORM).await;
    let body = body.map_err(|_| {
        s3_error!(
            EntityTooLarge,
            "The sandbox takes POST forms of at most {MAX_FORM} bytes"
        )
    })?;
    let fields = form_fields(&content_type, &body);
    fields.map(Some).ok_or_else(|| {
        s3_error!(
            MalformedPOSTRequest,
            "The body is not a well-formed POST form"
        )
    })
}
