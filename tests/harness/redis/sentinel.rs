//! A master with a replica, and Sentinels who watch them.

use std::fmt::Write as _;
use std::net::SocketAddr;

use presignd::redis::{Login, Mode};

use super::{BOSS, BOSS_PASSWORD, Guard, Redis, free_port, until};
use crate::harness::certificates::Authority;

/// The user that guarded Sentinels know.
const USER: &str = "seer";
const PASSWORD: &str = "PLANTED0SEER";

/// A master named `presignd`, its replica, and three Sentinels.
pub(crate) struct Watched {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    pub(crate) sentinels: Vec<Redis>,
    login: Login,
}

impl Watched {
    pub(crate) async fn start() -> Self {
        Self::watching(None).await
    }

    /// All of them speak TLS alone, and know nobody but users with a password.
    pub(crate) async fn guarded(authority: &Authority) -> Self {
        Self::watching(Some(authority)).await
    }

    async fn watching(authority: Option<&Authority>) -> Self {
        let server = async |options: &[&str]| match authority {
            Some(authority) => {
                Redis::guarded_with(authority, Some("behind Sentinels"), options).await
            }
            None => Redis::with(options).await,
        };
        let master = server(&[]).await;
        let port = master.port.to_string();
        let replica = server(&["--replicaof", "127.0.0.1", &port]).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let folder = tempfile::tempdir().expect("a temporary directory");
            let own = free_port();
            let guard = authority.map(|authority| Guard::new(authority, folder.path()));
            let mut settings = guard
                .as_ref()
                .map_or_else(|| format!("port {own}\n"), |guard| guard.settings(own));
            settings.push_str("bind 127.0.0.1\n");
            if guard.is_some() {
                let _ = write!(
                    settings,
                    "user default off\nuser {BOSS} on >{BOSS_PASSWORD} ~* &* +@all\nuser {USER} on >{PASSWORD} ~* &* +@all\n\
                     sentinel sentinel-user {BOSS}\nsentinel sentinel-pass {BOSS_PASSWORD}\n"
                );
            }
            let _ = write!(
                settings,
                "sentinel monitor presignd 127.0.0.1 {port} 2\nsentinel down-after-milliseconds presignd 1000\nsentinel failover-timeout \
                 presignd 5000\n"
            );
            if guard.is_some() {
                let _ = write!(
                    settings,
                    "sentinel auth-user presignd {BOSS}\nsentinel auth-pass presignd {BOSS_PASSWORD}\n"
                );
            }
            let file = folder.path().join("sentinel.conf");
            std::fs::write(&file, settings).expect("the folder is writable");
            let arguments = vec![file.to_string_lossy().into_owned()];
            let access = guard.map_or_else(Vec::new, |guard| guard.access());
            sentinels.push(Redis::spawn("redis-sentinel", own, arguments, access, folder).await);
        }
        let login = Login {
            username: authority.map(|_| USER.to_owned()),
            password: authority.map(|_| PASSWORD.into()),
        };
        let watched = Self {
            master,
            replica,
            sentinels,
            login,
        };
        until(|| {
            watched.sentinels.iter().all(|sentinel| {
                let known = sentinel.cli(&["sentinel", "master", "presignd"]);
                let mut lines = known.lines();
                let mut is = |name: &str, value: &str| {
                    lines.find(|line| *line == name).is_some() && lines.next() == Some(value)
                };
                is("num-slaves", "1") && is("num-other-sentinels", "2")
            })
        })
        .await;
        watched
    }

    /// Where the Sentinels are.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(Redis::address).collect()
    }

    /// How presignd is told what they are.
    pub(crate) fn mode(&self) -> Mode {
        Mode::Sentinel {
            master: "presignd".to_owned(),
            login: self.login.clone(),
        }
    }
}
