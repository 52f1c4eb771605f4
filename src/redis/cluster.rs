//! A Cluster: each master is a server of its own, and a command goes to the one who has the slot of its key.
//!
//! Invariants: one server that is away or hangs holds nobody up who asks another; who has what is learnt in the background, from any that
//! answers, and at once where a server says that a slot is another's or does not answer; what is redirected keeps to its deadline.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{Cmd, RedisError, RedisResult, Value};
use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::dial::{Address, CONNECTING, Dial, Manner};
use super::keeper::Standing;
use super::server::{Failure, Server};
use super::slots::{self, Range};
use super::{Options, probe, slot};

/// How often it is asked who has what, while nobody has reason to doubt it.
const EVERY: Duration = Duration::from_secs(1);
/// No more often than that.
const LEAST: Duration = Duration::from_millis(50);
/// How often a command is sent, at most: each time where the last one led.
const ATTEMPTS: usize = 4;

/// The handle. The connections end with it.
#[derive(Debug)]
pub(super) struct Cluster {
    shared: Arc<Shared>,
    learning: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    /// Where the configuration says that some are.
    seeds: Vec<Address>,
    prefix: String,
    patience: Duration,
    owners: ArcSwap<Vec<Owner>>,
    servers: Mutex<HashMap<Address, Known>>,
    /// Somebody else may have what is looked for: have a look.
    doubts: Notify,
    /// Who is asked next, of several.
    turn: AtomicUsize,
}

/// Who has the slots from one to another, both included. In order.
#[derive(Debug, Clone)]
struct Owner {
    first: u16,
    last: u16,
    server: Arc<Server>,
}

/// A server that was heard of.
#[derive(Debug)]
struct Known {
    server: Arc<Server>,
    /// The slot of the key by which it is found out whether it serves.
    probe: Option<u16>,
    /// Whether somebody was sent there since the last look.
    visited: bool,
}

impl Cluster {
    /// Starts to connect, in the background.
    pub(super) fn start(options: &Options) -> RedisResult<Self> {
        let manner = Manner::new(options);
        // Whether the options add up.
        for seed in &options.servers {
            manner.client(seed)?;
        }
        let shared = Arc::new(Shared {
            manner,
            seeds: options.servers.clone(),
            prefix: options.prefix.clone(),
            patience: options.timeout,
            owners: ArcSwap::default(),
            servers: Mutex::default(),
            doubts: Notify::new(),
            turn: AtomicUsize::new(0),
        });
        let learning = tokio::spawn(learn(Arc::clone(&shared)));
        Ok(Self { shared, learning })
    }

    /// Whether all that are known answer, as far as is known.
    pub(super) fn is_here(&self) -> bool {
        let owners = self.shared.owners.load();
        !owners.is_empty() && owners.iter().all(|owner| owner.server.is_here())
    }

    /// Whether the one who has this key answers, as far as is known.
    pub(super) fn is_here_for(&self, key: &[u8]) -> bool {
        let server = self.shared.owner(slot::of_key(key));
        server.is_some_and(|server| server.is_here())
    }

    /// Sends a command to whoever has its key, and waits for the answer.
    pub(super) async fn ask(
        &self,
        command: &Arc<Cmd>,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let answer = self.shared.ask(command, deadline).await;
        if matches!(&answer, Err(Failure::Away | Failure::Late(_))) {
            // A replica may have taken over.
            self.shared.doubts.notify_one();
        }
        answer
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.learning.abort();
    }
}

impl Shared {
    async fn ask(&self, command: &Arc<Cmd>, deadline: Instant) -> Result<Value, Failure> {
        let owner = match slot::of_command(command) {
            Some(slot) => self.owner(slot),
            None => self.any(),
        };
        let mut server = owner.ok_or(Failure::Away)?;
        let mut asking = false;
        let mut attempts = 1;
        loop {
            server.settled(deadline).await;
            let error = match server.ask(command, asking, deadline).await {
                Err(Failure::Error(error)) => error,
                answer => return answer,
            };
            let Some((to, only_this)) = self.redirected(&server, &error) else {
                return Err(Failure::Error(error));
            };
            if !only_this {
                self.doubts.notify_one();
            }
            if attempts == ATTEMPTS {
                return Err(Failure::Error(error));
            }
            attempts += 1;
            server = to;
            asking = only_this;
        }
    }

    /// Who has a slot.
    fn owner(&self, slot: u16) -> Option<Arc<Server>> {
        let owners = self.owners.load();
        let place = owners.partition_point(|owner| owner.last < slot);
        let owner = owners.get(place).filter(|owner| owner.first <= slot);
        owner.map(|owner| Arc::clone(&owner.server))
    }

    /// One of those that answer.
    fn any(&self) -> Option<Arc<Server>> {
        let owners = self.owners.load();
        let here = || owners.iter().filter(|owner| owner.server.is_here());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % here().count().max(1);
        here().nth(turn).map(|owner| Arc::clone(&owner.server))
    }

