//! The load: a fixed number of requests over a few connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use presignd::clock::{Clock as _, SystemClock};
use presignd::proto::s3::GetObject;
use presignd::proto::v1::batch_presign_result::Result as ItemResult;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::presign_service_client::PresignServiceClient;
use presignd::proto::v1::stream_presign_response::Result as StreamedResult;
use presignd::proto::v1::{BatchPresignRequest, Command, PresignRequest, StreamPresignRequest};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 32;
/// Batches are large, and presignd holds back what its records cannot keep up with.
const BATCHES_IN_FLIGHT: usize = 2;
/// How finely requests are paced.
const TICK: Duration = Duration::from_millis(1);

/// What one request asks for.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    /// A URL.
    One,
    /// So many URLs.
    Batch(usize),
    /// URLs, one by one on a stream.
    Streamed,
}

/// Connections to one server.
pub(crate) struct Load {
    clients: Vec<PresignServiceClient<Channel>>,
    pub(crate) ask: Ask,
    sizes: (usize, usize),
}

impl Load {
    pub(crate) async fn connect(address: &str, ask: Ask) -> Self {
        let mut clients = Vec::new();
        while clients.len() < CONNECTIONS {
            // The server may not listen yet.
            match PresignServiceClient::connect(format!("http://{address}")).await {
                Ok(client) => clients.push(client.max_decoding_message_size(usize::MAX)),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        let request = request(0);
        let reply = clients[0]
            .presign(request.clone())
            .await
            .expect("a URL is issued")
            .into_inner();
        Self {
            clients,
            ask,
            sizes: (request.encoded_len(), reply.encoded_len()),
        }
    }

    /// Bytes of a request for one URL, and of its reply.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        self.sizes
    }

    /// Asks for at least this many URLs, and returns how many came.
    pub(crate) async fn run(&self, urls: usize) -> usize {
        let requests = match self.ask {
            Ask::One => urls,
            Ask::Batch(size) => urls.div_ceil(size),
            Ask::Streamed => return self.stream(urls).await,
        };
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        let in_flight = match self.ask {
            Ask::Batch(_) => BATCHES_IN_FLIGHT,
            Ask::One | Ask::Streamed => IN_FLIGHT,
        };
        for worker in 0..CONNECTIONS * in_flight {
            let (mut client, next, ask) = (
                self.clients[worker % CONNECTIONS].clone(),
                Arc::clone(&next),
                self.ask,
            );
            workers.spawn(async move {
                let mut came = 0;
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= requests {
                        return came;
                    }
                    came += issue(&mut client, ask, n).await;
                }
            });
        }
        workers.join_all().await.into_iter().sum()
    }
}

impl Load {
    /// Asks for at least this many URLs on a stream of each connection, and returns how many came.
    async fn stream(&self, urls: usize) -> usize {
        let each = urls.div_ceil(CONNECTIONS);
        let mut streams = JoinSet::new();
        for client in &self.clients {
            let mut client = client.clone();
            streams.spawn(async move {
                let (asking, asked) = mpsc::unbounded_channel();
                let ask = |n: usize| {
                    let request = StreamPresignRequest {
                        request_id: n.to_string(),
                        request: Some(request(n)),
                    };
                    asking.send(request).expect("the stream is open");
                };
                let mut next = IN_FLIGHT.min(each);
                (0..next).for_each(ask);
                let asked = UnboundedReceiverStream::new(asked);
                let answers = client.stream_presign(asked).await;
                let mut answers = answers.expect("a stream is opened").into_inner();
                for _ in 0..each {
                    let answer = answers.message().await.expect("the stream goes on");
                    let result = answer.expect("there is an answer to each").result;
                    assert!(matches!(result, Some(StreamedResult::Response(_))));
                    if next < each {
                        ask(next);
                        next += 1;
                    }
                }
                each
            });
        }
        streams.join_all().await.into_iter().sum()
    }

    /// Asks at this rate, whatever becomes of the requests before, and returns how long each took from the time at which it was
    /// to begin.
    pub(crate) async fn pace(&self, rate: f64, within: Duration) -> Vec<Duration> {
        let clock = SystemClock::new();
        let mut requests = JoinSet::new();
        let mut ticks = tokio::time::interval(TICK);
        for n in 0_u32.. {
            let due = Duration::from_secs_f64(f64::from(n) / rate);
            if due >= within {
                break;
            }
            while clock.monotonic() < due {
                ticks.tick().await;
            }
            let number = usize::try_from(n).unwrap_or(0);
            let mut client = self.clients[number % CONNECTIONS].clone();
            let ask = self.ask;
            requests.spawn(async move {
                issue(&mut client, ask, number).await;
                clock.monotonic().saturating_sub(due)
            });
        }
        requests.join_all().await
    }
}

async fn issue(client: &mut PresignServiceClient<Channel>, ask: Ask, n: usize) -> usize {
    match ask {
        Ask::One => {
            client.presign(request(n)).await.expect("a URL is issued");
            1
        }
        Ask::Batch(size) => {
            let commands = (0..size).map(|item| command(n * size + item)).collect();
            let batch = BatchPresignRequest {
                tenant: "acme".to_owned(),
                commands,
                ..BatchPresignRequest::default()
            };
            let results = client
                .batch_presign(batch)
                .await
                .expect("a batch is answered")
                .into_inner()
                .results;
            assert!(
                results
                    .iter()
                    .all(|r| matches!(r.result, Some(ItemResult::Response(_))))
            );
            results.len()
        }
        Ask::Streamed => unreachable!("a stream has more than one request"),
    }
}

fn request(n: usize) -> PresignRequest {
    PresignRequest {
        tenant: "acme".to_owned(),
        command: Some(Box::new(command(n))),
        reason: "download of an invoice by its customer, from the portal".to_owned(),
        subject: "user-7f3a91c2".to_owned(),
        ..PresignRequest::default()
    }
}

fn command(n: usize) -> Command {
    Command {
        command: Some(Variant::GetObject(GetObject {
            bucket: Some("acme-files".to_owned()),
            key: Some(format!(
                "invoices/2026/11/customer-{:06}/invoice-final.pdf",
                n % 100_000
            )),
            ..GetObject::default()
        })),
        ..Command::default()
    }
}
