//! What a verified session may do: its tenant's bucket, narrowed by its session policy.
//!
//! Nothing passes without a session whose access key signed, nor what AWS itself would refuse.

use std::sync::Arc;

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{Credentials, S3Auth, SecretKey};
use s3s::dto::{
    AbortMultipartUploadInput, CompleteMultipartUploadInput, CopyObjectInput, CopySource,
    CreateMultipartUploadInput, DeleteObjectsInput, PostObjectInput, UploadPartCopyInput,
    UploadPartInput,
};
use s3s::{S3Request, S3Result, s3_error};
use secrecy::ExposeSecret;

use super::policy::Access;
use super::presented::{Presented, Signature};
use super::refusals::{check_scope, check_signed_headers, check_validity, listable, storable};
use super::sessions::{Principal, Session, Sessions};
use super::{SandboxClock, SandboxTenant, actions};

/// Who a request claims to be, and all else that it presents; travels in the request's extensions.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) principal: Option<Principal>,
    pub(super) presented: Arc<Presented>,
}

impl Claim {
    /// The claim, proven: the S3 server verified a signature made with the very access key of the principal.
    pub(super) fn proven(
        &self,
        verified: Option<&Credentials>,
    ) -> Option<(&Principal, &Signature)> {
        let (principal, signature) = (self.principal.as_ref()?, self.presented.signature.as_ref()?);
        (verified?.access_key == signature.access_key_id).then_some((principal, signature))
    }
}

/// Gives the S3 server the secrets to verify signatures with.
pub(super) struct Secrets(pub(super) Arc<Sessions>);

#[async_trait::async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.secret(access_key) {
            Some(secret) => Ok(SecretKey::from(secret.expose_secret())),
            None => Err(s3_error!(
                InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records."
            )),
        }
    }
}

/// Guards one tenant's bucket.
pub(super) struct TenantAccess {
    pub(super) tenant: Arc<SandboxTenant>,
    pub(super) index: usize,
    pub(super) clock: SandboxClock,
}

impl TenantAccess {
    /// The session behind a verified request for this tenant.
    fn session(&self, cx: &mut S3AccessContext<'_>) -> S3Result<(Arc<Session>, Signature)> {
        let claim = cx.extensions_mut().get::<Claim>().cloned();
        let Some((principal, signature)) = claim
            .as_ref()
            .and_then(|claim| claim.proven(cx.credentials()))
        else {
            return Err(s3_error!(
                AccessDenied,
                "Access Denied: anonymous requests are not allowed here"
            ));
        };
        match principal {
            Principal::Session(session) if session.tenant == self.index => {
                Ok((Arc::clone(session), signature.clone()))
            }
            Principal::Session(_) => Err(s3_error!(AccessDenied, "Access Denied")),
            Principal::Presignd => Err(s3_error!(
                AccessDenied,
                "Access Denied: presignd's own identity may only assume the tenants' roles"
            )),
        }
    }

    fn check_key(
        &self,
        session: &Session,
        action: &str,
        bucket: &str,
        key: &str,
        context: Context<'_>,
    ) -> S3Result<()> {
        storable(key)?;
        self.check_resource(session, action, bucket, Some(key), context)
    }

    /// The role's own rights, then the session policy's.
    fn check_resource(
        &self,
        session: &Session,
        action: &str,
        bucket: &str,
        key: Option<&str>,
        context: Context<'_>,
    ) -> S3Result<()> {
        let resource = match key {
            Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
            None => format!("arn:aws:s3:::{bucket}"),
        };
        let access = Access {
            action,
            resource: &resource,
            context,
        };
        let role_allows = bucket == self.tenant.bucket
            && !matches!(action, "s3:CreateBucket" | "s3:DeleteBucket");
        let denied_by = if !role_allows {
            "identity-based"
        } else if session
            .policy
            .as_ref()
            .is_some_and(|policy| !policy.allows(access))
        {
            "session"
        } else {
            return Ok(());
        };
        Err(s3_error!(
            AccessDenied,
            "User: {} is not authorized to perform: {action} on resource: \"{resource}\" because no {denied_by} policy allows the {action} action",
            session.arn
        ))
    }

    fn check_copy_source<T>(&self, req: &S3Request<T>, source: &CopySource) -> S3Result<()> {
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = source
        else {
            return Err(s3_error!(
                NotImplemented,
                "The sandbox copies from buckets only"
            ));
        };
        let action = actions::get_object(version_id.is_some());
        self.check_key(session_of(req)?, action, bucket, key, &[])
    }