    /// Where an error leads, and whether only this once.
    fn redirected(&self, by: &Server, error: &RedisError) -> Option<(Arc<Server>, bool)> {
        let only_this = match error.code() {
            Some("ASK") => true,
            Some("MOVED") => false,
            _ => return None,
        };
        let (to, _) = error.redirect_node()?;
        let address = slots::redirected(to, by.host())?;
        let mut servers = self.servers();
        let known = self.known(&mut servers, &address)?;
        known.visited = true;
        Some((Arc::clone(&known.server), only_this))
    }

    fn known<'k>(
        &self,
        servers: &'k mut HashMap<Address, Known>,
        address: &Address,
    ) -> Option<&'k mut Known> {
        if !servers.contains_key(address) {
            let dial = Arc::new(Dial::server(&self.manner, address).ok()?);
            // Until it is known which slots it has.
            let probe = ::redis::cmd("PING");
            let server = Server::start(dial, probe, self.patience, Some(address.clone()));
            let known = Known {
                server: Arc::new(server),
                probe: None,
                visited: false,
            };
            servers.insert(address.clone(), known);
        }
        servers.get_mut(address)
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<Address, Known>> {
        // Nothing panics in there.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who has what, from the first who says so.
    async fn look(&self) -> Result<Vec<Range>, String> {
        let mut here: Vec<(Address, Arc<Server>)> = self
            .servers()
            .iter()
            .filter(|(_, known)| known.server.is_here())
            .map(|(address, known)| (address.clone(), Arc::clone(&known.server)))
            .collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let middle = turn % here.len().max(1);
        here.rotate_left(middle);
        let command = Arc::new(slots::command());
        for ((host, _), server) in here {
            let deadline = Instant::now() + self.patience;
            let answer = server.ask(&command, false, deadline).await;
            if let Some(ranges) = answer.ok().and_then(|answer| slots::read(&answer, &host)) {
                return Ok(ranges);
            }
        }
        let mut seeds = self.seeds.clone();
        let middle = turn % seeds.len().max(1);
        seeds.rotate_left(middle);
        let mut problem = "no server is named".to_owned();
        for seed in seeds {
            let asked = timeout(CONNECTING, self.look_at(&seed)).await;
            problem = match asked {
                Ok(Ok(answer)) => match slots::read(&answer, &seed.0) {
                    Some(ranges) => return Ok(ranges),
                    None => "the server does not know who has which slots".to_owned(),
                },
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
        }
        Err(problem)
    }

    /// What somebody says who may not be of the Cluster any more.
    async fn look_at(&self, seed: &Address) -> RedisResult<Value> {
        let dial = Dial::server(&self.manner, seed)?;
        let mut lines = dial.lines(1).await?;
        match lines.pop() {
            Some(mut line) => slots::command().query_async(&mut line).await,
            None => Ok(Value::Nil),
        }
    }

    /// From now on, these have the slots.
    fn adopt(&self, ranges: &[Range]) {
        let mut servers = self.servers();
        let mut owners = Vec::with_capacity(ranges.len());
        for (first, last, address) in ranges {
            if let Some(known) = self.known(&mut servers, address) {
                known.visited = true;
                let server = Arc::clone(&known.server);
                owners.push(Owner {
                    first: *first,
                    last: *last,
                    server,
                });
            }
        }
        // Whom nobody needs any more is left alone.
        servers.retain(|_, known| std::mem::take(&mut known.visited));
        for (address, known) in servers.iter_mut() {
            let has = |slot: u16| {
                let mut own = ranges.iter().filter(|(.., owner)| owner == address);
                own.any(|(first, last, _)| (*first..=*last).contains(&slot))
            };
            if known.probe.is_none_or(|slot| !has(slot)) {
                let tag = tag(&has);
                known.probe = tag.as_deref().map(|tag| slot::of_key(tag.as_bytes()));
                let command =
                    tag.map_or_else(|| ::redis::cmd("PING"), |tag| probe(&self.prefix, &tag));
                known.server.probe_with(command);
            }
        }
        drop(servers);
        self.owners.store(Arc::new(owners));
    }
}

/// Learns who has what, until it is dropped.
async fn learn(shared: Arc<Shared>) {
    let mut standing = Standing::new(None);
    loop {
        match shared.look().await {
            Ok(ranges) => {
                standing.is(Ok(()));
                shared.adopt(&ranges);
            }
            // Each of the servers says so by itself once it is known.
            Err(problem) if shared.owners.load().is_empty() => standing.is(Err(&problem)),
            Err(_) => {}
        }
        tokio::time::sleep(LEAST).await;
        let _ = timeout(EVERY, shared.doubts.notified()).await;
    }
}

/// A hash tag whose slot is one of these. With one slot alone that is found after 16,384 attempts or so.
fn tag(has: &impl Fn(u16) -> bool) -> Option<String> {
    let tags = (0..500_000).map(|number| format!("*{number}"));
    let mut tags = tags.filter(|tag| has(slot::of_key(tag.as_bytes())));
    tags.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_tag() {
        for wanted in [0, 1, 12_182, slot::SLOTS - 1] {
            let tag = tag(&|slot| slot == wanted).expect("there is one");
            assert_eq!(
                slot::of_key(format!("p:{{{tag}}}:probe").as_bytes()),
                wanted
            );
        }
        assert_eq!(tag(&|_| false), None);
    }
}
