//! URLs, forms and parts of uploads per CPU-second of the signing core, beside other signers and the bare cost of the hashing, all in one run.
//!
//! Each contender signs the same requests on one thread: 256 keys, in turn, with 16 credentials that carry a token of 900
//! characters. Rounds are interleaved, so that a change of the machine's speed meets all alike, and ratios are taken within a
//! round. Time is the thread's CPU time. Before anything is measured, the contenders' signatures are compared.
//!
//! `cargo bench --bench sign`

mod contender;
mod forms;
mod parts;
mod workload;

use std::hint::black_box;
use std::process::ExitCode;

use presignd::sign::command::Operation;
use sha2::block_api::compress256;

use self::contender::Contender;
use self::workload::{CREDENTIALS, KEYS, TOKEN_CHARACTERS, Workload, operation};

const ROUNDS: usize = 51;

/// The bare cost: as many blocks, compressed in one go, with nothing to write or to look up.
fn compress(blocks: &[[u8; 64]]) {
    let mut state = [0x6a09_e667_u32; 8];
    compress256(black_box(&mut state), black_box(blocks));
    black_box(state);
}

fn main() -> ExitCode {
    // Only `cargo bench` passes this; `cargo test --benches` just wants to know that everything runs.
    let rounds = if std::env::args().any(|argument| argument == "--bench") {
        ROUNDS
    } else {
        1
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let workload = Workload::new();
    runtime.block_on(workload.compare_signatures());

    let mut missed = false;
    for operation in ["GetObject", "PutObject"].map(operation) {
        let blocks = vec![[0x5a; 64]; workload.blocks(operation)];
        let each = |sign: &dyn Fn(usize) -> String, calls| {
            for n in 0..calls {
                black_box(sign(n));
            }
        };
        let mut contenders = [
            Contender::new("presignd", |calls| {
                each(&|n| workload.presignd(operation, n), calls);
            }),
            Contender::new("SHA-256 alone", |calls| {
                (0..calls).for_each(|_| compress(&blocks));
            }),
            Contender::new("rusty-s3", |calls| {
                each(&|n| workload.rusty_s3(operation, n), calls);
            }),
            Contender::new("aws-sdk-s3 presigned()", |calls| {
                runtime.block_on(async {
                    for n in 0..calls {
                        black_box(workload.aws_sdk_s3(operation, n).await);
                    }
                });
            }),
            Contender::new("aws-sigv4 sign()", |calls| {
                each(&|n| workload.aws_sigv4(operation, n), calls);
            }),
        ];
        for _ in 0..rounds {
            contenders.iter_mut().for_each(Contender::measure);
        }
        missed |= report(operation, blocks.len(), &contenders);
    }
    missed |= forms::measure(rounds);
    missed |= parts::measure(rounds);
    if missed && rounds == ROUNDS {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Prints the table of an operation and says whether a requirement was missed.
fn report(operation: &Operation, blocks: usize, contenders: &[Contender<'_>; 5]) -> bool {
    println!(
        "\n{}, {TOKEN_CHARACTERS}-character session token, {CREDENTIALS} credentials, {KEYS} keys, {blocks} SHA-256 blocks a URL",
        operation.name
    );
    println!(
        "  {:<24}{:>18}{:>12}{:>16}",
        "", "URLs/CPU-second", "ns/URL", "presignd is"
    );
    let [presignd, floor, rusty_s3, sdk, _] = contenders;
    for contender in contenders {
        println!(
            "  {:<24}{:>18.0}{:>12.0}{:>15.2}x",
            contender.name,
            contender.rate(),
            1e9 / contender.rate(),
            presignd.over(contender)
        );
    }
    let mut missed = false;
    let mut require = |what: &str, met: bool| {
        missed |= !met;
        println!("  {}  {what}", if met { "pass" } else { "MISS" });
    };
    let (over_rusty, over_sdk, cost) = (
        presignd.over(rusty_s3),
        presignd.over(sdk),
        floor.over(presignd),
    );
    require(
        &format!("at least 5 times rusty-s3: {over_rusty:.1}"),
        over_rusty >= 5.0,
    );
    require(
        &format!("at least 20 times aws-sdk-s3: {over_sdk:.1}"),
        over_sdk >= 20.0,
    );
    require(
        &format!("at most 1.8 times the cost of SHA-256 alone: {cost:.2}"),
        cost <= 1.8,
    );
    missed
}
