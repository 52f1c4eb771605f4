//! URLs of an upload's parts per CPU-second, from the bound command on, page by page as they are answered: beside signing each part by
//! itself, rusty-s3, and the bare cost of the hashing that no part has in common with another.

use std::hint::black_box;

use presignd::proto::s3::UploadPart;
use presignd::sign::bind::BindAny as _;
use presignd::sign::command::{BoundCommand, Value};
use presignd::sign::{PART_NUMBER, canonical_request, presign, presign_parts, string_to_sign};
use rusty_s3::{Bucket, S3Action, UrlStyle};

use super::compress;
use super::contender::Contender;
use super::workload::{
    BUCKET, EXPIRES_IN, TOKEN_CHARACTERS, credentials, endpoint, key, signed_at,
};

/// The parts of a plan, and of a page of it.
const PLAN: u32 = 10_000;
const PAGE: u32 = 1_000;
/// The most that a plan may cost, in CPU-milliseconds.
const BUDGET: f64 = 20.0;

/// Measures and prints. Says whether a requirement was missed.
pub(crate) fn measure(rounds: usize) -> bool {
    let upload_id = "x".repeat(128);
    let part = UploadPart {
        bucket: Some(BUCKET.to_owned()),
        key: Some(key(7)),
        upload_id: Some(upload_id.clone()),
        part_number: Some(1),
        ..UploadPart::default()
    };
    let (credentials, endpoint, now) = (credentials(7), endpoint(), signed_at());
    let page = |numbers: &[u32]| {
        let command = part.to_bound().expect("valid");
        presign_parts(&command, &endpoint, &credentials, now, EXPIRES_IN, numbers)
    };
    let bound = part.to_bound().expect("valid");
    let numbered = |number: u32| {
        let mut command: BoundCommand<'_> = bound.clone();
        command.set_query(PART_NUMBER, Value::Text(number.to_string().into()));
        command
    };
    let single = |number| presign(&numbered(number), &endpoint, &credentials, now, EXPIRES_IN);
    let numbers: Vec<u32> = (1..=PLAN).collect();
    for (number, url) in numbers.iter().zip(page(&numbers)) {
        assert_eq!(url.as_str(), single(*number).as_str(), "part {number}");
    }

    let rusty_credentials = rusty_s3::Credentials::new_with_token(
        "ASIAIOSFODNN7EXAM007",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE007",
        "x".repeat(TOKEN_CHARACTERS),
    );
    let host = "https://s3.eu-west-1.amazonaws.com".parse();
    let bucket = Bucket::new(
        host.expect("the host is a URL"),
        UrlStyle::VirtualHost,
        BUCKET,
        "eu-west-1",
    );
    let bucket = bucket.expect("the bucket has a valid name");
    let key = key(7);
    let blocks = {
        let command = numbered(PLAN);
        let canonical = canonical_request(&command, &endpoint, &credentials, now, EXPIRES_IN);
        let common = canonical.find("partNumber=").expect("it has a number");
        let to_sign = string_to_sign(&command, &endpoint, &credentials, now, EXPIRES_IN);
        // Padding takes a byte, and the length eight. The outer hash of the HMAC is one block.
        let padded = |length: usize| (length + 9).div_ceil(64);
        vec![[0x5a; 64]; padded(canonical.len()) - common / 64 + padded(to_sign.len()) + 1]
    };

    let turn = |n: usize| u32::try_from(n).unwrap_or(u32::MAX) % PLAN + 1;
    let mut contenders = [
        Contender::new("presignd, in pages", |calls| {
            let mut left = calls;
            for numbers in numbers.chunks(PAGE as usize).cycle() {
                let numbers = &numbers[..numbers.len().min(left)];
                black_box(page(numbers));
                left -= numbers.len();
                if left == 0 {
                    break;
                }
            }
        }),
        Contender::new("presignd, one by one", |calls| {
            (0..calls).for_each(|n| drop(black_box(single(turn(n)))));
        }),
        Contender::new("SHA-256 alone", |calls| {
            (0..calls).for_each(|_| compress(&blocks));
        }),
        Contender::new("rusty-s3", |calls| {
            for n in 0..calls {
                let number = u16::try_from(turn(n)).unwrap_or_default();
                let credentials = Some(&rusty_credentials);
                let action = bucket.upload_part(credentials, &key, number, &upload_id);
                black_box(action.sign(std::time::Duration::from_secs(EXPIRES_IN.into())));
            }
        }),
    ];
    for _ in 0..rounds {
        contenders.iter_mut().for_each(Contender::measure);
    }
    report(&contenders, blocks.len())
}

/// Prints the table, and says whether the requirement was missed.
fn report(contenders: &[Contender<'_>; 4], blocks: usize) -> bool {
    println!(
        "\nparts of an upload, {TOKEN_CHARACTERS}-character session token, {blocks} SHA-256 blocks a part"
    );
    println!(
        "  {:<24}{:>18}{:>12}{:>16}",
        "", "URLs/CPU-second", "ns/URL", "presignd is"
    );
    let [presignd, ..] = contenders;
    for contender in contenders {
        println!(
            "  {:<24}{:>18.0}{:>12.0}{:>15.2}x",
            contender.name,
            contender.rate(),
            1e9 / contender.rate(),
            presignd.over(contender)
        );
    }
    let plan = f64::from(PLAN) / presignd.rate() * 1e3;
    let missed = plan > BUDGET;
    println!(
        "  {}  a plan of {PLAN} parts in at most {BUDGET:.0} ms of CPU: {plan:.1}",
        if missed { "MISS" } else { "pass" }
    );
    missed
}