    /// Uploads in parts belong to the tenant, rather than to one of its sessions, which come and go.
    fn own_upload<T>(&self, req: &mut S3Request<T>) {
        if let Some(credentials) = &mut req.credentials {
            credentials.access_key.clone_from(&self.tenant.tenant);
        }
    }
}

type Context<'a> = &'a [(&'a str, &'a str)];

#[async_trait::async_trait]
impl S3Access for TenantAccess {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let (session, signature) = self.session(cx)?;
        check_scope(&signature, &self.tenant.region)?;
        check_signed_headers(&signature, cx.headers())?;
        check_validity(&signature, (self.clock)())?;

        let query = cx.uri().query().unwrap_or_default();
        let (prefix, delimiter) = (parameter(query, "prefix")?, parameter(query, "delimiter")?);
        let versioned = parameter(query, "versionId")?.is_some();
        listable(prefix.as_deref(), delimiter.as_deref())?;
        let prefix = prefix.as_deref().map(|value| ("s3:prefix", value));
        let context: Vec<_> = prefix
            .into_iter()
            .chain(delimiter.as_deref().map(|value| ("s3:delimiter", value)))
            .collect();

        let operation = cx.s3_op().name();
        let Some(bucket) = cx.s3_path().get_bucket_name() else {
            return Err(s3_error!(
                AccessDenied,
                "User: {} is not authorized to perform: s3:{operation}: its role reaches one bucket only",
                session.arn
            ));
        };
        let key = cx.s3_path().get_object_key();
        key.map_or(Ok(()), storable)?;
        if bucket != self.tenant.bucket {
            // Also for the operations whose actions are known only later.
            self.check_resource(&session, &format!("s3:{operation}"), bucket, key, &context)?;
        }
        for action in actions::on_target(operation, versioned, cx.headers()) {
            self.check_resource(&session, &action, bucket, key, &context)?;
        }
        cx.extensions_mut().insert(session);
        Ok(())
    }

    async fn copy_object(&self, req: &mut S3Request<CopyObjectInput>) -> S3Result<()> {
        self.check_copy_source(req, &req.input.copy_source)
    }

    async fn upload_part_copy(&self, req: &mut S3Request<UploadPartCopyInput>) -> S3Result<()> {
        self.check_copy_source(req, &req.input.copy_source)?;
        self.own_upload(req);
        Ok(())
    }

    async fn delete_objects(&self, req: &mut S3Request<DeleteObjectsInput>) -> S3Result<()> {
        let session = session_of(req)?;
        for object in &req.input.delete.objects {
            let action = actions::delete_object(object.version_id.is_some());
            self.check_key(session, action, &req.input.bucket, &object.key, &[])?;
        }
        Ok(())
    }

    async fn post_object(&self, req: &mut S3Request<PostObjectInput>) -> S3Result<()> {
        self.check_key(
            session_of(req)?,
            "s3:PutObject",
            &req.input.bucket,
            &req.input.key,
            &[],
        )
    }

    async fn create_multipart_upload(
        &self,
        req: &mut S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<()> {
        self.own_upload(req);
        Ok(())
    }

    async fn upload_part(&self, req: &mut S3Request<UploadPartInput>) -> S3Result<()> {
        self.own_upload(req);
        Ok(())
    }

    async fn complete_multipart_upload(
        &self,
        req: &mut S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<()> {
        self.own_upload(req);
        Ok(())
    }

    async fn abort_multipart_upload(
        &self,
        req: &mut S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<()> {
        self.own_upload(req);
        Ok(())
    }
}

/// The session that [`TenantAccess::check`] let in.
fn session_of<T>(req: &S3Request<T>) -> S3Result<&Session> {
    req.extensions
        .get::<Arc<Session>>()
        .map(AsRef::as_ref)
        .ok_or_else(|| s3_error!(AccessDenied, "Access Denied"))
}

/// The value of a query parameter; given twice, the S3 server might go by another one than this.
fn parameter(query: &str, name: &str) -> S3Result<Option<String>> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    match values.next() {
        Some(_) => Err(s3_error!(
            InvalidArgument,
            "The query gives '{name}' more than once"
        )),
        None => Ok(value),
    }
}
