//! Server CPU of one request, beside an empty tonic service with messages of the same size, all in one run.
//!
//! The servers are processes of their own; this one is the load, four connections with 32 requests in flight on each. Rounds are
//! interleaved, so that a change of the machine's speed meets all alike, and ratios are taken within a round. presignd signs with
//! static credentials that carry a token of 900 characters, under a limit, and writes its JSON lines into a pipe that is read.
//!
//! `cargo bench --bench request`

mod empty;
mod load;
mod server;

use std::process::ExitCode;

use self::load::{Ask, Load};
use self::server::Server;

const ROUNDS: usize = 9;
/// Requests in one round.
const REQUESTS: usize = 20_000;
/// Commands in a batch.
const BATCH: usize = 500;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(empty::ARGUMENT) {
        empty::serve();
        return ExitCode::SUCCESS;
    }
    // Only `cargo bench` passes this; `cargo test --benches` just wants to know that everything runs.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (rounds, requests) = if measured {
        (ROUNDS, REQUESTS)
    } else {
        (1, 200)
    };

    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let collector = server::collector();
        let mut rows = [
            Row::new("empty tonic service", Server::empty(), Ask::One).await,
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
        ];
        for _ in 0..rounds {
            for row in &mut rows {
                row.measure(requests).await;
            }
        }
        report(&rows);
    });
    ExitCode::SUCCESS
}

/// A server under one kind of load.
struct Row {
    name: &'static str,
    server: Server,
    load: Load,
    /// CPU microseconds for each URL (or empty reply), one a round.
    micros: Vec<f64>,
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
        }
    }

    async fn measure(&mut self, requests: usize) {
        let before = self.server.cpu();
        let urls = self.load.run(requests).await;
        let spent = self.server.cpu().saturating_sub(before);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a number of requests is far below 2^52"
        )]
        self.micros.push(spent.as_secs_f64() * 1e6 / urls as f64);
    }

    fn over(&self, other: &Self) -> f64 {
        median(
            self.micros
                .iter()
                .zip(&other.micros)
                .map(|(own, other)| own / other)
                .collect(),
        )
    }
}

fn report(rows: &[Row]) {
    let (request, reply) = rows[1].load.sizes();
    println!("\nServer CPU, load from another process: {request} bytes in, {reply} bytes out");
    println!(
        "  {:<32}{:>16}{:>24}",
        "", "µs a URL", "of the empty service"
    );
    for row in rows {
        println!(
            "  {:<32}{:>16.2}{:>23.2}x",
            row.name,
            median(row.micros.clone()),
            row.over(&rows[0])
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
