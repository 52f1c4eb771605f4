//! The configuration file: plain settings, validated once.
//!
//! The text becomes a tree whose nodes know their places (`tree`), a typed reader walks it section by section, and
//! every mistake of a file is found in one pass, with its line and column. Invariant: [`Settings`] that exist are whole and
//! consistent; what needs knowledge of S3's operations (the names in grants and limits) keeps its place in the file
//! ([`Located`]), so that the check that comes later can point there too.
//!
//! `docs/configuration.md` describes every key.

mod arn;
mod authentication;
mod buckets;
mod callers;
mod connections;
mod credentials;
mod deny;
mod endpoint;
mod expiry;
mod fingerprint;
mod grant;
mod headers;
mod limit;
mod mistake;
mod quantity;
mod reader;
mod redis;
mod role;
mod secret;
mod server;
mod session;
mod session_tags;
mod sources;
mod state;
mod suggestion;
mod surroundings;
mod telemetry;
mod tenant;
mod tenants;
#[cfg(test)]
mod tests;
mod tree;
mod url;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use self::redis::{Redis, RedisLease, RedisMode, RedisTls};
pub use arn::{KmsKeyArn, PolicyArn, RoleArn};
pub use authentication::{
    Authentication, ClaimPath, FailureLimit, FetchTrust, Jwks, JwtAlgorithm, JwtIssuer,
};
pub use buckets::Bucket;
pub use callers::{CallerRule, Match, NamePattern, Right};
pub use connections::Connections;
pub use credentials::{Credentials, StaticCredentials};
pub use deny::DenyStatement;
pub use endpoint::Endpoint;
pub use expiry::Expiry;
pub use fingerprint::Fingerprint;
pub use grant::{Denial, Grant, Moment, ResponseHeaders};
pub use headers::{HeaderRule, Headers};
pub use limit::{Limit, LimitAmount, MOST_STS_CALLS, Per, WhenAway, Window};
pub use mistake::{Located, Location, Mistake};
pub use quantity::{Rate, RatePeriod, duration, duration_text};
pub use role::{AssumeRole, Identity, Role, WebIdentity};
pub use server::{Server, Tls};
pub use session::{Session, SessionScope};
pub use session_tags::SessionTag;
pub use sources::{Sources, Stamp};
pub use state::State;
pub use suggestion::nearest;
pub use surroundings::Surroundings;
pub use telemetry::{Log, LogFormat, LogLevel, Otlp, Telemetry};
pub use tenant::Tenant;
pub use url::BaseUrl;

use mistake::{Mark, Report};
use reader::Reader;
use sources::Reading;
use tenants::Keep;
use tree::Node;

/// What a configuration file says, with the files of tenants that it names. Of each tenant there is what its reader keeps: its settings, or
/// what was made of them.
#[derive(Debug, Clone)]
pub struct Settings<T = Located<Tenant>> {
    /// Where presignd listens and what it bounds.
    pub server: Server,
    /// Where spans go and how presignd logs.
    pub telemetry: Telemetry,
    /// Whose word is taken for who a caller is.
    pub authentication: Authentication,
    /// Where presignd keeps what outlasts it.
    pub state: State,
    /// Who may ask; at least one entry, in the order of the file.
    pub callers: Vec<Located<CallerRule>>,
    /// How much there may be of the whole service.
    pub limits: Vec<Located<Limit>>,
    /// The tenants by name; at least one.
    pub tenants: BTreeMap<String, T>,
    /// The files that were read.
    pub sources: Sources,
    /// What the sections besides the tenants said, each by its key.
    pub sections: Vec<(&'static str, Option<Fingerprint>)>,
    /// What is allowed and probably not meant, in the order of the file.
    pub warnings: Vec<Mistake>,
}

/// What is kept of a tenant's settings.
type KeepOf<'k, T> = dyn Fn(&str, Located<Tenant>) -> T + Sync + 'k;

/// The sections besides the tenants.
const SECTIONS: [&str; 5] = ["server", "telemetry", "state", "authentication", "callers"];

/// What is wrong with a file of nothing.
const NOTHING: &str = "the file holds no settings: `tenants` at least is required";

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file can be read, and is wrong: every mistake, in the order of the file.
    #[error("{}", one_a_line(.0))]
    Mistakes(Vec<Mistake>),
}

fn one_a_line(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Reads and checks a configuration file, with the secrets that it names.
///
/// Relative secret files are sought in the folder of `path`. Files of tenants are read by as many threads as there are cores.
pub fn load(path: &Path, surroundings: &dyn Surroundings) -> Result<Settings, ConfigError> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    load_each(path, surroundings, threads, &|_, tenant| tenant)
}

