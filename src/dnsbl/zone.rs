//! One zone: asks it, tests its health and counts its replies.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use futures_util::future::join;
use metrics::{Counter, Histogram};
use tokio::time::{Instant, timeout_at};

use super::{
    health::{Checkup, Health},
    query_name,
    resolver::Resolver,
};
use crate::{
    measures::{DNSBL_LOOK_UPS, DNSBL_TIME, LookUp, ZoneSeries},
    policy::dnsbl::{ConfiguredSite, Reply, ZoneName},
};

pub(super) struct Zone {
    name: ZoneName,
    ipv4: bool,
    ipv6: bool,
    /// `None` if the zone has no test entries.
    health: Option<Health>,
    look_ups: ZoneSeries<Counter, LookUp>,
    times: ZoneSeries<Histogram, ()>,
}

impl Zone {
    pub(super) fn new(configured: &ConfiguredSite, recheck: Duration) -> Self {
        Self {
            name: configured.site.zone.clone(),
            ipv4: configured.ipv4,
            ipv6: configured.ipv6,
            health: configured.health.then(|| Health::new(recheck)),
            look_ups: DNSBL_LOOK_UPS.of(configured.site.zone.public()),
            times: DNSBL_TIME.of(configured.site.zone.public()),
        }
    }

    pub(super) fn is(&self, name: &ZoneName) -> bool {
        self.name == *name
    }

    pub(super) fn name(&self) -> &ZoneName {
        &self.name
    }

    /// The zone's reply for a client. `None` if it does not list addresses of
    /// this family.
    pub(super) async fn ask(
        &self,
        client: IpAddr,
        resolver: &Resolver,
        deadline: Instant,
    ) -> Option<Reply> {
        let listed_here = match client {
            IpAddr::V4(_) => self.ipv4,
            IpAddr::V6(_) => self.ipv6,
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
            // Asks and tests at once, so that the first client waits no longer
            // than others.
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
        let name = query_name::of(client, self.name.asked());
        let begun = Instant::now();
        let reply = self.without_key(in_time(deadline, resolver.reply(&name)).await);
        if let Some(times) = self.times.at(()) {
            times.record(begun.elapsed());
        }
        reply
    }

    /// Tests the zone: the two test entries must give the right replies.
    async fn examine(&self, resolver: &Resolver, deadline: Instant) -> Result<(), String> {
        let test = |octet| -> IpAddr {
            let address = Ipv4Addr::new(127, 0, 0, octet);
            match self.ipv4 {
                true => address.into(),
                false => address.to_ipv6_mapped().into(),
            }
        };
        let (never, always) = (test(1), test(2));
        let reply = async |address| {
            let name = query_name::of(address, self.name.asked());
            self.without_key(in_time(deadline, resolver.fresh_reply(&name)).await)
        };
        match join(reply(never), reply(always)).await {
            (Reply::NotListed, Reply::Listed(_)) => Ok(()),
            (Reply::Listed(_), _) => Err(format!("it lists {never}, and so everybody")),
            (Reply::NotListed, Reply::NotListed) => {
                Err(format!("it does not list {always}, and so nobody"))
            }
            (Reply::NotListed, failed) | (failed, _) => {
                Err(failed.failure().unwrap_or_default().to_owned())
            }
        }
    }

    /// Hides the key, as the resolver's errors quote the name in the question.
    fn without_key(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Failed(reason) => Reply::Failed(self.name.hide_in(&reason)),
            other => other,
        }
    }

    fn note_health(&self, found: &Result<(), String>) {
        let Some(health) = &self.health else { return };
        if !health.note(found.clone(), Instant::now()) {
            return;
        }
        match found {
            Ok(()) => tracing::info!(zone = %self.name, "DNS blocklist is well again"),
            Err(reason) => tracing::warn!(
                zone = %self.name,
                reason,
                "DNS blocklist switched off until it is well"
            ),
        }
    }

    fn switched_off(&self, reason: &str) -> Reply {
        self.count(LookUp::SwitchedOff);
        Reply::Failed(format!("switched off: {reason}"))
    }

    fn counted(&self, reply: Reply) -> Reply {
        self.count(match &reply {
            Reply::Listed(_) => LookUp::Listed,
            Reply::NotListed => LookUp::NotListed,
            Reply::TimedOut => LookUp::TimedOut,
            Reply::Failed(_) => LookUp::Failed,
        });
        if let Some(reason) = reply.failure() {
            tracing::warn!(zone = %self.name, reason, "DNS blocklist gave no usable reply");
            if let Some(health) = &self.health {
                health.doubt();
            }
        }
        reply
    }

    fn count(&self, look_up: LookUp) {
        if let Some(counter) = self.look_ups.at(look_up) {
            counter.increment(1);
        }
    }
}

async fn in_time(deadline: Instant, reply: impl Future<Output = Reply>) -> Reply {
    timeout_at(deadline, reply).await.unwrap_or(Reply::TimedOut)
}
