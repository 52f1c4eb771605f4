//! The floor: the same service on tonic's own server, with a reply that is ready.
//!
//! Once on tokio's default runtime, and once as presignd runs: a thread for each core, with a runtime of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdTcpStream};

use presignd::proto::v1::presign_service_server::{PresignService, PresignServiceServer};
use presignd::proto::v1::{
    BatchPresignRequest, BatchPresignResponse, ExplainPresignRequest, ExplainPresignResponse,
    PresignPartsRequest, PresignPartsResponse, PresignPostRequest, PresignPostResponse,
    PresignRequest, PresignResponse, StartMultipartUploadRequest, StartMultipartUploadResponse,
    StreamPresignRequest, StreamPresignResponse,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::codegen::BoxStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// Makes this process the empty service.
const ARGUMENT: &str = "--serve-empty";
/// As long as the URL that presignd answers with.
const URL_CHARACTERS: usize = 1_420;

/// Where the empty service runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// On tokio's default: threads that steal work from each other.
    Default,
    /// On a thread for each core.
    PerCore,
}

impl Layout {
    const ALL: [(Self, &'static str); 2] =
        [(Self::Default, "default"), (Self::PerCore, "per-core")];

    /// What makes this program the empty service.
    pub(crate) fn arguments(self) -> [&'static str; 2] {
        let named = Self::ALL.iter().find(|(layout, _)| *layout == self);
        [ARGUMENT, named.map_or("", |(_, name)| *name)]
    }

    /// The layout, if this process is to be the empty service.
    pub(crate) fn asked(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        if arguments.next()? != ARGUMENT {
            return None;
        }
        let asked = arguments.next()?;
        let named = Self::ALL.iter().find(|(_, name)| *name == asked);
        named.map(|(layout, _)| *layout)
    }
}

#[derive(Clone)]
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

    type StreamPresignStream = BoxStream<StreamPresignResponse>;

    async fn stream_presign(
        &self,
        _: Request<Streaming<StreamPresignRequest>>,
    ) -> Result<Response<Self::StreamPresignStream>, Status> {
        Err(Status::unimplemented("the empty service has no streams"))
    }

    async fn explain_presign(
        &self,
        _: Request<ExplainPresignRequest>,
    ) -> Result<Response<ExplainPresignResponse>, Status> {
        Err(Status::unimplemented("the empty service explains nothing"))
    }

    async fn presign_post(
        &self,
        _: Request<PresignPostRequest>,
    ) -> Result<Response<PresignPostResponse>, Status> {
        Err(Status::unimplemented("the empty service has no forms"))
    }

    async fn start_multipart_upload(
        &self,
        _: Request<StartMultipartUploadRequest>,
    ) -> Result<Response<StartMultipartUploadResponse>, Status> {
        Err(Status::unimplemented("the empty service has no uploads"))
    }

    async fn presign_parts(
        &self,
        _: Request<PresignPartsRequest>,
    ) -> Result<Response<PresignPartsResponse>, Status> {
        Err(Status::unimplemented("the empty service has no uploads"))
    }
}

/// Serves until it is killed, and says where on standard output.
pub(crate) fn serve(layout: Layout) {
    let reply = PresignResponse {
        url: "x".repeat(URL_CHARACTERS),
        method: "GET".to_owned(),
        ..PresignResponse::default()
    };
    let empty = Empty { reply };
    match layout {
        Layout::Default => tokio::runtime::Runtime::new()
            .expect("a runtime starts")
            .block_on(async {
                let incoming = TcpListenerStream::new(listen().await).map(|stream| {
                    let stream = stream?;
                    stream.set_nodelay(true)?;
                    Ok::<_, std::io::Error>(stream)
                });
                let served = Server::builder()
                    .add_service(PresignServiceServer::new(empty))
                    .serve_with_incoming(incoming);
                served.await.expect("the empty service serves");
            }),
        Layout::PerCore => {
            let cores = std::thread::available_parallelism().expect("the cores are known");
            let workers: Vec<_> = (0..cores.get()).map(|_| start_worker(&empty)).collect();
            current_thread().block_on(accept(workers));
        }
    }
}

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts")
}

async fn listen() -> TcpListener {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(address).await.expect("a port is free");
    println!("{}", listener.local_addr().expect("the port is known"));
    listener
}

/// A thread with a runtime of its own, and the way to hand connections to it.
fn start_worker(empty: &Empty) -> UnboundedSender<StdTcpStream> {
    let empty = empty.clone();
    let (connections, incoming): (_, UnboundedReceiver<StdTcpStream>) = unbounded_channel();
    std::thread::spawn(move || {
        let incoming = UnboundedReceiverStream::new(incoming).map(TcpStream::from_std);
        let served = async {
            Server::builder()
                .add_service(PresignServiceServer::new(empty))
                .serve_with_incoming(incoming)
                .await
                .expect("the empty service serves");
        };
        current_thread().block_on(served);
    });
    connections
}

/// Takes connections in. None of the load's closes, so that in turn is to the worker with the fewest.
async fn accept(workers: Vec<UnboundedSender<StdTcpStream>>) {
    let listener = listen().await;
    for worker in workers.iter().cycle() {
        let (stream, _) = listener.accept().await.expect("a connection comes");
        stream.set_nodelay(true).expect("TCP has this option");
        let stream = stream.into_std().expect("it can leave this runtime");
        worker.send(stream).expect("the worker lives");
    }
}
