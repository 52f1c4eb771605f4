//! The floor: the same service over tonic's defaults, with a reply that is ready.

use std::net::{Ipv4Addr, SocketAddr};

use presignd::proto::v1::presign_service_server::{PresignService, PresignServiceServer};
use presignd::proto::v1::{
    BatchPresignRequest, BatchPresignResponse, PresignPostRequest, PresignPostResponse,
    PresignRequest, PresignResponse,
};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Makes this process the empty service.
pub(crate) const ARGUMENT: &str = "--serve-empty";
/// As long as the URL that presignd answers with.
const URL_CHARACTERS: usize = 1_420;

struct Empty {
    reply: PresignResponse,
}

#[tonic::async_trait]
impl PresignService for Empty {
    async fn presign(
        &self,
        _: Request<PresignRequest>,
    ) -> Result<Response<PresignResponse>, Status> {
        Ok(Response::new(self.reply.clone()))
    }

    async fn batch_presign(
        &self,
        _: Request<BatchPresignRequest>,
    ) -> Result<Response<BatchPresignResponse>, Status> {
        Err(Status::unimplemented("the empty service has no batches"))
    }

    async fn presign_post(
        &self,
        _: Request<PresignPostRequest>,
    ) -> Result<Response<PresignPostResponse>, Status> {
        Err(Status::unimplemented("the empty service has no forms"))
    }
}

/// Serves until it is killed, and says where on standard output.
pub(crate) fn serve() {
    let reply = PresignResponse {
        url: "x".repeat(URL_CHARACTERS),
        method: "GET".to_owned(),
        ..PresignResponse::default()
    };
    tokio::runtime::Runtime::new()
        .expect("a runtime starts")
        .block_on(async {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let incoming = TcpIncoming::bind(address)
                .expect("a port is free")
                .with_nodelay(Some(true));
            println!("{}", incoming.local_addr().expect("the port is known"));
            Server::builder()
                .add_service(PresignServiceServer::new(Empty { reply }))
                .serve_with_incoming(incoming)
                .await
                .expect("the empty service serves");
        });
}
