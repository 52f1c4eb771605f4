//! `state`: where presignd keeps what has to outlast a process: counts of days and months, and what operators have ordered.

use std::path::PathBuf;

use super::reader::Reader;
use super::redis::{Redis, redis};
use super::tree::Node;

/// The section `state`.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// A folder of this replica's own.
    pub dir: Option<PathBuf>,
    /// What the replicas share.
    pub redis: Option<Redis>,
}

impl State {
    /// Whether counts of days and months outlast the process.
    #[must_use]
    pub fn keeps_counts(&self) -> bool {
        self.dir.is_some() || self.redis.is_some()
    }
}

pub(super) fn state(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<State> {
    let mut section = reader.section(node)?;
    let dir = section.optional("dir", |reader, node| {
        let folder = reader.folder.to_owned();
        reader.parsed(node, |text| {
            super::tenants::folder_path(text).map(|path| folder.join(path))
        })
    });
    let redis = section.optional("redis", redis);
    section.finish();
    Some(State {
        dir: dir?,
        redis: redis?,
    })
}
