//! What is served: PresignService, OperationsService, health and reflection.

use http::Request;
use hyper::body::Incoming;
use tonic::server::NamedService as _;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::Service as _;

use super::{Peer, ServerError};
use crate::grpc::PresignApi;
use crate::grpc::door::{Answering, Door};
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::v1::operations_service_server::OperationsServiceServer;
use crate::proto::v1::presign_service_server::PresignServiceServer;

/// All services. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Services {
    presign: Door,
    others: Routes,
}

impl Services {
    pub(super) fn new(
        presign: Door,
        health: HealthServer<impl Health>,
        reflected: bool,
    ) -> Result<Self, ServerError> {
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
        let mut others = Routes::new(health);
        if reflected {
            others = others
                .add_service(reflection().build_v1()?)
                .add_service(reflection().build_v1alpha()?);
        }
        let others = others.prepare();
        Ok(Self { presign, others })
    }

    /// Answers one request of whoever is at the other end.
    pub(super) fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Answering {
        let path = request.uri().path();
        if is_of(PresignServiceServer::<PresignApi>::NAME, path)
            || is_of(OperationsServiceServer::<PresignApi>::NAME, path)
        {
            self.presign.answer(request, peer)
        } else {
            // Always ready: there is no queue.
            Box::pin(self.others.clone().call(request))
        }
    }
}

/// Whether a path is one of this service's methods: `/presignd.v1.PresignService/Presign`.
fn is_of(service: &str, path: &str) -> bool {
    let method = path.strip_prefix('/');
    let method = method.and_then(|path| path.strip_prefix(service));
    method.is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_belongs_to_its_service_alone() {
        for (path, own) in [
            ("/a.B/C", true),
            ("/a.B/", true),
            ("/a.B", false),
            ("/a.BB/C", false),
            ("a.B/C", false),
            ("//a.B/C", false),
            ("", false),
        ] {
            assert_eq!(is_of("a.B", path), own, "{path}");
        }
    }
}
