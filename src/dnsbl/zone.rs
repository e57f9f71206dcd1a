//! One zone: what it is asked, and what is believed of its replies.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::future::join;
use tokio::time::{Instant, timeout_at};

use super::{
    ConfiguredSite,
    health::{Checkup, Health},
    query_name,
    resolver::Resolver,
};
use crate::policy::dnsbl::Reply;

/// Whose addresses a zone lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv4 and IPv6.
    Both,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// How often a zone gave which kind of reply since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The client is listed.
    pub listed: u64,
    /// It isn't.
    pub not_listed: u64,
    /// An error, or none in time.
    pub failed: u64,
    /// It wasn't asked, as it is switched off.
    pub switched_off: u64,
}

#[derive(Default)]
struct Counters {
    listed: AtomicU64,
    not_listed: AtomicU64,
    failed: AtomicU64,
    switched_off: AtomicU64,
}

pub(super) struct Zone {
    name: String,
    families: Families,
    /// None where nothing can be seen of it.
    health: Option<Health>,
    counters: Counters,
}

impl Zone {
    pub(super) fn new(configured: &ConfiguredSite, recheck: Duration) -> Self {
        Self {
            name: configured.site.zone.clone(),
            families: configured.families,
            health: configured.has_test_entries.then(|| Health::new(recheck)),
            counters: Counters::default(),
        }
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            listed: read(&self.counters.listed),
            not_listed: read(&self.counters.not_listed),
            failed: read(&self.counters.failed),
            switched_off: read(&self.counters.switched_off),
        }
    }

    /// What the zone says of a client; none where it lists no such addresses.
    pub(super) async fn ask(
        &self,
        client: IpAddr,
        resolver: &Resolver,
        deadline: Instant,
    ) -> Option<Reply> {
        let listed_here = match self.families {
            Families::Both => true,
            Families::V4 => client.is_ipv4(),
            Families::V6 => client.is_ipv6(),
        };
        if !listed_here {
            return None;
        }
        let checkup = self
            .health
            .as_ref()
            .map_or(Checkup::Well, |health| health.checkup(Instant::now()));
        Some(match checkup {
            Checkup::SwitchedOff(reason) => self.switched_off(&reason),
            Checkup::Well => self.counted(self.look_up(client, resolver, deadline).await),
            // Both at once: the first one who asks waits no longer than others.
            Checkup::Due => {
                let (reply, found) = join(
                    self.look_up(client, resolver, deadline),
                    self.examine(resolver, deadline),
                )
                .await;
                self.note_health(&found);
                match found {
                    Ok(()) => self.counted(reply),
                    Err(reason) => self.switched_off(&reason),
                }
            }
        })
    }

    async fn look_up(&self, client: IpAddr, resolver: &Resolver, deadline: Instant) -> Reply {
        let name = query_name::of(client, &self.name);
        in_time(deadline, resolver.reply(&name)).await
    }

    /// Whether the test entries are there, and nothing more.
    async fn examine(&self, resolver: &Resolver, deadline: Instant) -> Result<(), String> {
        let test = |octet| -> IpAddr {
            let address = Ipv4Addr::new(127, 0, 0, octet);
            match self.families {
                Families::Both | Families::V4 => address.into(),
                Families::V6 => address.to_ipv6_mapped().into(),
            }
        };
        let (never, always) = (test(1), test(2));
        let reply = async |address| {
            let name = query_name::of(address, &self.name);
            in_time(deadline, resolver.fresh_reply(&name)).await
        };
        match join(reply(never), reply(always)).await {
            (Reply::NotListed, Reply::Listed(_)) => Ok(()),
            (Reply::Failed(reason), _) | (_, Reply::Failed(reason)) => Err(reason),
            (Reply::Listed(_), _) => Err(format!("it lists {never}, and so everybody")),
            (_, Reply::NotListed) => Err(format!("it does not list {always}, and so nobody")),
        }
    }

    fn note_health(&self, found: &Result<(), String>) {
        let Some(health) = &self.health else { return };
        if !health.note(found.clone(), Instant::now()) {
            return;
        }
        match found {
            Ok(()) => tracing::info!(zone = self.name, "DNS blocklist is well again"),
            Err(reason) => tracing::warn!(
                zone = self.name,
                reason,
                "DNS blocklist switched off until it is well"
            ),
        }
    }

    fn switched_off(&self, reason: &str) -> Reply {
        self.counters.switched_off.fetch_add(1, Ordering::Relaxed);
        Reply::Failed(format!("switched off: {reason}"))
    }

    fn counted(&self, reply: Reply) -> Reply {
        let counter = match &reply {
            Reply::Listed(_) => &self.counters.listed,
            Reply::NotListed => &self.counters.not_listed,
            Reply::Failed(_) => &self.counters.failed,
        };
        let before = counter.fetch_add(1, Ordering::Relaxed);
        if let Reply::Failed(reason) = &reply {
            let failures = before.saturating_add(1);
            tracing::warn!(
                zone = self.name,
                reason,
                failures,
                "DNS blocklist says nothing"
            );
            if let Some(health) = &self.health {
                health.doubt();
            }
        }
        reply
    }
}

async fn in_time(deadline: Instant, reply: impl Future<Output = Reply>) -> Reply {
    timeout_at(deadline, reply)
        .await
        .unwrap_or_else(|_| Reply::Failed("it does not answer in time".to_owned()))
}
