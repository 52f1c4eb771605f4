//! Listening, health, reflection, and going away without dropping anybody.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;

use super::{PresignApi, SERVICE};
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::v1::presign_service_server::PresignServiceServer;

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether clients may ask for the services' descriptions.
    pub reflection: bool,
    /// The largest request message, in bytes.
    pub max_request_bytes: usize,
    /// How long requests under way may take to end, once the server is told to stop.
    pub grace: Duration,
}

/// A server that could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}: is another presignd running there? server.listen names another address"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The descriptors for reflection do not fit together.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Serving failed.
    #[error("serving failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct PresignServer {
    listener: TcpListener,
    address: SocketAddr,
    options: ServerOptions,
}

impl PresignServer {
    /// Listens.
    ///
    /// # Errors
    /// If the address is taken or not this machine's.
    pub async fn bind(options: ServerOptions) -> Result<Self, ServerError> {
        let address = options.listen;
        let failed = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            options,
        })
    }

    /// Where it listens: with the real port, if 0 was asked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` ends; then tells clients to go elsewhere, and waits for the requests under way, at most the grace
    /// period.
    ///
    /// # Errors
    /// If the server could not start or broke down.
    pub async fn serve(
        self,
        api: PresignApi,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServerError> {
        let (health, health_service) = tonic_health::server::health_reporter();
        set_serving(&health, true).await;

        let presign = PresignServiceServer::new(api.clone())
            .max_decoding_message_size(self.options.max_request_bytes)
            .max_encoding_message_size(usize::MAX);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // Left to itself, each version would list itself and not the other.
                .include_reflection_service(false)
                .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(
                    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
                )
        };
        let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut services = Server::builder()
            .add_service(presign)
            .add_service(health_service);
        if self.options.reflection {
            services = services
                .add_service(reflection().build_v1()?)
                .add_service(reflection().build_v1alpha()?);
        }
        let serving = services.serve_with_incoming_shutdown(
            TcpIncoming::from(self.listener).with_nodelay(Some(true)),
            async {
                // A sender that is gone means the same.
                let _ = stopped.await;
            },
        );
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => ended?,
            () = stop => {
                tracing::info!(grace = ?self.options.grace, "stopping: no new connections, requests under way go on");
                set_serving(&health, false).await;
                let _ = stopping.send(());
                let drained = async {
                    let answered = async {
                        api.drained().await;
                        end_watches(health).await;
                    };
                    let (served, ()) = join(serving, answered).await;
                    // Those that came in meanwhile, and whose callers are gone.
                    api.drained().await;
                    served
                };
                if let Ok(served) = tokio::time::timeout(self.options.grace, drained).await {
                    served?;
                } else {
                    tracing::warn!("the grace period is over: connections that are still open are cut");
                }
            }
        }
        Ok(())
    }
}

/// Ends the streams of whoever watches the health: they were told, and would hold their connections for as long as they like.
async fn end_watches(mut health: HealthReporter) {
    for service in ["", SERVICE] {
        health.clear_service_status(service).await;
    }
}

async fn set_serving(health: &HealthReporter, serving: bool) {
    let status = if serving {
        tonic_health::ServingStatus::Serving
    } else {
        tonic_health::ServingStatus::NotServing
    };
    // The empty name stands for the whole server.
    for service in ["", SERVICE] {
        health.set_service_status(service, status).await;
    }
}
