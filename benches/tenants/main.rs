//! What very many tenants cost: the time to load them, their memory at the start, later, and after a reload that changes all of them, and the
//! server CPU of a request beside few tenants, all in one run.
//!
//! The tenants have a file each, with a role, two grants and a limit, and none of them is asked for: they are idle. Requests are for one
//! tenant more, with 10 others and with all; their rounds are interleaved, and ratios are taken within a round.
//!
//! `cargo bench --bench tenants`

#[path = "../request/empty.rs"]
#[expect(dead_code, reason = "another benchmark measures it")]
mod empty;
#[path = "../request/load.rs"]
#[expect(dead_code, reason = "another benchmark asks for more")]
mod load;
#[path = "../request/server.rs"]
#[expect(dead_code, reason = "another benchmark starts more of them")]
mod server;

use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cpu_time::ProcessTime;
use presignd::admit::quota::limit::Counting;
use presignd::app::tenants;
use presignd::clock::{Clock as _, SystemClock};
use presignd::tenant::ById;

use self::load::{Ask, Load};
use self::server::Server;

#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TENANTS: usize = 100_000;
const FEW: usize = 10;
const ROUNDS: usize = 9;
/// Requests in one round.
const REQUESTS: usize = 20_000;

fn main() -> ExitCode {
    // Only `cargo bench` passes this; `cargo test --benches` just wants to know that everything runs.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (count, rounds, requests) = if measured {
        (TENANTS, ROUNDS, REQUESTS)
    } else {
        (1_000, 1, 200)
    };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let files = folder.path().join("many");
    write_tenants(&files, count);
    let config = folder.path().join("presignd.yaml");
    let text = "callers: [{ match: anyone }]\ntenants_dir: many\n";
    fs::write(&config, text).expect("a file can be written");

    println!("\n{count} tenants with a file each");
    loading(&config, &files);
    let few = folder.path().join("few");
    write_tenants(&few, FEW);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(serving(&few, &files, count, rounds, requests));
    ExitCode::SUCCESS
}

fn write_tenants(folder: &Path, count: usize) {
    fs::create_dir(folder).expect("a folder can be made");
    for n in 0..count {
        let tenant = tenant(n, "1h");
        fs::write(file_of(folder, n), tenant).expect("a file can be written");
    }
}

fn file_of(folder: &Path, n: usize) -> std::path::PathBuf {
    folder.join(format!("customer-{n:06}.yaml"))
}

fn tenant(n: usize, max_expiry: &str) -> String {
    let mut text = format!("# Customer {n}.\nregion: eu-west-1\n");
    let _ = write!(
        text,
        "credentials:
  assume_role:
    role_arn: \"arn:aws:iam::111122223333:role/presignd/customer-{n:06}\"
    external_id: \"4f1c2a9e-{n:06}\"
grants:
  - {{ commands: [read, list], resources: [\"customer-{n:06}-files/*\"], max_expiry: {max_expiry} }}
  - {{ commands: [PutObject, CreateMultipartUpload], resources: [\"customer-{n:06}-files/uploads/*\"], max_expiry: 15m }}
limits:
  - {{ name: all, rate: 100/s, burst: 200 }}
"
    );
    text
}

/// Loads all, and then again with one file changed.
fn loading(config: &Path, files: &Path) {
    let counting = Counting::new(Arc::new(SystemClock::new()));
    let load = |threads, current: &ById| {
        let settings = tenants::read(config, threads, current).expect("there are no mistakes");
        tenants::renew(current, settings.tenants, &counting).expect("they add up")
    };
    let all = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut loaded = ById::new();
    timed("read, checked and built", || {
        loaded = load(all, &loaded).tenants;
    });
    fs::write(file_of(files, 0), tenant(0, "2h")).expect("a file can be written");
    timed("read anew on one thread, one changed", || {
        let renewed = load(NonZeroUsize::MIN, &loaded);
        assert_eq!((renewed.added, renewed.changed, renewed.removed), (0, 1, 0));
    });
}

fn timed(what: &str, work: impl FnOnce()) {
    let (clock, cpu) = (SystemClock::new(), ProcessTime::now());
    work();
    println!(
        "  {what:<36}{:>8.2} s, {:.2} s of CPU",
        clock.monotonic().as_secs_f64(),
        cpu.elapsed().as_secs_f64()
    );
}

/// Waits until the server has nothing of its own to do: it reads its configuration once more where that has changed.
async fn settled(server: &Server) {
    let mut before = server.cpu();
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = server.cpu();
        if now.saturating_sub(before) < Duration::from_millis(50) {
            return;
        }
        before = now;
    }
}

async fn serving(few: &Path, many: &Path, tenants: usize, rounds: usize, requests: usize) {
    let mut rows = Vec::new();
    let mut at_start = Vec::new();
    for folder in [few, many] {
        let server = Server::among(folder);
        let load = Load::connect(&server.address, Ask::One).await;
        // Connections and caches are warm before anything counts.
        load.run(2_000.min(requests)).await;
        at_start.push(server.resident());
        settled(&server).await;
        rows.push((server, load, Vec::new()));
    }
    let each = |what, [few, many]: [usize; 2]| {
        let each = many.saturating_sub(few) / tenants;
        println!("  {what:<36}{each:>8} bytes resident, each");
    };
    let now = |rows: &[(Server, _, _)]| [rows[0].0.resident(), rows[1].0.resident()];
    each("at the first requests", [at_start[0], at_start[1]]);
    each("settled", now(&rows));
    for _ in 0..rounds {
        for (server, load, micros) in &mut rows {
            let before = server.cpu();
            load.run(requests).await;
            let spent = server.cpu().saturating_sub(before);
            micros.push(spent.as_secs_f64() * 1e6 / count(requests));
        }
    }
    for (folder, count) in [(few, FEW), (many, tenants)] {
        for n in 0..count {
            fs::write(file_of(folder, n), tenant(n, "90m")).expect("a file can be written");
        }
    }
    for (server, load, _) in &rows {
        settled(server).await;
        load.run(2_000.min(requests)).await;
    }
    each("settled after a change of all", now(&rows));
    let [(.., few), (.., many)] = &rows[..] else {
        unreachable!("there are two rows")
    };
    let ratios = few.iter().zip(many).map(|(few, many)| many / few);
    println!(
        "  A request takes {:.2} µs of server CPU beside them, {:.2} µs beside {FEW}: {:.3} times as much.",
        median(many.clone()),
        median(few.clone()),
        median(ratios.collect())
    );
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of requests are far below 2^52"
)]
fn count(requests: usize) -> f64 {
    requests as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
