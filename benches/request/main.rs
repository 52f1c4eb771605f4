//! Server CPU and latency of one request, beside an empty tonic service with messages of the same size, all in one run.
//!
//! The servers are processes of their own; this one is the load, four connections with 32 requests in flight on each, or 2 batches. Rounds are
//! interleaved, so that a change of the machine's speed meets all alike, and ratios are taken within a round. presignd signs with
//! static credentials that carry a token of 900 characters, under a limit, and writes its JSON lines into a pipe that is read.
//! On a stream 32 requests are in flight, with a stream for each connection.
//! Beside a batch stands the bare cost of the hashing of its URLs.
//!
//! Latency is taken at half of the rate that each server came to in this run at full load (the median of the rounds), with requests that begin at their times
//! whatever became of those before, and counts from those times.
//!
//! `cargo bench --bench request`, or for the CPU time alone `cargo bench --bench request -- --cpu`

mod empty;
mod load;
mod server;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use cpu_time::ThreadTime;
use presignd::clock::{Clock as _, SystemClock};
use sha2::block_api::compress256;

use self::empty::Layout;
use self::load::{Ask, Load};
use self::server::{Redis, Server};

const ROUNDS: usize = 9;
/// Requests in one round.
const REQUESTS: usize = 20_000;
/// How many times more URLs a batch and a stream are asked for in a round, so that it lasts about as long.
const LASTING: usize = 4;
/// How long latencies are taken in one round.
const PACED: Duration = Duration::from_secs(2);
/// Commands in a batch.
const BATCH: usize = 500;
/// The blocks that SHA-256 has to compress for such a URL, as the benchmark of signing counts them.
const BLOCKS: usize = 24;

fn main() -> ExitCode {
    if let Some(layout) = Layout::asked(std::env::args().skip(1)) {
        empty::serve(layout);
        return ExitCode::SUCCESS;
    }
    // Only `cargo bench` passes this; `cargo test --benches` just wants to know that everything runs.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (rounds, requests, paced) = if measured {
        (ROUNDS, REQUESTS, PACED)
    } else {
        (1, 200, Duration::from_millis(100))
    };

    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let collector = server::collector();
        let redis = Redis::start();
        let mut rows = vec![
            Row::new(
                "empty service, default runtime",
                Server::empty(Layout::Default),
                Ask::One,
            )
            .await,
            Row::new(
                "empty service, a runtime a core",
                Server::empty(Layout::PerCore),
                Ask::One,
            )
            .await,
            Row::new("presignd, JSON line", Server::presignd(None), Ask::One).await,
            Row::new(
                "presignd, JSON line and span",
                Server::presignd(Some(&collector)),
                Ask::One,
            )
            .await,
            Row::new(
                "presignd, batch of 500",
                Server::presignd(None),
                Ask::Batch(BATCH),
            )
            .await,
            Row::new(
                "presignd, stream with 32 in flight",
                Server::presignd(None),
                Ask::Streamed,
            )
            .await,
            Row::new("presignd, no limits", Server::unlimited(), Ask::One).await,
            Row::new(
                "presignd, every kind of limit",
                Server::under_every_limit(),
                Ask::One,
            )
            .await,
        ];
        if let Some(redis) = &redis {
            for (name, lease) in [
                ("presignd, those limits in Redis", "1%"),
                ("presignd, each asked of Redis", "0%"),
            ] {
                let server = Server::under_shared_limits(redis, lease);
                rows.push(Row::new(name, server, Ask::One).await);
            }
        } else {
            println!("No redis-server is installed, so nothing is measured with one.");
        }
        let mut floor = Vec::new();
        for _ in 0..rounds {
            for row in &mut rows {
                row.measure(requests).await;
            }
            floor.push(hashing(requests));
        }
        let latency = !std::env::args().any(|argument| argument == "--cpu");
        for _ in 0..if latency { rounds } else { 0 } {
            for row in &mut rows {
                row.pace(paced).await;
            }
        }
        report(&rows, &floor);
    });
    ExitCode::SUCCESS
}

