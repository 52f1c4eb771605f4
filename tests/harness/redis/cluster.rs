//! A Cluster of three masters, with replicas or without.

use std::net::SocketAddr;
use std::process::Command;

use super::{Redis, free_port, until};
use crate::harness::certificates::Authority;

/// The servers: masters at first, and then a replica for each if there are any.
pub(crate) struct Cluster(pub(crate) Vec<Redis>);

impl Cluster {
    /// Three masters.
    pub(crate) async fn start() -> Self {
        Self::of(3, None).await
    }

    /// Three masters, each with a replica.
    pub(crate) async fn with_replicas() -> Self {
        Self::of(6, None).await
    }

    /// All of them speak TLS alone, and know nobody but users with a password. Each master has a replica.
    pub(crate) async fn guarded(authority: &Authority) -> Self {
        Self::of(6, Some(authority)).await
    }

    async fn of(count: usize, authority: Option<&Authority>) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..count {
            let bus = free_port().to_string();
            let mut options = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
            // Who has lost one shard still has the others.
            options.extend(["--cluster-require-full-coverage", "no"]);
            options.extend(["--cluster-node-timeout", "2000"]);
            options.extend(["--cluster-replica-validity-factor", "0"]);
            nodes.push(match authority {
                Some(authority) => {
                    options.extend(["--tls-cluster", "yes"]);
                    Redis::guarded_with(authority, Some("in a Cluster"), &options).await
                }
                None => Redis::with(&options).await,
            });
        }
        let addresses = nodes.iter().map(|node| node.address().to_string());
        let created = Command::new("redis-cli")
            .args(&nodes[0].access)
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", if count > 3 { "1" } else { "0" }])
            .arg("--cluster-yes")
            .output()
            .expect("redis-cli runs");
        assert!(created.status.success(), "{created:?}");
        until(|| {
            let up = |node: &Redis| {
                let replication = node.cli(&["info", "replication"]);
                node.cli(&["cluster", "info"]).contains("cluster_state:ok")
                    && !replication.contains("master_link_status:down")
                    && node.cli(&["cluster", "slots"]).matches("127.0.0.1").count() == count
            };
            nodes.iter().all(up)
        })
        .await;
        Self(nodes)
    }

    /// Where they are.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(Redis::address).collect()
    }

    /// The place of the master who has a key, as those who answer say.
    pub(crate) fn owner(&self, key: &str) -> usize {
        let nodes = self.nodes();
        let slot = self.slot(key);
        let owner = nodes.iter().find(|node| node.has(slot));
        owner.expect("somebody has it").place
    }

    /// The place of a replica of a master.
    pub(crate) fn replica(&self, master: usize) -> usize {
        let nodes = self.nodes();
        let of = |place| nodes.iter().find(|node| node.place == place);
        let master = &of(master).expect("it is known").id;
        let mut replicas = nodes.iter().filter(|node| node.master == *master);
        replicas.next().expect("it has one").place
    }

    /// The name by which a server is known to the others.
    pub(crate) fn id(&self, place: usize) -> String {
        self.0[place].cli(&["cluster", "myid"]).trim().to_owned()
    }

    /// The slot of a key.
    pub(crate) fn slot(&self, key: &str) -> u16 {
        let answers = self
            .0
            .iter()
            .map(|node| node.cli(&["cluster", "keyslot", key]));
        let mut slots = answers.filter_map(|answer| answer.trim().parse().ok());
        slots.next().expect("somebody answers")
    }

    /// As the first one says who answers.
    fn nodes(&self) -> Vec<Node> {
        let answers = self.0.iter().map(|node| node.cli(&["cluster", "nodes"]));
        let text = answers.into_iter().find(|answer| answer.contains("myself"));
        let text = text.expect("somebody answers");
        let nodes = text.lines().filter(|line| !line.contains("fail"));
        nodes.map(|line| self.node(line)).collect()
    }

    /// `ID HOST:PORT@BUS FLAGS MASTER PING PONG EPOCH LINK SLOTS...`
    fn node(&self, line: &str) -> Node {
        let words: Vec<&str> = line.split(' ').collect();
        let (address, _) = words[1].split_once('@').expect("it has a bus");
        let at = |node: &Redis| node.address().to_string() == address;
        let ranges = words[8..].iter().filter(|word| !word.starts_with('['));
        Node {
            place: self.0.iter().position(at).expect("it is one of these"),
            id: words[0].to_owned(),
            master: words[3].to_owned(),
            slots: ranges
                .map(|range| {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    [first, last].map(|slot| slot.parse().expect("a slot"))
                })
                .collect(),
        }
    }
}

/// What a server says of another, or of itself.
struct Node {
    place: usize,
    id: String,
    master: String,
    slots: Vec<[u16; 2]>,
}

impl Node {
    fn has(&self, slot: u16) -> bool {
        let mut ranges = self.slots.iter();
        ranges.any(|[first, last]| (first..=last).contains(&&slot))
    }
}