/// The same with so many threads at the most (one leaves the other cores to whoever else is at work), and with what `keep` makes of each
/// tenant's settings: they are gone before the next are read, since those of very many take much more memory than is made of them.
pub fn load_each<T: Send>(
    path: &Path,
    surroundings: &dyn Surroundings,
    threads: NonZeroUsize,
    keep: &KeepOf<'_, T>,
) -> Result<Settings<T>, ConfigError> {
    let began = surroundings.now();
    let mut sources = Reading::default();
    let mut read = || {
        let mut file = File::open(path)?;
        sources.file(path, file.metadata().ok().as_ref());
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| bytes)
    };
    let bytes = read().map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let file_name = path.display().to_string();
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut report = Report::new(&file_name);
    match decode(&bytes, &mut report) {
        Some(text) => {
            let mut reader = Reader::new(report, folder, surroundings);
            reader.threads = threads;
            reader.sources = sources;
            parse_all(text, reader, began, keep)
        }
        None => Err(report.mistakes),
    }
    .map_err(ConfigError::Mistakes)
}

/// Checks the text of a configuration file, which messages call `file_name`.
///
/// Relative secret files are sought in `folder`.
pub fn parse(
    text: &str,
    file_name: &str,
    folder: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Settings, Vec<Mistake>> {
    let reader = Reader::new(Report::new(file_name), folder, surroundings);
    parse_all(text, reader, surroundings.now(), &|_, tenant| tenant)
}

fn parse_all<T: Send>(
    text: &str,
    mut reader: Reader<'_>,
    began: SystemTime,
    keep: &KeepOf<'_, T>,
) -> Result<Settings<T>, Vec<Mistake>> {
    let tree = tree::read(text, "", NOTHING, &mut reader.report);
    let settings = tree.and_then(|tree| settings(&mut reader, &tree, keep));
    let sources = reader.sources.done(began);
    let Report {
        mut mistakes,
        mut warnings,
        ..
    } = reader.report;
    mistakes.sort();
    warnings.sort();
    match settings {
        Some(settings) if mistakes.is_empty() => Ok(Settings {
            sources,
            warnings,
            ..settings
        }),
        _ => Err(mistakes),
    }
}

fn settings<T: Send>(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    keep: &KeepOf<'_, T>,
) -> Option<Settings<T>> {
    let mut section = reader.section(node)?;
    let mut prints = [None; 5];
    let [
        of_server,
        of_telemetry,
        of_state,
        of_authentication,
        of_callers,
    ] = &mut prints;
    let server = section.or("server", Server::default(), |r, n| {
        r.fingerprinted(n, of_server, server::server)
    });
    let telemetry = section.or("telemetry", Telemetry::default(), |r, n| {
        r.fingerprinted(n, of_telemetry, telemetry::telemetry)
    });
    let state = section.or("state", State::default(), |r, n| {
        r.fingerprinted(n, of_state, state::state)
    });
    let authentication = section.or("authentication", Authentication::default(), |r, n| {
        r.fingerprinted(n, of_authentication, authentication::authentication)
    });
    let callers = section.required_or("callers", callers::MISSING, |r, n| {
        r.fingerprinted(n, of_callers, callers::callers)
    });
    let limits = section.or("limits", Vec::new(), limit::service_limits);
    let keep = Keep {
        asked: callers.as_deref().map(callers::Asked::by),
        keeps_counts: state.as_ref().is_none_or(State::keeps_counts),
        of: keep,
    };
    let mut places = tenants::Places::default();
    let written = section.optional("tenants", |r, n| tenants::written(r, n, &mut places, &keep));
    let folder = section.optional("tenants_dir", |r, n| {
        tenants::folder(r, n, &mut places, &keep)
    });
    let at = section.at();
    section.finish();
    let tenants = match (written, folder) {
        (Some(written), Some(folder)) => tenants::together(reader, at, written, folder),
        _ => None,
    };
    let settings = Settings {
        server: server?,
        telemetry: telemetry?,
        state: state?,
        authentication: authentication?,
        callers: callers?,
        limits: limits?,
        tenants: tenants?,
        sources: Reading::default().done(SystemTime::UNIX_EPOCH),
        sections: SECTIONS.into_iter().zip(prints).collect(),
        warnings: Vec::new(),
    };
    callers::check(reader, &settings)?;
    limit::check_kept(reader, &settings.limits, settings.state.keeps_counts());
    Some(settings)
}

/// Takes the bytes as UTF-8, or reports where they are not.
fn decode<'b>(bytes: &'b [u8], report: &mut Report) -> Option<&'b str> {
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return Some(text),
        Err(error) => error,
    };
    let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
    let last_line = good.rsplit('\n').next().unwrap_or_default();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mark = Mark {
        line: count(good.matches('\n').count() + 1),
        column: count(last_line.chars().count() + 1),
    };
    report.mistake(
        mark,
        "",
        "this is not UTF-8: save the file in that encoding",
    );
    None
}