/// CPU microseconds of the hashing of one URL, with nothing to write or to look up.
fn hashing(urls: usize) -> f64 {
    let blocks = [[0x5a; 64]; BLOCKS];
    let before = ThreadTime::now();
    for _ in 0..urls {
        let mut state = [0x6a09_e667_u32; 8];
        compress256(black_box(&mut state), black_box(&blocks));
        black_box(state);
    }
    before.elapsed().as_secs_f64() * 1e6 / count(urls)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of requests are far below 2^52"
)]
fn count(requests: usize) -> f64 {
    requests as f64
}

/// A server under one kind of load.
struct Row {
    name: &'static str,
    server: Server,
    load: Load,
    /// Each one a round: CPU microseconds for each URL (or empty reply).
    micros: Vec<f64>,
    /// URLs a second, with as many requests in flight as the load has.
    rates: Vec<f64>,
    /// The time in which 99 of 100 requests were answered, in microseconds.
    p99: Vec<f64>,
}

impl Row {
    async fn new(name: &'static str, server: Server, ask: Ask) -> Self {
        let load = Load::connect(&server.address, ask).await;
        // Connections, caches and session are warm before anything counts.
        load.run(2_000).await;
        Self {
            name,
            server,
            load,
            micros: Vec::new(),
            rates: Vec::new(),
            p99: Vec::new(),
        }
    }

    async fn measure(&mut self, requests: usize) {
        let clock = SystemClock::new();
        let before = self.server.cpu();
        let urls = match self.load.ask {
            Ask::One => requests,
            Ask::Batch(_) | Ask::Streamed => requests * LASTING,
        };
        let urls = count(self.load.run(urls).await);
        let spent = self.server.cpu().saturating_sub(before);
        self.micros.push(spent.as_secs_f64() * 1e6 / urls);
        self.rates.push(urls / clock.monotonic().as_secs_f64());
    }

    async fn pace(&mut self, paced: Duration) {
        let Ask::One = self.load.ask else {
            return;
        };
        let peak = median(self.rates.clone());
        let mut latencies = self.load.pace(peak / 2.0, paced).await;
        latencies.sort();
        let p99 = latencies[latencies.len() * 99 / 100];
        self.p99.push(p99.as_secs_f64() * 1e6);
    }
}

/// The median of the ratios within a round.
fn over(own: &[f64], other: &[f64]) -> f64 {
    median(
        own.iter()
            .zip(other)
            .map(|(own, other)| own / other)
            .collect(),
    )
}

fn report(rows: &[Row], floor: &[f64]) {
    let (request, reply) = rows[2].load.sizes();
    let empty = &rows[0];
    println!("\nServer CPU, load from another process: {request} bytes in, {reply} bytes out");
    println!(
        "  {:<36}{:>12}{:>12}{:>14}{:>12}",
        "", "µs a URL", "of empty", "URLs/s, full", "p99 µs*"
    );
    for row in rows {
        print!(
            "  {:<36}{:>12.2}{:>11.2}x{:>14.0}",
            row.name,
            median(row.micros.clone()),
            over(&row.micros, &empty.micros),
            median(row.rates.clone()),
        );
        if row.p99.is_empty() {
            println!();
        } else {
            println!(
                "{:>12.0} ({:.2}x)",
                median(row.p99.clone()),
                over(&row.p99, &empty.p99)
            );
        }
    }
    println!(
        "  {:<36}{:>12.2}{:>11.2}x",
        format!("SHA-256 of {BLOCKS} blocks alone"),
        median(floor.to_vec()),
        over(floor, &empty.micros)
    );
    println!("  * at half of the row's own rate at full load");
    println!(
        "  A batch costs a URL {:.2} of a unary request, and {:.1} of its hashing.",
        over(&rows[4].micros, &rows[2].micros),
        over(&rows[4].micros, floor)
    );
    if let [leased, asked] = &rows[8..] {
        println!(
            "  In Redis on loopback they cost {:.2} times what they do in process, and {:.2} times where each request asks it.",
            over(&leased.micros, &rows[7].micros),
            over(&asked.micros, &rows[7].micros)
        );
    }
    println!(
        "  A stream with 32 in flight has {:.2} times the URLs per CPU-second of unary requests.",
        over(&rows[2].micros, &rows[5].micros)
    );
    println!(
        "  Every kind of limit costs a request {:.2} of one without any.",
        over(&rows[7].micros, &rows[6].micros)
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
